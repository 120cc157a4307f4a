"""The state on PostgreSQL, shared by any number of workers and hosts."""

from contextlib import AbstractAsyncContextManager
from types import TracebackType

from sqlalchemy.ext.asyncio import AsyncEngine

from manager.state.postgres.codec import build_codecs
from manager.state.postgres.connection import Scope, open_engine
from manager.state.postgres.service import PostgresServiceTransaction
from manager.state.postgres.statements import Statements
from manager.state.postgres.transaction import Desks, PostgresTransaction
from manager.state.records import TenantId
from manager.state.store import Fence, ServiceTransaction, Transaction


class PostgresStore:
    """Open transactions on PostgreSQL; `transaction` and `service` are the only ways to a connection."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine
        self._codecs = build_codecs()
        statements = Statements()
        self._given = lambda: statements
        self._desks: Desks = {}

    @classmethod
    def open(cls, dsn: str, *, pool_size: int = 10) -> "PostgresStore":
        """Return a store on a libpq URI; it connects at first use and belongs to one event loop."""
        return cls(open_engine(dsn, pool_size=pool_size))

    def transaction(self, tenant: TenantId, *, fence: Fence | None = None) -> AbstractAsyncContextManager[Transaction]:
        """Open a transaction in a tenant; the fence's row lock holds off other holders until its end."""
        return _Block(self, tenant, fence)

    def service(self) -> AbstractAsyncContextManager[ServiceTransaction]:
        """Open a scheduler transaction across tenants."""
        return _ServiceBlock(Scope(self.engine, tenant=None))

    async def close(self) -> None:
        """Release connections."""
        await self.engine.dispose()


class _Block:
    __slots__ = ("_fence", "_scope", "_store", "_tenant", "_transaction")

    def __init__(self, store: PostgresStore, tenant: TenantId, fence: Fence | None) -> None:
        self._store = store
        self._tenant = tenant
        self._fence = fence
        self._scope = Scope(store.engine, tenant=tenant)

    async def __aenter__(self) -> Transaction:
        _ = await self._scope.__aenter__()
        self._transaction = PostgresTransaction(
            self._scope.driver,
            self._tenant,
            codecs=self._store._codecs,
            statements=self._store._given,
            desks=self._store._desks,
        )
        if self._fence is not None:
            try:
                await self._transaction.check_fence(self._fence)
            except BaseException as error:
                await self._scope.__aexit__(type(error), error, None)
                raise
        return self._transaction

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        failure = self._transaction.failure
        if kind is None and failure is not None:
            await self._scope.__aexit__(type(failure), failure, None)
            raise failure
        await self._scope.__aexit__(kind, error, trace)


class _ServiceBlock:
    __slots__ = ("_scope",)

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    async def __aenter__(self) -> ServiceTransaction:
        return PostgresServiceTransaction(await self._scope.__aenter__())

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._scope.__aexit__(kind, error, trace)
