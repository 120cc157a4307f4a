"""Read candle and funding files, and refuse what cannot be replayed, by file, row, field, value and mend."""

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import polars as pl

from exchanges.clock import from_ms, to_ms
from exchanges.errors import MarketDataError
from exchanges.replay.columns import OPEN_INTEREST, PRICES, CandleColumns, FundingColumns, FundingRate
from exchanges.replay.stamps import FIRST_MS, LAST_MS, wrong_unit
from exchanges.replay.text import csv_fault, stamp_mend
from exchanges.types import Symbol

SECOND_MS = 1000
ROW = "row"
_STAMP = "whole milliseconds since 1970 (UTC)"


def load_candles(path: Path, *, start: datetime | None = None, end: datetime | None = None) -> CandleColumns:
    """Read Parquet or CSV candles (symbol, ts_ms = open time, open, high, low, close, volume), window [start, end].

    A column `open_interest` (contracts at the close) is optional, and so is each of its values. A candle is in the
    window when it opens and closes inside; indicators see the window only. Raise MarketDataError, naming the first bad
    row (the first data row is 1).
    """
    source = _Source(path)
    frame = source.read({"ts_ms": pl.Int64} | dict.fromkeys(PRICES, pl.Float64), optional=OPEN_INTEREST)
    source.check_prices(frame)
    if OPEN_INTEREST in frame.columns:
        bad = ~pl.col(OPEN_INTEREST).is_finite() | (pl.col(OPEN_INTEREST) < 0)
        source.refuse(frame, bad, OPEN_INTEREST, "contracts, zero or more, or nothing; repair the value")
    interval_ms = source.check_times(frame)
    known = f"the file has {_instant(frame['ts_ms'].min())} to {_instant(frame['ts_ms'].max(), interval_ms)}"
    if start is not None:
        frame = frame.filter(pl.col("ts_ms") >= to_ms(start))
    if end is not None:
        frame = frame.filter(pl.col("ts_ms") + interval_ms <= to_ms(end))
    if frame.is_empty():
        raise MarketDataError(f"{path}: no candle {_window(start, end)}; {known}")
    parts = frame.drop(ROW).partition_by("symbol", as_dict=True, include_key=False)
    return CandleColumns({Symbol(str(key[0])): part.rechunk() for key, part in parts.items()}, interval_ms)


