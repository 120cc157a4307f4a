"""In whatever order the venue lists its news, quantities, fees, funding and equity end the same (docs/rules.md 9)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from exchanges.types import (
    ClientOrderId,
    Fill,
    FillKind,
    FundingPayment,
    Liquidity,
    OrderType,
    Side,
    Symbol,
    VenueOrderId,
    VenueTradeId,
)
from manager.desk.reconcile.news import LOOK_BACK_DIFFERING, News
from manager.monitor.invariants.fills import fills_split_exactly
from manager.state.funding import FundingRow
from manager.state.records import (
    AccountId,
    BookRow,
    FillPartRow,
    FillRow,
    LedgerRow,
    OrderId,
    OrderPurpose,
    OrderRow,
    OrderState,
    PositionRow,
    RoundId,
    Share,
)
from recorded_account import ACCOUNT, TENANT, RecordedAccount
from traders.spec import TraderId

ZERO, MARK = Decimal(0), Decimal(97)
SYMBOL = Symbol("BTC/USDT:USDT")
START = datetime(2025, 6, 1, tzinfo=UTC)
TRADERS = ("a", "b", "c")
Book = dict[str, tuple[Decimal, Decimal, Decimal, Decimal]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """Hold what happened at a venue in the order of time, and the desk's orders in it."""

    orders: Sequence[OrderRow]
    news: Sequence[Fill | FundingPayment]


def fill_of(number: int, at: datetime, side: Side, quantity: int, **values: Any) -> Fill:
    price = Decimal(80 + number * 7 % 40)
    fill = Fill(
        trade_id=VenueTradeId(f"T{number:04d}"),
        client_order_id=None,
        venue_order_id=VenueOrderId("v"),
        symbol=SYMBOL,
        side=side,
        quantity=Decimal(quantity),
        price=price,
        fee=price * quantity * Decimal("0.00045"),
        liquidity=Liquidity.TAKER,
        at=at,
    )
    return replace(fill, **values)


@st.composite
def stories(draw: st.DrawFn) -> Story:
    """Draw merged orders in several fills, liquidations, trades by hand and funding; instants may be the same."""
    orders: list[OrderRow] = []
    news: list[Fill | FundingPayment] = []
    at, net = START, ZERO
    for number in range(draw(st.integers(2, 12))):
        at += timedelta(seconds=draw(st.sampled_from((0, 1, 30, 3600))))
        kind = draw(st.sampled_from(("entry", "entry", "reduce", "more", "liquidation", "hand", "funding")))
        side = draw(st.sampled_from(Side))
        quantity = draw(st.integers(1, 6))
        if kind == "funding":
            rate = Decimal(draw(st.integers(-9, 9))) / 1000
            paid = -net * MARK * rate
            news.append(FundingPayment(symbol=SYMBOL, at=at, rate=rate, mark=MARK, amount=paid))
            continue
        fill = fill_of(number, at, side, quantity)
        if kind == "more" and orders:
            order = draw(st.sampled_from(orders))
            fill = replace(fill, side=order.side, client_order_id=ClientOrderId(order.order_id))
        elif kind == "liquidation" and net:
            fill = replace(fill, side=Side.SELL if net > 0 else Side.BUY, kind=FillKind.LIQUIDATION)
        elif kind in ("entry", "reduce"):
            sizes = draw(st.lists(st.integers(1, 5), min_size=1, max_size=3))
            orders.append(order_of(f"o{number}", fill, OrderPurpose(kind), sizes))
            fill = replace(fill, client_order_id=ClientOrderId(f"o{number}"))
        net += fill.quantity * fill.side.sign
        news.append(fill)
    return Story(orders=orders, news=news)


def order_of(name: str, fill: Fill, purpose: OrderPurpose, sizes: Sequence[int]) -> OrderRow:
    shares = [Share(trader_id=TraderId(who), quantity=Decimal(size)) for who, size in zip(TRADERS, sizes, strict=False)]
    return OrderRow(
        tenant_id=TENANT,
        account_id=AccountId(ACCOUNT),
        order_id=OrderId(name),
        round_id=RoundId("r"),
        symbol=SYMBOL,
        side=fill.side,
        type=OrderType.MARKET,
        purpose=purpose,
        quantity=Decimal(sum(sizes)),
        created_at=fill.at,
        shares=tuple(shares),
        state=OrderState.ACCEPTED,
    )


class Listing(RecordedAccount):
    """Book what a story tells, as far as the venue lists it."""

    async def told(self, story: Story, order: Sequence[int], cuts: Sequence[int]) -> Book:
        """List the news in an order, up to each cut at a time, and return what the books end with."""
        await self.open(TRADERS)
        self.clock.set(START + timedelta(days=1))
        async with self.store.transaction(TENANT) as tx:
            await tx.insert(list(story.orders))
        listed = [story.news[index] for index in order]
        for cut in [*sorted(cuts), len(listed)]:
            self.venue.fills = [item for item in listed[:cut] if isinstance(item, Fill)]
            self.venue.funding = [item for item in listed[:cut] if isinstance(item, FundingPayment)]
            async with self._session() as session:
                await News(session).book(LOOK_BACK_DIFFERING)
        return await self._books()

    async def _books(self) -> Book:
        async with self.store.transaction(TENANT) as tx:
            kinds: tuple[Any, ...] = (BookRow, PositionRow, FillRow, FillPartRow, FundingRow, LedgerRow)
            books, positions, fills, parts, funding, ledger = [await tx.find(kind, {}, limit=None) for kind in kinds]
        assert fills_split_exactly(fills, parts) == []
        for payment in funding:
            posted = [row.amount for row in ledger if row.ref.startswith(f"funding/{payment.payment}")]
            assert sum(posted, ZERO) == payment.amount == sum(payment.parts.values(), ZERO)
        held = {row.trader_id: row for row in positions}
        return {
            book.trader_id: (
                held[book.trader_id].quantity if book.trader_id in held else ZERO,
                book.fees,
                book.funding,
                book.cash + (held[book.trader_id].position.unrealized(MARK) if book.trader_id in held else ZERO),
            )
            for book in books
            if book.fees or book.funding or book.realized or book.trader_id in held
        }


@st.composite
def listings(draw: st.DrawFn) -> tuple[Story, list[int], list[int]]:
    """Draw a story, an order in which it is listed, and how far it is at each look."""
    story = draw(stories())
    count = len(story.news)
    return story, draw(st.permutations(range(count))), draw(st.lists(st.integers(0, count), max_size=5))


@given(listing=listings())
@settings(max_examples=150)
async def test_every_order_of_listing_ends_the_same(listing: tuple[Story, list[int], list[int]]) -> None:
    story, order, cuts = listing
    count = len(story.news)
    in_time = await Listing([SYMBOL], START, Decimal(10_000)).told(story, range(count), range(1, count))
    late = await Listing([SYMBOL], START, Decimal(10_000)).told(story, order, cuts)
    assert late == in_time
