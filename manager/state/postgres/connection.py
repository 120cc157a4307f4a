"""Connections to PostgreSQL: an engine, the one way to a connection, and what its refusals mean to callers."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any, cast

import psycopg
from psycopg import sql
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from manager.state.errors import DatabaseAway
from manager.state.postgres.limits import PROMPT_S, BoundedConnection
from manager.state.postgres.opening import beginning, connected
from manager.state.postgres.translation import translated
from manager.state.records import TenantId

_PROBE = text("SELECT 1")


@contextmanager
def _connecting() -> Iterator[None]:
    try:
        with translated(opening=True):
            yield
    except PoolTimeout as error:
        raise DatabaseAway(f"no database connection was free: {error}; raise pool_size or lower concurrency") from error


def open_engine(dsn: str, *, pool_size: int = 10) -> AsyncEngine:
    """Return an engine for a libpq URI; it belongs to one event loop and connects at first use.

    Only `Scope` opens transactions on it: outside of one each statement is its own.
    """

    async def connect(*_: Any, **options: Any) -> psycopg.AsyncConnection[Any]:
        return await connected(dsn, **options)

    return create_async_engine(
        "postgresql+psycopg://", async_creator=connect, pool_size=pool_size, max_overflow=0, pool_timeout=30
    )


async def glance(engine: AsyncEngine, tenant: TenantId, query: sql.Composed) -> tuple[Any, ...] | None:
    """Return the first row of a query as the application in a tenant, in one round trip; None without one.

    It reads only, and what it returns may have changed by the time it is here.
    """
    words = beginning(tenant), query.as_bytes(), b"COMMIT"
    with _connecting():
        connection = await engine.connect()
    held = cast("Connection", connection.sync_connection)
    driver = cast("psycopg.AsyncConnection[Any]", held.connection.driver_connection)
    try:
        with translated():
            cursor = await driver.execute(b"; ".join(words), prepare=False)
            while cursor.description is None and cursor.nextset():
                continue
            return await cursor.fetchone()
    finally:
        await asyncio.shield(connection.close())


class Scope:
    """Hold one transaction as a role in a tenant: committed at a normal exit, rolled back on an exception.

    A worker frozen inside loses the transaction after 5 s, and with it the locks. `driver` is the same
    connection without SQLAlchemy in between, which costs half of a statement's CPU.
    """

    __slots__ = ("_begin", "_connection", "_engine", "driver")

    driver: BoundedConnection

    def __init__(self, engine: AsyncEngine, *, tenant: TenantId | None) -> None:
        self._begin = beginning(tenant)
        self._engine = engine

    async def __aenter__(self) -> AsyncConnection:
        with _connecting():
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