def load_funding(path: Path, *, start: datetime | None = None, end: datetime | None = None) -> FundingColumns:
    """Read Parquet or CSV funding (symbol, ts_ms, funding_rate as a fraction); stamps are rounded to the second.

    Keep those in (start, end]. Raise MarketDataError, naming the first bad row (the first data row is 1).
    """
    source = _Source(path)
    frame = source.read({"ts_ms": pl.Int64, "funding_rate": pl.Float64})
    rate = pl.col("funding_rate")
    source.refuse(frame, ~rate.is_finite(), "funding_rate", "a finite fraction; remove or repair the row")
    source.refuse(frame, rate.abs() >= 1, "funding_rate", "a fraction between -1 and 1 (0.0001 is 1 bp)")
    source.check_stamps(frame)
    rounded = (pl.col("ts_ms") + SECOND_MS // 2) // SECOND_MS * SECOND_MS
    frame = frame.with_columns(rounded.alias("ts_ms"))
    source.check_order(frame)
    lowest = None if start is None else to_ms(start)
    highest = None if end is None else to_ms(end)
    return FundingColumns(
        [
            FundingRate(at_ms, Symbol(symbol), Decimal(repr(rate)))
            for symbol, at_ms, rate in frame.select("symbol", "ts_ms", "funding_rate").iter_rows()
            if (lowest is None or at_ms > lowest) and (highest is None or at_ms <= highest)
        ],
        symbols=map(Symbol, frame["symbol"].unique().to_list()),
    )


class _Source:
    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self, types: dict[str, type[pl.DataType]], *, optional: str = "") -> pl.DataFrame:
        """`optional` is a column of numbers that may be missing, or empty in a row."""
        frame = self._scan()
        for name in ("symbol", *types):
            if name not in frame.columns:
                alike = next((one for one in frame.columns if one.strip().lower() == name), None)
                found = repr(alike) if alike is not None else ", ".join(frame.columns) or "none"
                raise MarketDataError(
                    f"{self.path}: column {name} is missing, found {found}; rename or add it (needed: symbol, "
                    f"{', '.join(types)})"
                )
        if frame.is_empty():
            raise MarketDataError(f"{self.path}: there is no row after the header; give a file with data")
        extra = {optional: pl.Float64} if optional in frame.columns else {}
        frame = frame.select("symbol", *types, *extra).with_row_index(ROW, offset=1)
        empty = pl.col("symbol").is_null() | (pl.col("symbol").cast(pl.String) == "")
        self.refuse(frame, empty, "symbol", "a symbol such as BTC/USDT:USDT")
        for name, kind in (types | extra).items():
            self._check_type(name, frame[name].dtype, kind)
        for name, kind in types.items():
            self.refuse(frame, pl.col(name).cast(kind, strict=False).is_null(), name, _wanted(kind))
            if kind is pl.Int64 and frame[name].dtype.is_float():
                self.refuse(frame, pl.col(name) % 1 != 0, name, _wanted(kind))
        for name in extra:
            unread = pl.col(name).is_not_null() & pl.col(name).cast(pl.Float64, strict=False).is_null()
            self.refuse(frame, unread, name, _wanted(pl.Float64))
        casts = (pl.col(name).cast(kind) for name, kind in (types | extra).items())
        return frame.with_columns(pl.col("symbol").cast(pl.String), *casts)

    def refuse(self, frame: pl.DataFrame, bad: pl.Expr, field: str, expected: str) -> None:
        """Raise on the first row of which `bad` is true."""
        found = frame.filter(bad).head(1)
        if found.is_empty():
            return
        row, value, symbol = found[ROW][0], found[field][0], found["symbol"][0]
        mend = stamp_mend(value) if expected == _STAMP else ""
        where = f"row {row}" if symbol is None else f"row {row} ({symbol})"
        given = "empty" if value is None else repr(value)
        raise MarketDataError(f"{self.path}: {where}: {field} is {given}, expected {expected}{mend}")

    def _check_type(self, name: str, dtype: pl.DataType, wanted: type[pl.DataType]) -> None:
        if wanted is pl.Int64 and dtype.is_temporal():
            mend = f"expected {_STAMP}; write them, in polars with .dt.epoch('ms')"
            raise MarketDataError(f"{self.path}: column {name} is of type {dtype}, {mend}")
        if not (dtype.is_numeric() or dtype in (pl.String, pl.Null, pl.Categorical)):
            raise MarketDataError(f"{self.path}: column {name} is of type {dtype}, expected numbers; write it as one")

    def _scan(self) -> pl.DataFrame:
        readers: dict[str, Callable[[Path], pl.DataFrame]] = {
            ".parquet": pl.read_parquet,
            ".csv": lambda path: pl.read_csv(path, infer_schema=False),
        }
        if self.path.is_dir():
            raise MarketDataError(f"{self.path}: is a directory; name one *.parquet or *.csv file")
        is_text = self.path.suffix.lower() == ".csv"
        reader = readers.get(self.path.suffix.lower())
        if reader is None:
            raise MarketDataError(f"{self.path}: expected a file named *.parquet or *.csv; convert or rename it")
        if not self.path.is_file():
            raise MarketDataError(f"{self.path}: there is no such file; check the path")
        try:
            if is_text and (fault := csv_fault(self.path)):
                raise MarketDataError(f"{self.path}: {fault}")
            frame = reader(self.path)
            return frame.filter(~pl.all_horizontal(pl.all().is_null())) if is_text else frame
        except pl.exceptions.NoDataError:
            raise MarketDataError(f"{self.path}: the file is empty; give a file with data") from None
        except (pl.exceptions.PolarsError, OSError) as error:
            first_line = str(error).splitlines()[0]
            if "found more fields" in first_line:
                mend = "a row has more values than the header has names; write a point in numbers, not a comma"
                raise MarketDataError(f"{self.path}: {mend}") from error
            if "invalid utf-8" in first_line:
                raise MarketDataError(f"{self.path}: is not UTF-8 text; save it as UTF-8") from error
            raise MarketDataError(f"{self.path}: cannot be read ({first_line}); export it again") from error

    def check_prices(self, frame: pl.DataFrame) -> None:
        for name in PRICES:
            column = pl.col(name)
            self.refuse(frame, ~column.is_finite(), name, "a finite number; remove or repair the row")
            if name == "volume":
                self.refuse(frame, column < 0, name, "zero or more; remove or repair the row")
            else:
                self.refuse(frame, column <= 0, name, "a price above zero; remove or repair the row")
        self.refuse(frame, pl.col("high") < pl.col("low"), "high", "at least the row's low; repair the row")
        for name in ("open", "close"):
            outside = (pl.col(name) > pl.col("high")) | (pl.col(name) < pl.col("low"))
            self.refuse(frame, outside, name, "a price between the row's low and high; repair the row")

    def check_stamps(self, frame: pl.DataFrame) -> None:
        outside = ~pl.col("ts_ms").is_between(FIRST_MS, LAST_MS)
        for stamp in frame.filter(outside)["ts_ms"].head(1):
            self.refuse(frame, outside, "ts_ms", wrong_unit(stamp))

    def check_order(self, frame: pl.DataFrame) -> None:
        step = pl.col("ts_ms").diff().over("symbol")
        self.refuse(frame, step == 0, "ts_ms", "each time once per symbol, this one repeats; remove the duplicate")
        self.refuse(frame, step < 0, "ts_ms", "rising times per symbol, here time runs backwards; sort the file")

    def check_times(self, frame: pl.DataFrame) -> int:
        """Return the interval: the shortest step between two candles of each symbol, of which all others are multiples.

        A symbol of one candle has no step and goes with the others.
        """
        self.check_stamps(frame)
        self.check_order(frame)
        step = pl.col("ts_ms").diff().over("symbol")
        steps = frame.select(step.alias("step"))["step"].drop_nulls()
        shortest = steps.min()
        if not isinstance(shortest, int):
            raise MarketDataError(f"{self.path}: one candle per symbol does not tell their interval; give at least two")
        example = from_ms(int(frame["ts_ms"][0])).isoformat()
        multiple = f"a whole number of {shortest} ms candles after the one before (the file begins {example})"
        self.refuse(frame, step % shortest != 0, "ts_ms", f"{multiple}; one interval per file")
        own = frame.group_by("symbol", maintain_order=True).agg(pl.col("ts_ms").diff().min().alias("own"))
        for symbol, longer in own.filter(pl.col("own") > shortest).head(1).iter_rows():
            raise MarketDataError(
                f"{self.path}: symbol {symbol} has a candle every {longer // 1000} s at most, others every "
                f"{shortest // 1000} s, so its closes would be known early; give each interval a file of its own"
            )
        return shortest


def _window(start: datetime | None, end: datetime | None) -> str:
    if start is not None and end is not None:
        return f"between {start.isoformat()} and {end.isoformat()}"
    return f"after {start.isoformat()}" if start is not None else f"before {end.isoformat() if end else 'the end'}"


def _instant(at_ms: object, later_ms: int = 0) -> str:
    return from_ms(int(str(at_ms)) + later_ms).isoformat()


def _wanted(kind: type[pl.DataType]) -> str:
    return _STAMP if kind is pl.Int64 else "a number; remove or repair the row"
