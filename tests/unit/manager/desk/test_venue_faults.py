"""Closes and entries under calls that are lost or refused: nothing twice, limits kept, stops left standing."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from exchanges.types import Capabilities, OrderType
from faulty_desk import (
    BTC,
    ETH,
    FREE_HAND,
    Fault,
    FaultyDesk,
    adjust,
    close,
    is_type,
    no_faults,
    open_long,
    open_short,
    when,
)
from manager.desk.plan.values import ConflictStrategy, GlobalLimits
from manager.state.records import OrderRow, TraderRow

D = Decimal
ONE_POSITION = replace(FREE_HAND, max_positions=1)
LOSE_MARKET = when(Fault.LOST, "create_order", is_type(OrderType.MARKET))
LOSE_TAKE_PROFIT = when(Fault.LOST, "create_order", is_type(OrderType.TAKE_PROFIT))
LOSE_CLOSE = when(Fault.LOST, "create_order", lambda r: r.type is OrderType.MARKET and r.reduce_only)
WITHOUT_DUST = Capabilities(reduce_below_minimum=False)


async def test_a_close_without_an_outcome_leaves_the_stop() -> None:
    desk = await FaultyDesk.of()
    await desk.go("a", open_long())
    desk.venue.plan = LOSE_MARKET
    desk.pass_time()
    await desk.go("a", close())
    desk.venue.plan = no_faults
    await desk.maintain(30)
    assert [order.quantity for order in await desk.resting()] == [D(10)]
    assert "ORDER_UNKNOWN" in await desk.incidents()
    desk.price(50)
    await desk.maintain(3)
    assert await desk.held("a") == 0
    assert await desk.net() == 0
    assert await desk.wrongs() == []


async def test_a_lost_close_is_sent_again_only_when_its_absence_is_proven() -> None:
    desk = await FaultyDesk.of()
    await desk.go("a", open_long())
    desk.venue.plan = LOSE_MARKET
    desk.pass_time()
    await desk.go("a", close())
    desk.venue.plan = no_faults
    for _ in range(38):
        desk.pass_time()
        await desk.round()
    assert await desk.held("a") == 10
    for _ in range(6):
        desk.pass_time()
        await desk.round()
    assert [request.reduce_only for request in desk.venue.sent if request.type is OrderType.MARKET] == [
        False, True, True,
    ]  # fmt: skip
    assert await desk.held("a") == 0
    assert await desk.wrongs() == []
    assert await desk.live() == []


async def test_a_close_below_the_minimum_keeps_the_stop_of_the_rest() -> None:
    desk = await FaultyDesk.of(capabilities=WITHOUT_DUST)
    await desk.go("a", open_long())
    desk.pass_time()
    await desk.go("a", close(fraction="0.004"))
    await desk.maintain(60)
    assert [order.quantity for order in await desk.resting()] == [D(10)]
    desk.price(50)
    await desk.maintain(3)
    assert await desk.net() == 0


async def test_dust_that_grows_gets_a_stop() -> None:
    desk = await FaultyDesk.of(capabilities=WITHOUT_DUST)
    await desk.go("a", open_long())
    for fraction in ("0.997", "1"):
        desk.pass_time()
        await desk.go("a", close(fraction=fraction))
    await desk.maintain(1)
    assert "DUST" in await desk.incidents()
    await desk.go("a", open_long(usd=2000))
    await desk.maintain(2)
    assert [order.quantity for order in await desk.resting()] == [await desk.held("a")]


@pytest.mark.parametrize("history_down", [False, True])
async def test_a_take_profit_without_an_outcome_does_not_block_the_close(history_down: bool) -> None:
    desk = await FaultyDesk.of()
    desk.venue.plan = LOSE_TAKE_PROFIT
    await desk.go("a", open_long(take_profit=200))
    desk.venue.plan = when(Fault.DOWN, "lookup_order") if history_down else no_faults
    desk.pass_time()
    await desk.go("a", close())
    assert await desk.held("a") == 0
    assert await desk.net() == 0
    assert await desk.resting() == []
    assert "CANCEL_UNKNOWN" not in await desk.incidents()


@pytest.mark.parametrize(
    ("limits", "account"),
    [(ONE_POSITION, {}), (FREE_HAND, {"account_limits": GlobalLimits(max_positions=1)})],
    ids=["of the trader", "of the account"],
)
async def test_an_entry_waits_for_the_close_that_it_counted_on(limits: Any, account: dict[str, Any]) -> None:
    desk = await FaultyDesk.of(limits=limits, **account)
    await desk.go("a", open_long())
    desk.pass_time()
    desk.venue.plan = LOSE_CLOSE
    await desk.go("a", close(), open_long(ETH))
    assert await desk.held("a") == 10
    assert await desk.held("a", ETH) == 0
    assert ("a", "REDUCE_INCOMPLETE") in await desk.denials()
    desk.pass_time()
    await desk.go("a", open_long(ETH))
    assert await desk.held("a", ETH) == 0


async def test_no_entry_where_a_stop_lost_its_outcome_in_the_same_round() -> None:
    desk = await FaultyDesk.of(traders=("a", "b"))
    await desk.go("a", open_long())
    desk.pass_time()
    desk.venue.plan = when(Fault.ANSWER_LOST, "create_order", is_type(OrderType.STOP))
    await desk.decide("a", adjust(stop=95))
    await desk.go("b", open_long())
    assert await desk.held("b") == 0
    assert ("b", "SYMBOL_UNRESOLVED") in await desk.denials()
    desk.venue.plan = no_faults
    await desk.maintain(2)
    assert [order.trigger_price for order in await desk.resting()] == [D(95)]


async def test_a_new_process_does_not_lower_the_leverage_under_a_position() -> None:
    low = replace(FREE_HAND, major_coin_leverage=2)
    desk = await FaultyDesk.of(traders=("a", "b"), own_limits={"b": low})
    await desk.go("a", open_long())
    rows = await desk.find(TraderRow, trader_id="a")
    async with desk.store.transaction(rows[0].tenant_id) as tx:
        await tx.patch(TraderRow, ("a",), spec=replace(rows[0].spec, limits=low))
    desk.new_process()
    desk.pass_time()
    await desk.go("b", open_long())
    assert [report.leverage for report in await desk.paper.fetch_positions()] == [10]
    assert await desk.held("b") == 10


async def test_one_order_without_history_does_not_stop_the_account() -> None:
    desk = await FaultyDesk.of(traders=("a", "b"))
    await desk.go("a", open_long(take_profit=120))
    await desk.go("b", open_long(ETH))
    for order in await desk.paper.fetch_open_orders():
        if order.type is OrderType.TAKE_PROFIT or order.symbol == ETH:
            await desk.paper.cancel_order(order.client_order_id, order.symbol)
    desk.venue.plan = when(Fault.DOWN, "lookup_order", lambda request: request.symbol == BTC)
    await desk.maintain(2)
    assert [order.quantity for order in await desk.resting(symbol=ETH)] == [D(10)]
    desk.pass_time()
    await desk.go("b", close(ETH))
    assert await desk.held("b", ETH) == 0
    assert "ORDER_UNKNOWN" in await desk.incidents()


@pytest.mark.parametrize("arrives", [True, False])
async def test_a_fired_take_profit_without_an_outcome_is_fired_once(arrives: bool) -> None:
    desk = await FaultyDesk.of(traders=("a", "b"), strategy=ConflictStrategy.NET)
    await desk.go("a", open_long(take_profit=120))
    desk.pass_time()
    await desk.go("b", open_short(stop=140))
    await desk.maintain(1)
    desk.venue.plan = LOSE_TAKE_PROFIT
    desk.price(125)
    await desk.maintain(1)
    desk.venue.plan = no_faults
    fired = [request for request in desk.venue.sent if request.type is OrderType.TAKE_PROFIT][-1]
    desk.pass_time()
    await desk.go("b", close(short=True))
    await desk.maintain(1)
    assert desk.venue.sent.count(fired) == 1
    assert [request for request in desk.venue.sent if request.type is OrderType.TAKE_PROFIT][-1] is fired
    if arrives:
        await desk.paper.create_order(fired)
    await desk.maintain(60)
    assert await desk.wrongs() == []
    assert await desk.held("b") == 0
    assert await desk.unresolved() == []
    assert (await desk.held("a") == 0) or len(await desk.resting()) == 1
    orders: list[OrderRow] = list(await desk.find(OrderRow, order_id=str(fired.client_order_id)))
    assert orders[0].filled == (10 if arrives else 0)


async def test_a_fill_that_the_venue_lists_twice_is_booked_once() -> None:
    desk = await FaultyDesk.of()
    await desk.go("a", open_long())
    desk.price(85)
    desk.venue.plan = when(Fault.TWICE, "fetch_fills")
    await desk.maintain(2)
    assert await desk.held("a") == await desk.net() == 0
    assert await desk.wrongs() == []
