"""The desk's own indicators and baseline executor for the peers: all decide by the same rules on the same numbers.

Only standard library and polars are needed besides. The limits are those of `twelve_traders.py`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl

from benchmarks.twelve_traders import ALLOCATED_USD, POSITIONS_EACH, SIZE_USD
from exchanges.indicators import HOUR_MS, IndicatorTable, base_interval_ms
from exchanges.market import IndicatorRow
from executor.baseline.executor import BaselineExecutor
from executor.baseline.styles import Style
from executor.contract import Decision, Limits

LIMITS = Limits(max_positions=POSITIONS_EACH, max_position_size_usd=Decimal(SIZE_USD))
ACCOUNT = SimpleNamespace(allocated=ALLOCATED_USD, available=ALLOCATED_USD, margin_used=0)


@dataclass(frozen=True, slots=True)
class View:
    """Show one symbol at a decision: the close of the last bar, and the indicators of the last quarter hour."""

    symbol: str
    mark: float
    indicators: IndicatorRow


@dataclass(frozen=True, slots=True)
class Held:
    """Name a position of a strategy; the quantity is signed."""

    symbol: str
    quantity: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Bars:
    """Hold the candles of one symbol; `interval_ms` is their length."""

    symbol: str
    candles: pl.DataFrame
    interval_ms: int

    def at_scale(self, scale: float) -> "Bars":
        """Return the candles with other units of price."""
        prices = pl.col("open", "high", "low", "close") * scale
        return Bars(symbol=self.symbol, candles=self.candles.with_columns(prices), interval_ms=self.interval_ms)

    def table(self) -> IndicatorTable:
        """Compute the indicators as a replay of the desk does."""
        return IndicatorTable.build(self.candles, self.interval_ms, base_interval_ms(self.interval_ms))


def read(path: Path) -> dict[str, Bars]:
    """Read a file of candles by symbol."""
    frame = pl.read_parquet(path).sort("symbol", "ts_ms")
    interval_ms = frame.select(pl.col("ts_ms").diff().over("symbol").min()).item()
    return {
        str(symbol): Bars(symbol=str(symbol), candles=candles, interval_ms=interval_ms)
        for (symbol,), candles in frame.group_by("symbol", maintain_order=True)
    }


class Rules:
    """Decide as one of the twelve traders does, and count the decisions."""

    def __init__(self, style: str, symbols: Iterable[str]) -> None:
        self._plan = BaselineExecutor(Style(style)).plan
        self._symbols = tuple(symbols)
        self.made = 0

    def decide(self, market: Mapping[str, View], positions: tuple[Held, ...]) -> tuple[Decision, ...]:
        """Return what to close and at most one entry, with its stop and take-profit."""
        self.made += 1
        context: Any = SimpleNamespace(
            symbols=self._symbols, market=market, positions=positions, limits=LIMITS, account=ACCOUNT
        )
        return self._plan(context).decisions


def is_due(end_ms: int) -> bool:
    """Tell whether a bar that ends then ends a full hour."""
    return end_ms % HOUR_MS == 0
