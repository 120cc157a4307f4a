"""The errors of a trader.

TraderError
 +- IllegalMove   the life cycle has no such move from where the trader stands
"""


class TraderError(Exception):
    """Stand at the root of all trader errors."""


class IllegalMove(TraderError):
    """Report a life-cycle move that does not exist, with the moves that do."""
