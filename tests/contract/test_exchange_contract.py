"""TC-01 to TC-31: what any Exchange must do, whatever stands behind it.

A venue joins the suite with an entry in VENUES: an opened Stand on a liquid symbol, flat, with at least 10,000 USD.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from exchanges.client_ids import new_client_order_id
from exchanges.clock import ManualClock
from exchanges.errors import OrderDenied, OrderRejected
from exchanges.paper.account import PaperVenue
from exchanges.paper.adapter import PaperExchange
from exchanges.paper.config import PaperConfig
from exchanges.paper.ledger import MemoryPaperLedger
from exchanges.precision import is_whole_lots, quantity_for
from exchanges.provider import Exchange
from exchanges.replay.path import ReplayPath
from exchanges.synthetic.config import SyntheticConfig
from exchanges.synthetic.model import SyntheticModel
from exchanges.synthetic.path import SyntheticPath
from exchanges.types import (
    BracketId,
    Fill,
    Instrument,
    OrderReport,
    OrderRequest,
    OrderStatus,
    OrderType,
    Side,
    Symbol,
    TimeInForce,
)
from late_venue import LateVenue
from paper_market import ACCOUNT, BTC, candle_columns, instant

REPLAY_START = instant(10)
SYNTHETIC_START = datetime(2025, 11, 20, 12, tzinfo=UTC)
LATENESS = timedelta(seconds=3)
CONFIG = PaperConfig(start_equity=Decimal(50_000), default_leverage=5)


@dataclass
class Stand:
    """Hold an exchange under test, the price now, and the clock that lets time pass.

    What happens is listed within `lateness`. `double` is the venue of ours that can do more than it should.
    """

    exchange: Exchange
    symbol: Symbol
    price: Callable[[], Decimal]
    clock: ManualClock
    lateness: timedelta = timedelta(0)
    double: LateVenue | None = None
    sent: int = 0

    def pass_time(self, by: timedelta) -> None:
        """Let time pass."""
        self.clock.set(self.clock.now() + by)

    def now(self) -> datetime:
        """Return the time."""
        return self.clock.now()

    def request(self, side: Side, usd: str = "1000", kind: OrderType = OrderType.MARKET) -> OrderRequest:
        """Build a request of about `usd` with a fresh id."""
        self.sent += 1
        return OrderRequest(
            client_order_id=new_client_order_id("tc", str(self.sent)),
            symbol=self.symbol,
            side=side,
            type=kind,
            quantity=quantity_for(Decimal(usd), self.price(), Instrument(symbol=self.symbol)),
        )

    async def enter(self, side: Side = Side.BUY, usd: str = "1000") -> OrderReport:
        """Open a position at market."""
        return await self.exchange.create_order(self.request(side, usd))

    def leg(self, kind: OrderType, factor: str, usd: str = "1000") -> OrderRequest:
        """Build a resting reduce-only sale at `factor` times the price."""
        trigger = (self.price() * Decimal(factor)).quantize(Decimal("0.1"))
        plain = self.request(Side.SELL, usd, kind)
        return replace(plain, trigger_price=trigger, reduce_only=True, time_in_force=TimeInForce.GTC)

    async def fills(self, since: datetime) -> list[Fill]:
        """Return the fills since an instant once all of them are listed, each once, in the order of their instants."""
        self.pass_time(self.lateness)
        found = {one.trade_id: one for one in await self.exchange.fetch_fills(since)}
        return sorted(found.values(), key=lambda one: (one.at, one.trade_id))

    async def net(self) -> Decimal:
        """Return the signed position."""
        held = {one.symbol: one.quantity for one in await self.exchange.fetch_positions()}
        return held.get(self.symbol, Decimal(0))


def paper(path: ReplayPath | SyntheticPath, clock: ManualClock) -> Stand:
    exchange = PaperExchange(ACCOUNT, PaperVenue.build(CONFIG, path), MemoryPaperLedger(), clock)

    def price() -> Decimal:
        mark = path.mark(BTC, clock.now())
        assert mark is not None
        return mark[0]

    return Stand(exchange, BTC, price, clock)


@asynccontextmanager
async def synthetic() -> AsyncIterator[Stand]:
    model = SyntheticModel(SyntheticConfig(outages_per_day=0, jumps_per_day=0))
    stand = paper(SyntheticPath(model), ManualClock(SYNTHETIC_START))
    yield stand
    await stand.exchange.close()


@asynccontextmanager
async def replay() -> AsyncIterator[Stand]:
    candles = [(100.0 + n % 5, 102.0 + n % 5, 99.0 + n % 5, 101.0 + n % 5) for n in range(200)]
    stand = paper(ReplayPath(candle_columns({BTC: candles})), ManualClock(REPLAY_START))
    yield stand
    await stand.exchange.close()


@asynccontextmanager
async def late() -> AsyncIterator[Stand]:
    async with synthetic() as stand:
        venue = stand.double = LateVenue(stand.exchange, stand.clock, seed=3)
        venue.lateness, venue.entry_step = lambda item: LATENESS, Decimal("0.01")
        stand.exchange, stand.lateness = venue, LATENESS
        yield stand


VENUES: dict[str, Callable[[], AbstractAsyncContextManager[Stand]]] = {
    "synthetic": synthetic,
    "replay": replay,
    "late": late,
}


@pytest.fixture(params=VENUES)
async def stand(request: pytest.FixtureRequest) -> AsyncIterator[Stand]:
    async with VENUES[request.param]() as opened:
        yield opened


async def test_tc01_instruments_describe_the_symbol(stand: Stand) -> None:
    found = (await stand.exchange.instruments())[stand.symbol]
    assert found.lot > 0
    assert found.min_notional >= 0
    assert found.max_leverage >= 1


async def test_tc02_a_fresh_account_is_flat(stand: Stand) -> None:
    balance = await stand.exchange.fetch_balance()
    assert balance.equity == balance.cash >= 10_000
    assert balance.margin_used == 0
    assert balance.at.tzinfo is not None
    assert list(await stand.exchange.fetch_positions()) == []
    assert list(await stand.exchange.fetch_open_orders()) == []


async def test_tc03_a_market_order_fills(stand: Stand) -> None:
    request = stand.request(Side.BUY)
    report = await stand.exchange.create_order(request)
    assert (report.status, report.filled) == (OrderStatus.FILLED, request.quantity)
    assert (report.client_order_id, report.side, report.symbol) == (request.client_order_id, Side.BUY, stand.symbol)
    assert report.venue_order_id


async def test_tc04_the_position_is_the_sum_of_the_fills(stand: Stand) -> None:
    first = await stand.enter(Side.BUY, "1500")
    second = await stand.enter(Side.SELL, "500")
    assert await stand.net() == first.filled - second.filled


async def test_tc05_fills_name_their_order_and_pay_a_fee(stand: Stand) -> None:
    since = stand.now()
    report = await stand.enter()
    fills = [one for one in await stand.fills(since) if one.client_order_id == report.client_order_id]
    assert sum(one.quantity for one in fills) == report.filled
    assert all(one.fee > 0 and one.price > 0 and one.at >= since for one in fills)
    assert len({one.trade_id for one in fills}) == len(fills)


async def test_tc06_fills_come_since_an_instant(stand: Stand) -> None:
    await stand.enter()
    stand.pass_time(timedelta(minutes=2))
    later = stand.now()
    second = await stand.enter()
    third = await stand.enter()
    names = [one.client_order_id for one in await stand.fills(later)]
    assert names == [second.client_order_id, third.client_order_id]


async def test_tc07_cash_pays_fees_and_equity_carries_the_rest(stand: Stand) -> None:
    before = (await stand.exchange.fetch_balance()).cash
    report = await stand.enter()
    fills = await stand.fills(stand.now())
    after = await stand.exchange.fetch_balance()
    assert after.cash == before - sum(one.fee for one in fills)
    value = sum((one.quantity * (stand.price() - one.price) for one in fills), Decimal(0))
    assert after.equity == after.cash + value
    assert report.filled > 0


async def test_tc08_a_short_is_a_negative_quantity(stand: Stand) -> None:
    report = await stand.enter(Side.SELL)
    position = (await stand.exchange.fetch_positions())[0]
    assert position.quantity == -report.filled
    assert position.entry_price > 0


async def test_tc09_a_repeated_client_order_id_is_refused_and_fills_nothing(stand: Stand) -> None:
    request = stand.request(Side.BUY)
    report = await stand.exchange.create_order(request)
    with pytest.raises(OrderRejected):
        await stand.exchange.create_order(request)
    assert await stand.net() == report.filled


async def test_tc10_an_expired_request_is_refused(stand: Stand) -> None:
    request = replace(stand.request(Side.BUY), send_before=stand.now() - timedelta(seconds=1))
    with pytest.raises((OrderDenied, OrderRejected)):
        await stand.exchange.create_order(request)
    assert await stand.net() == 0


async def test_tc11_an_unknown_symbol_is_refused(stand: Stand) -> None:
    request = replace(stand.request(Side.BUY), symbol=Symbol("NO/SUCH:ONE"))
    with pytest.raises(OrderRejected):
        await stand.exchange.create_order(request)


async def test_tc12_a_fraction_of_a_lot_is_refused(stand: Stand) -> None:
    lot = (await stand.exchange.instruments())[stand.symbol].lot
    request = stand.request(Side.BUY)
    with pytest.raises(OrderRejected):
        await stand.exchange.create_order(replace(request, quantity=request.quantity + lot / 2))


async def test_tc13_an_entry_below_the_minimum_is_refused(stand: Stand) -> None:
    with pytest.raises(OrderRejected):
        await stand.enter(Side.BUY, "3")


async def test_tc14_an_entry_beyond_the_margin_is_refused(stand: Stand) -> None:
    with pytest.raises(OrderRejected):
        await stand.enter(Side.BUY, "10000000")
    assert await stand.net() == 0


async def test_tc15_a_reduce_only_order_without_position_is_refused(stand: Stand) -> None:
    with pytest.raises(OrderRejected):
        await stand.exchange.create_order(replace(stand.request(Side.SELL), reduce_only=True))


async def test_tc16_a_reduce_only_order_never_flips(stand: Stand) -> None:
    await stand.enter(Side.BUY, "1000")
    report = await stand.exchange.create_order(replace(stand.request(Side.SELL, "3000"), reduce_only=True))
    assert report.status.terminal
    assert await stand.net() == 0


async def test_tc17_a_resting_stop_is_open_and_can_be_canceled(stand: Stand) -> None:
    await stand.enter()
    request = stand.leg(OrderType.STOP, "0.5")
    report = await stand.exchange.create_order(request)
    assert report.status is OrderStatus.OPEN
    standing = await stand.exchange.fetch_open_orders()
    assert [(one.client_order_id, one.trigger_price, one.reduce_only) for one in standing] == [
        (request.client_order_id, request.trigger_price, True)
    ]
    canceled = await stand.exchange.cancel_order(request.client_order_id, stand.symbol)
    assert canceled.status is OrderStatus.CANCELED
    assert list(await stand.exchange.fetch_open_orders()) == []


async def test_tc18_canceling_twice_reports_the_end(stand: Stand) -> None:
    await stand.enter()
    request = stand.leg(OrderType.TAKE_PROFIT, "2")
    await stand.exchange.create_order(request)
    await stand.exchange.cancel_order(request.client_order_id, stand.symbol)
    again = await stand.exchange.cancel_order(request.client_order_id, stand.symbol)
    assert again.status is OrderStatus.CANCELED


async def test_tc19_canceling_what_filled_reports_the_fill(stand: Stand) -> None:
    report = await stand.enter()
    answer = await stand.exchange.cancel_order(report.client_order_id, stand.symbol)
    assert (answer.status, answer.filled) == (OrderStatus.FILLED, report.filled)


async def test_tc20_a_lookup_finds_open_and_ended_orders_and_none_else(stand: Stand) -> None:
    report = await stand.enter()
    request = stand.leg(OrderType.STOP, "0.5")
    await stand.exchange.create_order(request)
    done = await stand.exchange.lookup_order(report.client_order_id, stand.symbol)
    standing = await stand.exchange.lookup_order(request.client_order_id, stand.symbol)
    assert done is not None
    assert (done.status, done.filled, done.fills) == (OrderStatus.FILLED, report.filled, report.fills)
    assert standing is not None
    assert standing.status is OrderStatus.OPEN
    assert await stand.exchange.lookup_order(new_client_order_id("never"), stand.symbol) is None


async def test_tc21_a_touched_stop_closes_without_being_asked(stand: Stand) -> None:
    await stand.enter()
    close = stand.leg(OrderType.STOP, "0.9999")
    await stand.exchange.create_order(close)
    for _ in range(60):
        stand.pass_time(timedelta(minutes=1))
        if await stand.net() == 0:
            break
    report = await stand.exchange.lookup_order(close.client_order_id, stand.symbol)
    assert report is not None
    assert (report.status, report.filled) == (OrderStatus.FILLED, close.quantity)


async def test_tc22_an_unmarketable_immediate_limit_leaves_nothing_behind(stand: Stand) -> None:
    limit = (stand.price() * Decimal("0.5")).quantize(Decimal("0.1"))
    request = replace(stand.request(Side.BUY, "1000", OrderType.LIMIT), limit_price=limit)
    report = await stand.exchange.create_order(request)
    assert report.status.terminal
    assert report.filled == 0
    assert list(await stand.exchange.fetch_open_orders()) == []


async def test_tc23_leverage_lowers_the_margin(stand: Stand) -> None:
    await stand.exchange.set_leverage(stand.symbol, 2)
    await stand.enter()
    high = (await stand.exchange.fetch_balance()).margin_used
    await stand.exchange.set_leverage(stand.symbol, 10)
    low = (await stand.exchange.fetch_balance()).margin_used
    assert high == low * 5
    assert (await stand.exchange.fetch_positions())[0].leverage == 10


async def test_tc24_leverage_beyond_the_instrument_is_refused(stand: Stand) -> None:
    highest = (await stand.exchange.instruments())[stand.symbol].max_leverage
    with pytest.raises(OrderRejected):
        await stand.exchange.set_leverage(stand.symbol, highest + 1)


async def test_tc25_quantities_and_prices_are_decimals_in_whole_lots(stand: Stand) -> None:
    since = stand.now()
    report = await stand.enter()
    lot = (await stand.exchange.instruments())[stand.symbol].lot
    fills = await stand.fills(since)
    assert sum(fill.quantity for fill in fills) == report.filled
    for fill in fills:
        assert isinstance(fill.price, Decimal)
        assert isinstance(fill.fee, Decimal)
        assert is_whole_lots(fill.quantity, lot)


async def test_tc26_a_leg_that_fills_cancels_the_others_of_its_bracket_and_no_other(stand: Stand) -> None:
    await stand.enter(usd="2000")
    mine, other = BracketId("mine"), BracketId("other")
    stop = replace(stand.leg(OrderType.STOP, "0.9999"), bracket=mine)
    sibling = replace(stand.leg(OrderType.TAKE_PROFIT, "2"), bracket=mine)
    stays = [replace(stand.leg(OrderType.STOP, "0.5"), bracket=other), stand.leg(OrderType.TAKE_PROFIT, "2")]
    for leg in (sibling, *stays, stop):
        await stand.exchange.create_order(leg)
    for _ in range(60):
        stand.pass_time(timedelta(minutes=1))
        standing = [report.client_order_id for report in await stand.exchange.fetch_open_orders()]
        if stop.client_order_id not in standing:
            break
    assert standing == [leg.client_order_id for leg in stays]
    ended = await stand.exchange.lookup_order(sibling.client_order_id, stand.symbol)
    assert ended is not None
    assert ended.status is OrderStatus.CANCELED


async def test_tc27_what_is_listed_twice_is_the_same_and_stays_listed(stand: Stand) -> None:
    since = stand.now()
    for side in (Side.BUY, Side.SELL, Side.BUY):
        await stand.enter(side)
    first = await stand.fills(since)
    assert len(first) == 3
    seen: dict[str, Fill] = {}
    for _ in range(5):
        for fill in await stand.exchange.fetch_fills(since):
            assert seen.setdefault(fill.trade_id, fill) == fill
    assert sorted(seen.values(), key=lambda one: (one.at, one.trade_id)) == first


async def test_tc28_the_venue_tells_the_time_by_which_orders_expire(stand: Stand) -> None:
    assert abs(await stand.exchange.fetch_time() - stand.now()) <= timedelta(seconds=1)


async def test_tc29_cash_that_moves_is_in_the_balance_and_told_with_an_id_of_its_own(stand: Stand) -> None:
    if not stand.exchange.capabilities.reports_cash:
        pytest.skip("this venue tells no cash history")
    since, before = stand.now(), (await stand.exchange.fetch_balance()).cash
    wanted = [] if stand.double is None else [stand.double.move_cash(250), stand.double.move_cash(-40)]
    assert (await stand.exchange.fetch_balance()).cash == before + sum((one.amount for one in wanted), Decimal(0))
    stand.pass_time(stand.lateness)
    told = {one.movement_id: one for one in await stand.exchange.fetch_cash(since)}
    assert sorted(told.values(), key=lambda one: one.movement_id) == wanted


async def test_tc30_the_entry_price_is_that_of_the_fills_within_the_rounding(stand: Stand) -> None:
    since = stand.now()
    await stand.enter(usd="1000")
    stand.pass_time(timedelta(minutes=3))
    await stand.enter(usd="700")
    fills = await stand.fills(since)
    paid = sum((one.price * one.quantity for one in fills), Decimal(0))
    entry = paid / sum((one.quantity for one in fills), Decimal(0))
    [position] = await stand.exchange.fetch_positions()
    assert abs(position.entry_price - entry) <= Decimal("0.01")


async def test_tc31_an_order_that_arrives_after_its_expiry_is_not_taken(stand: Stand) -> None:
    if not stand.exchange.capabilities.enforces_expiry:
        pytest.skip("this venue takes late orders")
    request = replace(stand.request(Side.BUY), send_before=stand.now() + timedelta(seconds=2))
    if stand.double is not None:
        stand.double.on_the_way = timedelta(seconds=5)
    else:
        stand.pass_time(timedelta(seconds=5))
    with pytest.raises((OrderDenied, OrderRejected)):
        await stand.exchange.create_order(request)
    assert await stand.net() == 0
    if stand.exchange.capabilities.lookup_authoritative:
        assert await stand.exchange.lookup_order(request.client_order_id, stand.symbol) is None
