"""Recorded candles as a market feed: a snapshot is an index into columns."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal

import numpy as np

from exchanges.clock import Clock, to_ms
from exchanges.errors import MarketDataError
from exchanges.indicators import CandleView, IndicatorTable, base_interval_ms
from exchanges.market import Snapshot, SymbolView
from exchanges.registry import Market
from exchanges.replay.columns import CandleColumns, Floats, FundingColumns, SymbolColumns
from exchanges.replay.config import ReplayConfig
from exchanges.replay.loader import load_candles, load_funding
from exchanges.replay.path import ReplayPath, exact
from exchanges.types import Instrument, Symbol

_LOOKAHEAD_CANDLES = 1440


def open_replay(config: ReplayConfig, clock: Clock) -> Market:
    """Return the market of recorded files; its lookahead lets a venue search the future once for many asks."""
    columns = load_candles(config.candles, start=config.start, end=config.end)
    funding = None if config.funding is None else load_funding(config.funding, start=config.start, end=config.end)
    return Market(
        path=ReplayPath(columns, funding),
        feed=ReplayFeed(columns, clock, funding=funding),
        lookahead=timedelta(milliseconds=columns.interval_ms) * _LOOKAHEAD_CANDLES,
    )


class ReplayFeed:
    """Show the recorded market as of the clock; a mark stays through a gap and its age grows.

    Indicators come from candles of `indicator_interval_ms`; unless given, candles under 15 minutes are joined to 15.
    """

    def __init__(
        self,
        columns: CandleColumns,
        clock: Clock,
        *,
        funding: FundingColumns | None = None,
        instruments: Mapping[Symbol, Instrument] | None = None,
        indicator_interval_ms: int | None = None,
    ) -> None:
        self._columns = columns
        self._clock = clock
        self._funding = funding or FundingColumns([])
        self._path = ReplayPath(columns, self._funding, instruments)
        base_ms = base_interval_ms(columns.interval_ms, indicator_interval_ms)
        self._tables = {
            symbol: IndicatorTable.build(one.candles, columns.interval_ms, base_ms)
            for symbol, one in columns.by_symbol.items()
        }
        self._at: datetime | None = None
        self._views: dict[Symbol, SymbolView | None] = {}
        self._snapshots: dict[frozenset[Symbol], Snapshot] = {}

    async def instruments(self) -> Mapping[Symbol, Instrument]:
        """Return the recorded symbols."""
        return self._path.instruments

    async def snapshot(self, symbols: frozenset[Symbol]) -> Snapshot:
        """Return the market at the clock's instant; the views are shared by all who ask at that instant."""
        return self.snapshot_now(symbols)

    def snapshot_now(self, symbols: frozenset[Symbol]) -> Snapshot:
        """Return the same without a coroutine; raise MarketDataError for a symbol that was not recorded."""
        now = self._clock.now()
        if now != self._at:
            self._at = now
            self._views.clear()
            self._snapshots.clear()
        known = self._snapshots.get(symbols)
        if known is None:
            known = self._snapshots[symbols] = self._freeze(symbols, now)
        return known

    async def close(self) -> None:
        """Hold nothing, release nothing."""

    def _freeze(self, symbols: frozenset[Symbol], now: datetime) -> Snapshot:
        at_ms = to_ms(now)
        shown: dict[Symbol, SymbolView] = {}
        for symbol in symbols:
            if symbol not in self._views:
                columns = self._columns.by_symbol.get(symbol)
                if columns is None:
                    recorded = ", ".join(self._columns.symbols)
                    raise MarketDataError(f"{symbol} is not in the candle file; it holds {recorded}")
                self._views[symbol] = self._view(columns, now, at_ms)
            view = self._views[symbol]
            if view is not None:
                shown[symbol] = view
        return Snapshot(now, shown)

    def _view(self, columns: SymbolColumns, now: datetime, at_ms: int) -> SymbolView | None:
        row = columns.rows_ended(at_ms) - 1
        if row < 0:
            return None
        symbol = columns.symbol
        table = self._tables[symbol]
        view = CandleView(symbol, self._path, now, table, table.count_at(at_ms))
        view.interval_s = columns.interval_ms / 1000
        view.mark = exact(columns.close[row])
        view.age_s = (at_ms - columns.ends[row]) / 1000
        view.funding_rate = self._funding.last_rate(symbol, at_ms)
        view.open_interest = _recorded(columns.open_interest, row)
        return view


def _recorded(values: Floats | None, row: int) -> Decimal | None:
    return None if values is None or np.isnan(values[row]) else exact(values[row])
