"""What `propdesk status` reads from the store."""

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from desk_history import AT, USE, desk_with_history, incident
from exchanges.clock import ManualClock
from executor.registry import ExecutorSpec, ExecutorType
from manager.manager import Manager
from manager.roster.registration import RegistrationCheck
from manager.state.kinds import SwitchScope
from manager.state.memory.store import MemoryStore
from manager.state.records import (
    DEFAULT_TENANT,
    AccountRow,
    PositionRow,
    ScheduleRow,
    StateCode,
    TenantId,
    TraderRow,
    TraderState,
    TradingState,
)
from manager.state.spending import TRADER, BudgetRow, SpendingRow, day_of
from manager.state.switches import TradingScope
from manager.views.costs import CostQuery, ModelCost, read_model_costs
from manager.views.lights import COLOURS, Colour, Condition, Light
from manager.views.status import AccountStatus, StatusQuery, read_status
from state_rows import make_spec
from traders.spec import TraderId


async def status_of(store: MemoryStore, after_s: int = 5) -> AccountStatus:
    query = StatusQuery(now=AT + timedelta(seconds=after_s))
    [account] = (await read_status(store, DEFAULT_TENANT, query)).accounts
    return account


async def change(store: MemoryStore, kind: type[AccountRow] | type[TraderRow], key: str, **values: Any) -> None:
    async with store.transaction(DEFAULT_TENANT) as tx:
        await tx.patch(kind, (key,), **values)


async def test_an_account_shows_its_equity_and_the_use_of_it() -> None:
    account = await status_of(await desk_with_history())
    assert (account.equity, account.unallocated) == (Decimal("10004.55"), Decimal(1000))
    assert account.utilization == USE


async def test_a_trader_shows_its_equity_pnl_and_last_decision() -> None:
    account = await status_of(await desk_with_history())
    bull, bear = account.traders
    assert (bull.equity, bull.pnl_usd, bull.fees) == (Decimal("4504.55"), Decimal("4.55"), Decimal("0.45"))
    assert bull.last_decision is not None
    assert (bull.last_decision.outcome, bull.last_decision.actions) == ("decided", ("open_long BTC/USDT:USDT",))
    assert bear.last_decision is None
    assert [verdict.code for verdict in bear.verdicts] == ["DIRECTION"]


async def test_a_model_trader_shows_what_its_calls_cost_today() -> None:
    store = await desk_with_history()
    asks = ExecutorSpec(type=ExecutorType.LLM, budget_usd_per_day=Decimal(2))
    spent: dict[str, Any] = {"spent_usd": Decimal("0.5"), "unknown_usd": Decimal("0.1"), "calls": 3, "input_tokens": 7}
    async with store.transaction(DEFAULT_TENANT) as tx:
        row = await tx.get(TraderRow, "bull")
        assert row is not None
        await tx.patch(TraderRow, ("bull",), spec=replace(row.spec, executor=asks))
        await tx.add(
            [
                SpendingRow(tenant_id=DEFAULT_TENANT, day=day, scope=TRADER, name="bull", **spent)
                for day in (day_of(AT), day_of(AT) - timedelta(days=1))
            ]
        )
    bull, bear = (await status_of(store)).traders
    assert bull.models_today == ModelCost(
        scope=TRADER,
        name="bull",
        reserved_usd=Decimal(0),
        calls=3,
        input_tokens=7,
        cached_tokens=0,
        output_tokens=0,
        spent_usd=Decimal("0.5"),
        unknown_usd=Decimal("0.1"),
        budget_usd=Decimal(2),
    )
    assert bear.models_today is None


async def test_a_trader_without_a_budget_of_its_own_shows_the_default() -> None:
    store = await desk_with_history()
    await change(
        store, TraderRow, "bull", spec=replace(make_spec("bull"), executor=ExecutorSpec(type=ExecutorType.LLM))
    )
    async with store.transaction(DEFAULT_TENANT) as tx:
        await tx.upsert([BudgetRow(tenant_id=DEFAULT_TENANT, scope=TRADER, name="", usd=Decimal(3))])
    bull, _ = (await status_of(store)).traders
    assert bull.models_today is not None
    assert (bull.models_today.calls, bull.models_today.budget_usd) == (0, Decimal(3))


