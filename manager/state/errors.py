"""The errors of the state.

StateError
 +- DuplicateRow       a row with this key exists: what was to happen once has happened
 +- FenceLost          another worker holds the account: stop, write nothing, send nothing
 +- StoreUnavailable   the database cannot be reached or refused the transaction; nothing was written
 |   +- DatabaseAway   it does not answer, ends sessions or takes no writes: the next try may do
 |   +- SchemaMoved    the database is of another version than this code
 |   +- CommitUnknown  the connection broke during the commit: read again before anything is repeated
 +- InvalidRow         a value must never be stored: NaN, infinity, a naive time
 +- OtherServiceKey    what is stored was sealed under another service key than this host has
 +- SecretDamaged      what is stored does not open: it was changed, or is of another place
"""


class StateError(Exception):
    """Stand at the root of all state errors."""


class DuplicateRow(StateError):
    """Report that a row with this key is already there."""


class FenceLost(StateError):
    """Report that the account's fencing token has moved on."""


class StoreUnavailable(StateError):
    """Report that the database could not be used."""


class DatabaseAway(StoreUnavailable):
    """Report a database that does not answer, ends sessions or takes no writes now; it is worth trying again."""


class SchemaMoved(StoreUnavailable):
    """Report a database of another version, with both revisions and the mend; nothing is written or sent any more."""

    def __init__(self, found: str | None, wanted: str) -> None:
        older = found is None or found < wanted
        mend = "run `propdesk db upgrade`" if older else "restart this host with the version that upgraded the database"
        super().__init__(f"the database is at revision {found or 'none'}, this Propdesk was built for {wanted}: {mend}")


class CommitUnknown(StoreUnavailable):
    """Report that the connection broke while a transaction was committed: it was written whole or not at all."""


class InvalidRow(StateError):
    """Report a value that must never be stored, with its row type and field."""


class OtherServiceKey(StateError):
    """Report a service key that is not the one of the database, with the marks of both and the mend."""

    def __init__(self, stored: str, given: str) -> None:
        super().__init__(
            f"this database was sealed under the service key {stored}, and this host has {given}: give it the key of "
            "the host where the desk was first started, as PROPDESK_SECRET_KEY or as the file secret.key of its data "
            "directory (these are marks of the keys, not the keys)"
        )


class SecretDamaged(StateError):
    """Report a stored secret that does not open under the right key: enter it anew."""
