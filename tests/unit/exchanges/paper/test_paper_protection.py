"""Stops and take-profits on the paper venue: touches, gaps, both in one candle, legs of several traders."""

from dataclasses import replace
from decimal import Decimal

import pytest

from exchanges.errors import OrderRejected
from exchanges.paper.account import OTHER_LEG
from exchanges.paper.config import PaperConfig
from exchanges.types import BracketId, Liquidity, OrderStatus, OrderType
from paper_market import BTC, ETH, FREE, REST, PaperRun, flat, instant, order

QUIET = (100.0, 100.0, 100.0, 100.0)


async def test_a_stop_fills_at_its_trigger_with_slippage_and_taker_fee_at_the_end_of_the_candle() -> None:
    run = PaperRun({BTC: [QUIET, QUIET, (99.0, 99.0, 94.0, 98.0), QUIET]}, PaperConfig())
    run.at(1)
    await run.market("in", "1")
    await run.stop("s", "-1", "95")
    run.at(4)
    fill = (await run.fills())[-1]
    assert fill.price == Decimal(95) * Decimal("0.9999")
    assert fill.fee == fill.price * Decimal("0.00045")
    assert (fill.at, fill.liquidity) == (instant(3), Liquidity.TAKER)
    assert await run.net() == 0


async def test_a_gap_through_the_stop_fills_at_the_open() -> None:
    run = PaperRun({BTC: [QUIET, QUIET, (90.0, 96.0, 88.0, 95.0)]})
    run.at(1)
    await run.market("in", "1")
    await run.stop("s", "-1", "95")
    run.at(3)
    assert (await run.fills())[-1].price == Decimal(90)


async def test_a_take_profit_fills_at_its_price_as_maker() -> None:
    run = PaperRun({BTC: [QUIET, (100.0, 111.0, 100.0, 105.0)]}, PaperConfig())
    run.at(1)
    await run.market("in", "1")
    await run.take_profit("t", "-1", "110")
    run.at(2)
    at_price = (await run.fills())[-1]
    assert (at_price.price, at_price.liquidity, at_price.at) == (Decimal(110), Liquidity.MAKER, instant(2))
    assert at_price.fee == Decimal(110) * Decimal("0.00015")


async def test_a_take_profit_takes_a_better_open() -> None:
    run = PaperRun({BTC: [QUIET, QUIET, (115.0, 116.0, 108.0, 114.0)]})
    run.at(1)
    await run.market("in", "1")
    await run.take_profit("t", "-1", "110")
    run.at(3)
    assert (await run.fills())[-1].price == Decimal(115)


async def test_shorts_are_protected_the_other_way_round() -> None:
    run = PaperRun({BTC: [QUIET, (100.0, 106.0, 100.0, 101.0), QUIET], ETH: [QUIET, (100.0, 100.0, 89.0, 95.0), QUIET]})
    run.at(1)
    for symbol in (BTC, ETH):
        await run.market(f"in-{symbol}", "-1", symbol=symbol)
        await run.stop(f"s-{symbol}", "1", "105", symbol=symbol)
        await run.take_profit(f"t-{symbol}", "1", "90", symbol=symbol)
    run.at(3)
    prices = {fill.symbol: fill.price for fill in (await run.fills())[2:]}
    assert prices == {BTC: Decimal(105), ETH: Decimal(90)}


async def test_stop_and_take_profit_in_one_candle_the_stop_wins_and_the_take_profit_is_canceled() -> None:
    run = PaperRun({BTC: [QUIET, (100.0, 120.0, 80.0, 100.0), QUIET]})
    run.at(1)
    await run.market("in", "1")
    await run.take_profit("a-target", "-1", "110")
    await run.stop("z-stop", "-1", "95")
    run.at(2)
    assert [fill.price for fill in await run.fills()] == [Decimal(100), Decimal(95)]
    taking = await run.find("a-target")
    assert (taking.status, taking.reason) == (OrderStatus.CANCELED, "reduce-only: position closed")


async def test_protection_is_live_in_the_entrys_own_candle_and_not_before() -> None:
    run = PaperRun({BTC: [(100.0, 100.0, 80.0, 100.0), (100.0, 100.0, 94.0, 99.0), QUIET]})
    run.at(1)
    await run.market("in", "1")
    await run.stop("s", "-1", "95")
    assert await run.net() == 1
    run.at(2)
    assert await run.net() == 0


async def test_legs_of_several_traders_fill_for_their_own_quantity() -> None:
    run = PaperRun({BTC: [QUIET, (100.0, 100.0, 94.0, 96.0), (96.0, 96.0, 89.0, 91.0), QUIET]})
    run.at(1)
    await run.market("in", "10")
    await run.stop("trader-a", "-4", "95")
    await run.stop("trader-b", "-6", "90")
    run.at(2)
    assert await run.net() == 6
    assert (await run.find("trader-b")).status is OrderStatus.OPEN
    run.at(3)
    assert await run.net() == 0


async def test_a_leg_larger_than_the_net_position_never_flips_it() -> None:
    run = PaperRun({BTC: [QUIET, (100.0, 100.0, 94.0, 96.0), QUIET]})
    run.at(1)
    await run.market("in", "3")
    await run.stop("big", "-10", "95")
    run.at(2)
    assert await run.net() == 0
    big = await run.find("big")
    assert (big.status, big.filled) == (OrderStatus.CANCELED, Decimal(3))


