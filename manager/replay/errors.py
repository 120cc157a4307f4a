"""The errors of a replay.

ReplayError
 +- ReplayInputError   config, candles, funding and decisions do not fit together
"""


class ReplayError(Exception):
    """Stand at the root of all replay errors."""


class ReplayInputError(ReplayError):
    """Report inputs that do not fit together, with file, field, value and mend."""
