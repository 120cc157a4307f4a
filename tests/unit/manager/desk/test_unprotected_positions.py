"""A position without a confirmed stop past the grace: closed, or guarded again, or told of; never executed twice."""

from decimal import Decimal

import pytest

from exchanges.types import Capabilities, OrderRequest, OrderType
from faulty_desk import BTC, Fault, FaultyDesk, close, is_leg_of, is_type, no_faults, open_long, open_short, when
from manager.desk.plan.values import ConflictStrategy
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
    assert [row.unprotected_since for row in await desk.find(PositionRow, symbol=BTC)] == [None, None]
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


async def test_a_unprotected_position_among_opposite_books_is_told_of() -> None:
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


def _is_plain_stop(request: OrderRequest) -> bool:
    return request.type is OrderType.STOP and not request.reduce_only


async def _beside_a_plain_stop_without_an_outcome(traders: tuple[str, ...]) -> FaultyDesk:
    """Leave `a` with an unknown plain stop, from the time when `z`, now flat, held the other side."""
    desk = await FaultyDesk.of(traders=traders, strategy=ConflictStrategy.NET)
    for trader_id in traders[:-1]:
        await desk.go(trader_id, open_long())
        desk.pass_time()
    mine = when(Fault.LOST, "create_order", lambda r: _is_plain_stop(r) and is_leg_of("a")(r))
    desk.venue.plan = mine
    await desk.go("z", open_short(usd=400))
    desk.venue.plan = no_faults
    desk.pass_time()
    await desk.go("z", close(short=True))
    assert await desk.held("z") == 0
    assert [order.reduce_only for order in await desk.unresolved()] == [False]
    return desk


@pytest.mark.parametrize("arrives_s", [2, 8])
async def test_no_stop_is_placed_beside_a_plain_one_without_an_outcome(arrives_s: int) -> None:
    desk = await _beside_a_plain_stop_without_an_outcome(("a", "z"))
    late = next(request for request in desk.venue.sent if _is_plain_stop(request))
    desk.price(85)
    await desk.maintain(arrives_s)
    await desk.paper.create_order(late)
    await desk.maintain(60)
    assert await desk.wrongs() == []
    assert await desk.held("a") == await desk.net() == 0


async def test_a_second_stop_waits_where_the_first_may_stand_as_a_plain_one() -> None:
    desk = await _beside_a_plain_stop_without_an_outcome(("a", "b", "z"))
    await desk.maintain(8)
    incidents = await desk.find(IncidentRow, code="NAKED_POSITION")
    assert [(one.trader_id, one.symbol) for one in incidents] == [("a", BTC)]
    assert len(await desk.resting()) == 1
    await desk.maintain(40)
    assert len(await desk.resting()) == 2


async def test_a_close_waits_for_a_plain_stop_without_an_outcome() -> None:
    desk = await _beside_a_plain_stop_without_an_outcome(("a", "z"))
    late = next(request for request in desk.venue.sent if _is_plain_stop(request))
    await desk.go("a", close())
    assert await desk.held("a") == 10
    await desk.paper.create_order(late)
    desk.pass_time()
    await desk.round()
    assert await desk.held("a") == await desk.net() == 0
    assert await desk.resting() == []


async def test_a_plain_stop_goes_before_a_reduce_only_one_stands() -> None:
    desk = await FaultyDesk.of(traders=("a", "z"), strategy=ConflictStrategy.NET)
    await desk.go("a", open_long())
    desk.pass_time()
    await desk.go("z", open_short(usd=400))
    desk.pass_time()
    desk.venue.plan = when(Fault.LOST, "cancel_order", is_leg_of("a"))
    await desk.go("z", close(short=True))
    await desk.maintain(8)
    assert [order.reduce_only for order in await desk.live()] == [False]
    desk.price(85)
    await desk.maintain(3)
    assert await desk.held("a") == await desk.net() == 0
    assert await desk.wrongs() == []


async def test_a_position_whose_close_has_no_outcome_is_told_of() -> None:
    desk = await FaultyDesk.of(traders=("a", "b"), capabilities=Capabilities())
    await desk.go("a", open_long())
    await desk.go("b", open_long())
    desk.pass_time()
    desk.venue.plan = when(Fault.LOST, "create_order", is_type(OrderType.MARKET))
    await desk.go("a", close())
    await desk.maintain(4)
    assert "NAKED_POSITION" not in await desk.incidents()
    await desk.maintain(3)
    incidents = await desk.find(IncidentRow, code="NAKED_POSITION")
    assert [(one.trader_id, one.symbol) for one in incidents] == [("a", BTC)]
    since = {row.trader_id: row.unprotected_since for row in await desk.find(PositionRow)}
    assert since["a"] is not None
    assert since["b"] is None
    await desk.maintain(40)
    assert [row.unprotected_since for row in await desk.find(PositionRow)] == [None, None]
    assert len(await desk.resting()) == 2


async def test_a_stop_that_the_venue_knows_no_longer_is_placed_again() -> None:
    desk = await FaultyDesk.of()
    await desk.go("a", open_long())
    await desk.maintain(45)
    for order in await desk.resting():
        await desk.paper.cancel_order(order.client_order_id, order.symbol)
    desk.venue.plan = when(Fault.FORGOTTEN, "lookup_order")
    await desk.maintain(3)
    assert [order.quantity for order in await desk.resting()] == [D(10)]
    assert "STOP_FAILED" not in await desk.incidents()
    assert "ORDER_UNKNOWN" in await desk.incidents()
