"""The state for one command: as many connections as it uses at once, and SQLAlchemy only if it writes.

A command that looks imports, connects and ends; a pool, an engine and the tables would cost it more than its answer.
"""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, LiteralString

from psycopg import sql

from manager.state.postgres.codec import LateCodecs
from manager.state.postgres.limits import PROMPT_S, BoundedConnection
from manager.state.postgres.opening import beginning, connected
from manager.state.postgres.roles import QUEUE
from manager.state.postgres.transaction import PostgresTransaction
from manager.state.postgres.translation import translated
from manager.state.records import TenantId
from manager.state.store import Fence, ServiceTransaction, Transaction

if TYPE_CHECKING:
    from manager.state.postgres.statements import Statements
    from manager.state.postgres.store import PostgresStore

_AS_QUEUE: Final = sql.SQL("BEGIN; SET LOCAL ROLE {role}; {query}; COMMIT")


class CommandStore:
    """Open transactions on PostgreSQL as `PostgresStore` does, with connections of its own that are kept until `close`.

    It connects at first use and belongs to one event loop.
    """

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._codecs = LateCodecs()
        self._idle: list[BoundedConnection] = []

    @cached_property
    def _statements(self) -> "Statements":
        from manager.state.postgres.statements import Statements

        return Statements()

    @cached_property
    def _whole(self) -> "PostgresStore":
        from manager.state.postgres.store import PostgresStore

        return PostgresStore.open(self._dsn)

    def transaction(self, tenant: TenantId, *, fence: Fence | None = None) -> AbstractAsyncContextManager[Transaction]:
        """Open a transaction in a tenant; the fence's row lock holds off other holders until its end."""
        return self._transaction(tenant, fence)

    def service(self) -> AbstractAsyncContextManager[ServiceTransaction]:
        """Open a scheduler transaction across tenants."""
        return self._whole.service()

    async def queue_value(self, query: LiteralString) -> Any:
        """Return the first value of a query as the role of the queue, in one round trip; it reads only.

        Raises StateError.
        """
        words = _AS_QUEUE.format(role=sql.Identifier(QUEUE), query=sql.SQL(query))
        async with self._connection() as connection:
            with translated(opening=True), connection.promptly(PROMPT_S):
                cursor = await connection.execute(words, prepare=False)
                while cursor.description is None and cursor.nextset():
                    continue
                row = await cursor.fetchone()
        return None if row is None else row[0]

    async def close(self) -> None:
        """Release connections."""
        for connection in self._idle:
            await connection.close()
        self._idle.clear()
        if "_whole" in vars(self):
            await self._whole.close()

    @asynccontextmanager
    async def _transaction(self, tenant: TenantId, fence: Fence | None) -> AsyncIterator[Transaction]:
        begin = beginning(tenant)
        async with self._connection() as connection:
            with translated(opening=True), connection.promptly(PROMPT_S):
                await connection.execute(begin, prepare=False)
            transaction = PostgresTransaction(
                connection, tenant, codecs=self._codecs, statements=lambda: self._statements, desks={}
            )
            if fence is not None:
                await transaction.check_fence(fence)
            yield transaction
            if transaction.failure is not None:
                raise transaction.failure
            with translated(committing=True):
                await connection.commit()

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[BoundedConnection]:
        """Give a connection that is idle, or a new one; where the block fails it is closed, which rolls back."""
        with translated(opening=True):
            connection = self._idle.pop() if self._idle else await connected(self._dsn)
        done = False
        try:
            yield connection
            done = True
        finally:
            if done:
                self._idle.append(connection)
            else:
                await connection.close()
