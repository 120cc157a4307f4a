"""The errors of PostgreSQL in the words of the store."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import errors as pg

from manager.state.errors import CommitUnknown, DatabaseAway, DuplicateRow, InvalidRow, StoreUnavailable
from manager.state.postgres.unreachable import is_opening, unreached

_NOT_MIGRATED = (pg.UndefinedTable, pg.UndefinedColumn, pg.UndefinedObject, pg.InvalidSchemaName)
_NO_ROLE = (pg.InsufficientPrivilege, pg.InvalidParameterValue)
_INVALID = (pg.DataError, pg.IntegrityError, pg.InsufficientPrivilege)
_AWAY = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    pg.InvalidParameterValue,
    pg.ReadOnlySqlTransaction,
    pg.IdleInTransactionSessionTimeout,
    pg.TransactionTimeout,
)
_READ_ONLY = "; the server is a standby, or default_transaction_read_only is on: point DATABASE_URL at one that writes"


@contextmanager
def translated(*, opening: bool = False, committing: bool = False) -> Iterator[None]:
    """Raise the store's errors instead of the driver's; anything else is a fault of ours and is raised as it is."""
    try:
        yield
    except Exception as error:
        cause = getattr(error, "orig", None) or error  # SQLAlchemy keeps the driver's error in its own
        if not isinstance(cause, (psycopg.Error, OSError)):
            raise
        if opening and isinstance(cause, _NO_ROLE):
            raise StoreUnavailable(f"{cause}; run `propdesk db upgrade` with this login first") from error
        raise _translate(cause, committing, error) from error


def _translate(cause: BaseException, committing: bool, error: Exception) -> Exception:
    said = str(cause).strip().splitlines()[0] if str(cause).strip() else type(cause).__name__
    if isinstance(cause, pg.UniqueViolation):
        return DuplicateRow(_detail(cause, said))
    if isinstance(cause, _NOT_MIGRATED) or "table alembic_version" in said:
        return StoreUnavailable(f"the database does not fit this Propdesk ({said}); run `propdesk db upgrade`")
    if isinstance(cause, _INVALID):
        return InvalidRow(_detail(cause, said))
    if isinstance(cause, (*_AWAY, OSError)):
        return _away(cause, said, committing=committing)
    return error


def _away(cause: BaseException, said: str, *, committing: bool) -> StoreUnavailable:
    if committing and getattr(cause, "sqlstate", None) is None:
        return CommitUnknown(f"the connection broke during a commit ({said}); read before repeating anything")
    if is_opening(str(cause)):
        return DatabaseAway(str(unreached(str(cause)).error))
    read_only = isinstance(cause, pg.ReadOnlySqlTransaction)
    return DatabaseAway(f"the database cannot be used: {said}{_READ_ONLY if read_only else ''}")


def _detail(cause: BaseException, said: str) -> str:
    diagnostics = getattr(cause, "diag", None)
    detail = getattr(diagnostics, "message_detail", None)
    return f"{said}: {detail}" if detail else said
