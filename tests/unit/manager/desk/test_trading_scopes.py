"""How far the service, a tenant, an account and a trader may trade: the strictest wins, from the next round on."""

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.contract import Context, FullDecision
from faulty_desk import ACCOUNT, FaultyDesk, adjust, close, open_long
from live_desk import OneExecutor
from manager.errors import FundingRefused, UnknownAccount, UnknownTenant, UnknownTrader
from manager.jobs.handlers import DeskHandlers
from manager.jobs.runner import Job, JobKind
from manager.manager import Manager
from manager.roster.registration import registration_check
from manager.state.kinds import EventKind, SwitchScope, TradingState
from manager.state.records import DEFAULT_TENANT, AccountId, BookRow, EventRow, PositionRow, TenantId, VerdictRow
from manager.state.store import Store
from manager.state.switches import Switched, TradingScope, limiting, strictest
from traders.spec import TraderId

SERVICE, TENANT = TradingScope(kind=SwitchScope.SERVICE), TradingScope(kind=SwitchScope.TENANT)
THE_ACCOUNT = TradingScope(kind=SwitchScope.ACCOUNT, name=ACCOUNT)
TRADER = TradingScope(kind=SwitchScope.TRADER, name="a")
SCOPES = (SERVICE, TENANT, THE_ACCOUNT, TRADER)
KINDS: Mapping[SwitchScope, EventKind] = {
    SwitchScope.SERVICE: EventKind.SERVICE_STATE,
    SwitchScope.TENANT: EventKind.TENANT_STATE,
    SwitchScope.ACCOUNT: EventKind.TRADING_STATE,
    SwitchScope.TRADER: EventKind.TRADING_STATE,
}
STATES = st.sampled_from(TradingState)
of_scopes = pytest.mark.parametrize("scope", SCOPES, ids=lambda scope: str(scope.kind))


def manager_of(desk: FaultyDesk) -> Manager:
    return Manager(desk.store, desk.clock, registration_check(desk.config))


async def switched(desk: FaultyDesk, scope: TradingScope, state: TradingState, reason: str = "news") -> Any:
    return await manager_of(desk).set_trading(DEFAULT_TENANT, scope, state, actor="ann", reason=reason)


async def events(desk: FaultyDesk) -> list[EventRow]:
    return [event for event in await desk.find(EventRow) if event.kind in KINDS.values()]


@given(st.lists(st.tuples(st.sampled_from(SwitchScope), STATES), min_size=1, max_size=6))
def test_the_strictest_wins_and_of_equals_the_first(given_states: list[tuple[SwitchScope, TradingState]]) -> None:
    states = [Switched(scope=scope, name=str(n), state=state) for n, (scope, state) in enumerate(given_states)]
    order = [TradingState.ACTIVE, TradingState.REDUCING, TradingState.HALTED]
    found = strictest(states)
    worst = max(order.index(one.state) for one in states)
    assert found == next(one for one in states if order.index(one.state) == worst)
    rest = limiting(states)
    assert {one.name for one in rest} == {one.name for one in states if one.state is not TradingState.ACTIVE}
    assert rest == () or rest[0] == found
    assert list(rest) == sorted(rest, key=lambda one: (-order.index(one.state), int(one.name)))


@of_scopes
@pytest.mark.parametrize("state", [TradingState.HALTED, TradingState.REDUCING])
async def test_each_scope_stops_entries_and_wider_stops_and_no_close(scope: TradingScope, state: TradingState) -> None:
    desk = await FaultyDesk.of(traders=("a", "b"))
    await desk.go("a", open_long())
    await switched(desk, scope, state)
    await desk.go("a", open_long(usd=100))
    assert await desk.held("a") == 10
    assert ("a", state.upper()) in await desk.denials()
    await desk.go("b", open_long(usd=100))
    assert (await desk.held("b") == 0) is (scope is not TRADER)
    for wanted, stands in ((89, 90), (91, 91)):
        await desk.go("a", adjust(stop=wanted))
        [position] = await desk.find(PositionRow, trader_id="a")
        assert position.stop_loss == stands
        assert stands in [order.trigger_price for order in await desk.resting()]
    await desk.go("a", close())
    assert await desk.held("a") == 0
    await switched(desk, scope, TradingState.ACTIVE)
    await desk.go("a", open_long())
    assert await desk.held("a") == 10


@of_scopes
async def test_a_switch_of_any_scope_is_one_event_and_none_when_it_is_so_already(
    store: Store, scope: TradingScope
) -> None:
    desk = await FaultyDesk.of(store=store)
    done = await switched(desk, scope, TradingState.HALTED)
    assert (done.before, done.now.state, done.now.reason, done.is_changed) == ("active", "halted", "news", True)
    again = await switched(desk, scope, TradingState.HALTED, reason="later")
    assert (again.before, again.now.reason, again.is_changed) == ("halted", "news", False)
    [event] = await events(desk)
    assert (event.kind, event.actor, event.reason) == (KINDS[scope.kind], "ann", "news")
    assert (event.before, event.after) == ("active", "halted")
    named = {SwitchScope.ACCOUNT: (ACCOUNT, ""), SwitchScope.TRADER: (ACCOUNT, "a")}
    assert (event.account_id, event.trader_id) == named.get(scope.kind, ("", ""))
    assert (await switched(desk, scope, TradingState.ACTIVE, reason="over")).before == "halted"
    assert len(await events(desk)) == 2


