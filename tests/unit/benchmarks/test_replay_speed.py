from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from benchmarks.peers.desk_rules import Held, Rules, View, read
from benchmarks.peers.measured import Run
from benchmarks.replay_speed import Window, ratio
from exchanges.clock import to_ms
from exchanges.market import IndicatorRow
from executor.contract import Action

BEGIN = datetime(2025, 5, 9, 18, 18, tzinfo=UTC)
OURS = Run(engine="ours", bars=1, decisions=1_000, orders=1, fills=1, cpu_s=2.0, wall_s=2.0)


def candles(folder: Path, hours: dict[str, tuple[int, int]]) -> Path:
    rows = [
        {"symbol": symbol, "ts_ms": to_ms(BEGIN + timedelta(minutes=minute)), "open": 1.0 + minute}
        for symbol, (first, last) in hours.items()
        for minute in range(60 * first, 60 * last)
    ]
    frame = pl.DataFrame(rows).with_columns(high=pl.col("open"), low=pl.col("open"), close=pl.col("open"), volume=1.0)
    frame.write_parquet(folder / "given.parquet")
    return folder / "given.parquet"


def test_the_window_has_only_whole_hours_in_which_every_symbol_has_candles(tmp_path: Path) -> None:
    given = candles(tmp_path, {"A/USDT:USDT": (0, 9), "B/USDT:USDT": (2, 12)})
    window = Window.cut(given, None, tmp_path)
    assert (window.start.hour, window.end.hour) == (21, 3)
    cut = read(window.candles)
    assert {symbol: len(bars.candles) for symbol, bars in cut.items()} == dict.fromkeys(cut, 360)
    assert cut["A/USDT:USDT"].candles["ts_ms"].min() == to_ms(window.start)
    assert Window.cut(given, 1 / 12, tmp_path).end - window.start == timedelta(hours=2)


def test_a_peer_that_did_half_the_work_has_no_ratio() -> None:
    assert ratio([OURS], [replace(OURS, decisions=980, cpu_s=3.92)]).startswith("2.00 times")
    assert ratio([OURS], [replace(OURS, cpu_s=3.0, load_s=1.0)]).startswith(
        "1.50 times the replay's CPU a decision, 2.00"
    )
    assert ratio([OURS], [replace(OURS, decisions=940)]).startswith("no ratio")
    assert ratio([OURS], [replace(OURS, decisions=1_060)]).startswith("no ratio")


def test_a_desk_whose_traders_stopped_has_no_ratio() -> None:
    assert ratio([replace(OURS, share=0.4)], [OURS]).startswith("no ratio")


@pytest.mark.parametrize(("quantity", "expected"), [(0.0, Action.OPEN_SHORT), (1.0, Action.CLOSE_LONG)])
def test_peers_decide_by_the_rules_of_the_baseline(quantity: float, expected: Action) -> None:
    falling = IndicatorRow(ema_20=90.0, ema_50=100.0, atr_14=1.0, rsi_14=40.0)
    rules = Rules("short_biased", ["A/USDT:USDT"])
    held = (Held("A/USDT:USDT", quantity),) if quantity else ()
    made = rules.decide({"A/USDT:USDT": View("A/USDT:USDT", 80.0, falling)}, held)
    assert (made[0].action, rules.made) == (expected, 1)
