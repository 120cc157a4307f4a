"""What the venue lists late, twice or out of order is booked when it comes, and corrects what was booked without it."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from exchanges.types import CashKind, Fill, FillKind, FundingPayment, Liquidity, Side, Symbol, VenueTradeId
from faulty_desk import AT, BTC, ETH, SECOND, FaultyDesk, close, open_long
from hand_market import HandPath
from late_venue import LateVenue
from manager.state.records import (
    ROUNDING,
    UNALLOCATED,
    AccountRow,
    BookRow,
    FillRow,
    IncidentRow,
    LedgerRow,
    OrderRow,
    TradingState,
)
from traders.book import EXTERNAL

HOUR = AT + 60 * SECOND
D = Decimal


@pytest.fixture
def _funding(monkeypatch: pytest.MonkeyPatch) -> None:
    def following(path: HandPath, symbol: Symbol, after: datetime, until: datetime) -> datetime | None:
        return HOUR if after < HOUR <= until else None

    def paid(path: HandPath, after: datetime, until: datetime) -> Sequence[tuple[Symbol, datetime, Decimal]]:
        return [(symbol, HOUR, D("0.001")) for symbol in (BTC, ETH)] if after < HOUR <= until else []

    monkeypatch.setattr(HandPath, "next_funding", following)
    monkeypatch.setattr(HandPath, "funding", paid)


async def late_desk(**changes: Any) -> tuple[FaultyDesk, LateVenue]:
    desk = await FaultyDesk.of(**changes)
    late = LateVenue(desk.paper, desk.clock, seed=1)
    desk.venue.inner = late  # type: ignore[assignment]  # it passes everything else on
    return desk, late


async def account(desk: FaultyDesk) -> AccountRow:
    [row] = await desk.find(AccountRow)
    return row  # type: ignore[no-any-return]  # find is untyped


async def test_a_liquidation_listed_three_seconds_late_is_booked_and_halts_the_account() -> None:
    desk, late = await late_desk(traders=("a", "b"))
    await desk.go("a", open_long())
    await desk.go("b", open_long(ETH))
    fill = liquidated(desk.clock.now() + SECOND, 10)
    late.inner = Listing(late.inner, fill, at=fill.at + 3 * SECOND)
    for _ in range(3):
        await desk.maintain(seconds=1)
        await desk.go("b", open_long(ETH, usd=200))
    assert (await account(desk)).trading_state is TradingState.ACTIVE
    await desk.maintain(seconds=2)
    assert [await desk.held("a"), await desk.held(EXTERNAL)] == [0, 0]
    assert (await account(desk)).trading_state is TradingState.HALTED
    assert "ACCOUNT_LIQUIDATION" in await desk.open_incidents()


class Listing:
    """List one fill more, from an instant on, whatever its own is; the venue's position has it from the start."""

    def __init__(self, inner: Any, fill: Fill, at: datetime) -> None:
        self._inner, self._fill, self._at = inner, fill, at
        self.asked: list[datetime] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def fetch_fills(self, since: datetime) -> list[Fill]:
        self.asked.append(since)
        found = list(await self._inner.fetch_fills(since))
        listed = self._inner._clock.now() >= self._at and self._fill.at >= since
        return [*found, self._fill] if listed else found

    async def fetch_positions(self) -> Sequence[Any]:
        found = await self._inner.fetch_positions()
        return [one for one in found if one.symbol != BTC] if self._inner._clock.now() >= self._fill.at else found


def liquidated(at: datetime, quantity: int) -> Fill:
    return Fill(
        trade_id=VenueTradeId("L1"), client_order_id=None, venue_order_id=None, symbol=BTC, side=Side.SELL,
        quantity=D(quantity), price=D(60), fee=D(1), liquidity=Liquidity.TAKER, at=at, kind=FillKind.LIQUIDATION,
    )  # fmt: skip


async def test_a_fill_of_hours_ago_is_found_once_books_and_venue_differ() -> None:
    desk, late = await late_desk()
    await desk.go("a", open_long())
    fill = liquidated(desk.clock.now() + SECOND, 10)
    desk.pass_time(3 * 3600)
    await desk.go("a", open_long(ETH))
    late.inner = listing = Listing(late.inner, fill, at=desk.clock.now())
    await desk.maintain()
    assert await desk.held("a") == 0
    assert (await account(desk)).trading_state is TradingState.HALTED
    newest = (await desk.find(FillRow, symbol=ETH))[0].at
    assert listing.asked[:2] == [newest - timedelta(minutes=10), (await account(desk)).books_since]


