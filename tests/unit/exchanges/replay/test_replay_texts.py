"""What candle and funding files are made of: encodings, separators, line ends, and times in other forms."""

from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from exchanges.errors import MarketDataError
from exchanges.replay.columns import CandleColumns, FundingColumns
from exchanges.replay.loader import load_candles, load_funding

HEAD = "symbol,ts_ms,open,high,low,close,volume\n"
START = 1746360000000
ROWS = "".join(f"BTC,{START + minute * 60_000},1,1,1,1,1\n" for minute in range(3))
FUNDING = f"symbol,ts_ms,funding_rate\nBTC,{START},0.0001\n"
Load = Callable[[Path], CandleColumns | FundingColumns]
FILES: list[tuple[Load, str]] = [(load_candles, HEAD + ROWS), (load_funding, FUNDING)]
ENCODINGS = [
    ("utf-16", "is UTF-16 text; save it as UTF-8"),
    ("utf-16-le", "holds NUL characters, as UTF-16 text does; save it as UTF-8"),
]
STAMPS = {
    "2025-05-04T12:00:00Z": "write 1746360000000 for this time",
    "2025-05-04 12:00": "write 1746360000000 for this time",
    "2025-05-04T14:00:00+02:00": "write 1746360000000 for this time",
    "1746360000000.0": "write 1746360000000",
    "1.74636e12": "write 1746360000000",
    "1746360000.0": "this looks like seconds; multiply by 1000",
    "1746360000000.5": "repair or remove the row",
    "1e400": "repair or remove the row",
    "nan": "repair or remove the row",
}


def _refused(load: Load, path: Path, given: bytes) -> str:
    path.write_bytes(given)
    with pytest.raises(MarketDataError) as caught:
        load(path)
    return str(caught.value)


@pytest.mark.parametrize(("load", "text"), FILES, ids=["candles", "funding"])
def test_what_is_no_comma_separated_utf8_is_told(tmp_path: Path, load: Load, text: str) -> None:
    path = tmp_path / "given.csv"
    for encoding, words in ENCODINGS:
        assert words in _refused(load, path, text.encode(encoding))
    assert "is not UTF-8 text; save it" in _refused(load, path, text.replace("BTC", "é").encode("latin-1"))
    assert "separated by semicolons" in _refused(load, path, text.replace(",", ";").encode())
    assert "separated by tabs" in _refused(load, path, text.replace(",", "\t").encode())
    assert "a carriage return alone" in _refused(load, path, text.replace("\n", "\r").encode())
    assert "is a Parquet file; name it *.parquet" in _refused(load, path, b"PAR1....")
    assert "is compressed; unpack it" in _refused(load, path, b"\x1f\x8b....")
    assert "found 'SYMBOL'; rename or add it" in _refused(load, path, text.replace("symbol", "SYMBOL").encode())
    assert "more values than the header has names" in _refused(load, path, (text + "BTC,1,5,1,1,1,1,1,1\n").encode())


@pytest.mark.parametrize(("load", "text"), FILES, ids=["candles", "funding"])
def test_blank_lines_windows_ends_and_a_byte_order_mark_are_read(tmp_path: Path, load: Load, text: str) -> None:
    path = tmp_path / "given.csv"
    for given in (text + "\n\n", text.replace("\n", "\r\n"), "\ufeff" + text):
        path.write_text(given, encoding="utf-8", newline="")
        load(path)


@pytest.mark.parametrize(("load", "text"), FILES, ids=["candles", "funding"])
@pytest.mark.parametrize(("stamp", "mend"), STAMPS.items())
def test_a_time_in_another_form_says_how_to_write_it(
    tmp_path: Path, load: Load, text: str, stamp: str, mend: str
) -> None:
    said = _refused(load, tmp_path / "given.csv", text.replace(str(START), stamp).encode())
    assert "row 1 (BTC): ts_ms is" in said
    assert said.endswith(mend)


@pytest.mark.parametrize(
    ("column", "values", "words"),
    [
        ("ts_ms", [datetime(2025, 5, 4, tzinfo=UTC)] * 3, "ts_ms is of type Datetime"),
        ("ts_ms", [date(2025, 5, 4)] * 3, "ts_ms is of type Date"),
        ("ts_ms", [START, None, START], "row 2 (BTC): ts_ms is empty"),
        ("close", [[1.0]] * 3, "close is of type List(Float64), expected numbers"),
        ("close", [True] * 3, "close is of type Boolean, expected numbers"),
    ],
)
def test_a_parquet_column_of_another_type_is_told(tmp_path: Path, column: str, values: list[Any], words: str) -> None:
    path = tmp_path / "given.parquet"
    sound = {name: [1.0] * 3 for name in ("open", "high", "low", "close", "volume")}
    frame = {"symbol": ["BTC"] * 3, "ts_ms": [START + minute * 60_000 for minute in range(3)], **sound, column: values}
    pl.DataFrame(frame).write_parquet(path)
    with pytest.raises(MarketDataError) as caught:
        load_candles(path)
    assert words in str(caught.value)
