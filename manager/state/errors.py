"""The errors of the state.

StateError
 +- DuplicateRow       a row with this key exists: what was to happen once has happened
 +- FenceLost          another worker holds the account: stop, write nothing, send nothing
 +- StoreUnavailable   the database cannot be reached or refused the transaction; nothing was written
 +- InvalidRow         a value must never be stored: NaN, infinity, a naive time
"""


class StateError(Exception):
    """Stand at the root of all state errors."""


class DuplicateRow(StateError):  # noqa: N818 - a fact, not a fault: the caller often treats it as success
    """Report that a row with this key is already there."""


class FenceLost(StateError):  # noqa: N818 - a fact
    """Report that the account's fencing token has moved on."""


class StoreUnavailable(StateError):  # noqa: N818 - a fact
    """Report that the database could not be used."""


class InvalidRow(StateError):  # noqa: N818 - a fact
    """Report a value that must never be stored, with its row type and field."""