async def test_legs_die_with_the_position_they_protect() -> None:
    run = PaperRun({BTC: flat(100.0, 4), ETH: flat(50.0, 4)})
    run.at(1)
    await run.market("in", "1")
    await run.market("eth", "1", symbol=ETH)
    await run.stop("s", "-1", "95")
    await run.stop("eth-stop", "-1", "45", symbol=ETH)
    await run.market("flip", "-2")
    assert (await run.find("s")).status is OrderStatus.CANCELED
    assert (await run.find("eth-stop", ETH)).status is OrderStatus.OPEN


async def test_a_plain_stop_fills_whole_and_may_open() -> None:
    run = PaperRun({BTC: [QUIET, (100.0, 100.0, 94.0, 96.0), QUIET]})
    run.at(1)
    await run.market("net", "4")
    await run.exchange.create_order(order("plain", "-10", kind=OrderType.STOP, price="95", **REST))
    run.at(2)
    assert await run.net() == -6


async def test_a_take_profit_fired_by_the_desk_fills_in_the_candle_that_ended() -> None:
    run = PaperRun({BTC: [QUIET, (100.0, 111.0, 100.0, 104.0), (104.0, 104.0, 104.0, 104.0)]}, PaperConfig())
    run.at(1)
    await run.market("in", "1")
    run.at(2)
    missed = await run.exchange.create_order(order("m", "-1", kind=OrderType.TAKE_PROFIT, price="112"))
    hit = await run.exchange.create_order(order("h", "-1", kind=OrderType.TAKE_PROFIT, price="110"))
    assert missed.status is OrderStatus.EXPIRED
    fill = hit.fills[0]
    assert (hit.status, fill.price, fill.at, fill.liquidity) == (
        OrderStatus.FILLED,
        Decimal(110),
        instant(2),
        Liquidity.MAKER,
    )


async def test_a_stop_sent_when_the_mark_is_beyond_it_fires_at_once() -> None:
    run = PaperRun({BTC: [QUIET, (100.0, 100.0, 90.0, 91.0), (92.0, 92.0, 92.0, 92.0)]})
    run.at(1)
    await run.market("in", "1")
    run.at(2)
    report = await run.stop("s", "-1", "95")
    assert (report.status, report.fills[0].price) == (OrderStatus.FILLED, Decimal(92))


async def test_a_take_profit_sent_beyond_fires_at_once_only_while_the_price_still_is() -> None:
    run = PaperRun({BTC: [QUIET, (100.0, 112.0, 100.0, 112.0), (108.0, 109.0, 108.0, 108.0), QUIET]})
    run.at(1)
    await run.market("in", "2")
    run.at(2)
    assert (await run.take_profit("back", "-1", "110")).status is OrderStatus.OPEN
    beyond = await run.take_profit("still", "-1", "107")
    assert (beyond.status, beyond.fills[0].price) == (OrderStatus.FILLED, Decimal(108))


async def test_a_triggered_stop_goes_on_until_its_quantity_is_done() -> None:
    thin = (100.0, 100.0, 100.0, 100.0, 20.0)
    candles = [thin, thin, (99.0, 99.0, 94.0, 96.0, 10.0), (93.0, 97.0, 93.0, 97.0, 5.0), thin]
    run = PaperRun({BTC: candles}, replace(FREE, volume_share=Decimal("0.1")))
    run.at(1)
    await run.market("in", "2")
    await run.stop("s", "-2", "95")
    run.at(5)
    fills = (await run.find("s")).fills
    assert [(fill.quantity, fill.price, fill.at) for fill in fills] == [
        (Decimal(1), Decimal(95), instant(3)),
        (Decimal("0.5"), Decimal(93), instant(3)),
        (Decimal("0.5"), Decimal(100), instant(4)),
    ]


async def test_a_leg_needs_something_to_protect() -> None:
    run = PaperRun({BTC: flat(100.0, 3)})
    run.at(1)
    await run.market("in", "1")
    with pytest.raises(OrderRejected, match="nothing to reduce"):
        await run.stop("wrong-side", "1", "105")


async def test_touches_come_by_symbol_then_stops_then_bracket_then_as_placed() -> None:
    wild = (100.0, 120.0, 80.0, 100.0)
    run = PaperRun({BTC: [QUIET, wild, QUIET], ETH: [QUIET, wild, QUIET]})
    run.at(1)
    for symbol in (ETH, BTC):
        await run.market(f"in-{symbol}", "4", symbol=symbol)
        await run.take_profit(f"a-{symbol}", "-1", "110", symbol=symbol)
        for name, bracket in (("z", "two"), ("y", "two"), ("x", "one")):
            stop = order(f"{name}-{symbol}", "-1", kind=OrderType.STOP, price="90", symbol=symbol, **REST)
            await run.exchange.create_order(replace(stop, bracket=BracketId(f"{bracket}-{symbol}")))
    run.at(2)
    fills = [fill.client_order_id for fill in (await run.fills())[2:]]
    assert fills == [f"{leg}-{symbol}" for symbol in (BTC, ETH) for leg in ("x", "z", "a")]
    assert [(await run.find(f"y-{symbol}", symbol)).reason for symbol in (BTC, ETH)] == [OTHER_LEG] * 2