async def test_a_resume_frees_its_own_scope_only() -> None:
    desk = await FaultyDesk.of()
    for scope in SCOPES:
        await switched(desk, scope, TradingState.HALTED)
    for n, scope in enumerate(SCOPES):
        await desk.go("a", open_long())
        assert await desk.held("a") == 0, n
        assert (await desk.denials())[-1] == ("a", "HALTED")
        await switched(desk, scope, TradingState.ACTIVE)
    await desk.go("a", open_long())
    assert await desk.held("a") == 10


async def test_the_denial_says_whose_halt_it_is_and_a_stricter_one_first() -> None:
    desk = await FaultyDesk.of()
    await switched(desk, TRADER, TradingState.REDUCING)
    await switched(desk, TENANT, TradingState.HALTED)
    await desk.go("a", open_long())
    assert ("a", "HALTED") in await desk.denials()
    assert await told(desk) == [("HALTED", "the tenant is halted")]
    await switched(desk, TENANT, TradingState.REDUCING)
    await switched(desk, TRADER, TradingState.HALTED)
    await desk.go("a", open_long())
    assert (await told(desk))[-1] == ("HALTED", "trader a is halted")


async def told(desk: FaultyDesk) -> list[tuple[str, str]]:
    rows = sorted(await desk.find(VerdictRow), key=lambda row: (row.at, row.round_id))
    return [(row.code, row.detail) for row in rows if row.code in ("HALTED", "REDUCING")]


async def test_another_tenant_trades_on_but_under_the_service() -> None:
    desk = await FaultyDesk.of()
    other = TenantId("other")
    async with desk.store.service() as service:
        await service.ensure_tenant(other)
    manager = manager_of(desk)
    await manager.set_trading(other, TENANT, TradingState.HALTED, actor="ann", reason="theirs")
    await desk.go("a", open_long())
    assert await desk.held("a") == 10
    await manager.set_trading(other, SERVICE, TradingState.HALTED, actor="ann", reason="all")
    await desk.go("a", open_long(usd=100))
    assert await desk.held("a") == 10


class Seen:
    """Wait, and keep what it was shown."""

    def __init__(self) -> None:
        self.shown: list[Context] = []

    async def decide(self, context: Context) -> FullDecision:
        self.shown.append(context)
        return FullDecision()


@of_scopes
async def test_a_decision_is_told_whose_halt_denies_its_opens(scope: TradingScope) -> None:
    desk = await FaultyDesk.of()
    await switched(desk, scope, TradingState.REDUCING, reason="calmer")
    seen = Seen()
    handlers = DeskHandlers(replace(desk.handlers._parts, executors=OneExecutor(seen)))
    desk.pass_time(60)
    async with desk.store.service() as service:
        [claim, *_] = await service.claim_due(desk.clock.now(), 10)
    job = Job(kind=JobKind.DECIDE, tenant_id=DEFAULT_TENANT, account_id=AccountId(ACCOUNT), trader_id=TraderId("a"))
    await handlers.decide(replace(job, due_at=claim.due_at))
    [denial] = seen.shown[0].denials
    name = {SwitchScope.SERVICE: "the service", SwitchScope.TENANT: "tenant default"}.get(
        scope.kind, f"{scope.kind} {scope.name}"
    )
    assert denial.code == "REDUCING"
    assert denial.detail.startswith(f"{name} is reducing (calmer): opens and wider stops are denied")


async def test_under_a_wider_halt_no_capital_moves() -> None:
    desk = await FaultyDesk.of()
    await switched(desk, SERVICE, TradingState.HALTED)
    async with desk.store.transaction(DEFAULT_TENANT) as tx:
        await tx.patch(BookRow, (ACCOUNT, "a"), bankrupt_at=desk.clock.now())
    with pytest.raises(FundingRefused, match=r"the service is halted .news.; resume it first"):
        await manager_of(desk).fund(DEFAULT_TENANT, TraderId("a"), Decimal(10), actor="ann", reason="more")


@pytest.mark.parametrize(
    ("tenant", "scope", "error"),
    [
        (DEFAULT_TENANT, replace(THE_ACCOUNT, name="none"), UnknownAccount),
        (DEFAULT_TENANT, replace(TRADER, name="none"), UnknownTrader),
        (TenantId("nobody"), TENANT, UnknownTenant),
        (TenantId("nobody"), SERVICE, UnknownTenant),
    ],
)
async def test_what_is_not_there_cannot_be_switched(
    tenant: TenantId, scope: TradingScope, error: type[Exception]
) -> None:
    desk = await FaultyDesk.of()
    with pytest.raises(error, match=r"none|nobody"):
        await manager_of(desk).set_trading(tenant, scope, TradingState.HALTED, actor="ann", reason="")
    assert await events(desk) == []
