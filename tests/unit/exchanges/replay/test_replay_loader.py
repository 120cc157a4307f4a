"""Candle and funding files: what is read, and what is refused by file, row, field, value and mend."""

from decimal import Decimal
from pathlib import Path
from typing import Literal

import polars as pl
import pytest

from exchanges.clock import from_ms
from exchanges.errors import MarketDataError
from exchanges.replay.loader import load_candles, load_funding
from paper_market import BTC, ETH, MINUTE_MS, START_MS, candle_frame, flat, instant
from shared_data import shared_file

HEADER = "symbol,ts_ms,open,high,low,close,volume\n"


def csv(folder: Path, *lines: str, header: str = HEADER) -> Path:
    path = folder / "candles.csv"
    path.write_text(header + "".join(f"{line}\n" for line in lines))
    return path


def line(minute: float, rest: str = "100,101,99,100,5", symbol: str = "BTC/USDT:USDT") -> str:
    return f"{symbol},{START_MS + int(minute * MINUTE_MS)},{rest}"


def test_csv_and_parquet_give_the_same_columns(tmp_path: Path) -> None:
    frames = [candle_frame(flat(100.5, 5)).with_columns(symbol=pl.lit(one)) for one in (ETH, BTC)]
    frame = pl.concat(frames)
    frame.write_csv(tmp_path / "c.csv")
    frame.write_parquet(tmp_path / "c.parquet")
    for name in ("c.csv", "c.parquet"):
        columns = load_candles(tmp_path / name)
        assert columns.symbols == (BTC, ETH)
        assert (columns.bars, columns.interval_ms) == (10, MINUTE_MS)
        assert columns.instants == [START_MS + minute * MINUTE_MS for minute in range(1, 6)]
        assert columns.by_symbol[BTC].close.tolist() == [100.5] * 5


def test_symbols_may_alternate(tmp_path: Path) -> None:
    lines = [line(minute, symbol=symbol) for minute in range(3) for symbol in ("A", "B")]
    assert load_candles(csv(tmp_path, *lines)).bars == 6


def test_the_window_keeps_whole_candles(tmp_path: Path) -> None:
    path = csv(tmp_path, *(line(minute) for minute in range(6)))
    columns = load_candles(path, start=instant(1), end=instant(4))
    assert columns.by_symbol[BTC].ends == [START_MS + minute * MINUTE_MS for minute in (2, 3, 4)]
    whole = f"the file has {instant(0).isoformat()} to {instant(6).isoformat()}"
    for start, end, window in (
        (instant(50), None, f"after {instant(50).isoformat()}"),
        (None, instant(-1), f"before {instant(-1).isoformat()}"),
        (instant(50), instant(60), f"between {instant(50).isoformat()} and {instant(60).isoformat()}"),
    ):
        with pytest.raises(MarketDataError) as caught:
            load_candles(path, start=start, end=end)
        assert str(caught.value) == f"{path}: no candle {window}; {whole}"


