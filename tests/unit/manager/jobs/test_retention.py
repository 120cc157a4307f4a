"""What is older than its retention goes, each kind by its own; what is younger stays whole."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from desk_factory import AT
from exchanges.clock import ManualClock
from executor.prompts.sample import sample_context
from manager.jobs.retention import Keep, Retention
from manager.spending.budget_incidents import EXHAUSTED, BudgetIncident
from manager.spending.daily_budget import DailyBudget
from manager.state.journal import EquityRow
from manager.state.memory.store import MemoryStore
from manager.state.records import DEFAULT_TENANT, AccountId, DecisionRow, IncidentRow, PromptRow
from manager.state.spending import SpendingRow, day_of
from state_rows import make_account, make_row

HOUR = timedelta(hours=1)


class Scene:
    """A store with a tenant, and what retention does to it."""

    def __init__(self, **keep: float) -> None:
        self.store, self.clock = MemoryStore(), ManualClock(AT)
        self.retention = Retention(self.store, self.clock, Keep(**keep))

    async def put(self, *rows: Any) -> None:
        async with self.store.service() as service:
            await service.ensure_tenant(DEFAULT_TENANT)
        async with self.store.transaction(DEFAULT_TENANT) as tx:
            await tx.insert([make_account(), *rows])

    async def find(self, kind: Any, **where: Any) -> list[Any]:
        async with self.store.transaction(DEFAULT_TENANT) as tx:
            return list(await tx.find(kind, where, limit=None))

    async def pass_(self, at: datetime) -> None:
        self.clock.set(at)
        for duty in self.retention.duties:
            await duty()


async def test_prompts_and_contexts_go_each_at_its_own_time() -> None:
    scene = Scene(prompts_s=3_600, contexts_s=7_200)
    prompt = make_row(PromptRow, decision_id="one@0", account_id="acco", trader_id="one", at=AT)
    decision = make_row(DecisionRow, decision_id="one@0", decided_at=AT, context=sample_context())
    await scene.put(prompt, decision)
    for passed_s, prompts, contexts in ((3_600, 1, 1), (3_601, 0, 1), (7_200, 0, 1), (7_201, 0, 0)):
        await scene.pass_(AT + timedelta(seconds=passed_s))
        assert len(await scene.find(PromptRow)) == prompts
        assert sum(row.context is not None for row in await scene.find(DecisionRow)) == contexts


async def test_samples_of_equity_stay_whole_for_a_day_then_the_last_of_each_hour_until_they_go() -> None:
    scene = Scene(equity_s=3 * 86_400)
    start = AT.replace(minute=0, second=0, microsecond=0) + HOUR
    offsets = [timedelta(minutes=minutes) for minutes in (0, 20, 59, 60, 90, 119)]
    await scene.put(
        *(
            make_row(EquityRow, account_id="acco", trader_id=name, at=start + one)
            for name in ("t1", "")
            for one in offsets
        )
    )

    async def left() -> list[int]:
        return sorted((row.at - start).seconds // 60 for row in await scene.find(EquityRow, trader_id="t1"))

    for passed, samples in (
        (timedelta(hours=24, minutes=59), [0, 20, 59, 60, 90, 119]),
        (timedelta(hours=25), [59, 60, 90, 119]),
        (timedelta(hours=26), [59, 119]),
        (timedelta(days=3, minutes=59), [59, 119]),
        (timedelta(days=3, minutes=60), [119]),
        (timedelta(days=4), []),
    ):
        await scene.pass_(start + passed)
        assert await left() == samples
        assert len(await scene.find(EquityRow, trader_id="")) == len(samples)


async def test_a_worker_started_anew_thins_the_week_before_it() -> None:
    scene = Scene()
    start = AT.replace(minute=0, second=0, microsecond=0)
    days = (0, 5, 6)
    await scene.put(
        *(
            make_row(EquityRow, account_id="acco", trader_id="t1", at=start + timedelta(days=day, minutes=minute))
            for day in days
            for minute in (0, 30)
        )
    )
    await scene.pass_(start + timedelta(days=9))
    kept = [(row.at - start).days for row in await scene.find(EquityRow)]
    assert sorted(kept) == [0, 0, 5, 6]


async def test_old_sums_and_incidents_are_forgotten_and_incidents_of_days_past_ended() -> None:
    scene, day = Scene(), day_of(AT)
    incident = BudgetIncident(
        budget=DailyBudget(scope="tenant", name="", usd=Decimal(1)),
        day=day,
        code=EXHAUSTED,
        detail="",
        tenant=DEFAULT_TENANT,
        account=AccountId("acco"),
    )
    await scene.put(incident.row(AT))
    async with scene.store.transaction(DEFAULT_TENANT) as tx:
        await tx.add([SpendingRow(tenant_id=DEFAULT_TENANT, day=day, scope="tenant", name="", calls=1)])
    days = ((0, 1, 1, 1), (1, 0, 1, 1), (401, 0, 1, 0), (402, 0, 0, 0))
    for passed, standing, incidents, sums in days:
        await scene.pass_(AT + timedelta(days=passed))
        assert len(await scene.find(IncidentRow, resolved_at=None)) == standing
        assert len(await scene.find(IncidentRow)) == incidents
        assert len(await scene.find(SpendingRow)) == sums


async def test_more_than_fits_one_transaction_goes_in_several(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("manager.jobs.retention._AT_ONCE", 2)
    scene = Scene(equity_s=3_600, contexts_s=3_600)
    rows = [make_row(EquityRow, account_id="acco", trader_id=f"t{n}", at=AT) for n in range(5)]
    decisions = [
        make_row(DecisionRow, decision_id=f"d{n}", trader_id=f"t{n}", decided_at=AT, context=sample_context())
        for n in range(5)
    ]
    await scene.put(*rows, *decisions)
    await scene.pass_(AT + timedelta(hours=2))
    assert await scene.find(EquityRow) == []
    assert all(row.context is None for row in await scene.find(DecisionRow))
