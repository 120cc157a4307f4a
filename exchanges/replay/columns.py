"""Recorded candles and funding as columns, indexed for the questions a replay asks."""

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from exchanges.types import Symbol

Floats = npt.NDArray[np.float64]
PRICES = ("open", "high", "low", "close", "volume")
OPEN_INTEREST = "open_interest"


class SymbolColumns:
    """Hold one symbol's candles, oldest first; `ends` are their close times in ms. A row is an index into all.

    `open_interest` is in contracts at the candle's close, NaN where it was not recorded, None where the file has none.
    """

    __slots__ = ("candles", "close", "ends", "high", "interval_ms", "low", "open", "open_interest", "symbol", "volume")

    def __init__(self, symbol: Symbol, candles: pl.DataFrame, interval_ms: int) -> None:
        self.symbol = symbol
        self.candles = candles
        self.interval_ms = interval_ms
        self.ends: list[int] = (candles["ts_ms"] + interval_ms).to_list()
        self.open, self.high, self.low, self.close, self.volume = (
            candles[name].to_numpy().astype(np.float64) for name in PRICES
        )
        self.open_interest: Floats | None = None
        if OPEN_INTEREST in candles.columns:
            self.open_interest = candles[OPEN_INTEREST].to_numpy().astype(np.float64)

    def rows_ended(self, at_ms: int) -> int:
        """Return how many candles had ended at `at_ms`: the next row's index."""
        return bisect_right(self.ends, at_ms)

    def row_beginning(self, at_ms: int) -> int | None:
        """Return the row of the candle that begins at `at_ms`; None in a gap."""
        row = bisect_right(self.ends, at_ms)
        return row if row < len(self.ends) and self.ends[row] - self.interval_ms == at_ms else None

    def row_ending(self, at_ms: int) -> int | None:
        """Return the row of the candle that ended in the interval up to `at_ms`; None in a gap."""
        row = bisect_right(self.ends, at_ms) - 1
        return row if row >= 0 and self.ends[row] > at_ms - self.interval_ms else None


class CandleColumns:
    """Hold every symbol's candles of one interval, and their closes side by side on all instants.

    `instants` are the close times in ms of all candles, rising: the T of docs/rules.md 10.
    """

    def __init__(self, frames: Mapping[Symbol, pl.DataFrame], interval_ms: int) -> None:
        self.interval_ms = interval_ms
        self.by_symbol = {symbol: SymbolColumns(symbol, frames[symbol], interval_ms) for symbol in sorted(frames)}
        self.symbols: tuple[Symbol, ...] = tuple(self.by_symbol)
        self.bars = sum(len(columns.ends) for columns in self.by_symbol.values())
        ends = [np.asarray(columns.ends, dtype=np.int64) for columns in self.by_symbol.values()]
        union = np.unique(np.concatenate(ends)) if ends else np.empty(0, dtype=np.int64)
        self.instants: list[int] = union.tolist()
        self._row = {symbol: index for index, symbol in enumerate(self.symbols)}
        self._closes = np.zeros((len(self.symbols), len(union)))
        for index, columns in enumerate(self.by_symbol.values()):
            last = np.searchsorted(ends[index], union, side="right") - 1
            known = last >= 0
            self._closes[index, known] = columns.close[last[known]]
        self._highest = self._closes.max(axis=1) if len(union) else np.zeros(len(self.symbols))

    @property
    def closes(self) -> Floats:
        """Return the closes, symbols by instants; a gap carries the last close, it is 0 before the first."""
        return self._closes

    def first_below(self, weights: Mapping[Symbol, float], level: float, after_ms: int, until_ms: int) -> int | None:
        """Return the first instant in (after, until] at which sum(weight x close) is below `level`, widened by 1e-9."""
        first, last = bisect_right(self.instants, after_ms), bisect_right(self.instants, until_ms)
        if first >= last:
            return None
        vector = np.zeros(len(self.symbols))
        for symbol, weight in weights.items():
            vector[self._row[symbol]] = weight
        widened = level + 1e-9 * (abs(level) + float(np.abs(vector) @ self._highest))
        below = vector @ self._closes[:, first:last] < widened
        hit = int(below.argmax())
        return self.instants[first + hit] if below[hit] else None


class FundingRate(NamedTuple):
    """Hold one funding instant in ms, to the second, and its rate."""

    at_ms: int
    symbol: Symbol
    rate: Decimal


class FundingColumns:
    """Hold funding rates by symbol and by instant; `symbols` are all of their source, in the window or not."""

    def __init__(self, rates: list[FundingRate], symbols: Iterable[Symbol] | None = None) -> None:
        self.rates = sorted(rates)
        self.symbols = frozenset((rate.symbol for rate in rates) if symbols is None else symbols)
        self._instants = [rate.at_ms for rate in self.rates]
        self._by_symbol: dict[Symbol, tuple[list[int], list[Decimal]]] = {}
        for rate in self.rates:
            instants, values = self._by_symbol.setdefault(rate.symbol, ([], []))
            instants.append(rate.at_ms)
            values.append(rate.rate)

    def between(self, after_ms: int, until_ms: int) -> list[FundingRate]:
        """Return the rates stamped in (after, until], by instant, then symbol."""
        return self.rates[bisect_right(self._instants, after_ms) : bisect_right(self._instants, until_ms)]

    def next_instant(self, symbol: Symbol, after_ms: int, until_ms: int) -> int | None:
        """Return the first instant of `symbol` in (after, until]."""
        known = self._by_symbol.get(symbol)
        if known is None:
            return None
        index = bisect_right(known[0], after_ms)
        return known[0][index] if index < len(known[0]) and known[0][index] <= until_ms else None

    def last_rate(self, symbol: Symbol, at_ms: int) -> Decimal | None:
        """Return the last rate of `symbol` stamped up to `at_ms`."""
        known = self._by_symbol.get(symbol)
        if known is None:
            return None
        index = bisect_right(known[0], at_ms)
        return known[1][index - 1] if index else None
