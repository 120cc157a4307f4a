"""The benchmark's twelve strategies in NautilusTrader, in one engine on one account; prints one JSON line.

`PYTHONPATH=. PEERS/bin/python benchmarks/peers/nautilus_twelve.py CANDLES.parquet STRATEGIES.json`, in an interpreter
with `benchmarks/requirements.txt`. Twelve strategies share one venue with a netting margin account. Entries, exits,
stops and take-profits are the desk's own (`desk_rules.py`), decided at each full hour; every entry is a bracket order.
Simplified, mostly in the peer's favour:

- Strategies read the last bar from the cache and subscribe to none; indicators are computed for whole columns as the
  desk does, once for all twelve, not bar by bar in the engine.
- The simulated venue takes the first open position of a symbol for that of every strategy when it checks
  reduce-only, so the flag is not honoured; an exit cancels the strategy's own orders one by one.
- Each size is 2,000 USD, as the desk's nearly always is. No conflict, no rule of risk of the desk (the engine's own
  risk checks stay on), no rebalancing, no funding, no liquidation, no invariant. Market orders fill at the last close.

Reading the file and making its bars is measured apart; logs and the analysis after the run are off. Version 1.221
does not ring its clock after the last bar, so each strategy decides once less there.
"""

# mypy: disable-error-code="import-untyped,import-not-found"
# The peers are only in their own interpreter.

import json
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import nautilus_trader
import numpy as np
import pandas as pd
from nautilus_trader.backtest.engine import BacktestEngine, BacktestEngineConfig
from nautilus_trader.config import LoggingConfig, StrategyConfig
from nautilus_trader.model.currencies import USDT
from nautilus_trader.model.data import BarType
from nautilus_trader.model.enums import AccountType, CurrencyType, OmsType, OrderSide
from nautilus_trader.model.identifiers import InstrumentId, Symbol, Venue
from nautilus_trader.model.instruments import CryptoPerpetual
from nautilus_trader.model.objects import Currency, Money, Price, Quantity
from nautilus_trader.persistence.wranglers import BarDataWrangler
from nautilus_trader.trading.strategy import Strategy

from benchmarks.peers.desk_rules import Bars, Held, Rules, View, read
from benchmarks.peers.measured import Run, measured
from benchmarks.twelve_traders import EQUITY_USD, FEE_BPS, MAKER_FEE_BPS
from exchanges.indicators import HOUR_MS, IndicatorTable
from executor.contract import Action, Decision

VENUE = Venue("PAPER")
PRICE_DIGITS, SIZE_DIGITS = 6, 6
S_NS = 1_000_000_000
AFTER_THE_BAR = timedelta(seconds=1)


class Market:
    """Show the symbols at a full hour."""

    def __init__(self, bars: Mapping[str, Bars], tables: Mapping[str, IndicatorTable]) -> None:
        self.types = {symbol: bar_type(one) for symbol, one in bars.items()}
        self._tables = tables

    def views(self, cache: Any, symbols: list[str], now_ms: int) -> dict[str, View]:
        """Return what is known of some symbols."""
        views = {}
        for symbol in symbols:
            bar, table = cache.bar(self.types[symbol]), self._tables[symbol]
            if bar is not None:
                views[symbol] = View(symbol, float(bar.close), table.row(table.count_at(now_ms)))
        return views


