"""The state in memory: transactions with rollback, unique keys, tenant scope and the fencing token."""

import asyncio
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from types import TracebackType

from manager.state.memory.rows import TenantRows
from manager.state.memory.service import MemoryServiceTransaction
from manager.state.memory.transaction import MemoryTransaction, Retention
from manager.state.records import AccountRow, TenantId
from manager.state.store import Fence, ServiceTransaction, Transaction, fence_lost


class MemoryStore:
    """Keep the state of a replay, a simulation or a test in this process.

    Transactions run one after the other. With `keep_contexts` off, decisions lose their context and of the passive ones
    (hold and wait only, without a model's reply) each trader's latest is kept; `decision_counts` still counts them all.
    """

    def __init__(self, *, keep_contexts: bool = True) -> None:
        self._tenants: dict[TenantId, TenantRows] = {}
        self._lock = asyncio.Lock()
        self._retention = Retention(keep_contexts=keep_contexts)

    def transaction(self, tenant: TenantId, *, fence: Fence | None = None) -> AbstractAsyncContextManager[Transaction]:
        """Open a transaction in a tenant; raise FenceLost at the start if the account's token has moved on."""
        return _Block(self, tenant, fence)

    def service(self) -> AbstractAsyncContextManager[ServiceTransaction]:
        """Open a scheduler transaction across tenants."""
        return _ServiceBlock(self)

    def decision_counts(self, tenant: TenantId) -> Mapping[str, int]:
        """Return how many decisions each trader has taken, kept or not."""
        return {trader: n for (owner, trader), n in self._retention.counts.items() if owner == tenant}

    async def close(self) -> None:
        """Do nothing: there are no connections."""


class _Block:
    __slots__ = ("_fence", "_rows", "_store", "_tenant", "_transaction")

    def __init__(self, store: MemoryStore, tenant: TenantId, fence: Fence | None) -> None:
        self._store = store
        self._tenant = tenant
        self._fence = fence

    async def __aenter__(self) -> Transaction:
        store = self._store
        await store._lock.acquire()
        known = store._tenants.get(self._tenant)
        self._rows = known if known is not None else TenantRows()
        if self._fence is not None:
            account = self._rows.tables[AccountRow].rows.get(self._fence.account_id)
            if account is None or account.fencing_token != self._fence.token:
                store._lock.release()
                raise fence_lost(self._fence, account and account.fencing_token, account.holder if account else "")
        self._transaction = MemoryTransaction(
            tenant=self._tenant, rows=self._rows, retention=store._retention, known=known is not None
        )
        return self._transaction

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        transaction = self._transaction
        transaction.closed = True
        if kind is None and transaction.failure is None:
            self._rows.commit()
            self._store._retention.commit()
        else:
            self._rows.rollback()
            self._store._retention.rollback()
        self._store._lock.release()
        if kind is None and transaction.failure is not None:
            raise transaction.failure


class _ServiceBlock:
    __slots__ = ("_store", "_transaction")

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    async def __aenter__(self) -> ServiceTransaction:
        await self._store._lock.acquire()
        self._transaction = MemoryServiceTransaction(self._store._tenants)
        return self._transaction

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._transaction.commit()
        else:
            self._transaction.rollback()
        self._store._lock.release()
