"""What PostgreSQL's refusals mean to the callers of the store."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import errors as pg
from sqlalchemy.exc import DBAPIError, InterfaceError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from manager.state.errors import CommitUnknown, DuplicateRow, InvalidRow, StoreUnavailable

_NOT_MIGRATED = (pg.UndefinedTable, pg.UndefinedColumn, pg.UndefinedObject, pg.InvalidSchemaName)
_NO_ROLE = (pg.InsufficientPrivilege, pg.InvalidParameterValue)
_INVALID = (pg.DataError, pg.IntegrityError, pg.InsufficientPrivilege)
_UNAVAILABLE = (psycopg.OperationalError, psycopg.InterfaceError, pg.InvalidParameterValue)


@contextmanager
def translated(*, opening: bool = False, committing: bool = False) -> Iterator[None]:
    """Raise the store's errors instead of the driver's; what is none of them is a fault of ours and stays as it is."""
    try:
        yield
    except PoolTimeout as error:
        raise StoreUnavailable(
            f"no database connection was free: {error}; raise pool_size or lower concurrency"
        ) from error
    except (DBAPIError, psycopg.Error, OSError) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        if opening and isinstance(cause, _NO_ROLE):
            raise StoreUnavailable(f"{cause}; run `propdesk db upgrade` with this login first") from error
        raise _translate(cause, committing, error) from error


def _translate(cause: BaseException | None, committing: bool, error: Exception) -> Exception:
    said = str(cause).strip().splitlines()[0] if str(cause).strip() else type(cause).__name__
    if isinstance(cause, pg.UniqueViolation):
        return DuplicateRow(_detail(cause, said))
    if isinstance(cause, _NOT_MIGRATED) or "table alembic_version" in said:
        return StoreUnavailable(f"the database does not fit this Propdesk ({said}); run `propdesk db upgrade`")
    if isinstance(cause, _INVALID):
        return InvalidRow(_detail(cause, said))
    if isinstance(error, InterfaceError) or isinstance(cause, (*_UNAVAILABLE, OSError)):
        if committing and getattr(cause, "sqlstate", None) is None:
            return CommitUnknown(f"the connection broke during a commit ({said}); read before repeating anything")
        return StoreUnavailable(f"the database cannot be used: {said}")
    return error


def _detail(cause: BaseException, said: str) -> str:
    diagnostics = getattr(cause, "diag", None)
    detail = getattr(diagnostics, "message_detail", None)
    return f"{said}: {detail}" if detail else said
