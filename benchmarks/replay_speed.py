"""Measure the replay of twelve traders on one account against backtesting.py on the same bars, in turns in one run.

Times are CPU seconds of the process, so that what else runs on the machine disturbs them least; medians of the runs.
"""

import argparse
import cProfile
import json
import os
import pstats
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

import polars as pl

from benchmarks.twelve_traders import twelve_strategies, twelve_traders
from exchanges.clock import from_ms, to_ms
from manager.bootstrap.request import ReplayRequest
from manager.replay.run import run_replay

ROOT = Path(__file__).resolve().parent.parent
CANDLES = ROOT.parent / "shared/data/candles/binance_usdm_2025/candles_1m.parquet"
PEER = ROOT / "benchmarks/peers/backtesting_twelve.py"
NO_ISOLATION = "{sharpe_below: null, failed_decisions: null, violations_per_day: null}"
PEER_LIBRARIES = ROOT / ".venv/bench-peer"
DECISIONS_GOAL, TAKEN = 5000, 0.99


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Hold one measured run; `cpu_s` are the seconds of all its processes, `share` the decisions taken of those due."""

    bars: int
    decisions: int
    orders: int
    cpu_s: float
    wall_s: float
    share: float = 1.0
    violated: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Name the candles and the time in which every symbol has some: beyond it marks would only age."""

    candles: Path
    start: datetime
    end: datetime

    @staticmethod
    def of(candles: Path) -> "Window":
        """Return the window of a file."""
        ends = pl.scan_parquet(candles).group_by("symbol").agg(first=pl.col("ts_ms").min(), last=pl.col("ts_ms").max())
        [(first, last)] = ends.select(pl.col("first").max(), pl.col("last").min()).collect().rows()
        return Window(candles=candles, start=from_ms(first), end=from_ms(last))

    def write_csv(self, path: Path) -> Path:
        """Write the candles within the window for a peer."""
        inside = pl.col("ts_ms").is_between(to_ms(self.start), to_ms(self.end))
        pl.read_parquet(self.candles).filter(inside).sort("symbol", "ts_ms").write_csv(path)
        return path


def cpu_s() -> float:
    """Return the CPU seconds of this process, its threads and its children that ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def replay_once(window: Window, config: Path, interval_s: int) -> Run:
    """Replay everything once, invariants on, loading of the candles included."""
    wall, cpu = time.perf_counter(), cpu_s()
    report = run_replay(ReplayRequest(config=config, candles=window.candles, start=window.start, end=window.end))
    decisions = sum(trader["decisions"] for trader in report["traders"])
    due = len(report["traders"]) * ((window.end - window.start) // timedelta(seconds=interval_s))
    return Run(
        bars=report["bars"],
        decisions=decisions,
        orders=sum(trader["orders"] for trader in report["traders"]),
        cpu_s=cpu_s() - cpu,
        wall_s=time.perf_counter() - wall,
        share=decisions / due,
        violated=report["invariants"]["violated"],
    )


def peer_once(csv: Path, strategies: Path) -> Run:
    """Run the twelve strategies in backtesting.py once, one run each; loading of the candles left out."""
    done = subprocess.run(
        [sys.executable, str(PEER), str(csv), str(strategies)],
        env={**os.environ, "PYTHONPATH": str(PEER_LIBRARIES)},
        capture_output=True,
        text=True,
        check=True,
    )
    row: dict[str, Any] = json.loads(done.stdout)
    return Run(**row)


def compare(window: Window, folder: Path, runs: int) -> None:
    """Print both at one-hour decisions, run by run in turns, and the ratio of their CPU a decision."""
    config, csv = write_config(folder, "1h"), folder / "candles.csv"
    strategies = folder / "strategies.json"
    strategies.write_text(json.dumps(twelve_strategies()), encoding="utf-8")
    has_peer = (PEER_LIBRARIES / "backtesting").is_dir()
    if has_peer:
        window.write_csv(csv)
    else:
        print(f"backtesting.py is not in {PEER_LIBRARIES}: its figures are left out (make bench installs it)")
    own, peer = [], []
    for _ in range(runs):
        own.append(replay_once(window, config, 3_600))
        if has_peer:
            peer.append(peer_once(csv, strategies))
    show("replay, 12 traders, 1h decisions", own)
    if peer:
        show("backtesting.py 0.6, the same 12 strategies in 12 runs", peer)
        ratio = median(run.cpu_s for run in peer) / median(run.cpu_s for run in own)
        print(f"  backtesting.py takes {ratio:.2f} times the CPU of the replay")


def show(title: str, runs: list[Run]) -> None:
    """Print the median of some runs."""
    cpu = median(run.cpu_s for run in runs)
    first = runs[0]
    each = " ".join(f"{run.cpu_s:.2f}" for run in runs)
    wall = median(run.wall_s for run in runs)
    print(f"{title}: {first.decisions:,} decisions ({first.share:.1%} of those due), {first.orders:,} orders")
    print(f"  CPU s of all processes {each}; wall s {wall:.2f}; {first.bars:,} bars, {first.bars / cpu:,.0f} bars/s")
    print(f"  {1000 * cpu / max(first.decisions, 1):.2f} ms CPU a decision, {first.decisions / cpu:,.0f} decisions/s")
    if any(run.violated for run in runs):
        print("  invariants were VIOLATED")
    if first.share < TAKEN:
        print(
            f"  fewer than {TAKEN:.0%} of the decisions were taken: traders stopped deciding, the figures mean little"
        )


def write_config(folder: Path, interval: str, strategy: str = "highest_confidence") -> Path:
    """Write the config of the twelve traders, whom nothing isolates, and return its path."""
    path = folder / f"twelve_{interval}_{strategy}.yaml"
    path.write_text(twelve_traders(interval, strategy, NO_ISOLATION), encoding="utf-8")
    return path


def profile(window: Window, config: Path) -> None:
    """Print where the time of one replay goes."""
    profiler = cProfile.Profile()
    request = ReplayRequest(config=config, candles=window.candles, start=window.start, end=window.end)
    profiler.runcall(run_replay, request)
    pstats.Stats(profiler).strip_dirs().sort_stats("tottime").print_stats(30)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--candles", type=Path, default=CANDLES, help="candle file to replay")
    parser.add_argument("--runs", type=int, default=3, help="how often each is run")
    parser.add_argument("--profile", action="store_true", help="print where the time goes, at 1h and at 3m decisions")
    given = parser.parse_args()
    if not given.candles.is_file():
        print(f"{given.candles} is not here: give a candle file with --candles")
        return
    window = Window.of(given.candles)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if given.profile:
            for interval in ("1h", "3m"):
                profile(window, write_config(folder, interval))
            return
        compare(window, folder, given.runs)
        for strategy in ("highest_confidence", "first_come"):
            config = write_config(folder, "3m", strategy)
            show(f"replay, 12 traders, 3m decisions, {strategy}", [replay_once(window, config, 180)])
        print(f"  goal: {DECISIONS_GOAL:,} decisions/s")


if __name__ == "__main__":
    main()