def test_open_interest_is_an_optional_column(tmp_path: Path) -> None:
    header = HEADER.replace("volume", "volume,open_interest")
    lines = [line(minute, f"100,101,99,100,5,{value}") for minute, value in enumerate(("81234.5", "", "0"))]
    held = load_candles(csv(tmp_path, *lines, header=header)).by_symbol[BTC].open_interest
    assert held is not None
    assert [value if value == value else None for value in held.tolist()] == [81234.5, None, 0.0]
    assert load_candles(csv(tmp_path, line(0), line(1))).by_symbol[BTC].open_interest is None
    for value, message in (
        ("-1", "is -1.0, expected contracts"),
        ("inf", "is inf, expected c"),
        ("many", "is 'many', e"),
    ):
        bad = csv(tmp_path, line(0, "100,101,99,100,5,1"), line(1, f"100,101,99,100,5,{value}"), header=header)
        with pytest.raises(MarketDataError, match=rf"row 2 .*: open_interest {message}"):
            load_candles(bad)


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (line(1, "100,101,99,NaN,5"), r"row 2 \(BTC/USDT:USDT\): close is nan, expected a finite number; remove"),
        (line(1, "100,inf,99,100,5"), "row 2 .*: high is inf, expected a finite number"),
        (line(1, "100,101,-99,100,5"), "row 2 .*: low is -99.0, expected a price above zero"),
        (line(1, "100,101,99,100,-5"), "row 2 .*: volume is -5.0, expected zero or more"),
        (line(1, "100,98,99,98,5"), "row 2 .*: high is 98.0, expected at least the row's low"),
        (line(1, "102,101,99,100,5"), "row 2 .*: open is 102.0, expected a price between"),
        (line(1, "100,101,99,98,5"), "row 2 .*: close is 98.0, expected a price between"),
        (line(1, "100,101,99,abc,5"), "row 2 .*: close is 'abc', expected a number"),
        (line(1, "100,101,99,,5"), "row 2 .*: close is empty, expected a number"),
        (line(-1), f"row 2 .*: ts_ms is {START_MS - MINUTE_MS}, expected rising times .* backwards; sort"),
        (line(0), f"row 2 .*: ts_ms is {START_MS}, expected each time once .* duplicate"),
        (",1746360060000,1,1,1,1,1", "row 2: symbol is empty, expected a symbol"),
        ("BTC/USDT:USDT,soon,1,1,1,1,1", "row 2 .*: ts_ms is 'soon', expected whole milliseconds"),
        ("BTC/USDT:USDT,1746360060,1,1,1,1,1", "row 2 .*: ts_ms is 1746360060, expected .* like seconds; multiply"),
        (f"BTC/USDT:USDT,{START_MS}000,1,1,1,1,1", "row 2 .*: .* like microseconds; divide by 1000$"),
        (f"BTC/USDT:USDT,{START_MS}000000,1,1,1,1,1", "row 2 .*: .* like nanoseconds; divide by 1000000$"),
        ("BTC/USDT:USDT,20250504,1,1,1,1,1", "row 2 .*: ts_ms is 20250504, expected .* of the years 2009 to 2099"),
        ("BTC/USDT:USDT,-1746360060000,1,1,1,1,1", "row 2 .*: ts_ms is -1746360060000, expected .* repair"),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, second: str, message: str) -> None:
    path = csv(tmp_path, line(0), second, line(2))
    with pytest.raises(MarketDataError, match=message) as caught:
        load_candles(path)
    assert str(path) in str(caught.value)


def test_a_symbol_of_a_longer_interval_is_named(tmp_path: Path) -> None:
    """Its closes would be taken for those of minutes, and so be known four minutes early."""
    lines = [line(minute) for minute in range(11)] + [line(minute, symbol="ETH/USDT:USDT") for minute in (0, 5, 10)]
    with pytest.raises(MarketDataError, match="symbol ETH/USDT:USDT has a candle every 300 s at most, others every 60"):
        load_candles(csv(tmp_path, *lines))


def test_a_symbol_may_have_one_candle_or_gaps(tmp_path: Path) -> None:
    lines = [line(minute) for minute in range(5)] + [line(minute, symbol="B") for minute in (0, 1, 4)]
    assert load_candles(csv(tmp_path, *lines, line(2, symbol="C"))).bars == 9


@pytest.mark.parametrize("unit", ["us", "ns"])
def test_stamps_of_a_finer_column_are_named_with_their_unit(tmp_path: Path, unit: Literal["us", "ns"]) -> None:
    stamps = pl.col("ts_ms").cast(pl.Datetime("ms")).dt.cast_time_unit(unit)
    frame = candle_frame(flat(100.5, 5)).with_columns(stamps, symbol=pl.lit(BTC))
    frame.write_parquet(tmp_path / "c.parquet")
    with pytest.raises(MarketDataError, match=r"column ts_ms is of type Datetime\(time_unit='(us|ns)'"):
        load_candles(tmp_path / "c.parquet")


