"""Funding is charged to what each book held at its instant, not when the payment is read."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from exchanges.types import Side, Symbol
from faulty_desk import AT, BTC, SECOND, FaultyDesk, close, open_long, open_short
from hand_market import HandPath
from manager.desk.plan.values import ConflictStrategy
from manager.state.records import ROUNDING, BookRow
from traders.book import EXTERNAL

HOUR = AT + 60 * SECOND
MOMENT = timedelta(milliseconds=300)


@pytest.fixture(autouse=True)
def _funding(monkeypatch: pytest.MonkeyPatch) -> None:
    def following(path: HandPath, symbol: Symbol, after: datetime, until: datetime) -> datetime | None:
        return HOUR if symbol == BTC and after < HOUR <= until else None

    def paid(path: HandPath, after: datetime, until: datetime) -> Sequence[tuple[Symbol, datetime, Decimal]]:
        return [(BTC, HOUR, Decimal("0.001"))] if after < HOUR <= until else []

    monkeypatch.setattr(HandPath, "next_funding", following)
    monkeypatch.setattr(HandPath, "funding", paid)


async def funding(desk: FaultyDesk) -> dict[str, Decimal]:
    books: Sequence[BookRow] = await desk.find(BookRow)
    return {book.trader_id: book.funding for book in books if book.funding}


def answer_after_the_hour(desk: FaultyDesk, slow: str = "create_order") -> None:
    """Let the venue take a call of the name `slow` only after the funding instant."""

    def plan(call: str, argument: Any) -> None:
        if call == slow and desk.clock.now() < HOUR:
            desk.clock.set(HOUR + MOMENT)

    desk.venue.plan = plan


async def settle(desk: FaultyDesk) -> None:
    await desk.maintain(seconds=2)
    assert await desk.wrongs() == []
    assert "FUNDING_DIFFERENCE" not in await desk.incidents()
    paid = sum((payment.amount for payment in await desk.paper.fetch_funding(AT)), Decimal(0))
    assert sum((await funding(desk)).values(), Decimal(0)) == paid


@pytest.mark.parametrize("restart", [False, True])
async def test_what_filled_after_the_instant_but_was_booked_first_pays_nothing(restart: bool) -> None:
    desk = await FaultyDesk.of(traders=("a", "b"))
    await desk.go("b", open_long())
    desk.clock.set(HOUR - MOMENT)
    answer_after_the_hour(desk)
    await desk.go("a", open_long(usd=4000))
    assert await desk.held("a") == 40
    if restart:
        desk.new_process("another")
    await settle(desk)
    assert await funding(desk) == {"b": Decimal(-1)}


async def test_what_was_closed_after_the_instant_still_pays() -> None:
    desk = await FaultyDesk.of(traders=("a", "b"))
    await desk.go("b", open_long())
    await desk.go("a", open_long(usd=4000))
    desk.clock.set(HOUR - MOMENT)
    answer_after_the_hour(desk)
    await desk.go("a", close())
    assert await desk.held("a") == 0
    await settle(desk)
    assert await funding(desk) == {"a": Decimal(-4), "b": Decimal(-1)}


async def test_what_crossed_inside_after_the_instant_does_not_move_funding() -> None:
    desk = await FaultyDesk.of(traders=("a", "b"), strategy=ConflictStrategy.NET)
    await desk.go("a", open_long())
    desk.clock.set(HOUR - MOMENT)
    answer_after_the_hour(desk, "fetch_balance")
    await desk.decide("b", open_short(usd=400))
    await desk.go("a", open_long(usd=1000))
    assert await desk.held("b") == -4
    await settle(desk)
    assert await funding(desk) == {"a": Decimal(-1)}


async def test_many_fills_after_the_instant_are_all_taken_out() -> None:
    desk = await FaultyDesk.of()
    await desk.go("a", open_long(usd=1000))
    desk.clock.set(HOUR - MOMENT)
    answer_after_the_hour(desk)
    hidden = desk.paper.fetch_funding
    desk.paper.fetch_funding = nothing  # type: ignore[method-assign]  # the venue pays late
    for _ in range(30):
        await desk.go("a", open_long(usd=100))
        desk.pass_time()
    assert await desk.held("a") == 40
    desk.paper.fetch_funding = hidden  # type: ignore[method-assign]  # now it pays
    await settle(desk)
    assert await funding(desk) == {"a": Decimal(-1)}


async def nothing(since: datetime) -> Sequence[Any]:
    return ()


async def test_a_trade_by_hand_after_the_instant_leaves_nothing_to_rounding() -> None:
    desk = await FaultyDesk.of()
    await desk.by_hand("mine", Side.BUY, 3)
    await desk.go("a", open_long(usd=1000))
    await desk.maintain()
    desk.clock.set(HOUR + MOMENT)
    await desk.by_hand("mine2", Side.BUY, 4)
    await desk.maintain(seconds=2)
    assert await funding(desk) == {"a": Decimal(-1), EXTERNAL: Decimal("-0.3")}
    assert ROUNDING not in await funding(desk)
