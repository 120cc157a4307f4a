"""A position without a confirmed stop past the grace: closed, or guarded again, or told of; never executed twice."""

from decimal import Decimal

import pytest

from exchanges.types import OrderType
from faulty_desk import BTC, Fault, FaultyDesk, is_type, no_faults, open_long, open_short, when
from manager.desk.values import ConflictStrategy
from manager.state.records import IncidentRow, PositionRow

D = Decimal
REFUSE_STOPS = when(Fault.REFUSED, "create_order", is_type(OrderType.STOP))


@pytest.mark.parametrize("fault", [Fault.LOST, Fault.ANSWER_LOST])
async def test_a_second_stop_stands_beside_one_without_an_outcome(fault: Fault) -> None:
    desk = await FaultyDesk.of(traders=("a", "b"))
    await desk.go("a", open_long(stop=80))
    desk.pass_time()
    desk.venue.plan = when(fault, "create_order", is_type(OrderType.STOP))
    await desk.go("b", open_long())
    desk.venue.plan = when(Fault.DOWN, "lookup_order")
    await desk.maintain(8)
    assert [row.naked_since for row in await desk.find(PositionRow, symbol=BTC)] == [None, None]
    assert "STOP_FAILED" not in await desk.incidents()
    desk.price(85)
    await desk.maintain(3)
    assert await desk.held("a") == await desk.net() == 10
    assert await desk.held("b") == 0
    desk.venue.plan = no_faults
    await desk.maintain(60)
    assert await desk.wrongs() == []
    assert [order.trigger_price for order in await desk.resting()] == [D(80)]


async def test_one_of_two_stops_goes_when_the_first_is_found() -> None:
    desk = await FaultyDesk.of(traders=("a", "b"))
    await desk.go("a", open_long())
    desk.pass_time()
    desk.venue.plan = when(Fault.ANSWER_LOST, "create_order", is_type(OrderType.STOP))
    await desk.go("b", open_long())
    desk.venue.plan = when(Fault.DOWN, "lookup_order")
    await desk.maintain(8)
    assert len(await desk.resting()) == 3
    desk.venue.plan = no_faults
    await desk.maintain(2)
    assert len(await desk.resting()) == len(await desk.live()) == 2


async def test_a_naked_position_among_opposite_books_is_told_of() -> None:
    desk = await FaultyDesk.of(traders=("a", "b"), strategy=ConflictStrategy.NET)
    await desk.go("a", open_long())
    desk.pass_time()
    desk.venue.plan = when(Fault.LOST, "create_order", lambda r: r.type is OrderType.STOP and r.side.sign > 0)
    await desk.go("b", open_short())
    desk.venue.plan = no_faults
    sent = len(desk.venue.sent)
    await desk.maintain(20)
    assert [request for request in desk.venue.sent[sent:] if request.side.sign > 0] == []
    incidents = await desk.find(IncidentRow, code="NAKED_POSITION")
    assert [(one.trader_id, one.symbol) for one in incidents] == [("b", BTC)]
    assert "STOP_FAILED" not in await desk.incidents()
    await desk.maintain(40)
    assert len(await desk.resting()) == 2


@pytest.mark.parametrize(
    ("fault", "told", "left"),
    [(None, "filled", 0), (Fault.LOST, "unknown", 10), (Fault.REFUSED, "rejected", 10)],
)
async def test_a_failed_stop_is_told_with_what_became_of_the_close(fault: Fault | None, told: str, left: int) -> None:
    desk = await FaultyDesk.of()
    desk.venue.plan = REFUSE_STOPS
    await desk.go("a", open_long())
    desk.venue.plan = lambda call, argument: REFUSE_STOPS(call, argument) or (fault if call == "create_order" else None)
    await desk.maintain(5)
    assert "STOP_FAILED" not in await desk.incidents()
    await desk.maintain(1)
    details = [one.detail for one in await desk.find(IncidentRow, code="STOP_FAILED")]
    assert [f"the close of 10.000000 is {told}" in detail for detail in details] == [True]
    assert await desk.held("a") == left