async def test_models_and_tenant_show_what_they_cost_today_and_may_cost() -> None:
    store = await desk_with_history()
    assert (await read_model_costs(store, DEFAULT_TENANT, CostQuery(now=AT))).costs == ()
    spent: dict[str, Any] = {"calls": 2, "input_tokens": 7, "cached_tokens": 3, "output_tokens": 5}
    spent |= {"spent_usd": Decimal("0.5"), "unknown_usd": Decimal("0.1"), "reserved_usd": Decimal("0.2")}
    scopes = (("tenant", ""), ("model", "big"), (TRADER, "bull"))
    budgets = (("tenant", "", 9), ("model", "idle", 4), (TRADER, "", 1))
    async with store.transaction(DEFAULT_TENANT) as tx:
        await tx.add(
            [
                SpendingRow(tenant_id=DEFAULT_TENANT, day=day, scope=scope, name=name, **spent)
                for scope, name in scopes
                for day in (day_of(AT), day_of(AT) - timedelta(days=1))
            ]
        )
        await tx.upsert(
            [BudgetRow(tenant_id=DEFAULT_TENANT, scope=scope, name=name, usd=Decimal(n)) for scope, name, n in budgets]
        )
    tenant, big, idle = (await read_model_costs(store, DEFAULT_TENANT, CostQuery(now=AT))).costs
    assert tenant == ModelCost(scope="tenant", name="", budget_usd=Decimal(9), **spent)
    assert big == ModelCost(scope="model", name="big", budget_usd=None, **spent)
    assert (idle.name, idle.calls, idle.spent_usd, idle.budget_usd) == ("idle", 0, Decimal(0), Decimal(4))


@pytest.mark.parametrize(
    ("state", "alive", "next_at", "since"),
    [
        (TraderState.RUNNING, True, AT + timedelta(minutes=1), AT - timedelta(seconds=3)),
        (TraderState.RUNNING, False, None, None),
        (TraderState.PAUSED, True, None, None),
    ],
)
async def test_a_trader_shows_that_it_is_deciding_and_when_it_decides_next(
    state: TraderState, alive: bool, next_at: datetime | None, since: datetime | None
) -> None:
    store = await desk_with_history()
    async with store.transaction(DEFAULT_TENANT) as tx:
        await tx.patch(TraderRow, ("bull",), state=state)
        begun = AT - timedelta(seconds=3)
        await tx.patch(ScheduleRow, ("bull",), in_flight_due_at=AT - timedelta(minutes=1), claimed_at=begun)
    query = StatusQuery(now=AT, worker_alive=alive)
    [account] = (await read_status(store, DEFAULT_TENANT, query)).accounts
    assert (account.traders[0].next_decision_at, account.traders[0].deciding_since) == (next_at, since)


async def test_a_trader_that_is_not_asked_is_not_deciding() -> None:
    bull = (await status_of(await desk_with_history())).traders[0]
    assert (bull.next_decision_at, bull.deciding_since) == (AT + timedelta(minutes=1), None)


async def test_a_flat_trader_without_a_sample_is_worth_its_cash() -> None:
    account = await status_of(await desk_with_history())
    assert account.traders[1].equity == Decimal(4500)


async def test_equity_is_unknown_while_a_position_has_no_mark() -> None:
    store = await desk_with_history()
    await change(store, AccountRow, "paper", marks={})
    account = await status_of(store)
    bull = account.traders[0]
    assert (bull.equity, bull.pnl_usd) == (None, None)
    [position] = account.positions
    assert (position.notional, position.stop_distance_pct, position.unrealized_pnl) == (Decimal(1000), None, None)


async def test_equity_is_start_capital_and_what_was_moved_and_pnl_on_every_line() -> None:
    page = await read_status(await desk_with_history(), DEFAULT_TENANT, StatusQuery(now=AT))
    [account] = page.accounts
    for one in (account.totals, page.totals):
        assert one.equity == one.start_usd + one.moved_usd + one.pnl_usd == account.equity
    for trader in account.traders:
        assert trader.pnl_usd is not None
        assert trader.equity == trader.start_usd + trader.moved_usd + trader.pnl_usd
    assert sum((trader.equity or 0 for trader in account.traders), account.unallocated) == account.equity


async def test_totals_count_what_is_open_and_who_runs() -> None:
    page = await read_status(await desk_with_history(), DEFAULT_TENANT, StatusQuery(now=AT))
    one = page.totals
    assert (one.open_positions, one.traders, one.running) == (1, 2, 1)
    assert (one.margin_usd, round(one.margin_pct or 0, 4)) == (Decimal(201), Decimal("2.0091"))
    assert (one.pnl_usd, round(one.pnl_pct or 0, 4)) == (Decimal("4.55"), Decimal("0.0455"))


