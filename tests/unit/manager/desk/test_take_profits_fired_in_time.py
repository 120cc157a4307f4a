"""A take-profit that the desk fires looks only at prices since it stands, whoever set it and whatever process looks."""

from datetime import timedelta
from decimal import Decimal

from exchanges.types import OrderType
from faulty_desk import FaultyDesk, adjust, open_long, open_short
from manager.desk.plan.values import ConflictStrategy

D = Decimal


async def contested() -> FaultyDesk:
    """Open a desk on which b is short, so that no take-profit of a rests."""
    desk = await FaultyDesk.of(traders=("a", "b"), strategy=ConflictStrategy.NET)
    await desk.go("b", open_short())
    return desk


def spike(desk: FaultyDesk, price: int) -> None:
    """Let the price jump for less than a second, and be a moment later when it is over."""
    desk.price(price, after=timedelta(milliseconds=200))
    desk.price(100, after=timedelta(milliseconds=900))
    desk.pass_time(1.3)


async def test_a_moved_take_profit_is_not_fired_by_a_spike_before_it() -> None:
    desk = await contested()
    await desk.go("a", open_long(take_profit=150))
    desk.pass_time(2)
    spike(desk, 105)
    await desk.go("a", adjust(take_profit=103))
    desk.pass_time(0.4)
    desk.new_process()
    await desk.maintain()
    await desk.maintain(3)
    assert await desk.held("a") == 10


async def test_a_new_position_s_take_profit_is_not_fired_by_a_spike_before_it() -> None:
    desk = await contested()
    desk.pass_time(2)
    spike(desk, 105)
    await desk.go("a", open_long(take_profit=103))
    desk.pass_time(0.4)
    await desk.maintain()
    await desk.maintain(3)
    assert await desk.held("a") == 10


async def test_a_take_profit_is_fired_by_a_spike_after_it() -> None:
    desk = await contested()
    await desk.go("a", open_long(take_profit=150))
    desk.pass_time(2)
    await desk.go("a", adjust(take_profit=103))
    await desk.maintain(1)
    spike(desk, 105)
    await desk.maintain()
    assert await desk.held("a") == 0
    assert [request.type for request in desk.venue.sent].count(OrderType.TAKE_PROFIT) == 1


async def test_a_mark_beyond_a_take_profit_fires_it_though_the_candle_began_before() -> None:
    desk = await contested()
    desk.pass_time(2.3)
    await desk.go("a", open_long(take_profit=103))
    desk.price(104, after=timedelta(milliseconds=200))
    desk.pass_time(0.8)
    await desk.maintain()
    assert await desk.held("a") == 0
    assert D(10) in [request.quantity for request in desk.venue.sent if request.type is OrderType.TAKE_PROFIT]
