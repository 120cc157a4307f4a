"""A leg for every position that needs one, none that outlives or exceeds it, and nothing sent twice."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from desk_factory import AT, BTC, ETH, SOL, make_book, make_position, make_trader, make_view
from exchanges.types import Instrument, OrderType, Side, Symbol
from manager.desk.plan.external_overlap import automatic_limits
from manager.desk.plan.outcomes import ProtectionPlan, ProtectiveLeg
from manager.desk.plan.protection import fired_take_profits, plan_protection
from manager.desk.plan.values import AccountView, TraderView
from manager.state.records import (
    DEFAULT_TENANT,
    AccountId,
    OrderId,
    OrderPurpose,
    OrderRow,
    OrderState,
    PositionKey,
    RoundId,
    Share,
)
from traders.book import EXTERNAL
from traders.spec import TraderId

D = Decimal
STOP, TAKE_PROFIT = OrderPurpose.STOP, OrderPurpose.TAKE_PROFIT


def holder(trader_id: str, quantity: str, symbol: Symbol = BTC, **changes: Any) -> TraderView:
    """Build a trader with a position, its stop 5 % and its take-profit 10 % away from 100."""
    up = D(quantity) > 0
    stops = {"stop_loss": D(95 if up else 105), "take_profit": D(110 if up else 90)}
    return make_trader(trader_id, replace(make_position(symbol, quantity), **{**stops, **changes}))


def leg_order(leg: ProtectiveLeg, order_id: str = "x", **changes: Any) -> OrderRow:
    """Build the accepted order of a leg."""
    order = OrderRow(
        tenant_id=DEFAULT_TENANT, account_id=AccountId("paper"), order_id=OrderId(order_id),
        round_id=RoundId("1"), symbol=leg.symbol,
        side=leg.side, type=OrderType.STOP if leg.purpose is STOP else OrderType.TAKE_PROFIT, purpose=leg.purpose,
        quantity=leg.quantity, created_at=AT, shares=(Share(trader_id=leg.trader_id, quantity=leg.quantity),),
        trigger_price=leg.trigger_price, reduce_only=leg.reduce_only, state=OrderState.ACCEPTED,
    )  # fmt: skip
    return replace(order, **changes)


def placed(view: AccountView, **changes: Any) -> list[OrderRow]:
    """Build the orders that a first plan calls for."""
    return [leg_order(leg, f"o{n}", **changes) for n, leg in enumerate(plan_protection(view, ()).place)]


def test_a_position_gets_a_stop_and_a_take_profit_of_its_exact_size() -> None:
    plan = plan_protection(make_view(holder("a", "-2.5")), ())
    assert [(o.purpose, o.side, o.quantity, o.trigger_price, o.reduce_only) for o in plan.place] == [
        (STOP, Side.BUY, D("2.5"), D(105), True),
        (TAKE_PROFIT, Side.BUY, D("2.5"), D(90), True),
    ]
    assert plan.unprotected == (("a", BTC),)


def test_what_rests_is_not_placed_again() -> None:
    view = make_view(holder("a", "1"), holder("b", "2"))
    assert plan_protection(view, placed(view)) == ProtectionPlan()


def test_each_trader_has_its_own_leg() -> None:
    plan = plan_protection(make_view(holder("b", "2"), holder("a", "1")), ())
    assert [(leg.trader_id, leg.quantity) for leg in plan.place if leg.purpose is STOP] == [("a", D(1)), ("b", D(2))]


@pytest.mark.parametrize(
    "wrong",
    [
        {"quantity": D(2)}, {"quantity": D("0.9")}, {"trigger_price": D(94)}, {"reduce_only": False},
        {"side": Side.BUY}, {"filled": D("0.1")},
    ],
)  # fmt: skip
def test_a_leg_of_the_wrong_shape_is_replaced(wrong: dict[str, Any]) -> None:
    view = make_view(holder("a", "1", take_profit=None))
    plan = plan_protection(view, placed(view, **wrong))
    assert [leg.trigger_price for leg in plan.place] == [D(95)]
    assert plan.cancel == ("o0",)


def test_a_partly_filled_leg_covers_what_is_left() -> None:
    view = make_view(holder("a", "1", take_profit=None))
    order = replace(placed(view)[0], quantity=D(3), filled=D(2))
    assert plan_protection(view, [order]) == ProtectionPlan()


def test_legs_of_a_flat_position_go_the_take_profit_first() -> None:
    orders = placed(make_view(holder("a", "1")))
    assert plan_protection(make_view(make_trader("a")), orders).cancel == ("o1", "o0")
    assert plan_protection(make_view(), orders).cancel == ("o1", "o0")


def test_a_duplicate_goes_and_the_oldest_stays() -> None:
    view = make_view(holder("a", "1", take_profit=None))
    first = placed(view)[0]
    plan = plan_protection(view, [replace(first, order_id=OrderId("o9")), first])
    assert (plan.place, plan.cancel, plan.unprotected) == ((), ("o9",), ())


@pytest.mark.parametrize("state", [OrderState.UNKNOWN, OrderState.PENDING])
def test_a_leg_without_an_outcome_is_left_to_its_lookup(state: OrderState) -> None:
    view = make_view(holder("a", "1", take_profit=None))
    plan = plan_protection(view, placed(view, state=state))
    assert (plan.place, plan.cancel, plan.unprotected) == ((), (), (("a", BTC),))
    both = [*placed(view), replace(placed(view)[0], order_id=OrderId("o9"), state=state)]
    assert plan_protection(view, both) == ProtectionPlan()


@pytest.mark.parametrize("state", [OrderState.FILLED, OrderState.CANCELED, OrderState.REJECTED, OrderState.ABSENT])
def test_an_ended_leg_is_placed_again(state: OrderState) -> None:
    view = make_view(holder("a", "1"))
    assert len(plan_protection(view, placed(view, state=state)).place) == 2


def test_other_orders_are_left_alone() -> None:
    view = make_view(holder("a", "1"))
    entry = replace(placed(view)[0], purpose=OrderPurpose.ENTRY)
    assert plan_protection(make_view(), [entry]) == ProtectionPlan()


@pytest.mark.parametrize("cause", ["opposite", "external"])
def test_in_a_contested_symbol_stops_are_plain_and_take_profits_are_watched(cause: str) -> None:
    other = [holder("b", "-1")] if cause == "opposite" else []
    held = [make_position(BTC, 1)] if cause == "external" else []
    alone = make_view(holder("a", "1"))
    view = make_view(holder("a", "1"), *other, external=make_book(EXTERNAL, *held, capital=0))
    plan = plan_protection(view, placed(alone))
    assert [(leg.purpose, leg.reduce_only) for leg in plan.place if leg.trader_id == "a"] == [(STOP, False)]
    assert [leg.trigger_price for leg in plan.watch if leg.trader_id == "a"] == [D(110)]
    assert plan.cancel == ("o1", "o0")
    assert ("a", BTC) in plan.unprotected
    back = plan_protection(alone, placed(view))
    assert [leg.reduce_only for leg in back.place] == [True, True]
    assert "o0" in back.cancel


def test_other_symbols_are_not_contested() -> None:
    view = make_view(holder("a", "1"), holder("b", "-1", ETH))
    assert all(leg.reduce_only for leg in plan_protection(view, ()).place)


def test_a_moved_stop_stays_confirmed_while_it_is_replaced() -> None:
    old = placed(make_view(holder("a", "1", take_profit=None)))
    plan = plan_protection(make_view(holder("a", "1", take_profit=None, stop_loss=D(97))), old)
    assert ([leg.trigger_price for leg in plan.place], plan.cancel, plan.unprotected) == ([D(97)], ("o0",), ())
    larger = plan_protection(make_view(holder("a", "2", take_profit=None)), old)
    assert larger.unprotected == (("a", BTC),)


def test_a_position_that_never_had_a_stop_is_unprotected_unless_stops_are_off() -> None:
    bare = holder("a", "1", stop_loss=None, take_profit=None)
    assert plan_protection(make_view(bare), ()).unprotected == (("a", BTC),)
    limits = replace(bare.spec.limits, stop_loss_enabled=False)
    assert plan_protection(make_view(replace(bare, spec=replace(bare.spec, limits=limits))), ()) == ProtectionPlan()


def test_dust_gets_no_legs_and_is_not_unprotected() -> None:
    view = make_view(holder("a", "1"))
    assert plan_protection(view, (), frozenset({PositionKey(TraderId("a"), BTC)})) == ProtectionPlan()


@pytest.mark.parametrize(("quantity", "stop", "take_profit"), [("1", "95.5", "110.0"), ("-1", "95.0", "110.5")])
def test_a_tick_moves_triggers_towards_the_mark(quantity: str, stop: str, take_profit: str) -> None:
    trader = holder("a", quantity, stop_loss=D("95.3"), take_profit=D("110.2"))
    view = make_view(trader, instruments={BTC: Instrument(symbol=BTC, tick=D("0.5"))})
    assert [leg.trigger_price for leg in plan_protection(view, ()).place] == [D(stop), D(take_profit)]


@pytest.mark.parametrize(
    ("quantity", "bar", "fires"),
    [
        ("1", ("90", "110"), True), ("1", ("90", "109.9"), False),
        ("-1", ("90", "99"), True), ("-1", ("90.1", "120"), False),
    ],
)  # fmt: skip
def test_a_watched_take_profit_fires_when_the_bar_reaches_it(quantity: str, bar: tuple[str, str], fires: bool) -> None:
    view = make_view(holder("a", quantity), external=make_book(EXTERNAL, make_position(BTC, quantity), capital=0))
    watch = plan_protection(view, ()).watch
    assert len(watch) == 1
    bars = {BTC: (D(bar[0]), D(bar[1]))}
    assert fired_take_profits(view, watch, bars) == (watch if fires else ())
    assert fired_take_profits(view, watch, {ETH: (D(0), D(999))}) == ()


def test_a_fired_take_profit_asks_for_no_more_than_is_held() -> None:
    contested = make_book(EXTERNAL, make_position(BTC, 1), capital=0)
    watch = plan_protection(make_view(holder("a", "3"), external=contested), ()).watch
    bars = {BTC: (D(90), D(200))}
    assert [leg.quantity for leg in fired_take_profits(make_view(holder("a", "2")), watch, bars)] == [D(2)]
    assert fired_take_profits(make_view(holder("a", "-2")), watch, bars) == ()
    assert fired_take_profits(make_view(), watch, bars) == ()


levels = st.one_of(st.none(), st.decimals("80", "120", places=1))
amounts = st.sampled_from(["-3", "-1.5", "-1", "1", "1.5", "3"])


@st.composite
def desks(draw: st.DrawFn) -> AccountView:
    """Draw books with stops and take-profits of any kind, and perhaps external positions."""
    traders = []
    for name in "abc":
        held = draw(st.sets(st.sampled_from((BTC, ETH, SOL)), max_size=3))
        positions = [
            replace(make_position(s, draw(amounts)), stop_loss=draw(levels), take_profit=draw(levels))
            for s in sorted(held)
        ]
        traders.append(make_trader(name, *positions))
    outside = [make_position(BTC, 1)] if draw(st.booleans()) else []
    return make_view(*traders, external=make_book(EXTERNAL, *outside, capital=0))


@given(desks(), desks(), st.randoms())
def test_applied_to_the_orders_a_plan_leads_to_an_empty_plan(
    before: AccountView, view: AccountView, random: Any
) -> None:
    orders = placed(before)
    orders += [replace(order, order_id=OrderId(f"{order.order_id}b")) for order in orders if random.random() < 0.3]
    random.shuffle(orders)
    plan = plan_protection(view, orders)
    stand = [order for order in orders if order.order_id not in plan.cancel]
    stand += [leg_order(leg, f"n{n}") for n, leg in enumerate(plan.place)]
    again = plan_protection(view, stand)
    assert (again.place, again.cancel) == ((), ())
    assert again.watch == plan.watch
    limits = automatic_limits(view)
    keys = [(order.shares[0].trader_id, order.symbol, order.purpose) for order in stand]
    assert len(set(keys)) == len(keys)
    for order in stand:
        position = view.traders[order.shares[0].trader_id].book.positions[order.symbol]
        limit = limits.get(PositionKey(order.shares[0].trader_id, order.symbol), abs(position.quantity))
        assert order.quantity == limit <= abs(position.quantity)
        assert order.side.sign == -position.direction
    unstopped = {(n, s) for n, t in view.traders.items() for s, p in t.book.positions.items() if p.stop_loss is None}
    assert set(again.unprotected) == unstopped - {key for key, limit in limits.items() if not limit}