class Trader(Strategy):  # type: ignore[misc,unused-ignore]  # the base class has no types
    """Decide at each full hour on all symbols of one of the twelve."""

    def __init__(self, number: int, style: str, symbols: list[str], market: Market) -> None:
        super().__init__(StrategyConfig(strategy_id=style, order_id_tag=f"{number:02d}"))
        self.rules = Rules(style, symbols)
        self.symbols, self.market = symbols, market

    def on_start(self) -> None:
        """Wake each hour, once the bars that end with it are in."""
        first = datetime.fromtimestamp(-(-self.clock.timestamp_ms() // HOUR_MS) * HOUR_MS / 1000, UTC)
        hour = timedelta(milliseconds=HOUR_MS)
        self.clock.set_timer(
            "hour", interval=hour, start_time=first + AFTER_THE_BAR, callback=self.decide, fire_immediately=True
        )

    def decide(self, event: Any) -> None:
        """Close what lost its reason, open the strongest signal."""
        del event
        held = {one.instrument_id.symbol.value: one for one in self.cache.positions_open(strategy_id=self.id)}
        positions = tuple(Held(symbol, one.signed_qty) for symbol, one in held.items())
        now_ms = self.clock.timestamp_ms() // HOUR_MS * HOUR_MS
        market = self.market.views(self.cache, self.symbols, now_ms)
        for decision in self.rules.decide(market, positions):
            match decision.action:
                case Action.CLOSE_LONG | Action.CLOSE_SHORT:
                    self.leave(held[decision.symbol])
                case Action.OPEN_LONG | Action.OPEN_SHORT:
                    self.enter(decision, market[decision.symbol].mark)

    def leave(self, position: Any) -> None:
        """Close a position and cancel its own stop and take-profit only."""
        for order in self.cache.orders_open(strategy_id=self.id, instrument_id=position.instrument_id):
            self.cancel_order(order)
        self.close_position(position)

    def enter(self, decision: Decision, price: float) -> None:
        """Send an entry with its stop and take-profit."""
        instrument = self.cache.instrument(instrument_id(decision.symbol))
        assert decision.position_size_usd is not None
        bracket = self.order_factory.bracket(
            instrument_id=instrument.id,
            order_side=OrderSide.BUY if decision.action is Action.OPEN_LONG else OrderSide.SELL,
            quantity=instrument.make_qty(float(decision.position_size_usd) / price),
            sl_trigger_price=instrument.make_price(decision.stop_loss),
            tp_price=instrument.make_price(decision.take_profit),
            tp_post_only=False,
        )
        self.submit_order_list(bracket)


def instrument_id(symbol: str) -> Any:
    """Return the engine's name of a symbol."""
    return InstrumentId(Symbol(symbol), VENUE)


def bar_type(bars: Bars) -> Any:
    """Return the type of a symbol's bars."""
    minutes = bars.interval_ms // 60_000
    step = f"{minutes // 60}-HOUR" if minutes % 60 == 0 else f"{minutes}-MINUTE"
    return BarType.from_str(f"{instrument_id(bars.symbol)}-{step}-LAST-EXTERNAL")


def instrument_of(symbol: str) -> Any:
    """Return a perpetual of fine ticks and lots, with the desk's fees."""
    coin = symbol.partition("/")[0]
    return CryptoPerpetual(
        instrument_id=instrument_id(symbol),
        raw_symbol=Symbol(symbol),
        base_currency=Currency(coin, 8, 0, coin, CurrencyType.CRYPTO),
        quote_currency=USDT,
        settlement_currency=USDT,
        is_inverse=False,
        price_precision=PRICE_DIGITS,
        size_precision=SIZE_DIGITS,
        price_increment=Price(10**-PRICE_DIGITS, PRICE_DIGITS),
        size_increment=Quantity(10**-SIZE_DIGITS, SIZE_DIGITS),
        margin_init=Decimal("0.2"),
        margin_maint=Decimal("0.01"),
        maker_fee=Decimal(str(MAKER_FEE_BPS)) / 10_000,
        taker_fee=Decimal(str(FEE_BPS)) / 10_000,
        ts_event=0,
        ts_init=0,
    )


def bars_of(bars: Bars, instrument: Any) -> list[Any]:
    """Return the candles as the engine's bars, stamped with their end."""
    ends = (np.array(bars.candles["ts_ms"]) + bars.interval_ms).astype("datetime64[ms]").astype("datetime64[ns]")
    columns = {name: bars.candles[name].to_numpy() for name in ("open", "high", "low", "close", "volume")}
    frame = pd.DataFrame(columns, index=pd.DatetimeIndex(ends, tz="UTC"))
    made: list[Any] = BarDataWrangler(bar_type(bars), instrument).process(frame)
    return made


def engine_of() -> Any:
    """Return an engine with one venue, silent."""
    engine = BacktestEngine(BacktestEngineConfig(logging=LoggingConfig(bypass_logging=True), run_analysis=False))
    engine.add_venue(
        venue=VENUE,
        oms_type=OmsType.NETTING,
        account_type=AccountType.MARGIN,
        base_currency=USDT,
        starting_balances=[Money(EQUITY_USD, USDT)],
        use_reduce_only=False,
    )
    return engine


def main() -> None:
    """Run the twelve strategies at once."""
    strategies = json.loads(Path(sys.argv[2]).read_text(encoding="utf-8"))
    with measured() as load:
        market = read(Path(sys.argv[1]))
        instruments = {symbol: instrument_of(symbol) for symbol in market}
        bars = [bar for symbol, one in market.items() for bar in bars_of(one, instruments[symbol])]
    with measured() as took:
        engine = engine_of()
        for instrument in instruments.values():
            engine.add_instrument(instrument)
        engine.add_data(bars)
        shown = Market(market, {symbol: one.table() for symbol, one in market.items()})
        traders = [Trader(n, one["style"], one["symbols"], shown) for n, one in enumerate(strategies)]
        engine.add_strategies(traders)
        engine.run(end=datetime.fromtimestamp(max(bar.ts_init for bar in bars) / S_NS, UTC) + 2 * AFTER_THE_BAR)
    orders = engine.cache.orders()
    Run(
        engine=f"NautilusTrader {nautilus_trader.__version__}",
        bars=engine.iteration,
        decisions=sum(trader.rules.made for trader in traders),
        orders=len(orders),
        fills=sum(order.filled_qty > 0 for order in orders),
        load_s=load.cpu_s,
        cpu_s=took.cpu_s,
        wall_s=took.wall_s,
    ).tell()


if __name__ == "__main__":
    main()
