"""Somebody trades against the books by hand: what nets away at the venue, nothing automatic trades (RULES.md 7)."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from desk_factory import make_book, make_desk, make_intent, make_position, make_reduce, make_trader
from exchanges.types import OrderType, Side
from faulty_desk import BTC, FaultyDesk, adjust, close, open_long, open_short
from manager.desk.plan.external_overlap import automatic_limits, overlaps, within_room
from manager.desk.plan.liquidation import books_to_liquidate
from manager.desk.plan.protection import plan_protection
from manager.desk.plan.round import plan_round
from manager.desk.plan.values import ConflictStrategy, Desk
from manager.state.records import IncidentRow, OrderPurpose
from traders.book import EXTERNAL

D = Decimal
held = st.decimals("-20", "20", places=2).filter(bool)


def against(external: Decimal | str, *books: Decimal | str) -> Desk:
    """Build a desk on which EXTERNAL and traders a, b, ... hold BTC."""
    traders = (make_trader(chr(97 + n), make_position(BTC, D(quantity))) for n, quantity in enumerate(books))
    return make_desk(*traders, external=make_book(EXTERNAL, make_position(BTC, D(external)), capital=0))


@pytest.mark.parametrize(
    ("external", "books", "limits"),
    [
        ("-10", ["10"], ["0"]),
        ("-3", ["10"], ["7"]),
        ("-30", ["10", "5"], ["0", "0"]),
        ("-5", ["10", "10"], ["7.5", "7.5"]),
        ("-5", ["10", "-4"], ["5", None]),
        ("5", ["10"], [None]),
        ("-9.99", ["10"], ["0"]),
    ],
)
def test_opposed_books_share_what_is_left_pro_rata(external: str, books: list[str], limits: list[str | None]) -> None:
    found = automatic_limits(against(external, *books))
    assert [found.get((chr(97 + n), BTC)) for n in range(len(books))] == [None if x is None else D(x) for x in limits]


@given(held, st.lists(held, min_size=1, max_size=4))
def test_legs_and_closes_never_take_more_than_books_without_overlap(external: Decimal, books: list[Decimal]) -> None:
    desk = against(external, *books)
    opposed = [abs(quantity) for quantity in books if quantity * external < 0]
    room = max(D(0), sum(opposed, D(0)) - abs(external))
    assert sum(automatic_limits(desk).values(), D(0)) <= room
    side = Side.BUY if external > 0 else Side.SELL
    asked = [make_reduce(chr(97 + n), abs(q), side) for n, q in enumerate(books) if q * external < 0]
    assert sum((reduce.quantity for reduce in within_room(desk, asked, {})), D(0)) <= room
    waiting = {(asked[0].trader_id, BTC): asked[0].quantity} if asked else {}
    left = within_room(desk, asked[1:], waiting)
    assert sum((reduce.quantity for reduce in left), D(0)) <= max(D(0), room - sum(waiting.values(), D(0)))


def test_no_leg_and_no_naked_position_where_all_is_netted_away() -> None:
    plan = plan_protection(against("-10", "10"), ())
    assert (plan.place, plan.watch, plan.naked) == ((), (), ())
    assert [overlap.quantity for overlap in overlaps(against("-10", "10"))] == [D(10)]


def test_a_liquidation_leaves_the_overlap_alone() -> None:
    broke = make_trader("a", make_position(BTC, 10), capital=-900)
    outside = make_book(EXTERNAL, make_position(BTC, -4), capital=0)
    assert [reduce.quantity for reduce in books_to_liquidate(make_desk(broke, external=outside))] == [D(6)]


def test_a_close_is_cut_to_the_room_and_waits_where_there_is_none() -> None:
    plan = plan_round(against("-4", "10"), [make_intent("a", close())], {})
    assert [(reduce.quantity, reduce.closes) for reduce in plan.reduces] == [(D(6), True)]
    none = plan_round(against("-10", "10"), [make_intent("a", close())], {})
    assert (none.reduces, none.denials, none.done) == ((), (), ())


async def test_a_stop_of_a_position_sold_by_hand_opens_nothing() -> None:
    desk = await FaultyDesk.of()
    await desk.go("a", open_long())
    await desk.by_hand("hand", Side.SELL, 10)
    await desk.maintain(1)
    assert await desk.resting() == []
    desk.price(85)
    await desk.maintain(20)
    assert await desk.net() == 0
    assert await desk.held("a") == 10
    assert {"EXTERNAL_FILL", "EXTERNAL_OVERLAP"} <= await desk.incidents()
    assert "STOP_FAILED" not in await desk.incidents()
    standing = await desk.find(IncidentRow, code="EXTERNAL_OVERLAP")
    assert len(standing) == 1


async def test_a_stop_covers_what_is_left_of_a_position_sold_by_hand() -> None:
    desk = await FaultyDesk.of(traders=("a", "b"))
    await desk.go("a", open_long())
    await desk.go("b", open_long())
    await desk.by_hand("hand", Side.SELL, 6)
    await desk.maintain(2)
    assert [order.quantity for order in await desk.resting()] == [D(7), D(7)]
    desk.price(85)
    await desk.maintain(20)
    assert await desk.net() >= 0
    assert await desk.held("a") + await desk.held("b") - 6 == await desk.net()
    assert await desk.net() < D("0.1")


async def test_a_target_of_a_position_sold_by_hand_does_not_fire() -> None:
    desk = await FaultyDesk.of()
    await desk.go("a", open_long(target=120))
    await desk.by_hand("hand", Side.SELL, 10)
    await desk.maintain(1)
    desk.price(125)
    await desk.maintain(5)
    assert await desk.net() == 0
    assert await desk.resting(OrderType.TAKE_PROFIT) == []


async def test_a_trader_closes_no_more_than_the_venue_holds_until_the_overlap_ends() -> None:
    desk = await FaultyDesk.of()
    await desk.go("a", open_long())
    await desk.by_hand("hand", Side.SELL, 4)
    await desk.maintain(1)
    await desk.go("a", close())
    assert await desk.net() == 0
    assert await desk.held("a") == 4
    await desk.by_hand("back", Side.BUY, 4)
    desk.pass_time()
    await desk.round()
    assert await desk.held("a") == await desk.held(EXTERNAL) == await desk.net() == 0


async def test_a_position_is_guarded_whole_again_when_the_overlap_ends() -> None:
    desk = await FaultyDesk.of()
    await desk.go("a", open_long())
    await desk.by_hand("hand", Side.SELL, 10)
    await desk.maintain(20)
    await desk.by_hand("back", Side.BUY, 10)
    await desk.maintain(2)
    assert [(order.quantity, order.reduce_only) for order in await desk.resting()] == [(D(10), True)]
    desk.pass_time()
    await desk.go("a", adjust(stop=95))
    assert [order.trigger_price for order in await desk.resting()] == [D(95)]


async def test_an_opposite_book_does_not_count_as_external() -> None:
    desk = await FaultyDesk.of(traders=("a", "b"), strategy=ConflictStrategy.NET)
    await desk.go("a", open_long())
    desk.pass_time()
    await desk.go("b", open_short())
    await desk.maintain(2)
    stops = [order for order in await desk.live() if order.purpose is OrderPurpose.STOP]
    assert sorted((order.shares[0].trader_id, order.quantity) for order in stops) == [("a", D(10)), ("b", D(10))]
    assert "EXTERNAL_OVERLAP" not in await desk.incidents()
