"""Connections to PostgreSQL: an engine, and the one way to a connection, which is a transaction in a scope."""

import asyncio
from types import TracebackType
from typing import Any

import psycopg
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from manager.state.postgres.failures import translated
from manager.state.postgres.roles import APP, SERVICE
from manager.state.records import TenantId

_CONNECT_TIMEOUT_S = 10
_SET_SCOPE = text(
    "SELECT set_config('app.tenant', :tenant, true), set_config('role', :role, true), "
    "set_config('timezone', 'UTC', true), set_config('jit', 'off', true), "
    "set_config('lock_timeout', '10s', true), set_config('statement_timeout', '60s', true), "
    "set_config('idle_in_transaction_session_timeout', '5s', true)"
)


def open_engine(dsn: str, *, pool_size: int = 10) -> AsyncEngine:
    """Return an engine for a libpq URI; it belongs to one event loop and connects at first use."""

    async def connect(*_: Any, **options: Any) -> psycopg.AsyncConnection[Any]:
        return await psycopg.AsyncConnection.connect(dsn, connect_timeout=_CONNECT_TIMEOUT_S, **options)

    return create_async_engine(
        "postgresql+psycopg://", async_creator=connect, pool_size=pool_size, max_overflow=0, pool_timeout=30
    )


class Scope:
    """Hold one transaction as a role in a tenant: committed at a normal exit, rolled back on an exception.

    The first statement sets role and tenant for the transaction only, so neither leaks to the next user of the
    connection. A worker frozen inside loses the transaction after 5 s, and with it the locks.
    """

    __slots__ = ("_connection", "_engine", "_role", "_tenant")

    def __init__(self, engine: AsyncEngine, *, tenant: TenantId | None) -> None:
        self._engine = engine
        self._role = SERVICE if tenant is None else APP
        self._tenant = tenant or ""

    async def __aenter__(self) -> AsyncConnection:
        with translated(opening=True):
            self._connection = await self._engine.connect()
            try:
                await self._connection.execute(_SET_SCOPE, {"tenant": self._tenant, "role": self._role})
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
                    await self._connection.commit()
        finally:
            await self._close()

    async def _close(self) -> None:
        await asyncio.shield(self._connection.close())