async def test_a_position_says_its_side_its_notional_and_how_far_its_stop_is() -> None:
    store = await desk_with_history()
    async with store.transaction(DEFAULT_TENANT) as tx:
        [row] = await tx.find(PositionRow, {})
        await tx.upsert(
            [
                replace(
                    row, trader_id=TraderId("bear"), quantity=-row.quantity, cost=-row.cost, stop_loss=Decimal(100_000)
                )
            ]
        )
    short, long = (await status_of(store)).positions
    assert (long.side, long.quantity, long.notional) == ("long", Decimal("0.01"), Decimal(1005))
    assert round(long.stop_distance_pct or 0, 4) == Decimal("2.4876")
    assert (short.side, short.quantity, short.unrealized_pnl) == ("short", Decimal("-0.01"), Decimal(-5))
    assert round(short.stop_distance_pct or 0, 4) == Decimal("-0.4975"), "the stop is passed"
    assert (long.opened_at, long.entry_price) == (AT, Decimal(100_000))


async def test_a_position_is_valued_at_the_mark_of_the_sample_that_its_traders_equity_is_of() -> None:
    account = await status_of(await desk_with_history())
    [position], bull = account.positions, account.traders[0]
    assert (position.entry_price, position.mark) == (Decimal(100_000), Decimal(100_500))
    assert position.marked_at == AT - timedelta(seconds=1)
    assert position.unrealized_pnl is not None
    assert position.unrealized_pnl - bull.fees == Decimal("4.55") == bull.pnl_usd
    assert (position.stop_loss, position.take_profit) == (Decimal(98_000), Decimal(106_000))


async def test_the_light_is_green_while_a_trader_runs() -> None:
    account = await status_of(await desk_with_history())
    assert (account.light, account.reasons) == (Light.RUNNING, ())


async def test_an_open_incident_turns_the_light_red() -> None:
    account = await status_of(await desk_with_history(incident()))
    assert account.light is Light.ERROR
    assert account.reasons == ("incident POSITION_MISMATCH since 2025-06-01 12:01:00 UTC",)


@pytest.mark.parametrize(("state", "light"), [("reducing", Light.REDUCING), ("halted", Light.HALTED)])
async def test_a_switched_account_says_why_and_who_did_it(state: str, light: Light) -> None:
    store = await desk_with_history()
    await change(store, AccountRow, "paper", trading_state=TradingState(state), state_reason="the books differ")
    account = await status_of(store)
    assert (account.light, account.switched_by) == (light, "desk")
    assert account.reasons == (f"{state} by the desk itself: the books differ",)
    await change(store, AccountRow, "paper", trading_state=TradingState.ACTIVE, state_reason="")
    manager = Manager(store, ManualClock(AT), RegistrationCheck({}))
    key = (DEFAULT_TENANT, TradingScope(kind=SwitchScope.ACCOUNT, name="paper"), TradingState(state))
    await manager.set_trading(*key, actor="cli:eve", reason="news")
    account = await status_of(store)
    assert (account.light, account.reasons) == (light, (f"{state} by cli:eve: news",))
    assert [trader.condition for trader in account.traders] == [state, "paused"]
    await change(store, AccountRow, "paper", state_reason="the account was liquidated")
    assert (await status_of(store)).switched_by == "desk"


async def test_a_wider_switch_is_told_with_whose_it_is_and_a_traders_own_with_it() -> None:
    store = await desk_with_history()
    manager = Manager(store, ManualClock(AT), RegistrationCheck({}))
    by = {"actor": "cli:eve", "reason": "news"}
    tenant, bull = TradingScope(kind=SwitchScope.TENANT), TradingScope(kind=SwitchScope.TRADER, name="bull")
    await manager.set_trading(DEFAULT_TENANT, bull, TradingState.HALTED, actor="cli:bob", reason="odd")
    account = await status_of(store)
    assert (account.light, account.trading_state, account.limited_by) == (Light.RUNNING, "active", ())
    assert [trader.condition for trader in account.traders] == ["halted", "paused"]
    assert [[str(one) for one in trader.limited_by] for trader in account.traders] == [["trader bull is halted"], []]
    await manager.set_trading(DEFAULT_TENANT, tenant, TradingState.REDUCING, **by)
    account = await status_of(store)
    assert (account.light, account.reasons) == (Light.REDUCING, ("tenant default is reducing by cli:eve: news",))
    await change(store, AccountRow, "paper", trading_state=TradingState.HALTED, state_reason="liquidated")
    account = await status_of(store)
    assert (account.light, account.trading_state, account.switched_by) == (Light.HALTED, "halted", "desk")
    assert account.reasons == ("halted by the desk itself: liquidated", "tenant default is reducing by cli:eve: news")
    await manager.set_trading(
        DEFAULT_TENANT, TradingScope(kind=SwitchScope.SERVICE), TradingState.HALTED, actor="cli:ann", reason="all"
    )
    account = await status_of(store)
    assert (account.reasons[0], account.switched_by) == ("the service is halted by cli:ann: all", "cli:ann")


