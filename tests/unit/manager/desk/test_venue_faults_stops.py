"""Stops under calls that are lost, refused or slow, and under processes that freeze or die: they stand, and once."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from exchanges.types import OrderType
from faulty_desk import (
    BTC,
    ETH,
    Fault,
    FaultyDesk,
    Killed,
    adjust,
    close,
    is_type,
    no_faults,
    open_long,
    open_short,
    when,
)
from manager.desk.plan.values import ConflictStrategy
from manager.state.records import IncidentRow

D = Decimal


@pytest.mark.parametrize(
    ("fault", "code"), [(Fault.REFUSED, "PROTECTION_REFUSED"), (Fault.LOST, "ORDER_UNKNOWN")], ids=["refused", "lost"]
)
async def test_the_old_stop_stays_until_the_new_one_stands(fault: Fault, code: str) -> None:
    desk = await FaultyDesk.of()
    await desk.go("a", open_long())
    desk.pass_time()
    desk.venue.plan = when(fault, "create_order", is_type(OrderType.STOP))
    await desk.go("a", adjust(stop=95))
    await desk.maintain(8)
    assert [order.trigger_price for order in await desk.resting()] == [D(90)]
    assert code in await desk.incidents()
    desk.venue.plan = no_faults
    await desk.maintain(60)
    assert [order.trigger_price for order in await desk.resting()] == [D(95)]
    assert await desk.held("a") == 10


async def test_stops_are_kept_where_a_slow_venue_lets_the_lease_pass() -> None:
    desk = await FaultyDesk.of(traders=("a", "b", "c"))
    for trader_id in "abc":
        await desk.go(trader_id, open_long())
    desk.pass_time()

    def slow(call: str, argument: Any) -> Fault | None:
        if call == "create_order":
            desk.pass_time(8)
        return None

    desk.venue.plan = slow
    for trader_id in "abc":
        await desk.decide(trader_id, adjust(stop=95))
    await desk.round()
    assert await desk.guarded() == ["a", "b", "c"]
    desk.venue.plan = no_faults
    await desk.maintain(3)
    assert [order.trigger_price for order in await desk.resting()] == [D(95)] * 3


async def test_a_process_that_lost_its_lease_cancels_nothing() -> None:
    desk = await FaultyDesk.of(traders=("a", "b"))
    for trader_id in "ab":
        await desk.go(trader_id, open_long())
    desk.pass_time()
    frozen: list[Any] = []

    def freeze(call: str, argument: Any) -> Fault | None:
        if call == "cancel_order" and not frozen:
            frozen.append(argument.client_order_id)
            desk.pass_time(3600)
            return Fault.LOST
        return None

    desk.venue.plan = freeze
    await desk.decide("b", close())
    await desk.go("a", close())
    assert desk.venue.canceled == frozen
    assert len(await desk.resting()) == 2


async def test_a_close_persisted_by_a_dead_process_leaves_the_stops() -> None:
    desk = await FaultyDesk.of(traders=("a", "b"))
    await desk.go("a", open_long())
    await desk.go("b", open_long(ETH))
    desk.pass_time()

    def die(call: str, argument: Any) -> Fault | None:
        if call == "create_order":
            raise Killed
        return None

    desk.venue.plan = die
    await desk.decide("a", close())
    await desk.decide("b", close(ETH, "0.5"))
    with pytest.raises(Killed):
        await desk.round()
    desk.venue.plan = no_faults
    desk.new_process("other")
    await desk.maintain(33)
    assert len(await desk.resting()) == len(await desk.resting(symbol=ETH)) == 1
    assert "ORDER_UNKNOWN" in await desk.incidents()
    desk.price(50)
    desk.price(50, ETH)
    await desk.maintain(3)
    assert await desk.net() == 0
    assert await desk.wrongs() == []
    assert await desk.net(ETH) == 0


async def test_a_take_profit_that_cannot_be_canceled_keeps_the_stop() -> None:
    desk = await FaultyDesk.of(traders=("a", "b"))
    await desk.go("a", open_long(take_profit=200))
    await desk.go("b", open_long())
    desk.pass_time()
    desk.venue.plan = when(Fault.LOST, "cancel_order", is_type(OrderType.TAKE_PROFIT))
    await desk.go("a", close())
    assert await desk.held("a") == 10
    assert len(await desk.resting()) == 2
    incidents = await desk.find(IncidentRow, code="CANCEL_UNKNOWN")
    assert [(one.trader_id, one.symbol) for one in incidents] == [("a", BTC)]
    desk.venue.plan = no_faults
    desk.pass_time()
    await desk.round()
    assert await desk.held("a") == 0
    assert await desk.held("b") == 10
    assert len(await desk.resting()) == 1


async def test_a_stop_touched_while_it_becomes_plain_executes_once() -> None:
    desk = await FaultyDesk.of(traders=("a", "b"), strategy=ConflictStrategy.NET)
    await desk.go("a", open_long())
    desk.pass_time()
    fallen: list[Any] = []

    def fall(call: str, argument: Any) -> Fault | None:
        if call == "cancel_order" and not fallen:
            fallen.append(argument)
            desk.price(89, after=timedelta(milliseconds=200))
            desk.pass_time()
        return None

    desk.venue.plan = fall
    await desk.go("b", open_short(usd=400))
    await desk.maintain(3)
    assert fallen
    assert await desk.held("a") == 0
    assert await desk.held("b") == -4
    assert await desk.net() == -4
    assert await desk.wrongs() == []


async def test_a_close_keeps_the_confirmed_stop_beside_one_without_an_outcome() -> None:
    desk = await FaultyDesk.of(traders=("a", "b"))
    for trader_id in "ab":
        await desk.go(trader_id, open_long())
        desk.pass_time()
    desk.venue.plan = when(Fault.LOST, "create_order", is_type(OrderType.STOP))
    await desk.go("a", adjust(stop=95))
    desk.venue.plan = no_faults
    await desk.go("a", close())
    assert await desk.held("a") == 10
    assert await desk.guarded() == ["a", "b"]
    await desk.maintain(45)
    await desk.round()
    assert await desk.held("a") == 0
    assert await desk.wrongs() == []
