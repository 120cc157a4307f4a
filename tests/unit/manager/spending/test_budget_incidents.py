"""Incidents of budgets: opened wherever they concern somebody, once, and ended when they are no longer true."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from structlog.testing import capture_logs

from exchanges.clock import ManualClock
from executor.errors import BudgetExhausted
from executor.models.profile import ModelProfile
from manager.config.values import Config, TenantConfig
from manager.spending.budget_incidents import EXHAUSTED, WARNING, end_before, end_obsolete
from manager.spending.meter import GRACE, Spending
from manager.state.errors import StoreUnavailable
from manager.state.memory.store import MemoryStore
from manager.state.records import DEFAULT_TENANT, AccountId, AccountRow, IncidentRow, TraderRow, TraderState
from manager.state.spending import HoldRow, SpendingRow, day_of
from spending_scene import budget_config, costs, quote, trader
from state_rows import AT
from traders.spec import TraderSpec

DAY = timedelta(days=1)
ONE = trader("t", None)
OTHER = replace(trader("u", None), account="second")


class Desk:
    """A tenant with two accounts on a memory store."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.clock = ManualClock(AT)

    @staticmethod
    async def opened() -> "Desk":
        """Return a desk with its tenant and accounts."""
        desk = Desk()
        async with desk.store.service() as service:
            await service.ensure_tenant(DEFAULT_TENANT)
        async with desk.store.transaction(DEFAULT_TENANT) as tx:
            for name in (ONE.account, OTHER.account):
                await tx.insert([AccountRow(tenant_id=DEFAULT_TENANT, account_id=AccountId(name), venue="paper")])
        return desk

    def worker(self, tenant_usd: int | None, trader_usd: int | None = None, model_usd: int | None = None) -> Spending:
        """Return the spending of a worker that starts with these budgets."""
        return Spending(self.store, self.clock, self.config(tenant_usd, trader_usd, model_usd))

    def config(self, *given: int | None) -> Config:
        """Return a config with these budgets."""
        return budget_config(*(None if usd is None else Decimal(usd) for usd in given))

    async def open_incidents(self) -> list[tuple[str, str, str]]:
        """Return code, account and detail of the open incidents."""
        async with self.store.transaction(DEFAULT_TENANT) as tx:
            found = await tx.find(IncidentRow, {"resolved_at": None})
        return [(one.code, one.account_id, one.detail) for one in found]

    async def codes(self) -> list[str]:
        """Return the codes of the open incidents."""
        return sorted(code for code, _, _ in await self.open_incidents())

    async def start(self, *given: int | None, tenant: TenantConfig | None = None) -> None:
        """Do what a start does with incidents."""
        async with self.store.transaction(DEFAULT_TENANT) as tx:
            config = tenant or self.config(*given).tenants[DEFAULT_TENANT]
            await end_obsolete(tx, config, day_of(self.clock.now()), self.clock.now())

    async def register(self, spec: TraderSpec, state: TraderState = TraderState.RUNNING) -> None:
        """Store a trader."""
        row = TraderRow(
            tenant_id=DEFAULT_TENANT,
            trader_id=spec.id,
            account_id=AccountId(spec.account),
            seq=0,
            spec=spec,
            state=state,
        )
        async with self.store.transaction(DEFAULT_TENANT) as tx:
            await tx.upsert([row])


async def spend(spending: Spending, cost: str | int, *, spec: TraderSpec = ONE, **quoted: Any) -> None:
    meter = spending.meter(DEFAULT_TENANT, spec)
    await meter.settle(await meter.reserve(quote(1, **quoted)), costs(Decimal(cost)))


async def refused(spending: Spending, worst: int, *, spec: TraderSpec = ONE, **quoted: Any) -> None:
    with pytest.raises(BudgetExhausted):
        await spending.meter(DEFAULT_TENANT, spec).reserve(quote(worst, **quoted))


async def test_what_is_raised_and_what_ends_is_a_line_in_the_log() -> None:
    desk = await Desk.opened()
    worker = desk.worker(None, 10)
    with capture_logs() as told:
        await spend(worker, 8)
        for _ in range(2):
            await refused(worker, 3)
        desk.clock.set(AT + DAY)
        await spend(worker, 1)
    assert [(one["event"], one["code"], one["trader"], one["log_level"]) for one in told] == [
        ("incident_raised", WARNING, "t", "warning"),
        ("incident_raised", EXHAUSTED, "t", "warning"),
        ("incident_resolved", EXHAUSTED, "t", "info"),
        ("incident_resolved", WARNING, "t", "info"),
    ]
    assert told[0]["detail"] == "trader t has used 8 of its 10 USD for models today"


async def test_incidents_that_a_raised_budget_ends_are_returned() -> None:
    desk = await Desk.opened()
    await desk.register(ONE)
    await spend(desk.worker(None, 10), 9)
    async with desk.store.transaction(DEFAULT_TENANT) as tx:
        ended = await end_obsolete(tx, desk.config(None, 100).tenants[DEFAULT_TENANT], day_of(AT), AT)
    assert [one.code for one in ended] == [WARNING]


