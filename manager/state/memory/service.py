"""The scheduler's transaction on the memory store."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from manager.state.memory.rows import TenantRows
from manager.state.records import (
    AccountRow,
    BookRow,
    DecisionRow,
    IncidentRow,
    IntentRow,
    PromptRow,
    ScheduleRow,
    SpendingRow,
    TenantId,
    TraderRow,
    TraderState,
)
from manager.state.slots import last_slot, next_slot
from manager.state.store import AccountKey, Claim


class MemoryServiceTransaction:
    """Read and write across tenants what the scheduler needs."""

    def __init__(self, tenants: dict[TenantId, TenantRows]) -> None:
        self._tenants = tenants
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
            for account_id in sorted(self._tenants[tenant].tables[AccountRow].rows)
        ]

    async def accounts_with_intents(self) -> Sequence[AccountKey]:
        """Return the accounts that have pending intents."""
        return [
            AccountKey(tenant_id=tenant, account_id=account_id)
            for tenant in sorted(self._tenants)
            for account_id in sorted(self._tenants[tenant].tables[IntentRow].indices[0].groups())
        ]

    async def claim_due(self, now: datetime, limit: int) -> Sequence[Claim]:
        """Claim due running traders, in priority order, fair between tenants."""
        ranked: list[tuple[int, tuple[Any, ...], TenantRows, ScheduleRow]] = []
        for tenant in sorted(self._tenants):
            rows = self._tenants[tenant]
            due = sorted((_priority(rows, trader), trader.trader_id, schedule) for trader, schedule in _due(rows, now))
            ranked += [(place, (*rank, tenant), rows, schedule) for place, (rank, _, schedule) in enumerate(due)]
        ranked.sort(key=lambda entry: entry[:2])
        return [_claim(rows, schedule, now) for _, _, rows, schedule in ranked[:limit]]

    async def release_stale_claims(self, before: datetime) -> int:
        """Free traders whose claim is older than `before`; return how many."""
        freed = 0
        for rows in self._tenants.values():
            table = rows.tables[ScheduleRow]
            for key, schedule in list(table.rows.items()):
                if schedule.in_flight_due_at is not None and schedule.claimed_at < before:
                    rows.put(table, key, replace(schedule, in_flight_due_at=None, claimed_at=None))
                    freed += 1
        return freed

    async def forget_prompts(self, before: datetime) -> int:
        """Delete the texts of prompts older than `before` and the contexts behind them; return how many texts."""
        forgotten = 0
        for rows in self._tenants.values():
            table = rows.tables[PromptRow]
            for key in [key for key, prompt in table.rows.items() if prompt.at < before]:
                rows.put(table, key, None)
                forgotten += 1
            _forget_contexts(rows, before)
        return forgotten

    async def forget_spending(self, before: datetime) -> int:
        """Delete the sums of days that began before `before`; return how many."""
        forgotten = 0
        for rows in self._tenants.values():
            table = rows.tables[SpendingRow]
            for key in [key for key, spending in table.rows.items() if spending.day < before]:
                rows.put(table, key, None)
                forgotten += 1
        return forgotten

    async def forget_incidents(self, before: datetime) -> int:
        """Delete the incidents that ended before `before`; return how many."""
        forgotten = 0
        for rows in self._tenants.values():
            table = rows.tables[IncidentRow]
            for key, incident in list(table.rows.items()):
                if incident.resolved_at is not None and incident.resolved_at < before:
                    rows.put(table, key, None)
                    forgotten += 1
        return forgotten

    async def next_due(self) -> datetime | None:
        """Return the earliest due time of any running trader that is not deciding."""
        return min(
            (
                schedule.next_due_at
                for rows in self._tenants.values()
                for _, schedule in _running(rows)
                if schedule.next_due_at is not None and schedule.in_flight_due_at is None
            ),
            default=None,
        )

    def commit(self) -> None:
        """Keep what was done."""
        for rows in self._tenants.values():
            rows.commit()

    def rollback(self) -> None:
        """Take back what was done."""
        for rows in self._tenants.values():
            rows.rollback()
        for tenant in self._created:
            del self._tenants[tenant]


def _forget_contexts(rows: TenantRows, before: datetime) -> None:
    table = rows.tables[DecisionRow]
    for key, decision in list(table.rows.items()):
        if decision.context is not None and decision.decided_at < before:
            rows.put(table, key, replace(decision, context=None))


def _running(rows: TenantRows) -> Iterator[tuple[TraderRow, ScheduleRow]]:
    traders = rows.tables[TraderRow].rows
    for trader_id, schedule in rows.tables[ScheduleRow].rows.items():
        trader = traders[trader_id]
        if trader.state is TraderState.RUNNING:
            yield trader, schedule


def _due(rows: TenantRows, now: datetime) -> Iterator[tuple[TraderRow, ScheduleRow]]:
    for trader, schedule in _running(rows):
        if schedule.in_flight_due_at is None and schedule.next_due_at is not None and schedule.next_due_at <= now:
            yield trader, schedule


def _priority(rows: TenantRows, trader: TraderRow) -> tuple[bool, float, Decimal, int]:
    book = rows.tables[BookRow].rows.get((trader.account_id, trader.trader_id))
    if book is None:
        return True, 0.0, Decimal(0), trader.seq
    return book.open_positions == 0, -(book.performance.sharpe or 0.0), -book.allocated, trader.seq


def _claim(rows: TenantRows, schedule: ScheduleRow, now: datetime) -> Claim:
    due_at = last_slot(now, schedule.interval_s, schedule.phase_s)
    after = next_slot(now, schedule.interval_s, schedule.phase_s)
    claimed = replace(schedule, next_due_at=after, in_flight_due_at=due_at, claimed_at=now)
    rows.put(rows.tables[ScheduleRow], schedule.trader_id, claimed)
    return Claim(
        tenant_id=schedule.tenant_id, account_id=schedule.account_id, trader_id=schedule.trader_id, due_at=due_at
    )
