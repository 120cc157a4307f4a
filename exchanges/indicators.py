"""Technical indicators as columns, computed once per symbol and base interval, never looking ahead; one row as a view.

Averages are seeded with the simple mean of their first window and are None before it. RSI and ATR smooth as in
J. Welles Wilder, New Concepts in Technical Trading Systems (1978); bands are 20 closes, 2 population deviations.
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import fields
from datetime import datetime
from decimal import Decimal

import polars as pl

from exchanges.errors import ExchangeConfigError
from exchanges.market import BaseCandle, IndicatorRow
from exchanges.price_path import PricePath
from exchanges.types import Symbol

HOUR_MS = 3_600_000
SHORTEST_BASE_MS = 900_000
_PRICES = ("open", "high", "low", "close")
INDICATORS = tuple(field.name for field in fields(IndicatorRow))


def base_interval_ms(candle_ms: int, wanted_ms: int | None = None) -> int:
    """Return the interval on which indicators are computed: `wanted_ms`, else the candles' own but at least 15 minutes.

    Raise ExchangeConfigError when candles of `candle_ms` cannot be joined to it.
    """
    if wanted_ms is None:
        return candle_ms if candle_ms >= SHORTEST_BASE_MS else -(-SHORTEST_BASE_MS // candle_ms) * candle_ms
    if wanted_ms < candle_ms or wanted_ms % candle_ms:
        raise ExchangeConfigError(
            f"indicator interval is {wanted_ms} ms, expected a multiple of the candles' {candle_ms} ms; change it"
        )
    return wanted_ms


def resample(candles: pl.DataFrame, interval_ms: int) -> pl.DataFrame:
    """Return candles of `interval_ms` aligned to the epoch; an interval without candles is absent."""
    return (
        candles.group_by((pl.col("ts_ms") // interval_ms * interval_ms).alias("ts_ms"), maintain_order=True)
        .agg(
            pl.col("open").first(),
            pl.col("high").max(),
            pl.col("low").min(),
            pl.col("close").last(),
            pl.col("volume").sum(),
        )
        .sort("ts_ms")
    )


def indicator_columns(candles: pl.DataFrame, interval_ms: int) -> pl.DataFrame:
    """Return `end_ms`, `open`, `high`, `low`, `close` and one column per indicator for candles of `interval_ms`.

    A row belongs to the close of its candle; high_20 and low_20 are the channel of the 20 candles before it, so that a
    breakout can be seen. change_1h_pct compares with the close an hour ago, None without one or on longer candles.
    """
    close, high, low = pl.col("close"), pl.col("high"), pl.col("low")
    previous = close.shift(1)
    frame = candles.with_columns(
        (pl.col("ts_ms") + interval_ms).alias("end_ms"),
        close.diff().clip(lower_bound=0).alias("gain"),
        (-close.diff()).clip(lower_bound=0).alias("loss"),
        pl.max_horizontal(high - low, (high - previous).abs(), (low - previous).abs()).alias("range"),
        *(_seeded(close, span, 2 / (span + 1)).alias(f"ema_{span}") for span in (12, 20, 26, 50)),
    )
    frame = frame.with_columns(
        (pl.col("ema_12") - pl.col("ema_26")).alias("macd"),
        _seeded(pl.col("gain"), 14, 1 / 14, skip=1).alias("gain"),
        _seeded(pl.col("loss"), 14, 1 / 14, skip=1).alias("loss"),
        _seeded(pl.col("range"), 14, 1 / 14).alias("atr_14"),
        close.rolling_mean(20).alias("middle"),
        (2 * close.rolling_std(20, ddof=0)).alias("width"),
        high.rolling_max(20).shift(1).alias("high_20"),
        low.rolling_min(20).shift(1).alias("low_20"),
    )
    moved = pl.col("gain") + pl.col("loss")
    frame = frame.with_columns(
        _seeded(pl.col("macd"), 9, 2 / 10, skip=25).alias("macd_signal"),
        pl.when(moved == 0).then(50.0).otherwise(100 * pl.col("gain") / moved).alias("rsi_14"),
        (pl.col("middle") + pl.col("width")).alias("bollinger_upper"),
        (pl.col("middle") - pl.col("width")).alias("bollinger_lower"),
    )
    return _with_hour_change(frame, interval_ms).select("end_ms", *_PRICES, *INDICATORS)


def _seeded(values: pl.Expr, window: int, alpha: float, *, skip: int = 0) -> pl.Expr:
    """Exponential mean that starts at the simple mean of the first `window` values after `skip` empty ones."""
    row = pl.int_range(pl.len())
    first = skip + window - 1
    start = pl.when(row == first).then(values.rolling_mean(window)).when(row > first).then(values)
    return start.ewm_mean(alpha=alpha, adjust=False, ignore_nulls=True)


def _with_hour_change(frame: pl.DataFrame, interval_ms: int) -> pl.DataFrame:
    if interval_ms > HOUR_MS:
        return frame.with_columns(pl.lit(None, dtype=pl.Float64).alias("change_1h_pct"))
    before = frame.select((pl.col("end_ms") + HOUR_MS).alias("hour_later"), pl.col("close").alias("hour_close"))
    joined = frame.join_asof(
        before, left_on="end_ms", right_on="hour_later", strategy="backward", tolerance=interval_ms - 1
    )
    return joined.with_columns((100 * (pl.col("close") / pl.col("hour_close") - 1)).alias("change_1h_pct"))


class IndicatorTable:
    """Hold one symbol's indicators by the close of their candles; a row is visible from its candle's end on."""

    __slots__ = ("_candles", "_closes", "_columns", "_ends", "_last", "_row", "interval_ms")

    def __init__(self, columns: pl.DataFrame, interval_ms: int) -> None:
        self.interval_ms = interval_ms
        self._candles = columns.select("end_ms", *_PRICES, "volume")
        self._ends: list[int] = columns["end_ms"].to_list()
        self._closes: list[float] = columns["close"].to_list()
        self._columns: list[list[float | None]] = [columns[name].to_list() for name in INDICATORS]
        self._last = 0
        self._row = IndicatorRow()

    @classmethod
    def build(cls, candles: pl.DataFrame, candle_ms: int, base_ms: int) -> "IndicatorTable":
        """Compute the table from one symbol's candles, joined to `base_ms` first when they are shorter."""
        base = candles if base_ms == candle_ms else resample(candles, base_ms)
        return cls(indicator_columns(base, base_ms), base_ms)

    def count_at(self, at_ms: int) -> int:
        """Return how many base candles had closed at `at_ms`."""
        return bisect_right(self._ends, at_ms)

    def row(self, count: int) -> IndicatorRow:
        """Return the indicators after `count` closed base candles; empty before the first."""
        if count != self._last:
            index = count - 1
            values = {name: column[index] for name, column in zip(INDICATORS, self._columns, strict=True)}
            self._row = IndicatorRow(**values) if count else IndicatorRow()
            self._last = count
        return self._row

    def closes(self, count: int, wanted: int) -> Sequence[float]:
        """Return up to `wanted` base closes of the first `count` candles, oldest first."""
        return self._closes[max(0, count - wanted) : count]

    def candles(self, count: int, wanted: int, every: int) -> Sequence[BaseCandle]:
        """Return up to `wanted` candles of `every` base intervals within the first `count` base candles, oldest first.

        Joined candles are aligned to the epoch; one that has not ended yet, or began before the first, is left out.
        """
        first = max(0, count - wanted * every - every)
        rows = self._candles.slice(first, count - first)
        if every > 1:
            rows = self._joined(rows, every * self.interval_ms)
        return [BaseCandle(*row) for row in rows.tail(wanted).iter_rows()] if wanted > 0 else []

    def _joined(self, rows: pl.DataFrame, length_ms: int) -> pl.DataFrame:
        if rows.is_empty():
            return rows
        begin, end = rows["end_ms"][0] - self.interval_ms, rows["end_ms"][-1]
        starts = rows.with_columns((pl.col("end_ms") - self.interval_ms).alias("ts_ms"))
        joined = resample(starts, length_ms).with_columns((pl.col("ts_ms") + length_ms).alias("end_ms"))
        whole = joined.filter((pl.col("ts_ms") >= begin) & (pl.col("end_ms") <= end))
        return whole.select("end_ms", *_PRICES, "volume")


