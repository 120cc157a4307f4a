"""Measure the replay of twelve traders on one account against backtesting.py on the same bars, in turns in one run.

Times are CPU seconds of the process, so that what else runs on the machine disturbs them least; medians of the runs.
"""

import argparse
import cProfile
import json
import os
import pstats
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.twelve_traders import twelve_traders
from manager.bootstrap.request import ReplayRequest
from manager.replay.run import run_replay

ROOT = Path(__file__).resolve().parent.parent
CANDLES = ROOT.parent / "shared/data/candles/binance_usdm_2025/candles_1m.parquet"
PEER = ROOT / "benchmarks/peers/backtesting_ema.py"
PEER_LIBRARIES = ROOT / ".venv/bench-peer"
RATIO_GOAL, DECISIONS_GOAL = 1.5, 5000


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Hold one measured run; `cpu_s` and `wall_s` in seconds."""

    bars: int
    decisions: int
    cpu_s: float
    wall_s: float
    violated: int = 0


def replay_once(candles: Path, config: Path) -> Run:
    """Replay everything once, invariants on, loading of the candles included."""
    wall, cpu = time.perf_counter(), time.process_time()
    report = run_replay(ReplayRequest(config=config, candles=candles))
    return Run(
        bars=report["bars"],
        decisions=sum(trader["decisions"] for trader in report["traders"]),
        cpu_s=time.process_time() - cpu,
        wall_s=time.perf_counter() - wall,
        violated=report["invariants"]["violated"],
    )


def peer_once(csv: Path) -> Run:
    """Run backtesting.py over the same bars once, loading of the candles left out."""
    done = subprocess.run(
        [sys.executable, str(PEER), str(csv), "1"],
        env={**os.environ, "PYTHONPATH": str(PEER_LIBRARIES)},
        capture_output=True,
        text=True,
        check=True,
    )
    row: dict[str, Any] = json.loads(done.stdout)
    return Run(bars=row["bars"], decisions=row["trades"], cpu_s=row["cpu_s"], wall_s=row["wall_s"])


def compare(candles: Path, folder: Path, runs: int) -> None:
    """Print bars/s at one-hour decisions and the ratio to backtesting.py, run by run in turns."""
    config, csv = write_config(folder, "1h"), folder / "candles.csv"
    has_peer = (PEER_LIBRARIES / "backtesting").is_dir()
    if has_peer:
        import polars as pl

        pl.read_parquet(candles).sort("symbol", "ts_ms").write_csv(csv)
    else:
        print(f"backtesting.py is not in {PEER_LIBRARIES}: its figures are left out (make bench installs it)")
    own, peer = [], []
    for _ in range(runs):
        own.append(replay_once(candles, config))
        if has_peer:
            peer.append(peer_once(csv))
    show("replay, 12 traders, 1h decisions", own)
    if peer:
        show("backtesting.py 0.6, EMA cross", peer)
        ratio = median(run.cpu_s for run in peer) / median(run.cpu_s for run in own)
        print(f"  ratio {ratio:.2f} (goal {RATIO_GOAL})")


def show(title: str, runs: list[Run]) -> None:
    """Print the median of some runs."""
    cpu = median(run.cpu_s for run in runs)
    bars, decisions = runs[0].bars, runs[0].decisions
    each = " ".join(f"{run.cpu_s:.2f}" for run in runs)
    wall = median(run.wall_s for run in runs)
    print(f"{title}: {bars / cpu:,.0f} bars/s  (CPU s {each}; wall s {wall:.2f}; {bars:,} bars)")
    if any(run.violated for run in runs):
        print("  invariants were VIOLATED")
    print(f"  {decisions:,} decisions or trades, {decisions / cpu:,.0f}/s")


def write_config(folder: Path, interval: str, strategy: str = "highest_confidence") -> Path:
    """Write the config of the twelve traders and return its path."""
    path = folder / f"twelve_{interval}_{strategy}.yaml"
    path.write_text(twelve_traders(interval, strategy), encoding="utf-8")
    return path


def profile(candles: Path, config: Path) -> None:
    """Print where the time of one replay goes."""
    profiler = cProfile.Profile()
    profiler.runcall(run_replay, ReplayRequest(config=config, candles=candles))
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
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if given.profile:
            for interval in ("1h", "3m"):
                profile(given.candles, write_config(folder, interval))
            return
        compare(given.candles, folder, given.runs)
        for strategy in ("highest_confidence", "first_come"):
            config = write_config(folder, "3m", strategy)
            show(f"replay, 12 traders, 3m decisions, {strategy}", [replay_once(given.candles, config)])
        print(f"  goal: {DECISIONS_GOAL:,} decisions/s")


if __name__ == "__main__":
    main()
