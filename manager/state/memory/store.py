"""The state in memory: transactions with rollback, unique keys, tenant scope and the fencing token."""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from types import TracebackType
from typing import Any

from exchanges.types import ZERO
from manager.state import records
from manager.state.access import ApiKeyRow, KeyId
from manager.state.journal import EquityRow
from manager.state.memory.rows import Slot, TenantRows
from manager.state.memory.transaction import MemoryTransaction, Retention
from manager.state.records import ScheduleRow, TenantId, TraderRow
from manager.state.spending import SpendingRow
from manager.state.store import (
    AccountKey,
    Backlog,
    Claim,
    Fence,
    GateRoom,
    ServiceTransaction,
    Transaction,
    claim_of,
    fence_lost,
)
from manager.state.switches import Switch


class MemoryStore:
    """Keep the state of a replay, a simulation or a test in this process.

    Transactions run one after the other. With `keep_contexts` off, decisions lose their context and of the passive ones
    (hold and wait only, without a model's reply) each trader's latest is kept; `decision_counts` still counts them all.
    """

    def __init__(self, *, keep_contexts: bool = True) -> None:
        self._tenants: dict[TenantId, TenantRows] = {}
        self._lock = asyncio.Lock()
        self._retention = Retention(keep_contexts=keep_contexts)
        self._service = Service()

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
            account = self._rows.tables[records.AccountRow].rows.get(self._fence.account_id)
            if account is None or account.fencing_token != self._fence.token:
                store._lock.release()
                raise fence_lost(self._fence, account and account.fencing_token, account.holder if account else "")
        self._transaction = MemoryTransaction(
            tenant=self._tenant,
            rows=self._rows,
            retention=store._retention,
            service=store._service.switch,
            known=known is not None,
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
        self._transaction = MemoryServiceTransaction(self._store._tenants, self._store._service)
        return self._transaction

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._transaction.commit()
        else:
            self._transaction.rollback()
        self._store._lock.release()


class Service:
    """Hold what is of the whole installation: its Switch, and the mark of its service key."""

    __slots__ = ("mark", "switch")

    def __init__(self) -> None:
        self.switch = Slot(Switch())
        self.mark = Slot("")


class MemoryServiceTransaction:
    """Read and write across tenants what the scheduler needs."""

    def __init__(self, tenants: dict[TenantId, TenantRows], service: Service) -> None:
        self._tenants = tenants
        self._service = service
        self._before = (service.switch.value, service.mark.value)
        self._created: list[TenantId] = []

    async def tenants(self) -> Sequence[TenantId]:
        """Return all tenants."""
        return sorted(self._tenants)

    async def ensure_tenant(self, tenant: TenantId) -> None:
        """Create the tenant if it is new."""
        if tenant not in self._tenants:
            self._tenants[tenant] = TenantRows()
            self._created.append(tenant)

    async def accounts(self) -> Sequence[AccountKey]:
        """Return all accounts."""
        return [
            AccountKey(tenant_id=tenant, account_id=account_id)
            for tenant in sorted(self._tenants)
            for account_id in sorted(self._tenants[tenant].tables[records.AccountRow].rows)
        ]

    async def accounts_with_intents(self) -> Sequence[AccountKey]:
        """Return the accounts that have pending intents."""
        return [
            AccountKey(tenant_id=tenant, account_id=account_id)
            for tenant in sorted(self._tenants)
            for account_id in sorted(self._tenants[tenant].tables[records.IntentRow].indices[0].groups())
        ]

    async def claim_due(self, now: datetime, limit: int, room: Sequence[GateRoom] = ()) -> Sequence[Claim]:
        """Claim due traders, in priority order, fair between tenants."""
        rooms = {(one.tenant_id, one.gate): one for one in room}
        left = {one.shared: one.free for one in room}
        ranked: list[tuple[int, tuple[Any, ...], TenantRows, ScheduleRow]] = []
        for tenant in sorted(self._tenants):
            rows = self._tenants[tenant]
            due = sorted(
                (self._priority(rows, trader, schedule, now), trader.trader_id, schedule)
                for trader, schedule in self._due(rows, now)
                if not rooms or _has_room(rooms.get((tenant, schedule.gate)))
            )
            ranked += [(place, (*rank, tenant), rows, schedule) for place, (rank, _, schedule) in enumerate(due)]
        ranked.sort(key=lambda entry: entry[:2])
        claims: list[Claim] = []
        for _, _, rows, schedule in ranked:
            here = rooms.get((schedule.tenant_id, schedule.gate))
            if len(claims) >= limit:
                break
            if here is None or left[here.shared] > 0:
                if here is not None:
                    left[here.shared] -= 1
                claims.append(self._claim(rows, schedule, now, 0 if here is None else here.takes_s))
        return claims

    async def stale_claims(self, before: datetime) -> Sequence[Claim]:
        """Return the claims that are older than `before`."""
        return [
            claim_of(schedule)
            for rows in self._tenants.values()
            for schedule in rows.tables[ScheduleRow].rows.values()
            if schedule.in_flight_due_at is not None and schedule.claimed_at < before
        ]

    async def release(self, claims: Sequence[Claim]) -> int:
        """Free the traders that still are in flight for these claims; return how many."""
        freed = 0
        for claim in claims:
            rows = self._tenants[claim.tenant_id]
            table = rows.tables[ScheduleRow]
            schedule = table.rows.get(claim.trader_id)
            if schedule is not None and schedule.in_flight_due_at == claim.due_at:
                rows.put(table, claim.trader_id, replace(schedule, in_flight_due_at=None, claimed_at=None))
                freed += 1
        return freed

    async def backlogs(self, now: datetime, since: datetime) -> Sequence[Backlog]:
        """Return how the schedule of each tenant stands at `now`, and what was decided after `since`."""
        found = []
        for tenant in sorted(self._tenants):
            asked = self._asked(self._tenants[tenant])
            running = [schedule for trader, schedule in asked if trader.state is records.TraderState.RUNNING]
            late = [(_late_s(one, now), one.interval_s) for one in running if one.in_flight_due_at is None]
            backlog = Backlog(
                tenant_id=tenant,
                due=sum(late_s > 0 for late_s, _ in late),
                lag_s=max((late_s for late_s, _ in late), default=0.0),
                intervals=max((int(late_s // interval_s) for late_s, interval_s in late), default=0),
                made=sum(one.last_decision_at is not None and one.last_decision_at > since for one in running),
            )
            found += [backlog] if running else []
        return found

    async def forget_prompts(self, before: datetime) -> int:
        """Delete the texts of prompts older than `before`; return how many."""
        return self._forget(records.PromptRow, lambda prompt: prompt.at < before)

    async def forget_contexts(self, before: datetime, limit: int) -> int:
        """Take the contexts from at most `limit` decisions older than `before`; return from how many."""
        old = [
            (rows, key, decision)
            for rows in self._tenants.values()
            for key, decision in rows.tables[records.DecisionRow].rows.items()
            if decision.context is not None and decision.decided_at < before
        ][:limit]
        for rows, key, decision in old:
            rows.put(rows.tables[records.DecisionRow], key, replace(decision, context=None))
        return len(old)

    async def forget_equity(self, before: datetime, limit: int) -> int:
        """Delete at most `limit` samples of equity older than `before`; return how many."""
        return self._forget(EquityRow, lambda sample: sample.at < before, limit)

    async def thin_equity(self, since: datetime, before: datetime, limit: int) -> int:
        """Delete at most `limit` samples from `since` up to `before` not the last of their hour; say how many."""
        last: dict[tuple[Any, ...], datetime] = {}

        def hour(one: EquityRow) -> tuple[Any, ...]:
            return one.tenant_id, one.account_id, one.trader_id, one.at.replace(minute=0, second=0, microsecond=0)

        for rows in self._tenants.values():
            for one in rows.tables[EquityRow].rows.values():
                if since <= one.at < before:
                    last[hour(one)] = max(one.at, last.get(hour(one), one.at))
        return self._forget(EquityRow, lambda one: since <= one.at < before and one.at != last[hour(one)], limit)

    async def forget_spending(self, before: datetime) -> int:
        """Delete the sums of days that began before `before`; return how many."""
        return self._forget(SpendingRow, lambda spending: spending.day < before)

    async def forget_incidents(self, before: datetime) -> int:
        """Delete the incidents that ended before `before`; return how many."""
        return self._forget(records.IncidentRow, lambda one: one.resolved_at is not None and one.resolved_at < before)

    async def next_due(self) -> datetime | None:
        """Return the earliest due time of any trader that is asked and not deciding."""
        return min(
            (
                schedule.next_due_at
                for rows in self._tenants.values()
                for _, schedule in self._asked(rows)
                if schedule.next_due_at is not None and schedule.in_flight_due_at is None
            ),
            default=None,
        )

    async def api_keys(self, key_id: KeyId) -> Sequence[ApiKeyRow]:
        """Return the API keys of an id, in whatever tenant."""
        rows = (self._tenants[tenant].tables[ApiKeyRow].rows for tenant in sorted(self._tenants))
        return [found[key_id] for found in rows if key_id in found]

    async def key_mark(self, mark: str, *, instead_of: str = "") -> str:
        """Return the mark of the service key that the installation uses: the first that is named becomes it."""
        if self._service.mark.value in ("", instead_of):
            self._service.mark.value = mark
        stored: str = self._service.mark.value
        return stored

    async def switch(self, to: Switch, event: records.EventRow) -> Switch | None:
        """Say how far the whole service may trade, with its event; return what was before, None if it stays so."""
        before: Switch = self._service.switch.value
        if before.state is to.state:
            return None
        self._service.switch.value = to
        rows = self._tenants[event.tenant_id]
        rows.put(rows.tables[records.EventRow], event.event_id, replace(event, before=before.state))
        return before

    def commit(self) -> None:
        """Keep what was done."""
        for rows in self._tenants.values():
            rows.commit()

    def rollback(self) -> None:
        """Take back what was done."""
        self._service.switch.value, self._service.mark.value = self._before
        for rows in self._tenants.values():
            rows.rollback()
        for tenant in self._created:
            del self._tenants[tenant]

    def _forget(self, kind: type[Any], is_old: Callable[[Any], bool], limit: int | None = None) -> int:
        old = [
            (rows, rows.tables[kind], key)
            for rows in self._tenants.values()
            for key, row in rows.tables[kind].rows.items()
            if is_old(row)
        ][:limit]
        for rows, table, key in old:
            rows.put(table, key, None)
        return len(old)

    @staticmethod
    def _asked(rows: TenantRows) -> Iterator[tuple[TraderRow, ScheduleRow]]:
        traders = rows.tables[TraderRow].rows
        for trader_id, schedule in rows.tables[ScheduleRow].rows.items():
            trader = traders[trader_id]
            book = rows.tables[records.BookRow].rows.get((trader.account_id, trader_id))
            if trader.is_asked(holds=book is not None and book.open_positions > 0):
                yield trader, schedule

    @staticmethod
    def _due(rows: TenantRows, now: datetime) -> Iterator[tuple[TraderRow, ScheduleRow]]:
        for trader, schedule in MemoryServiceTransaction._asked(rows):
            if schedule.in_flight_due_at is None and schedule.next_due_at is not None and schedule.next_due_at <= now:
                yield trader, schedule

    @staticmethod
    def _priority(
        rows: TenantRows, trader: TraderRow, schedule: ScheduleRow, now: datetime
    ) -> tuple[bool, int, float, Decimal, int]:
        book = rows.tables[records.BookRow].rows.get((trader.account_id, trader.trader_id))
        late = -int(_late_s(schedule, now) // schedule.interval_s)
        if book is None:
            return True, late, 0.0, ZERO, trader.seq
        return book.open_positions == 0, late, -(book.performance.sharpe or 0.0), -book.allocated, trader.seq

    @staticmethod
    def _claim(rows: TenantRows, schedule: ScheduleRow, now: datetime, takes_s: int) -> Claim:
        due_at = schedule.slot(now + timedelta(seconds=takes_s))
        following = due_at + timedelta(seconds=schedule.interval_s)
        claimed = replace(schedule, next_due_at=following, in_flight_due_at=due_at, claimed_at=now)
        rows.put(rows.tables[ScheduleRow], schedule.trader_id, claimed)
        return claim_of(claimed)


def _late_s(schedule: ScheduleRow, now: datetime) -> float:
    return 0.0 if schedule.next_due_at is None else max((now - schedule.next_due_at).total_seconds(), 0.0)


def _has_room(room: GateRoom | None) -> bool:
    return room is None or room.free > 0
