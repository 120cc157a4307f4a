"""Somebody trades against the books by hand: nothing automatic trades what nets away at the venue (docs/rules.md 7)."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from desk_factory import make_book, make_intent, make_position, make_reduce, make_trader, make_view
from exchanges.types import OrderType, Side
from faulty_desk import BTC, FaultyDesk, adjust, close, open_long, open_short
from manager.desk.plan.external_overlap import automatic_limits, overlaps, within_room
from manager.desk.plan.liquidation import books_to_liquidate
from manager.desk.plan.protection import plan_protection
from manager.desk.plan.round import plan_round
from manager.desk.plan.values import AccountView, ConflictStrategy
from manager.state.records import IncidentRow, OrderPurpose, PositionKey
from traders.book import EXTERNAL
from traders.spec import TraderId

D = Decimal
held = st.decimals("-20", "20", places=2).filter(bool)


def against(external: Decimal | str, *books: Decimal | str) -> AccountView:
    """Build a desk on which EXTERNAL and traders a, b, ... hold BTC."""
    traders = (make_trader(chr(97 + n), make_position(BTC, D(quantity))) for n, quantity in enumerate(books))
    return make_view(*traders, external=make_book(EXTERNAL, make_position(BTC, D(external)), capital=0))


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
    assert [found.get(PositionKey(TraderId(chr(97 + n)), BTC)) for n in range(len(books))] == [
        None if x is None else D(x) for x in limits
    ]


@given(held, st.lists(held, min_size=1, max_size=4))
def test_legs_and_closes_never_take_more_than_books_without_overlap(external: Decimal, books: list[Decimal]) -> None:
    view = against(external, *books)
    opposed = [abs(quantity) for quantity in books if quantity * external < 0]
    room = max(D(0), sum(opposed, D(0)) - abs(external))
    assert sum(automatic_limits(view).values(), D(0)) <= room
    side = Side.BUY if external > 0 else Side.SELL
    asked = [make_reduce(chr(97 + n), abs(q), side) for n, q in enumerate(books) if q * external < 0]
    assert sum((reduce.quantity for reduce in within_room(view, asked, {})), D(0)) <= room
    waiting = {PositionKey(asked[0].trader_id, BTC): asked[0].quantity} if asked else {}
    left = within_room(view, asked[1:], waiting)
    assert sum((reduce.quantity for reduce in left), D(0)) <= max(D(0), room - sum(waiting.values(), D(0)))


def test_no_leg_and_no_unprotected_position_where_all_is_netted_away() -> None:
    plan = plan_protection(against("-10", "10"), ())
    assert (plan.place, plan.watch, plan.unprotected) == ((), (), ())
    assert [overlap.quantity for overlap in overlaps(against("-10", "10"))] == [D(10)]


def test_a_liquidation_leaves_the_overlap_alone() -> None:
    broke = make_trader("a", make_position(BTC, 10), capital=-900)
    outside = make_book(EXTERNAL, make_position(BTC, -4), capital=0)
    assert [reduce.quantity for reduce in books_to_liquidate(make_view(broke, external=outside))] == [D(6)]


def test_a_close_is_cut_to_the_room_and_waits_where_there_is_none() -> None:
    plan = plan_round(against("-4", "10"), [make_intent("a", close())], {})
    assert [(reduce.quantity, reduce.closes) for reduce in plan.reduces] == [(D(6), True)]
    none = plan_round(against("-10", "10"), [make_intent("a", close())], {})
    assert (none.reduces, none.denials, none.done) == ((), (), ())


async def test_a_stop_of_a_position_sold_by_hand_opens_nothing() -> None:
    view = await FaultyDesk.of()
    await view.go("a", open_long())
    await view.by_hand("hand", Side.SELL, 10)
    await view.maintain(1)
    assert await view.resting() == []
    view.price(85)
    await view.maintain(20)
    assert await view.net() == 0
    assert await view.held("a") == 10
    assert {"EXTERNAL_FILL", "EXTERNAL_OVERLAP"} <= await view.incidents()
    assert "STOP_FAILED" not in await view.incidents()
    standing = await view.find(IncidentRow, code="EXTERNAL_OVERLAP")
    assert len(standing) == 1


async def test_a_stop_covers_what_is_left_of_a_position_sold_by_hand() -> None:
    view = await FaultyDesk.of(traders=("a", "b"))
    await view.go("a", open_long())
    await view.go("b", open_long())
    await view.by_hand("hand", Side.SELL, 6)
    await view.maintain(2)
    assert [order.quantity for order in await view.resting()] == [D(7), D(7)]
    view.price(85)
    await view.maintain(20)
    assert await view.net() >= 0
    assert await view.held("a") + await view.held("b") - 6 == await view.net()
    assert await view.net() < D("0.1")


async def test_a_take_profit_of_a_position_sold_by_hand_does_not_fire() -> None:
    view = await FaultyDesk.of()
    await view.go("a", open_long(take_profit=120))
    await view.by_hand("hand", Side.SELL, 10)
    await view.maintain(1)
    view.price(125)
    await view.maintain(5)
    assert await view.net() == 0
    assert await view.resting(OrderType.TAKE_PROFIT) == []


async def test_a_trader_closes_no_more_than_the_venue_holds_until_the_overlap_ends() -> None:
    view = await FaultyDesk.of()
    await view.go("a", open_long())
    await view.by_hand("hand", Side.SELL, 4)
    await view.maintain(1)
    await view.go("a", close())
    assert await view.net() == 0
    assert await view.held("a") == 4
    await view.by_hand("back", Side.BUY, 4)
    view.pass_time()
    await view.round()
    assert await view.held("a") == await view.held(EXTERNAL) == await view.net() == 0


async def test_a_position_is_guarded_whole_again_when_the_overlap_ends() -> None:
    view = await FaultyDesk.of()
    await view.go("a", open_long())
    await view.by_hand("hand", Side.SELL, 10)
    await view.maintain(20)
    await view.by_hand("back", Side.BUY, 10)
    await view.maintain(2)
    assert [(order.quantity, order.reduce_only) for order in await view.resting()] == [(D(10), True)]
    view.pass_time()
    await view.go("a", adjust(stop=95))
    assert [order.trigger_price for order in await view.resting()] == [D(95)]


async def test_an_opposite_book_does_not_count_as_external() -> None:
    view = await FaultyDesk.of(traders=("a", "b"), strategy=ConflictStrategy.NET)
    await view.go("a", open_long())
    view.pass_time()
    await view.go("b", open_short())
    await view.maintain(2)
    stops = [order for order in await view.live() if order.purpose is OrderPurpose.STOP]
    assert sorted((order.shares[0].trader_id, order.quantity) for order in stops) == [("a", D(10)), ("b", D(10))]
    assert "EXTERNAL_OVERLAP" not in await view.incidents()
