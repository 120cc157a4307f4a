"""Time passing on a paper account: funding, liquidation, gaps, waiting orders, the next event."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from exchanges.errors import ExchangeConfigError
from exchanges.paper.config import PaperConfig
from exchanges.types import FillKind, OrderStatus, OrderType
from paper_market import BTC, ETH, FREE, REST, Candle, PaperRun, flat, instant, order

FALLING: list[Candle] = [(100.0 - 5 * n, 100.0 - 5 * n, 95.0 - 5 * n, 95.0 - 5 * n) for n in range(8)]


async def test_a_long_pays_a_positive_rate_and_a_short_receives_it() -> None:
    candles = {BTC: flat(100.0, 6), ETH: flat(50.0, 6)}
    run = PaperRun(candles, funding=[(3, BTC, "0.001"), (3, ETH, "0.001"), (4, BTC, "-0.002")])
    run.at(1)
    await run.market("long", "2")
    await run.market("short", "-10", symbol=ETH)
    run.at(5)
    payments = await run.exchange.fetch_funding(instant(0))
    assert [(one.symbol, one.at, one.amount) for one in payments] == [
        (BTC, instant(3), Decimal("-0.2")),
        (ETH, instant(3), Decimal("0.5")),
        (BTC, instant(4), Decimal("0.4")),
    ]
    assert (await run.exchange.fetch_balance()).cash == Decimal("10000.7")
    assert await run.exchange.fetch_funding(instant(4)) == payments[2:]


async def test_funding_is_for_positions_held_before_its_instant() -> None:
    run = PaperRun({BTC: flat(100.0, 6)}, funding=[(2, BTC, "0.001")])
    run.at(2)
    await run.market("in", "1")
    run.at(5)
    assert await run.exchange.fetch_funding(instant(0)) == []


async def test_funding_uses_the_mark_of_its_instant_after_touches() -> None:
    candles = [(100.0, 100.0, 100.0, 100.0), (100.0, 110.0, 100.0, 108.0), (108.0, 108.0, 108.0, 108.0)]
    run = PaperRun({BTC: candles}, funding=[(2, BTC, "0.01")])
    run.at(1)
    await run.market("in", "2")
    await run.take_profit("t", "-1", "109")
    run.at(2)
    payment = (await run.exchange.fetch_funding(instant(0)))[0]
    assert (payment.mark, payment.amount) == (Decimal(108), Decimal("-1.08"))


async def test_the_account_is_liquidated_at_the_mark_below_maintenance() -> None:
    config = replace(PaperConfig(start_equity=Decimal(1000)), fee_bps=Decimal(10), slippage_bps=Decimal(10))
    run = PaperRun({BTC: FALLING}, config)
    run.at(1)
    await run.exchange.set_leverage(BTC, 10)
    await run.market("in", "80")
    await run.stop("s", "-80", "1")
    assert await run.exchange.next_event(instant(8)) == instant(4)
    run.at(3)
    assert await run.net() == 80
    run.at(4)
    assert await run.net() == 80, "the owner may act before the account is tested"
    assert await run.exchange.settle()
    assert not await run.exchange.settle()
    assert await run.net() == 0
    fill = (await run.fills())[-1]
    assert (fill.kind, fill.client_order_id, fill.at) == (FillKind.LIQUIDATION, None, instant(4))
    assert fill.price == Decimal(80) * Decimal("0.999")
    assert fill.fee == fill.price * 80 * Decimal("0.001")
    stop = await run.find("s")
    assert (stop.status, stop.reason) == (OrderStatus.CANCELED, "account liquidation")
    balance = await run.exchange.fetch_balance()
    assert balance.equity == balance.cash < 0


async def test_the_owner_may_close_in_time_and_save_the_account() -> None:
    run = PaperRun({BTC: FALLING}, replace(FREE, start_equity=Decimal(1000)))
    run.at(1)
    await run.exchange.set_leverage(BTC, 10)
    await run.market("in", "80")
    run.at(3)
    close = order("book", "-75", reduce_only=True, liquidation=True)
    assert (await run.exchange.create_order(close)).fills[0].price == Decimal(85)
    run.at(8)
    assert await run.exchange.settle() is False
    assert await run.net() == 5


async def test_a_liquidation_nobody_settled_happens_when_time_moves_on() -> None:
    run = PaperRun({BTC: FALLING}, replace(FREE, start_equity=Decimal(1000)))
    run.at(1)
    await run.exchange.set_leverage(BTC, 10)
    await run.market("in", "80")
    run.at(4)
    assert await run.net() == 80
    run.at(4.01)
    assert await run.net() == 0
    assert (await run.fills())[-1].at == instant(4)


@pytest.mark.parametrize(("kind", "price"), [(OrderType.MARKET, None), (OrderType.LIMIT, "91")])
async def test_waiting_reduces_fill_before_a_new_order_meets_the_price(kind: OrderType, price: str | None) -> None:
    run = PaperRun({BTC: [*flat(100.0, 2), None, (90.0, 91.0, 89.0, 90.0), *flat(90.0, 1)]})
    run.at(1)
    await run.market("in", "2")
    run.at(2)
    await run.market("out", "-1", reduce=True)
    run.at(3)
    await run.exchange.create_order(order("more", "1", kind=kind, price=price))
    assert [fill.client_order_id for fill in await run.fills()] == ["in", "out", "more"]


async def test_the_reported_liquidation_price_liquidates_exactly() -> None:
    run = PaperRun({BTC: flat(100.0, 3)}, replace(FREE, start_equity=Decimal(1000)))
    run.at(1)
    await run.exchange.set_leverage(BTC, 10)
    await run.market("in", "50")
    price = (await run.exchange.fetch_positions())[0].liquidation_price
    assert price is not None
    assert abs(Decimal(1000) + 50 * (price - 100) - 50 * price * Decimal("0.005")) < Decimal("1e-20")


async def test_offsetting_symbols_share_one_margin() -> None:
    rising: list[Candle] = [(100.0 + 5 * n, 105.0 + 5 * n, 100.0 + 5 * n, 105.0 + 5 * n) for n in range(8)]
    run = PaperRun({BTC: FALLING, ETH: rising}, replace(FREE, start_equity=Decimal(1000)))
    run.at(1)
    for symbol in (BTC, ETH):
        await run.exchange.set_leverage(symbol, 20)
        await run.market(f"in-{symbol}", "80", symbol=symbol)
    run.at(8)
    assert await run.net(BTC) == await run.net(ETH) == 80


async def test_nothing_fills_before_the_first_mark() -> None:
    run = PaperRun({BTC: flat(100.0, 3)})
    assert (await run.market("in", "1")).status is OrderStatus.EXPIRED


async def test_an_entry_without_a_candle_expires() -> None:
    run = PaperRun({BTC: [*flat(100.0, 2), None, None, *flat(90.0, 2)]})
    run.at(2)
    report = await run.market("in", "1")
    assert (report.status, report.filled, report.reason) == (OrderStatus.EXPIRED, Decimal(0), "no price")


async def test_a_reduce_without_a_candle_waits_for_the_next_open() -> None:
    run = PaperRun({BTC: [*flat(100.0, 2), None, None, (90.0, 91.0, 89.0, 90.0), *flat(90.0, 1)]})
    run.at(1)
    await run.market("in", "2")
    run.at(2)
    waiting = await run.market("out", "-1", reduce=True)
    plain = await run.exchange.create_order(order("plain-out", "-1", **REST))
    assert (await run.market("dies", "-1")).status is OrderStatus.EXPIRED
    assert waiting.status is plain.status is OrderStatus.OPEN
    assert await run.exchange.next_event(instant(10)) == instant(4)
    run.at(3)
    assert await run.net() == 2
    run.at(4)
    assert await run.exchange.finish()
    assert not await run.exchange.finish()
    assert [(fill.price, fill.at) for fill in (await run.fills())[1:]] == [(Decimal(90), instant(4))] * 2


async def test_waiting_orders_expire_at_the_end() -> None:
    run = PaperRun({BTC: [*flat(100.0, 2), None, *flat(100.0, 1)], ETH: flat(1.0, 4)})
    run.at(1)
    await run.market("in", "1")
    await run.stop("s", "-1", "50")
    run.at(2)
    await run.market("out", "-1", reduce=True)
    ended = await run.exchange.expire_waiting()
    assert [(one.client_order_id, one.status) for one in ended] == [("out", OrderStatus.EXPIRED)]
    assert [one.client_order_id for one in await run.exchange.fetch_open_orders()] == ["s"]


async def test_nothing_fills_in_a_gap_and_a_stop_fills_at_the_open_after_it() -> None:
    run = PaperRun({BTC: [*flat(100.0, 2), None, None, (80.0, 82.0, 79.0, 81.0)], ETH: flat(1.0, 6)})
    run.at(1)
    await run.market("in", "1")
    await run.stop("s", "-1", "95")
    run.at(4)
    assert await run.net() == 1
    balance = await run.exchange.fetch_balance()
    assert balance.equity == Decimal(10_000)
    run.at(5)
    assert ((await run.fills())[-1].price, (await run.fills())[-1].at) == (Decimal(80), instant(5))


async def test_the_next_event_is_the_earliest_of_all() -> None:
    candles = [(100.0 + n, 101.0 + n, 100.0 + n, 101.0 + n) for n in range(20)]
    run = PaperRun({BTC: candles}, funding=[(6, BTC, "0.0001"), (12, ETH, "0.0001")])
    run.at(1)
    assert await run.exchange.next_event(instant(20)) is None
    await run.market("in", "2")
    await run.take_profit("late", "-1", "115")
    assert await run.exchange.next_event(instant(20)) == instant(6)
    assert await run.exchange.next_event(instant(5)) is None
    await run.take_profit("soon", "-1", "103.5")
    assert await run.exchange.next_event(instant(20)) == instant(4)
    run.at(4)
    assert await run.exchange.next_event(instant(20)) == instant(6)
    run.at(7)
    assert await run.exchange.next_event(instant(20)) == instant(15)


async def test_one_long_jump_equals_many_small_steps() -> None:
    candles = [(100.0 + n % 7, 104.0 + n % 7, 96.0 + n % 7, 101.0 + n % 5) for n in range(60)]
    results = []
    for steps in (range(2, 60), [59]):
        run = PaperRun({BTC: candles}, PaperConfig(), funding=[(n, BTC, "0.0001") for n in range(8, 60, 8)])
        run.at(1)
        await run.market("in", "6")
        for name, price in (("a", "95.5"), ("b", "92"), ("c", "97")):
            await run.stop(name, "-1", price)
        await run.take_profit("t", "-2", "109.5")
        for step in steps:
            run.at(step)
            await run.exchange.fetch_balance()
        results.append((await run.fills(), await run.exchange.fetch_funding(instant(0)), await run.net()))
    assert results[0] == results[1]
    assert len(results[0][0]) > 2


async def test_trigger_orders_of_an_entry_kind_do_not_reserve_margin() -> None:
    run = PaperRun({BTC: flat(100.0, 3)}, replace(FREE, start_equity=Decimal(100)))
    run.at(1)
    report = await run.exchange.create_order(order("s", "-50", kind=OrderType.STOP, price="90", **REST))
    assert report.status is OrderStatus.OPEN
    assert (await run.exchange.fetch_balance()).margin_used == 0


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("fee_bps", Decimal(-1)),
        ("maker_fee_bps", Decimal(-5)),
        ("slippage_bps", Decimal("NaN")),
        ("volume_share", Decimal(2)),
        ("start_equity", Decimal(0)),
        ("default_leverage", 0),
    ],
)
def test_settings_no_venue_could_have(field: str, value: Any) -> None:
    with pytest.raises(ExchangeConfigError, match=f"{field} is {value}, expected"):
        PaperConfig(**{field: value})