async def test_failing_decisions_make_their_trader_yellow_and_not_the_account_red() -> None:
    wrong = incident("SAFE_MODE", trader_id=TraderId("bull"))
    store = await desk_with_history(wrong)
    async with store.transaction(DEFAULT_TENANT) as tx:
        await tx.patch(ScheduleRow, ("bull",), failed_decisions=3)
    account = await status_of(store)
    assert (account.light, account.traders[0].condition) == (Light.DEGRADED, Condition.SAFE_MODE)
    assert account.reasons == ("incident SAFE_MODE of bull since 2025-06-01 12:01:00 UTC",)
    assert COLOURS[account.light] is COLOURS[account.traders[0].condition] is Colour.YELLOW


@pytest.mark.parametrize(
    ("state", "code", "light", "reasons"),
    [
        (TraderState.ERROR, StateCode.NONE, Light.DEGRADED, ("trader bear is in error",)),
        (TraderState.ISOLATED, StateCode.SHARPE, Light.DEGRADED, ("trader bear is isolated (SHARPE)",)),
        (TraderState.ISOLATED, StateCode.OPERATOR, Light.RUNNING, ()),
    ],
)
async def test_a_trader_in_trouble_degrades_its_account(
    state: TraderState, code: StateCode, light: Light, reasons: tuple[str, ...]
) -> None:
    store = await desk_with_history()
    await change(store, TraderRow, "bear", state=state, state_code=code)
    account = await status_of(store)
    assert (account.light, account.reasons, account.traders[1].condition) == (light, reasons, state.value)


def test_every_word_has_a_colour_of_its_kind() -> None:
    assert {*Light, *Condition} == set(COLOURS)
    assert (
        len({COLOURS[word] for word in (Light.HALTED, Light.ERROR, Light.STOPPED, Light.PAUSED, Light.DEGRADED)}) == 5
    )


async def test_without_a_running_trader_the_desk_is_paused() -> None:
    store = await desk_with_history()
    await change(store, TraderRow, "bull", state=TraderState.STOPPED)
    account = await status_of(store)
    assert (account.light, account.reasons) == (Light.PAUSED, ("no trader is running",))


async def test_an_account_that_nobody_samples_is_stopped_whatever_its_traders_say() -> None:
    account = await status_of(await desk_with_history(), after_s=61)
    assert account.light is Light.STOPPED
    assert "2025-06-01 12:00:00 UTC" in account.reasons[0]


async def test_a_desk_without_a_worker_is_stopped_at_once() -> None:
    store = await desk_with_history(incident())
    await change(store, AccountRow, "paper", trading_state=TradingState.HALTED, state_reason="news")
    query = StatusQuery(now=AT + timedelta(seconds=1), worker_alive=False)
    [account] = (await read_status(store, DEFAULT_TENANT, query)).accounts
    assert account.light is Light.STOPPED
    assert account.reasons == (
        "no worker runs; stops are not watched",
        "incident POSITION_MISMATCH since 2025-06-01 12:01:00 UTC",
        "halted by the desk itself: news",
    )
    assert [(trader.state, trader.watched) for trader in account.traders] == [("running", False), ("paused", False)]


async def test_an_incident_on_a_halted_account_is_red_and_both_are_told() -> None:
    store = await desk_with_history(incident())
    await change(store, AccountRow, "paper", trading_state=TradingState.HALTED, state_reason="news")
    account = await status_of(store)
    assert (account.light, account.reasons) == (
        Light.ERROR,
        ("incident POSITION_MISMATCH since 2025-06-01 12:01:00 UTC", "halted by the desk itself: news"),
    )


async def test_another_tenant_sees_nothing() -> None:
    store = await desk_with_history()
    assert (await read_status(store, TenantId("other"), StatusQuery(now=AT))).accounts == ()