async def test_each_account_whose_traders_are_stopped_shows_it() -> None:
    desk = await Desk.opened()
    worker = desk.worker(10)
    await spend(worker, 10)
    await refused(worker, 1)
    assert {account for _, account, _ in await desk.open_incidents()} == {ONE.account}
    await refused(worker, 1, spec=OTHER)
    told = {(code, account) for code, account, _ in await desk.open_incidents()}
    assert told == {(code, account) for code in (WARNING, EXHAUSTED) for account in (ONE.account, OTHER.account)}
    desk.clock.set(AT + DAY)
    await spend(worker, 1, spec=OTHER)
    assert await desk.codes() == []


async def test_a_stop_is_severe_a_warning_is_not() -> None:
    desk = await Desk.opened()
    worker = desk.worker(10)
    await spend(worker, 9)
    await refused(worker, 2)
    async with desk.store.transaction(DEFAULT_TENANT) as tx:
        found = {one.code: one.severity for one in await tx.find(IncidentRow, {})}
    assert found == {WARNING: "medium", EXHAUSTED: "high"}


async def test_a_raised_budget_ends_the_incidents_at_the_next_start() -> None:
    desk = await Desk.opened()
    worker = desk.worker(10)
    await spend(worker, 9)
    await refused(worker, 2)
    await desk.start(10)
    assert await desk.codes() == [EXHAUSTED, WARNING]
    await desk.start(11)
    assert await desk.codes() == [WARNING]
    await desk.start(100)
    assert await desk.codes() == []


async def test_a_lowered_budget_keeps_the_incidents_and_opens_the_new_one() -> None:
    desk = await Desk.opened()
    await spend(desk.worker(10), 9)
    await refused(desk.worker(10), 2)
    await desk.start(9)
    assert await desk.codes() == [EXHAUSTED, WARNING]
    await refused(desk.worker(9), 2)
    assert all(" 9 USD" in detail for _, _, detail in await desk.open_incidents())


async def test_a_raised_budget_that_a_call_still_does_not_fit_is_told_again() -> None:
    desk = await Desk.opened()
    await spend(desk.worker(10), 9)
    await refused(desk.worker(10), 5)
    await desk.start(11)
    await refused(desk.worker(11), 5)
    assert EXHAUSTED in await desk.codes()


async def test_a_lowered_budget_of_which_most_is_used_warns_with_the_next_call() -> None:
    desk = await Desk.opened()
    await spend(desk.worker(100), 9)
    assert await desk.codes() == []
    await spend(desk.worker(10), "0.1")
    assert [detail for _, _, detail in await desk.open_incidents()] == [
        "the tenant has used 9.1 of its 10 USD for models today"
    ]


async def test_a_refusal_warns_too() -> None:
    desk = await Desk.opened()
    await spend(desk.worker(100), 9)
    await refused(desk.worker(10), 5)
    assert await desk.codes() == [EXHAUSTED, WARNING]


async def test_what_dead_workers_set_aside_warns_for_their_traders_too() -> None:
    desk = await Desk.opened()
    await desk.register(OTHER)
    dead = desk.worker(20, 10)
    for _ in range(9):
        await dead.meter(DEFAULT_TENANT, OTHER).reserve(quote(1))
    desk.clock.set(AT + timedelta(seconds=30) + GRACE)
    assert await desk.worker(20, 10).release_expired(DEFAULT_TENANT) == 9
    assert [(code, account) for code, account, _ in await desk.open_incidents()] == [(WARNING, OTHER.account)]
    async with desk.store.transaction(DEFAULT_TENANT) as tx:
        assert [one.trader_id for one in await tx.find(IncidentRow, {})] == ["u"]


async def test_a_hold_lasts_as_long_as_its_call_and_a_minute() -> None:
    desk = await Desk.opened()
    await desk.worker(20).meter(DEFAULT_TENANT, ONE).reserve(quote(9, lasts_s=300))
    for after_s, released in ((300, 0), (359, 0), (360, 1)):
        desk.clock.set(AT + timedelta(seconds=after_s))
        assert await desk.worker(20).release_expired(DEFAULT_TENANT) == released


async def test_expired_holds_are_looked_for_every_few_seconds_only() -> None:
    desk = await Desk.opened()
    worker = desk.worker(20)
    await worker.meter(DEFAULT_TENANT, ONE).reserve(quote(9, lasts_s=1))
    assert await worker.release_expired(DEFAULT_TENANT) == 0
    desk.clock.set(AT + timedelta(minutes=2))
    assert await worker.release_expired(DEFAULT_TENANT) == 1
    await worker.meter(DEFAULT_TENANT, ONE).reserve(quote(1, lasts_s=-200))
    assert await worker.release_expired(DEFAULT_TENANT) == 0
    desk.clock.set(AT + timedelta(minutes=2, seconds=5))
    assert await worker.release_expired(DEFAULT_TENANT) == 1


