"""The synthetic market as a market feed, with indicators over its own candles."""

from collections.abc import Mapping
from datetime import datetime
from functools import partial

import numpy as np
import polars as pl

from exchanges.clock import EPOCH, Clock
from exchanges.errors import ExchangeConfigError, MarketDataError
from exchanges.indicators import CandleView, IndicatorTable, LateTable, indicator_columns
from exchanges.market import Snapshot, SymbolView
from exchanges.registry import Market
from exchanges.synthetic.config import SyntheticConfig
from exchanges.synthetic.model import BLOCK_S, SyntheticModel
from exchanges.synthetic.noise import Floats
from exchanges.synthetic.path import SECOND, SyntheticPath
from exchanges.types import Instrument, Symbol

FIELDS = ("open", "high", "low", "close", "volume")


def open_synthetic(config: SyntheticConfig, clock: Clock) -> Market:
    """Return the market of a config; raise ExchangeConfigError where the clock is before its beginning."""
    if clock.now().year < 1972:
        raise ExchangeConfigError(f"the synthetic market begins in 1972, the clock says {clock.now()}; set it")
    model = SyntheticModel(config)
    return Market(path=SyntheticPath(model), feed=SyntheticFeed(model, clock), lookahead=BLOCK_S * SECOND)


class SyntheticFeed:
    """Show the synthetic market as of the clock, indicators over the last `history_candles` closed candles."""

    def __init__(self, model: SyntheticModel, clock: Clock) -> None:
        self._model = model
        self._path = SyntheticPath(model)
        self._clock = clock
        self._base_s = model.config.indicator_interval_s
        self._candles: dict[int, Floats] = {}
        self._tables: dict[Symbol, tuple[int, LateTable]] = {}

    async def instruments(self) -> Mapping[Symbol, Instrument]:
        """Return the synthetic symbols."""
        return self._path.instruments

    async def snapshot(self, symbols: frozenset[Symbol]) -> Snapshot:
        """Return marks and indicators now; raise MarketDataError for a symbol that does not exist."""
        now = self._clock.now()
        return Snapshot(now, {symbol: self._view(symbol, now) for symbol in sorted(symbols)})

    async def close(self) -> None:
        """Hold nothing, release nothing."""

    def _view(self, symbol: Symbol, now: datetime) -> SymbolView:
        mark = self._path.mark(symbol, now)
        if mark is None:
            offered = ", ".join(sorted(self._model.row))
            raise MarketDataError(f"{symbol} is not in the synthetic market; it offers {offered}")
        table = self._table(symbol, (now - EPOCH) // SECOND // self._base_s)
        view = CandleView(symbol, self._path, now, table, self._model.config.history_candles)
        view.interval_s = float(self._base_s)
        view.mark = mark[0]
        view.age_s = (now - mark[1]).total_seconds()
        view.funding_rate = self._path.funding_rate(symbol, now)
        view.open_interest = self._path.open_interest(symbol, now)
        return view

    def _table(self, symbol: Symbol, closed: int) -> LateTable:
        """`closed` is the number of the first candle that has not ended."""
        known = self._tables.get(symbol)
        if known is None or known[0] != closed:
            table = LateTable(self._base_s * 1000, partial(self._computed, symbol, closed))
            known = self._tables[symbol] = (closed, table)
        return known[1]

    def _computed(self, symbol: Symbol, closed: int) -> IndicatorTable:
        first = closed - self._model.config.history_candles
        for number in [number for number in self._candles if number < first]:
            del self._candles[number]
        row = self._model.row[symbol]
        rows = [self._candle(number)[:, row] for number in range(first, closed)]
        stamps = [number * self._base_s * 1000 for number in range(first, closed)]
        columns = dict(zip(FIELDS, np.array(rows).T, strict=True))
        base_ms = self._base_s * 1000
        return IndicatorTable(indicator_columns(pl.DataFrame({"ts_ms": stamps, **columns}), base_ms), base_ms)

    def _candle(self, number: int) -> Floats:
        """One candle of every symbol: FIELDS x symbols; in an outage it is flat, without volume."""
        found = self._candles.get(number)
        if found is None:
            begin, end = number * self._base_s, (number + 1) * self._base_s
            parts, traded = [], []
            for block_number in range(begin // BLOCK_S, end // BLOCK_S + 1):
                block = self._model.block(block_number)
                low, high = max(begin - block.begin, 0), min(end + 1 - block.begin, BLOCK_S)
                parts.append(block.prices[:, low:high])
                traded.append(block.traded[:, low:high])
            prices = np.concatenate(parts, axis=1)
            live = np.concatenate(traded, axis=1)[:, : end - begin]
            volume = (self._model.volumes(begin, end) * live).sum(axis=1)
            found = np.stack([prices[:, 0], prices.max(axis=1), prices.min(axis=1), prices[:, -1], volume])
            self._candles[number] = found
        return found
