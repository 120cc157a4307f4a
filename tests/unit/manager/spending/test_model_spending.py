"""Budgets of a day: never exceeded whatever is asked in whatever order, and exact whatever becomes of the calls."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchanges.clock import ManualClock
from executor.errors import BudgetExhausted, BudgetUnknown
from executor.models.metering import Charge, Hold
from manager.spending.budget_incidents import EXHAUSTED, WARNING
from manager.spending.meter import GRACE, Spending
from manager.state.errors import StoreUnavailable
from manager.state.memory.store import MemoryStore
from manager.state.records import DEFAULT_TENANT, IncidentRow
from manager.state.spending import HoldRow, SpendingRow, day_of
from spending_scene import budget_config, costs, quote, trader
from state_rows import AT

ZERO, ONE = Decimal(0), Decimal(1)


@dataclass
class Scene:
    """One tenant with budgets on a memory store."""

    tenant_usd: Decimal | None = None
    clock: ManualClock = field(default_factory=lambda: ManualClock(AT))
    store: MemoryStore = field(default_factory=MemoryStore)

    def worker(self) -> Spending:
        """Return the spending of one more worker."""
        return Spending(self.store, self.clock, budget_config(self.tenant_usd))

    async def start(self) -> Spending:
        """Create the tenant and return the first worker's spending."""
        async with self.store.service() as service:
            await service.ensure_tenant(DEFAULT_TENANT)
        return self.worker()

    async def rows(self, kind: Any) -> list[Any]:
        """Return all rows of a kind."""
        async with self.store.transaction(DEFAULT_TENANT) as tx:
            return list(await tx.find(kind, {}))

    async def sums(self, day: datetime = AT) -> dict[str, SpendingRow]:
        """Return the sums of a day by scope and name."""
        found = await self.rows(SpendingRow)
        return {f"{row.scope} {row.name}".strip(): row for row in found if row.day == day_of(day)}


async def test_what_a_call_cost_is_booked_three_times_over() -> None:
    scene = Scene()
    meter = (await scene.start()).meter(DEFAULT_TENANT, trader("t", None))
    for _ in range(2):
        await meter.settle(await meter.reserve(quote(9)), costs(Decimal("0.1")))
    sums = await scene.sums()
    assert sorted(sums) == ["model m", "tenant", "trader t"]
    for row in sums.values():
        assert (row.spent_usd, row.reserved_usd, row.unknown_usd) == (Decimal("0.2"), ZERO, ZERO)
        assert (row.calls, row.input_tokens, row.cached_tokens, row.output_tokens) == (2, 6, 2, 4)
    assert await scene.rows(HoldRow) == []


@pytest.mark.parametrize("scope", ["tenant", "model", "trader"])
async def test_each_budget_alone_stops_the_calls_that_do_not_fit(scope: str) -> None:
    scene = Scene(Decimal(10) if scope == "tenant" else None)
    meter = (await scene.start()).meter(DEFAULT_TENANT, trader("t", Decimal(10) if scope == "trader" else None))
    asked = quote(4, usd=Decimal(10) if scope == "model" else None)
    await meter.settle(await meter.reserve(asked), costs(3))
    held = await meter.reserve(asked)
    with pytest.raises(BudgetExhausted, match=r"3 are spent, 4 set aside.*may cost 4; raise the budget") as refused:
        await meter.reserve(asked)
    assert refused.value.of_model is (scope == "model")
    await meter.settle(held, costs(3))
    await meter.settle(await meter.reserve(asked), costs(4))
    with pytest.raises(BudgetExhausted, match="10 USD a day"):
        await meter.reserve(asked)
    assert all(row.spent_usd == 10 and not row.reserved_usd for row in (await scene.sums()).values())
    assert await scene.rows(HoldRow) == []


async def test_a_used_up_budget_stops_free_calls_too() -> None:
    scene = Scene(ONE)
    meter = (await scene.start()).meter(DEFAULT_TENANT, trader("t", None))
    await meter.settle(await meter.reserve(quote(0)), costs(0))
    await meter.settle(await meter.reserve(quote(1)), costs(1))
    with pytest.raises(BudgetExhausted):
        await meter.reserve(quote(0))