async def test_a_hold_that_another_worker_took_back_is_not_counted_twice() -> None:
    desk = await Desk.opened()
    await desk.worker(20).meter(DEFAULT_TENANT, ONE).reserve(quote(9))
    async with desk.store.transaction(DEFAULT_TENANT) as tx:
        (hold,) = await tx.find(HoldRow, {})
    for _ in range(2):
        await desk.worker(20)._release(hold)
    async with desk.store.transaction(DEFAULT_TENANT) as tx:
        rows = await tx.find(SpendingRow, {})
    assert {(row.reserved_usd, row.unknown_usd) for row in rows} == {(Decimal(0), Decimal(9))}


async def test_a_stop_is_written_once_however_often_it_is_met(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = await Desk.opened()
    worker = desk.worker(10)
    await spend(worker, 10)
    await refused(worker, 1)
    opened: list[object] = []
    transaction = MemoryStore.transaction

    def counted(store: MemoryStore, *arguments: Any, **options: Any) -> Any:
        opened.append(store)
        return transaction(store, *arguments, **options)

    monkeypatch.setattr(MemoryStore, "transaction", counted)
    for _ in range(5):
        await refused(worker, 1)
    assert len(opened) == 5


async def test_an_incident_that_was_not_stored_is_opened_again(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = await Desk.opened()
    meter = desk.worker(10).meter(DEFAULT_TENANT, ONE)
    held = await meter.reserve(quote(1))
    transaction = MemoryStore.transaction

    class Lost:
        def __init__(self, inner: Any) -> None:
            self.inner = inner

        async def __aenter__(self) -> Any:
            return await self.inner.__aenter__()

        async def __aexit__(self, *_: object) -> None:
            gone = StoreUnavailable("gone at the end")
            await self.inner.__aexit__(StoreUnavailable, gone, None)
            raise gone

    monkeypatch.setattr(MemoryStore, "transaction", lambda store, tenant: Lost(transaction(store, tenant)))
    await meter.settle(held, costs(9))
    monkeypatch.setattr(MemoryStore, "transaction", transaction)
    assert await desk.codes() == []
    await meter.settle(held, costs(9))
    assert await desk.codes() == [WARNING]


async def test_the_first_call_of_a_day_ends_no_incident_of_this_day() -> None:
    desk = await Desk.opened()
    worker = desk.worker(10)
    await refused(worker, 11)
    await spend(worker, 1)
    assert await desk.codes() == [EXHAUSTED]


async def test_the_first_call_ends_only_what_counts_for_it() -> None:
    desk = await Desk.opened()
    worker = desk.worker(None, 10)
    for spec in (ONE, OTHER):
        await spend(worker, 10, spec=spec)
    desk.clock.set(AT + DAY)
    await spend(worker, 1, spec=OTHER)
    assert [account for _, account, _ in await desk.open_incidents()] == [ONE.account]


async def test_incidents_of_days_past_end_without_any_call() -> None:
    desk = await Desk.opened()
    worker = desk.worker(10, None, 5)
    await spend(worker, 10, model="org/odd/name", usd=Decimal(10))
    assert len(await desk.codes()) == 2
    for after, left in ((timedelta(0), 2), (DAY, 0)):
        async with desk.store.transaction(DEFAULT_TENANT) as tx:
            assert len(await end_before(tx, day_of(AT + after), AT + after)) == 2 - left
        assert len(await desk.codes()) == left


STATES = [(TraderState.RUNNING, 1), (TraderState.PAUSED, 1), (TraderState.STOPPED, 0)]


@pytest.mark.parametrize(("state", "left"), STATES)
async def test_incidents_of_a_trader_end_when_it_is_stopped(state: TraderState, left: int) -> None:
    desk = await Desk.opened()
    await spend(desk.worker(None, 10), 9)
    await desk.register(ONE, state)
    await desk.start(None, 10)
    assert len(await desk.codes()) == left


async def test_incidents_of_who_or_what_is_gone_end_at_a_start() -> None:
    desk = await Desk.opened()
    await desk.register(ONE)
    await spend(desk.worker(10, 10, 10), 9, usd=Decimal(10))
    assert await desk.codes() == [WARNING] * 3
    await desk.start(10, 10, 10)
    assert await desk.codes() == [WARNING] * 3
    without: dict[str, ModelProfile] = {}
    await desk.start(tenant=replace(desk.config(10, 10).tenants[DEFAULT_TENANT], models=without))
    assert await desk.codes() == [WARNING] * 2
    await desk.start(None, 10)
    assert await desk.codes() == [WARNING]
    async with desk.store.transaction(DEFAULT_TENANT) as tx:
        await tx.delete(TraderRow, [("t",)])
    await desk.start(None, 10)
    assert await desk.codes() == []