def test_one_interval_per_file(tmp_path: Path) -> None:
    with pytest.raises(MarketDataError, match=r"row 4 .* expected a whole number of 60000 ms candles"):
        load_candles(csv(tmp_path, line(0), line(1), line(3), line(4.5)))
    with pytest.raises(MarketDataError, match="give at least two"):
        load_candles(csv(tmp_path, line(0)))


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(MarketDataError, match="column volume is missing, found symbol, ts_ms"):
        load_candles(csv(tmp_path, "A,1,1", header="symbol,ts_ms,open,high,low,close\n"))
    with pytest.raises(MarketDataError, match="no row after the header"):
        load_candles(csv(tmp_path))
    with pytest.raises(MarketDataError, match="the file is empty"):
        load_candles(csv(tmp_path, header=""))
    with pytest.raises(MarketDataError, match="no such file"):
        load_candles(tmp_path / "none.csv")
    with pytest.raises(MarketDataError, match="expected a file named"):
        load_candles(tmp_path / "candles.txt")
    for folder in (tmp_path, tmp_path / "folder.csv"):
        folder.mkdir(exist_ok=True)
        with pytest.raises(MarketDataError, match=f"{folder}: is a directory; name one"):
            load_candles(folder)
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(b"PAR1 no more")
    with pytest.raises(MarketDataError, match="cannot be read"):
        load_candles(broken)


def funding_file(folder: Path, *rows: tuple[str, int, float]) -> Path:
    path = folder / "funding.parquet"
    pl.DataFrame(rows, schema=["symbol", "ts_ms", "funding_rate"], orient="row").write_parquet(path)
    return path


def test_funding_stamps_are_rounded_to_the_second(tmp_path: Path) -> None:
    path = funding_file(tmp_path, (BTC, START_MS + 68, 0.0000125), (BTC, START_MS + 3_599_999, -0.0002))
    funding = load_funding(path)
    assert [(rate.at_ms, rate.rate) for rate in funding.rates] == [
        (START_MS, Decimal("0.0000125")),
        (START_MS + 3_600_000, Decimal("-0.0002")),
    ]
    assert funding.last_rate(BTC, START_MS + 5) == Decimal("0.0000125")
    assert funding.next_instant(BTC, START_MS, START_MS + 10**9) == START_MS + 3_600_000
    assert [rate.at_ms for rate in load_funding(path, start=from_ms(START_MS)).rates] == [START_MS + 3_600_000]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ((BTC, START_MS + 3_600_000, float("nan")), "row 2 .*: funding_rate is nan"),
        ((BTC, START_MS + 3_600_000, 12.5), "row 2 .*: funding_rate is 12.5, expected a fraction"),
        ((BTC, START_MS + 400, 0.1), "row 2 .*: ts_ms .* duplicate"),
        ((BTC, START_MS - 3_600_000, 0.1), "row 2 .*: ts_ms .* backwards"),
    ],
)
def test_bad_funding_is_named(tmp_path: Path, row: tuple[str, int, float], message: str) -> None:
    with pytest.raises(MarketDataError, match=message):
        load_funding(funding_file(tmp_path, (BTC, START_MS, 0.0001), row))


@pytest.mark.parametrize(
    ("name", "bars", "interval_s"),
    [
        ("binance_usdm_2025/candles_1h", 6_471, 3600),
        ("hyperliquid_perp/candles_1h", 69_649, 3600),
        ("gaps/XRP_ETH-1m", 2_469, 60),
    ],
)
def test_recorded_candles_are_read(name: str, bars: int, interval_s: int) -> None:
    columns = load_candles(shared_file("candles", f"{name}.parquet"))
    assert (columns.bars, columns.interval_ms) == (bars, interval_s * 1000)


def test_recorded_hourly_funding_has_its_jitter_removed() -> None:
    rates = load_funding(shared_file("candles", "hyperliquid_perp", "funding_1h.parquet")).rates
    assert len(rates) == 70_430
    assert all(rate.at_ms % 1000 == 0 for rate in rates)
    assert sum(rate.at_ms % 3_600_000 == 0 for rate in rates) > 70_000
