"""Small recorded markets and a paper account on them, for tests of venues: candles in, orders by short calls."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import polars as pl

from exchanges.clock import ManualClock, from_ms
from exchanges.paper.account import PaperVenue
from exchanges.paper.adapter import PaperExchange
from exchanges.paper.config import PaperConfig
from exchanges.paper.ledger import MemoryPaperLedger, PaperLedger
from exchanges.paper.state import PaperAccountId
from exchanges.replay.columns import CandleColumns, FundingColumns, FundingRate
from exchanges.replay.path import ReplayPath
from exchanges.types import ClientOrderId, Fill, OrderReport, OrderRequest, OrderType, Side, Symbol, TimeInForce

BTC = Symbol("BTC/USDT:USDT")
ETH = Symbol("ETH/USDT:USDT")
ACCOUNT = PaperAccountId("test")
MINUTE_MS = 60_000
START_MS = 1_746_360_000_000
FREE = PaperConfig(fee_bps=Decimal(0), maker_fee_bps=Decimal(0), slippage_bps=Decimal(0))

REST: dict[str, Any] = {"time_in_force": TimeInForce.GTC}

Candle = tuple[float, float, float, float] | tuple[float, float, float, float, float] | None
FIELDS = ("open", "high", "low", "close", "volume")


def instant(minute: float) -> datetime:
    """Return the begin of candle `minute`, which is the close of the one before."""
    return from_ms(START_MS + int(minute * MINUTE_MS))


def candle_frame(candles: Sequence[Candle]) -> pl.DataFrame:
    """Return one symbol's minutes as the loader would; None is a missing one, volume is 1000 unless given."""
    rows = [
        (START_MS + index * MINUTE_MS, *candle, *(() if len(candle) == len(FIELDS) else (1000.0,)))
        for index, candle in enumerate(candles)
        if candle is not None
    ]
    schema = {"ts_ms": pl.Int64} | dict.fromkeys(FIELDS, pl.Float64)
    return pl.DataFrame(rows, schema=schema, orient="row")


def candle_columns(candles: Mapping[Symbol, Sequence[Candle]]) -> CandleColumns:
    """Return several symbols' minutes as columns."""
    return CandleColumns({symbol: candle_frame(rows) for symbol, rows in candles.items()}, MINUTE_MS)


def flat(price: float, count: int) -> list[Candle]:
    """Return candles that stand still."""
    return [(price, price, price, price)] * count


class PaperRun:
    """Trade one paper account on recorded minutes, at instants named by their minute."""

    def __init__(
        self,
        candles: Mapping[Symbol, Sequence[Candle]],
        config: PaperConfig = FREE,
        *,
        funding: Sequence[tuple[int, Symbol, str]] = (),
        ledger: PaperLedger | None = None,
        lookahead: timedelta = timedelta(hours=1),
    ) -> None:
        rates = [FundingRate(START_MS + minute * MINUTE_MS, symbol, Decimal(rate)) for minute, symbol, rate in funding]
        self.clock = ManualClock(instant(0))
        self.columns = candle_columns(candles)
        self.path = ReplayPath(self.columns, FundingColumns(rates))
        self.venue = PaperVenue.build(config, self.path)
        self.ledger = ledger or MemoryPaperLedger()
        self.exchange = PaperExchange(ACCOUNT, self.venue, self.ledger, self.clock, lookahead=lookahead)

    def at(self, minute: float) -> None:
        """Move the clock to the begin of a minute."""
        self.clock.set(instant(minute))

    async def market(self, name: str, quantity: str, *, symbol: Symbol = BTC, reduce: bool = False) -> OrderReport:
        """Send a market order; a negative quantity sells."""
        return await self.exchange.create_order(order(name, quantity, symbol=symbol, reduce_only=reduce))

    async def stop(self, name: str, quantity: str, trigger: str, *, symbol: Symbol = BTC) -> OrderReport:
        """Rest a reduce-only stop."""
        return await self.exchange.create_order(
            order(name, quantity, kind=OrderType.STOP, price=trigger, symbol=symbol, reduce_only=True, **REST)
        )

    async def take_profit(self, name: str, quantity: str, trigger: str, *, symbol: Symbol = BTC) -> OrderReport:
        """Rest a reduce-only take-profit."""
        return await self.exchange.create_order(
            order(name, quantity, kind=OrderType.TAKE_PROFIT, price=trigger, symbol=symbol, reduce_only=True, **REST)
        )

    async def fills(self) -> list[Fill]:
        """Return all fills so far."""
        return list(await self.exchange.fetch_fills(instant(0)))

    async def find(self, name: str, symbol: Symbol = BTC) -> OrderReport:
        """Return an order that must exist."""
        found = await self.exchange.lookup_order(ClientOrderId(name), symbol)
        assert found is not None
        return found

    async def net(self, symbol: Symbol = BTC) -> Decimal:
        """Return the signed net position."""
        held = {position.symbol: position.quantity for position in await self.exchange.fetch_positions()}
        return held.get(symbol, Decimal(0))


def order(
    name: str,
    quantity: str,
    *,
    kind: OrderType = OrderType.MARKET,
    price: str | None = None,
    symbol: Symbol = BTC,
    **changes: Any,
) -> OrderRequest:
    """Build an IOC request; a negative quantity sells, `price` is the limit or the trigger as the kind needs."""
    signed = Decimal(quantity)
    value = None if price is None else Decimal(price)
    limited = kind is OrderType.LIMIT
    request = OrderRequest(
        client_order_id=ClientOrderId(name),
        symbol=symbol,
        side=Side.BUY if signed > 0 else Side.SELL,
        type=kind,
        quantity=abs(signed),
        limit_price=value if limited else None,
        trigger_price=None if limited else value,
    )
    return replace(request, **changes)