async def test_a_new_day_is_a_new_budget_and_ends_yesterdays_incidents() -> None:
    scene = Scene(Decimal(10))
    meter = (await scene.start()).meter(DEFAULT_TENANT, trader("t", None))
    await meter.settle(await meter.reserve(quote(9)), costs(9))
    with pytest.raises(BudgetExhausted):
        await meter.reserve(quote(9))
    open_ones = [row.code for row in await scene.rows(IncidentRow) if row.resolved_at is None]
    assert sorted(open_ones) == [EXHAUSTED, WARNING]
    scene.clock.set(AT + timedelta(days=1))
    await meter.settle(await meter.reserve(quote(9)), costs(1))
    assert [row for row in await scene.rows(IncidentRow) if row.resolved_at is None] == []
    assert (await scene.sums())["tenant"].spent_usd == 9
    assert (await scene.sums(scene.clock.now()))["tenant"].spent_usd == 1


async def test_a_call_over_midnight_counts_for_the_day_on_which_it_began() -> None:
    scene = Scene(Decimal(10))
    meter = (await scene.start()).meter(DEFAULT_TENANT, trader("t", None))
    held = await meter.reserve(quote(9))
    scene.clock.set(AT + timedelta(days=1))
    await meter.settle(held, costs(2))
    assert list(await scene.sums(scene.clock.now())) == []
    assert (await scene.sums())["tenant"].spent_usd == 2


async def test_eighty_percent_warn_once() -> None:
    scene = Scene(Decimal(10))
    meter = (await scene.start()).meter(DEFAULT_TENANT, trader("t", None))
    for cost in ("7.9", "0.1", "0.5"):
        await meter.settle(await meter.reserve(quote(1)), costs(Decimal(cost)))
        warned = [(row.detail, row.severity) for row in await scene.rows(IncidentRow)]
        assert len(warned) == (cost != "7.9")
    assert warned == [("the tenant has used 8 of its 10 USD for models today", "medium")]


async def test_waiting_for_others_is_no_incident() -> None:
    scene = Scene(Decimal(10))
    meter = (await scene.start()).meter(DEFAULT_TENANT, trader("t", None))
    held = await meter.reserve(quote(9))
    with pytest.raises(BudgetExhausted):
        await meter.reserve(quote(9))
    assert await scene.rows(IncidentRow) == []
    await meter.settle(held, Charge())
    assert (await scene.sums())["tenant"].used_usd == 0


async def test_what_a_dead_worker_set_aside_becomes_a_cost_that_nobody_knows() -> None:
    scene = Scene(Decimal(20))
    dead = (await scene.start()).meter(DEFAULT_TENANT, trader("dead", None))
    held = await dead.reserve(quote(9, lasts_s=30))
    other = scene.worker().meter(DEFAULT_TENANT, trader("t", None))
    with pytest.raises(BudgetExhausted):
        await other.reserve(quote(12))
    scene.clock.set(AT + timedelta(seconds=30) + GRACE)
    with pytest.raises(BudgetExhausted, match="9 of unknown cost"):
        await other.reserve(quote(12))
    sums = await scene.sums()
    assert {name for name, row in sums.items() if row.unknown_usd == 9} == {"tenant", "model m", "trader dead"}
    assert all(row.reserved_usd == 0 for row in sums.values())
    await other.settle(await other.reserve(quote(11)), costs(1))
    await dead.settle(held, costs(2))
    tenant = (await scene.sums())["tenant"]
    assert tenant.used_usd - tenant.unknown_usd == tenant.spent_usd == 3


class _Broken(MemoryStore):
    """A store that cannot be used while `broken` is set."""

    broken = False

    def transaction(self, *arguments: Any, **options: Any) -> Any:
        if not self.broken:
            return super().transaction(*arguments, **options)
        return _Gone()


class _Gone:
    async def __aenter__(self) -> None:
        raise StoreUnavailable("the database is gone")

    async def __aexit__(self, *error: object) -> None:
        """Never reached."""