async def test_what_is_older_than_a_day_is_an_incident_and_not_booked() -> None:
    desk, late = await late_desk()
    desk.pass_time(1)
    old = liquidated(desk.clock.now(), 10)
    desk.pass_time(26 * 3600)
    await desk.go("a", open_long())

    async def every_fill(since: datetime) -> list[Fill]:
        return [*await desk.paper.fetch_fills(since), old]

    late.inner = type("All", (), {"__getattr__": lambda _, name: getattr(desk.paper, name)})()
    late.inner.fetch_fills = every_fill
    await desk.maintain(seconds=2)
    assert await desk.held("a") == 10
    [told] = await desk.find(IncidentRow, code="NEWS_TOO_OLD")
    assert told.resolved_at is None
    assert "L1" in told.detail
    assert (await account(desk)).trading_state is TradingState.ACTIVE


@pytest.mark.usefixtures("_funding")
async def test_two_payments_of_one_instant_are_both_booked_however_late_the_second_is() -> None:
    desk, late = await late_desk()
    await desk.go("a", open_long(), open_long(ETH, usd=500))
    late.lateness = lambda item: 90 * SECOND if getattr(item, "symbol", "") == ETH and is_funding(item) else 0 * SECOND
    desk.clock.set(HOUR)
    await desk.maintain(seconds=30)
    assert await funding(desk) == {"a": D(-1)}
    await desk.maintain(seconds=70)
    assert await funding(desk) == {"a": D("-1.5")}
    assert await desk.wrongs() == []


@pytest.mark.usefixtures("_funding")
async def test_a_late_fill_corrects_the_funding_split_without_it_by_a_posting() -> None:
    desk, late = await late_desk(traders=("a", "b"))
    late.lateness = lambda item: 45 * SECOND if getattr(item, "client_order_id", "") == "mine" else 0 * SECOND
    await desk.go("a", open_long())
    desk.clock.set(HOUR - 20 * SECOND)
    await desk.by_hand("mine", Side.BUY, 5)
    desk.clock.set(HOUR + SECOND)
    await desk.maintain(seconds=2)
    assert await funding(desk) == {"a": D(-1), ROUNDING: D("-0.5")}
    await desk.maintain(seconds=30)
    assert await funding(desk) == {"a": D(-1), EXTERNAL: D("-0.5")}
    posted = [row for row in await desk.find(LedgerRow) if row.ref.startswith("funding/")]
    assert sorted((row.trader_id, row.amount) for row in posted) == [
        (EXTERNAL, D("-0.5")),
        (ROUNDING, D("-0.5")),
        (ROUNDING, D("0.5")),
        ("a", D(-1)),
    ]


async def test_an_entry_whose_fills_are_listed_late_waits_and_is_booked_once() -> None:
    desk, late = await late_desk(traders=("a", "b"))
    late.lateness = lambda item: 4 * SECOND
    await desk.decide("a", open_long(usd=600))
    await desk.go("b", open_long(usd=900))
    assert await desk.held("a") == 0
    assert "STOP_FAILED" not in await desk.incidents()
    await desk.maintain(seconds=8)
    assert [await desk.held("a"), await desk.held("b")] == [6, 9]
    assert await desk.guarded() == ["a", "b"]
    assert await desk.wrongs() == []
    assert {order.state.value for order in await desk.find(OrderRow, purpose="entry")} == {"filled"}
    await desk.go("a", close())
    await desk.maintain(seconds=8)
    assert [await desk.held("a"), await desk.held("b")] == [0, 9]
    assert await desk.wrongs() == []


@pytest.mark.parametrize("kind", [CashKind.DEPOSIT, CashKind.INTEREST, CashKind.FEE])
async def test_cash_that_moves_goes_to_unallocated_once_and_is_dealt_later(kind: CashKind) -> None:
    desk, late = await late_desk()
    late.lateness = lambda item: 2 * SECOND
    before = await unallocated(desk)
    late.move_cash(-30 if kind is CashKind.FEE else 300, kind)
    await desk.maintain(seconds=1)
    assert await unallocated(desk) == before
    await desk.maintain(seconds=4)
    assert await unallocated(desk) - before == (-30 if kind is CashKind.FEE else 300)
    desk.new_process()
    await desk.maintain(seconds=2)
    assert await unallocated(desk) - before == (-30 if kind is CashKind.FEE else 300)


async def test_what_was_before_the_books_is_not_booked_again() -> None:
    desk, late = await late_desk()
    opened = (await account(desk)).books_since
    assert opened is not None
    early = liquidated(opened - SECOND, 3)
    late.inner = Listing(late.inner, early, at=opened)
    late.inner.fetch_positions = desk.paper.fetch_positions
    await desk.maintain(seconds=2)
    assert await desk.find(FillRow) == []
    assert (await account(desk)).trading_state is TradingState.ACTIVE


def is_funding(item: Any) -> bool:
    return isinstance(item, FundingPayment)


async def funding(desk: FaultyDesk) -> dict[str, Decimal]:
    return {book.trader_id: book.funding for book in await desk.find(BookRow) if book.funding}


async def unallocated(desk: FaultyDesk) -> Decimal:
    [book] = await desk.find(BookRow, trader_id=UNALLOCATED)
    return book.cash  # type: ignore[no-any-return]  # find is untyped
