"""A decision that no database can hold: concluded as a failed one, and counted as such."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

from config_files import write_config
from desk_factory import AT
from exchanges.clock import ManualClock
from executor.contract import Context, Executor, FullDecision, Outcome, Usage
from manager.config import load_config
from manager.jobs.handlers import DeskHandlers
from manager.jobs.runner import Job, JobKind
from manager.state.memory.store import MemoryStore
from manager.state.records import DEFAULT_TENANT, AccountId, DecisionRow, ScheduleRow, TenantId
from memory_desk import desk_of, registered
from traders.spec import TraderId, TraderSpec


class Boundless:
    """Decide at a cost that is no amount."""

    def of(self, tenant: TenantId, spec: TraderSpec) -> Executor:
        """Return itself."""
        del tenant, spec
        return self

    async def decide(self, context: Context) -> FullDecision:
        """Return a decision that cannot be stored."""
        del context
        return FullDecision(usage=Usage(cost_usd=Decimal("Infinity")))

    async def ping(self) -> None:
        """Answer."""

    async def close(self) -> None:
        """Hold nothing."""


async def decided(folder: Path) -> tuple[DecisionRow, ScheduleRow]:
    config = load_config(write_config(folder), {})
    store, clock = MemoryStore(), ManualClock(AT)
    await registered(config, store, clock)
    parts = replace(await desk_of(config, store, clock), executors=Boundless())
    clock.set(AT + timedelta(minutes=10))
    async with store.service() as service:
        due_at = next(one.due_at for one in await service.claim_due(clock.now(), 10) if one.trader_id == "one")
    job = Job(
        kind=JobKind.DECIDE,
        tenant_id=DEFAULT_TENANT,
        account_id=AccountId("paper"),
        trader_id=TraderId("one"),
        due_at=due_at,
    )
    await DeskHandlers(parts).decide(job)
    async with store.transaction(DEFAULT_TENANT) as tx:
        (row,) = await tx.find(DecisionRow, {"trader_id": "one"})
        schedule = await tx.get(ScheduleRow, "one")
    assert schedule is not None
    return row, schedule


def test_a_decision_that_cannot_be_stored_is_a_failed_one(tmp_path: Path) -> None:
    row, schedule = asyncio.run(decided(tmp_path))
    assert row.outcome is Outcome.UNAVAILABLE
    assert "cost_usd" in row.errors[0].message
    assert (schedule.in_flight_due_at, schedule.failed_decisions) == (None, 1)