async def test_without_the_store_nothing_is_spent_and_nothing_raised_after_a_call() -> None:
    store = _Broken()
    scene = Scene(Decimal(10), store=store)
    meter = (await scene.start()).meter(DEFAULT_TENANT, trader("t", None))
    held = await meter.reserve(quote(4))
    store.broken = True
    with pytest.raises(BudgetUnknown, match="the database is gone"):
        await meter.reserve(quote(4))
    await meter.settle(held, costs(1))
    store.broken = False
    assert (await scene.sums())["tenant"].reserved_usd == 4


async def test_a_call_without_a_budget_writes_once() -> None:
    class Counting(MemoryStore):
        opened = 0

        def transaction(self, *arguments: Any, **options: Any) -> Any:
            self.opened += 1
            return super().transaction(*arguments, **options)

    store = Counting()
    meter = (await Scene(store=store).start()).meter(DEFAULT_TENANT, trader("t", None))
    held = await meter.reserve(quote(4))
    assert store.opened == 0
    await meter.settle(held, costs(1))
    assert store.opened == 1
    await meter.settle(await meter.reserve(quote(4)), Charge())
    assert store.opened == 1


CALLS = st.lists(
    st.tuples(
        st.sampled_from(["a", "b"]),
        st.sampled_from(["m", "n"]),
        st.integers(0, 9),
        st.sampled_from(["answered", "cut", "failed", "killed"]),
        st.integers(0, 100),
        st.booleans(),
    ),
    max_size=25,
)
USD = st.none() | st.integers(1, 25).map(Decimal)


@given(CALLS, USD, USD, USD)
def test_no_budget_is_ever_exceeded_and_every_sum_is_exact(
    calls: list[Any], tenant_usd: Decimal | None, trader_usd: Decimal | None, model_usd: Decimal | None
) -> None:
    limits = {"tenant": tenant_usd, "trader": trader_usd, "model": model_usd}

    async def run() -> None:
        scene = Scene(tenant_usd)
        workers = [await scene.start(), scene.worker()]
        expected: dict[str, list[Decimal]] = {}
        waiting: list[tuple[Any, Hold, Charge]] = []
        for number, (who, model, worst, end, percent, waits) in enumerate(calls):
            meter = workers[number % 2].meter(DEFAULT_TENANT, trader(who, trader_usd))
            try:
                hold = await meter.reserve(quote(worst, model, model_usd))
            except BudgetExhausted:
                continue
            charge = _charge(end, Decimal(worst), percent)
            for key in ("tenant", f"model {model}", f"trader {who}"):
                booked = expected.setdefault(key, [ZERO, ZERO])
                booked[0] += charge.usage.cost_usd
                booked[1] += charge.unknown_usd
            if end == "killed":
                continue
            waiting.append((meter, hold, charge))
            if not waits:
                await _settle(waiting)
            await _check(scene, limits)
        await _settle(waiting)
        scene.clock.set(AT + timedelta(hours=1))
        held = len(await scene.rows(HoldRow))
        assert await workers[0].release_expired(DEFAULT_TENANT) == held
        sums = await _check(scene, limits)
        if all(usd is not None for usd in limits.values()):
            known = {key: [row.spent_usd, row.unknown_usd] for key, row in sums.items() if row.used_usd}
            assert known == {key: booked for key, booked in expected.items() if any(booked)}
        assert all(row.reserved_usd == 0 for row in sums.values())

    asyncio.run(run())


def _charge(end: str, worst: Decimal, percent: int) -> Charge:
    if end == "answered":
        return costs(worst * percent / 100)
    return Charge(unknown_usd=worst) if end in ("cut", "killed") else Charge()


async def _settle(waiting: list[tuple[Any, Hold, Charge]]) -> None:
    while waiting:
        meter, hold, charge = waiting.pop()
        await meter.settle(hold, charge)


async def _check(scene: Scene, limits: Mapping[str, Decimal | None]) -> dict[str, SpendingRow]:
    sums = await scene.sums()
    for row in sums.values():
        limit = limits[row.scope]
        assert limit is None or row.used_usd <= limit
        assert row.reserved_usd >= 0
    return sums
