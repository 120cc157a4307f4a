"""Whatever is sent in whatever order: paper money is conserved and a reduce never flips."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from exchanges.errors import OrderRejected
from exchanges.paper.config import PaperConfig
from exchanges.paper.fills import reducible
from exchanges.paper.state import FLAT
from exchanges.types import ClientOrderId, FillKind, OrderStatus, OrderType, Side, Symbol, TimeInForce
from paper_market import BTC, ETH, Candle, PaperRun, instant, order

MINUTES = 12
SYMBOLS = (BTC, ETH)


@dataclass(frozen=True)
class Act:
    minute: int
    kind: OrderType
    symbol_index: int
    quantity: int
    price: int
    reduce: bool
    rest: bool


acts = st.lists(
    st.builds(
        Act,
        minute=st.integers(0, MINUTES - 1),
        kind=st.sampled_from(OrderType),
        symbol_index=st.integers(0, 1),
        quantity=st.integers(-40, 40).filter(bool),
        price=st.integers(85, 115),
        reduce=st.booleans(),
        rest=st.booleans(),
    ),
    max_size=14,
)


@st.composite
def candle(draw: st.DrawFn) -> Candle:
    if draw(st.integers(0, 9)) == 0:
        return None
    prices = sorted(draw(st.lists(st.integers(850, 1150), min_size=4, max_size=4)))
    opened, close = draw(st.permutations(prices[1:3]))
    return opened / 10, prices[3] / 10, prices[0] / 10, close / 10, 300.0


markets = st.fixed_dictionaries({symbol: st.lists(candle(), min_size=MINUTES, max_size=MINUTES) for symbol in SYMBOLS})
configs = st.builds(
    PaperConfig,
    fee_bps=st.sampled_from([Decimal(0), Decimal("4.5")]),
    slippage_bps=st.sampled_from([Decimal(0), Decimal(7)]),
    maker_fee_bps=st.just(Decimal(0)),
    volume_share=st.sampled_from([None, Decimal("0.05")]),
    default_leverage=st.just(20),
    start_equity=st.sampled_from([Decimal(300), Decimal(100_000)]),
)


async def play(
    candles: dict[Symbol, list[Candle]], config: PaperConfig, sent: list[Act], *, step: bool = False
) -> PaperRun:
    whole = (100.0, 100.0, 100.0, 100.0, 300.0)
    framed = {symbol: [whole, *rows, whole] for symbol, rows in candles.items()}
    rates = [(minute, symbol, "0.001") for minute in (4, 8) for symbol in SYMBOLS]
    run = PaperRun(framed, config, funding=rates, lookahead=timedelta(0) if step else timedelta(hours=1))
    minute = 0
    for index, act in enumerate(sorted(sent, key=lambda one: one.minute)):
        for passed in range(minute if step else act.minute, act.minute + 1):
            run.at(passed + 1)
            await run.exchange.fetch_open_orders()
        minute = act.minute
        symbol = SYMBOLS[act.symbol_index]
        price = None if act.kind is OrderType.MARKET else str(act.price)
        force = TimeInForce.GTC if act.rest else TimeInForce.IOC
        request = order(f"{index:02d}", str(act.quantity), kind=act.kind, price=price, symbol=symbol)
        request = replace(request, reduce_only=act.reduce, time_in_force=force)
        with suppress(OrderRejected):
            await run.exchange.create_order(request)
    for passed in range(minute if step else MINUTES + 1, MINUTES + 2):
        run.at(passed + 1)
        await run.exchange.fetch_open_orders()
    return run


@given(markets, configs, acts)
def test_cash_and_positions_are_what_the_fills_add_up_to(
    candles: dict[Symbol, list[Candle]], config: PaperConfig, sent: list[Act]
) -> None:
    async def check() -> None:
        run = await play(candles, config, sent)
        fills = await run.fills()
        funding = await run.exchange.fetch_funding(instant(0))
        balance = await run.exchange.fetch_balance()
        equity = config.start_equity + sum(one.amount for one in funding)
        for fill in fills:
            equity -= fill.side.sign * fill.quantity * fill.price + fill.fee
        for symbol in SYMBOLS:
            net = sum((fill.side.sign * fill.quantity for fill in fills if fill.symbol == symbol), Decimal(0))
            assert net == await run.net(symbol)
            mark = run.path.mark(symbol, run.clock.now())
            assert mark is not None
            equity += net * mark[0]
        assert balance.equity == equity

    asyncio.run(check())


@given(markets, configs, acts)
def test_reduce_only_orders_and_liquidations_never_flip(
    candles: dict[Symbol, list[Candle]], config: PaperConfig, sent: list[Act]
) -> None:
    async def check() -> None:
        run = await play(candles, config, sent)
        net = dict.fromkeys(SYMBOLS, Decimal(0))
        for fill in await run.fills():
            before = net[fill.symbol]
            net[fill.symbol] += fill.side.sign * fill.quantity
            found = fill.client_order_id and await run.find(fill.client_order_id, fill.symbol)
            if fill.kind is FillKind.LIQUIDATION:
                assert net[fill.symbol] == 0
            elif found and found.reduce_only:
                assert abs(net[fill.symbol]) < abs(before)
                assert net[fill.symbol] * before >= 0

    asyncio.run(check())


@given(markets, configs, acts)
def test_orders_are_filled_as_far_as_their_fills_say(
    candles: dict[Symbol, list[Candle]], config: PaperConfig, sent: list[Act]
) -> None:
    async def check() -> None:
        run = await play(candles, config, sent)
        open_ids = {one.client_order_id for one in await run.exchange.fetch_open_orders()}
        for index in range(len(sent)):
            for symbol in SYMBOLS:
                found = await run.exchange.lookup_order(ClientOrderId(f"{index:02d}"), symbol)
                if found is None:
                    continue
                assert sum((fill.quantity for fill in found.fills), Decimal(0)) == found.filled <= found.quantity
                assert (found.status is OrderStatus.FILLED) == (found.filled == found.quantity)
                assert (found.status is OrderStatus.OPEN) == (found.client_order_id in open_ids)

    asyncio.run(check())


@given(markets, configs, acts)
def test_jumping_with_foresight_equals_stepping_without(
    candles: dict[Symbol, list[Candle]], config: PaperConfig, sent: list[Act]
) -> None:
    async def check() -> None:
        jumped, stepped = await play(candles, config, sent), await play(candles, config, sent, step=True)
        assert await jumped.fills() == await stepped.fills()
        assert await jumped.exchange.fetch_open_orders() == await stepped.exchange.fetch_open_orders()
        assert await jumped.exchange.fetch_balance() == await stepped.exchange.fetch_balance()

    asyncio.run(check())


amounts = st.decimals(min_value=-1000, max_value=1000, places=6)
prices = st.decimals(min_value="0.001", max_value=100_000, places=4)


@given(st.lists(st.tuples(amounts.filter(bool), prices), max_size=12))
def test_realized_profit_plus_cost_is_exact(deals: list[tuple[Decimal, Decimal]]) -> None:
    position, realized, paid = FLAT, Decimal(0), Decimal(0)
    for quantity, price in deals:
        position, gained = position.apply(quantity, price, Decimal(1))
        realized += gained
        paid += quantity * price
    assert position.quantity == sum((quantity for quantity, _ in deals), Decimal(0))
    assert position.cost == paid + realized


@given(amounts, st.sampled_from(Side), amounts.map(abs))
def test_what_is_reducible_brings_the_position_nearer_to_zero(net: Decimal, side: Side, wanted: Decimal) -> None:
    taken = reducible(net, side, wanted)
    after = net + side.sign * taken
    assert 0 <= taken <= wanted
    assert after * net >= 0
    assert abs(after) == abs(net) - taken
