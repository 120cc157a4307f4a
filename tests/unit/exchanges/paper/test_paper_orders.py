"""Orders on the paper venue: what fills at once, what rests, what dies, what is refused."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from exchanges.errors import OrderDenied, OrderRejected
from exchanges.paper.config import PaperConfig
from exchanges.types import (
    ClientOrderId,
    Instrument,
    Liquidity,
    OrderReport,
    OrderRequest,
    OrderStatus,
    OrderType,
    Side,
    Symbol,
)
from paper_market import BTC, FREE, REST, PaperRun, flat, instant, order

RISING = [(100.0 + n, 101.0 + n, 99.0 + n, 101.0 + n) for n in range(10)]


async def refused(run: PaperRun, request: OrderRequest) -> str:
    with pytest.raises(OrderRejected) as caught:
        await run.exchange.create_order(request)
    return caught.value.code


async def test_market_order_meets_the_next_open_with_slippage_and_taker_fee() -> None:
    run = PaperRun({BTC: RISING}, PaperConfig())
    run.at(3)
    report = await run.market("in", "2")
    fill = report.fills[0]
    assert report.status is OrderStatus.FILLED
    assert fill.price == Decimal("103.0103")
    assert fill.fee == Decimal(2) * Decimal("103.0103") * Decimal("0.00045")
    assert (fill.at, fill.liquidity, fill.side) == (instant(3), Liquidity.TAKER, Side.BUY)
    assert (await run.exchange.fetch_balance()).cash == Decimal(10_000) - fill.fee


async def test_a_sale_slips_downwards() -> None:
    run = PaperRun({BTC: RISING}, PaperConfig())
    run.at(3)
    assert (await run.market("in", "-2")).fills[0].price == Decimal("102.9897")


async def test_contract_size_multiplies_fee_margin_and_profit() -> None:
    instrument = Instrument(symbol=BTC, lot=Decimal(1), contract_size=Decimal("0.01"))
    run = PaperRun({BTC: RISING}, PaperConfig(slippage_bps=Decimal(0), instruments={BTC: instrument}))
    run.at(1)
    report = await run.market("in", "100")
    assert report.fills[0].fee == Decimal(101) * Decimal("0.00045")
    run.at(2)
    balance = await run.exchange.fetch_balance()
    assert balance.equity == Decimal(10_000) - report.fills[0].fee + Decimal(1)
    assert balance.margin_used == Decimal(102)


async def test_immediate_limit_fills_within_its_limit_or_expires() -> None:
    run = PaperRun({BTC: RISING}, PaperConfig(slippage_bps=Decimal(100)))
    run.at(1)
    filled = await run.exchange.create_order(order("a", "1", kind=OrderType.LIMIT, price="101.5"))
    missed = await run.exchange.create_order(order("b", "1", kind=OrderType.LIMIT, price="100.9"))
    assert (filled.status, filled.fills[0].price) == (OrderStatus.FILLED, Decimal("101.5"))
    assert filled.fills[0].liquidity is Liquidity.TAKER
    assert (missed.status, missed.filled) == (OrderStatus.EXPIRED, Decimal(0))


async def test_resting_limit_fills_as_maker_at_its_price_or_a_better_open() -> None:
    candles = [(100.0, 100.0, 100.0, 100.0), (100.0, 100.0, 95.0, 96.0), (90.0, 92.0, 89.0, 91.0)]
    run = PaperRun({BTC: candles}, PaperConfig())
    run.at(1)
    for name, limit in (("near", "97"), ("far", "94")):
        report = await run.exchange.create_order(order(name, "1", kind=OrderType.LIMIT, price=limit, **REST))
        assert report.status is OrderStatus.OPEN
    run.at(3)
    near, far = await run.fills()
    assert (near.price, near.at, near.liquidity) == (Decimal(97), instant(2), Liquidity.MAKER)
    assert (far.price, far.at) == (Decimal(90), instant(3))
    assert near.fee == Decimal(97) * Decimal("0.00015")


async def test_a_client_order_id_is_good_once() -> None:
    run = PaperRun({BTC: RISING})
    run.at(1)
    await run.market("same", "1")
    assert await refused(run, order("same", "1")) == "DUPLICATE"
    assert await run.net() == Decimal(1)
    assert (await run.find("same")).status is OrderStatus.FILLED


async def test_a_refused_order_is_found_later_and_its_id_is_used_up() -> None:
    run = PaperRun({BTC: RISING})
    run.at(1)
    assert await refused(run, order("big", "1000")) == "INSUFFICIENT_MARGIN"
    found = await run.find("big")
    assert found.status is OrderStatus.REJECTED
    assert "INSUFFICIENT_MARGIN" in found.reason
    assert await refused(run, order("big", "1")) == "DUPLICATE"


async def test_an_order_past_its_expiry_never_leaves() -> None:
    run = PaperRun({BTC: RISING})
    run.at(1)
    late = replace(order("late", "1"), send_before=instant(1) - timedelta(seconds=1))
    with pytest.raises(OrderDenied, match="late must be sent by"):
        await run.exchange.create_order(late)
    assert await run.exchange.lookup_order(ClientOrderId("late"), BTC) is None
    on_time = await run.exchange.create_order(replace(order("edge", "1"), send_before=instant(1)))
    assert on_time.status is OrderStatus.FILLED


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (order("x", "1", symbol=Symbol("NONE/USDT:USDT")), "UNKNOWN_SYMBOL"),
        (order("x", "0.0000001"), "LOT"),
        (replace(order("x", "1"), quantity=Decimal(0)), "LOT"),
        (replace(order("x", "1"), quantity=Decimal("NaN")), "NUMBER"),
        (order("x", "1", kind=OrderType.LIMIT), "PRICE"),
        (order("x", "1", kind=OrderType.STOP, price="0"), "PRICE"),
        (order("x", "0.04"), "BELOW_MIN_NOTIONAL"),
        (order("x", "-1", reduce_only=True), "REDUCE_ONLY"),
    ],
)
async def test_what_the_venue_refuses(request_: OrderRequest, code: str) -> None:
    run = PaperRun({BTC: RISING})
    run.at(1)
    assert await refused(run, request_) == code
    assert await run.fills() == []


async def test_prices_off_the_tick_and_halted_instruments_are_refused() -> None:
    ticked = Instrument(symbol=BTC, tick=Decimal("0.5"))
    run = PaperRun({BTC: RISING}, replace(FREE, instruments={BTC: ticked}))
    run.at(1)
    assert await refused(run, order("x", "1", kind=OrderType.LIMIT, price="100.3")) == "TICK"
    halted = PaperRun({BTC: RISING}, replace(FREE, instruments={BTC: replace(ticked, tradable=False)}))
    halted.at(1)
    assert await refused(halted, order("x", "1")) == "INSTRUMENT_HALTED"


async def test_reduces_may_be_below_the_minimum_and_are_cut_to_the_position() -> None:
    run = PaperRun({BTC: RISING})
    run.at(1)
    await run.market("in", "1")
    small = await run.market("small", "-0.01", reduce=True)
    assert (small.status, small.filled) == (OrderStatus.FILLED, Decimal("0.01"))
    rest = await run.market("rest", "-5", reduce=True)
    assert (rest.status, rest.filled) == (OrderStatus.FILLED, Decimal("0.99"))
    assert await run.net() == 0


async def test_margin_counts_leverage_and_resting_limits() -> None:
    run = PaperRun({BTC: flat(100.0, 5)}, replace(FREE, start_equity=Decimal(1000)))
    run.at(1)
    assert await refused(run, order("a", "11")) == "INSUFFICIENT_MARGIN"
    await run.exchange.set_leverage(BTC, 10)
    await run.market("b", "60")
    resting = await run.exchange.create_order(order("c", "40", kind=OrderType.LIMIT, price="90", **REST))
    assert resting.status is OrderStatus.OPEN
    assert (await run.exchange.fetch_balance()).margin_used == Decimal(960)
    assert await refused(run, order("d", "5")) == "INSUFFICIENT_MARGIN"
    assert (await run.market("e", "-30")).status is OrderStatus.FILLED


@pytest.mark.parametrize("leverage", [0, 51])
async def test_leverage_stays_within_the_instrument(leverage: int) -> None:
    run = PaperRun({BTC: RISING})
    with pytest.raises(OrderRejected, match="expected 1 to 50"):
        await run.exchange.set_leverage(BTC, leverage)


async def test_cancel_returns_the_final_report_and_knows_what_never_was() -> None:
    run = PaperRun({BTC: RISING})
    run.at(1)
    await run.market("in", "1")
    await run.stop("s", "-1", "50")
    canceled = await run.exchange.cancel_order(ClientOrderId("s"), BTC)
    again = await run.exchange.cancel_order(ClientOrderId("s"), BTC)
    done = await run.exchange.cancel_order(ClientOrderId("in"), BTC)
    assert canceled.status is again.status is OrderStatus.CANCELED
    assert done.status is OrderStatus.FILLED
    with pytest.raises(OrderRejected, match="there is no order"):
        await run.exchange.cancel_order(ClientOrderId("other"), BTC)


async def test_volume_share_cuts_entries_and_lets_reduces_go_on() -> None:
    candles = [(100.0, 100.0, 100.0, 100.0, 10.0)] * 6
    run = PaperRun({BTC: candles}, replace(FREE, volume_share=Decimal("0.1"), start_equity=Decimal(100_000)))
    run.at(1)
    entry = await run.market("in", "3")
    assert (entry.status, entry.filled, len(entry.fills)) == (OrderStatus.EXPIRED, Decimal(1), 1)
    run.at(2)
    await run.market("more", "1")
    run.at(3)
    out = await run.market("out", "-2", reduce=True)
    assert (out.status, out.filled) == (OrderStatus.OPEN, Decimal(1))
    run.at(4)
    assert await run.exchange.finish()
    done: OrderReport = await run.find("out")
    assert (done.status, [fill.at for fill in done.fills]) == (OrderStatus.FILLED, [instant(3), instant(4)])
    assert await run.net() == 0


async def test_a_book_liquidation_fills_at_the_mark() -> None:
    run = PaperRun({BTC: [(100.0, 100.0, 100.0, 100.0), (80.0, 80.0, 80.0, 80.0), (70.0, 70.0, 70.0, 70.0)]})
    run.at(1)
    await run.market("in", "1")
    run.at(2)
    closed = await run.exchange.create_order(replace(order("liq", "-1", reduce_only=True), liquidation=True))
    assert closed.fills[0].price == Decimal(80)
