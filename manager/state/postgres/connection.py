"""Connections to PostgreSQL: an engine, the one way to a connection, and what its refusals mean to callers."""

import asyncio
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from types import TracebackType
from typing import Any, cast

import psycopg
from psycopg import errors as pg
from psycopg import sql
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError, InterfaceError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from manager.state.errors import CommitUnknown, DatabaseAway, DuplicateRow, InvalidRow, StoreUnavailable
from manager.state.postgres.limits import LIMITS, PROMPT_S, BoundedConnection, bounded
from manager.state.postgres.roles import APP, SERVICE
from manager.state.postgres.unreachable import is_opening, unreached
from manager.state.records import TenantId

_SESSION = b"SET timezone = 'UTC'; SET jit = off; " + LIMITS
_SCOPE = sql.SQL("BEGIN; SET LOCAL ROLE {role}; SET LOCAL app.tenant = {tenant}")
_TENANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_PROBE = text("SELECT 1")
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
    except PoolTimeout as error:
        raise DatabaseAway(f"no database connection was free: {error}; raise pool_size or lower concurrency") from error
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
    if isinstance(error, InterfaceError) or isinstance(cause, (*_AWAY, OSError)):
        return _away(cause, said, committing=committing)
    return error


def _away(cause: BaseException | None, said: str, *, committing: bool) -> StoreUnavailable:
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


def open_engine(dsn: str, *, pool_size: int = 10) -> AsyncEngine:
    """Return an engine for a libpq URI; it belongs to one event loop and connects at first use.

    Only `Scope` opens transactions on it: outside of one each statement is its own.
    """

    conninfo = bounded(dsn)

    async def connect(*_: Any, **options: Any) -> psycopg.AsyncConnection[Any]:
        given = {**options, "autocommit": True}
        connection = await BoundedConnection.connect(conninfo, **given)
        await connection.execute(_SESSION, prepare=False)
        return connection

    return create_async_engine(
        "postgresql+psycopg://", async_creator=connect, pool_size=pool_size, max_overflow=0, pool_timeout=30
    )


async def glance(engine: AsyncEngine, tenant: TenantId, query: sql.Composed) -> tuple[Any, ...] | None:
    """Return the first row of a query as the application in a tenant, in one round trip; None without one.

    It reads only, and what it returns may have changed by the time it is here.
    """
    words = _SCOPE.format(role=sql.Identifier(APP), tenant=sql.Literal(tenant)), query, sql.SQL("COMMIT")
    with translated(opening=True):
        connection = await engine.connect()
    held = cast("Connection", connection.sync_connection)
    driver = cast("psycopg.AsyncConnection[Any]", held.connection.driver_connection)
    try:
        with translated():
            cursor = await driver.execute(sql.SQL("; ").join(words), prepare=False)
            while cursor.description is None and cursor.nextset():
                continue
            return await cursor.fetchone()
    finally:
        await asyncio.shield(connection.close())


@lru_cache(maxsize=1024)
def _opening(tenant: TenantId | None) -> bytes:
    if tenant is not None and not _TENANT.fullmatch(tenant):
        raise InvalidRow(f"{tenant!r} is no id of a tenant; expected 1 to 64 letters, digits, _ . or -")
    role = sql.Identifier(SERVICE if tenant is None else APP)
    return _SCOPE.format(role=role, tenant=sql.Literal(tenant or "")).as_bytes()


class Scope:
    """Hold one transaction as a role in a tenant: committed at a normal exit, rolled back on an exception.

    The words that open it set role and tenant for the transaction only, so neither leaks to the next user of the
    connection. A worker frozen inside loses the transaction after 5 s, and with it the locks. `driver` is the same
    connection without SQLAlchemy in between, which costs half of a statement's CPU.
    """

    __slots__ = ("_begin", "_connection", "_engine", "driver")

    driver: BoundedConnection

    def __init__(self, engine: AsyncEngine, *, tenant: TenantId | None) -> None:
        self._engine = engine
        self._begin = _opening(tenant)

    async def __aenter__(self) -> AsyncConnection:
        with translated(opening=True):
            self._connection = await self._engine.connect()
            held = cast("Connection", self._connection.sync_connection)
            self.driver = cast("BoundedConnection", held.connection.driver_connection)
            try:
                with self.driver.promptly(PROMPT_S):
                    await self.driver.execute(self._begin, prepare=False)
            except BaseException:
                await self._close()
                raise
        return self._connection

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                with translated(committing=True):
                    await self.driver.commit()
        finally:
            await self._close()

    async def _close(self) -> None:
        await asyncio.shield(self._give_back())

    async def _give_back(self) -> None:
        try:
            if self.driver.closed and not self._connection.invalidated:
                # SQLAlchemy has to see it broken for itself: then it renews the others of the pool, too.
                with suppress(DBAPIError):
                    await self._connection.execute(_PROBE)
        finally:
            await self._connection.close()
