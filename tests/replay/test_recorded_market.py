"""Twelve opposite traders on recorded candles: nothing breaks, every fill is audited from the candles alone.

The full form, all 492,183 bars for each strategy, runs with PROPDESK_FULL_REPLAY=1.
"""

import json
import os
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from manager.bootstrap.request import ReplayRequest
from manager.replay.run import run_replay
from replay_audit import audit, read_candles
from replay_harness import without_timings
from shared_data import shared_file
from twelve_traders import STRATEGIES, write_twelve

BINANCE = ("candles", "binance_usdm_2025")
HYPERLIQUID = ("candles", "hyperliquid_perp")
FULL = pytest.mark.skipif(os.environ.get("PROPDESK_FULL_REPLAY") != "1", reason="set PROPDESK_FULL_REPLAY=1 to run it")


def request(folder: Path, candles: Path, strategy: str, interval: str, **more: Any) -> ReplayRequest:
    symbols = pl.read_parquet(candles, columns=["symbol"])["symbol"].unique().sort().to_list()
    return ReplayRequest(
        config=write_twelve(folder, symbols, strategy, interval), candles=candles, out=folder / "out", **more
    )


def replayed(given: ReplayRequest) -> dict[str, Any]:
    """Replay, audit and return the report."""
    report = run_replay(given)
    candles = read_candles(given.candles, given.start, given.end)
    assert report["bars"] == sum(len(own.begins) for own in candles.values())
    assert given.out is not None
    assert audit(given.out, candles, given.funding, report) > 0
    return report


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_most_of_a_day_of_minutes_under_each_strategy(tmp_path: Path, strategy: str) -> None:
    start = datetime(2025, 5, 20, tzinfo=UTC)
    report = replayed(
        request(
            tmp_path,
            shared_file(*BINANCE, "candles_1m.parquet"),
            strategy,
            "15m",
            funding=shared_file(*BINANCE, "funding_8h.parquet"),
            start=start,
            end=start + timedelta(hours=20),
        )
    )
    assert report["conflicts"]["direction"] > 0
    assert report["conflicts"]["duplicate"] > 0
    assert report["account"]["funding"] != "0"
    assert sum(row["decisions"] for row in report["traders"]) == 12 * 20 * 4


@pytest.mark.parametrize("strategy", ["highest_confidence", "net"])
def test_five_minute_candles_with_hourly_funding_whose_stamps_jitter(tmp_path: Path, strategy: str) -> None:
    start = datetime(2025, 5, 10, tzinfo=UTC)
    funding = shared_file(*HYPERLIQUID, "funding_1h.parquet")
    report = replayed(
        request(
            tmp_path,
            shared_file(*HYPERLIQUID, "candles_5m.parquet"),
            strategy,
            "1h",
            funding=funding,
            start=start,
            end=start + timedelta(days=3),
        )
    )
    assert (pl.read_parquet(funding)["ts_ms"] % 1000 != 0).sum() > 0
    assert report["account"]["funding"] != "0"


def test_nothing_fills_where_candles_are_missing(tmp_path: Path) -> None:
    """The audit wants a candle for every fill: at its begin for market orders, at its end for stops and targets."""
    path = shared_file("candles", "gaps", "XRP_ETH-1m.parquet")
    steps = pl.read_parquet(path)["ts_ms"].diff().drop_nulls() // 60_000
    assert (steps > 1).sum() == 676
    report = replayed(request(tmp_path, path, "net", "3m"))
    assert report["bars"] == 2_469
    orders = pl.read_parquet(tmp_path / "out" / "orders.parquet")
    assert len(orders.filter((pl.col("purpose") == "entry") & (pl.col("state") == "expired"))) > 0


def test_partial_fills_and_ticks_break_nothing(tmp_path: Path) -> None:
    """Orders take at most 0.05 % of a candle's volume: entries die in part, stops and closes fill in pieces."""
    start = datetime(2025, 5, 20, tzinfo=UTC)
    candles = shared_file(*BINANCE, "candles_1m.parquet")
    given = request(tmp_path, candles, "net", "15m", start=start, end=start + timedelta(hours=12))
    config = json.loads(given.config.read_text(encoding="utf-8"))
    symbols = {symbol for trader in config["traders"] for symbol in trader["symbols"]}
    terms = {symbol: {"tick": 0.01, "lot": 0.001} for symbol in symbols}
    config["exchanges"]["desk"] |= {"volume_share": 0.0005, "instruments": terms}
    given.config.write_text(json.dumps(config), encoding="utf-8")
    report = run_replay(given)
    orders = pl.read_parquet(tmp_path / "out" / "orders.parquet")
    assert len(orders.filter((pl.col("state") == "expired") & (pl.col("filled").cast(pl.Float64) > 0))) > 0
    assert report["invariants"]["violated"] == 0, report["invariants"]
    equities = sum(Decimal(row["equity"]) for row in report["traders"]) + Decimal(report["account"]["unallocated"])
    assert abs(equities - Decimal(report["account"]["equity"])) < Decimal("0.005")


def test_two_runs_on_recorded_candles_print_the_same(tmp_path: Path) -> None:
    start = datetime(2025, 6, 2, tzinfo=UTC)
    candles = shared_file(*BINANCE, "candles_1m.parquet")
    first, second = (
        run_replay(request(tmp_path / name, candles, "net", "5m", start=start, end=start + timedelta(hours=6)))
        for name in ("one", "two")
    )
    assert without_timings(first) == without_timings(second)


@FULL
@pytest.mark.slow
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_all_recorded_minutes_under_each_strategy(tmp_path: Path, strategy: str) -> None:
    given = request(
        tmp_path,
        shared_file(*BINANCE, "candles_1m.parquet"),
        strategy,
        "1h",
        funding=shared_file(*BINANCE, "funding_8h.parquet"),
    )
    report = replayed(given)
    assert report["bars"] == 492_183
    assert without_timings(run_replay(given)) == without_timings(report)


@FULL
@pytest.mark.slow
def test_all_recorded_five_minutes_with_hourly_funding(tmp_path: Path) -> None:
    candles, funding = (shared_file(*HYPERLIQUID, name) for name in ("candles_5m.parquet", "funding_1h.parquet"))
    report = replayed(request(tmp_path, candles, "net", "1h", funding=funding))
    assert report["bars"] == 175_680