class LateTable:
    """Compute one symbol's indicators when somebody first asks: who only needs marks pays for none."""

    __slots__ = ("_build", "_table", "interval_ms")

    def __init__(self, interval_ms: int, build: Callable[[], IndicatorTable]) -> None:
        self.interval_ms = interval_ms
        self._build = build
        self._table: IndicatorTable | None = None

    def row(self, count: int) -> IndicatorRow:
        """Return the indicators after `count` closed base candles; empty before the first."""
        return self._built().row(count)

    def closes(self, count: int, wanted: int) -> Sequence[float]:
        """Return up to `wanted` base closes of the first `count` candles, oldest first."""
        return self._built().closes(count, wanted)

    def candles(self, count: int, wanted: int, every: int) -> Sequence[BaseCandle]:
        """Return up to `wanted` candles of `every` base intervals within the first `count` base candles."""
        return self._built().candles(count, wanted, every)

    def _built(self) -> IndicatorTable:
        if self._table is None:
            self._table = self._build()
        return self._table


class CandleView:
    """Show one symbol as of one instant; it keeps only indexes, so that it is cheap to make."""

    __slots__ = (
        "_at",
        "_base_count",
        "_path",
        "_table",
        "age_s",
        "funding_rate",
        "interval_s",
        "mark",
        "open_interest",
        "symbol",
    )

    symbol: Symbol
    mark: Decimal
    age_s: float
    interval_s: float
    funding_rate: Decimal | None
    open_interest: Decimal | None

    def __init__(
        self, symbol: Symbol, path: PricePath, at: datetime, table: IndicatorTable | LateTable, base_count: int
    ) -> None:
        self.symbol = symbol
        self._path = path
        self._at = at
        self._table = table
        self._base_count = base_count

    @property
    def indicators(self) -> IndicatorRow:
        """Return the indicators after the last base candle that closed."""
        return self._table.row(self._base_count)

    @property
    def base_s(self) -> float:
        """Return the length in seconds of the candles behind the indicators."""
        return self._table.interval_ms / 1000

    @property
    def last_range(self) -> tuple[Decimal, Decimal] | None:
        """Return low and high of the candle that ended last, None in a gap."""
        bar = self._path.last_bar(self.symbol, self._at)
        return None if bar is None else (bar.low, bar.high)

    @property
    def range_began(self) -> datetime | None:
        """Return when the candle that ended last began, None in a gap."""
        bar = self._path.last_bar(self.symbol, self._at)
        return None if bar is None else bar.begin

    def closes(self, count: int) -> Sequence[float]:
        """Return up to `count` closes of the indicators' base interval, oldest first."""
        return self._table.closes(self._base_count, count)

    def candles(self, count: int, every: int = 1) -> Sequence[BaseCandle]:
        """Return up to `count` closed candles of `every` base intervals each, oldest first."""
        return self._table.candles(self._base_count, count, every)
