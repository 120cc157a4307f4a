"""Measure the replay of twelve traders on one account against two peers on the same bars, in turns in one run.

The peers are NautilusTrader, all twelve strategies in one engine, and backtesting.py, a run for each strategy and
symbol (`benchmarks/peers`). Nothing is isolated, every decision is taken, the bars have no stale tail. Times are CPU
seconds of all processes, so that what else runs on the machine disturbs them least; medians of the runs.
"""

import argparse
import cProfile
import json
import logging
import os
import pstats
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from statistics import median
from typing import Final

import polars as pl
import structlog

from benchmarks.peers.measured import Run, measured
from benchmarks.twelve_traders import SYMBOLS, twelve_strategies, twelve_traders
from exchanges.clock import from_ms
from exchanges.indicators import HOUR_MS
from manager.bootstrap.request import ReplayRequest
from manager.replay.run import run_replay

ROOT = Path(__file__).resolve().parent.parent
CANDLES = ROOT.parent / "shared/data/candles/binance_usdm_2025/candles_1m.parquet"
PEERS = {"nautilus_trader": "nautilus_twelve.py", "backtesting": "backtesting_twelve.py"}
PEER_PYTHON = ROOT / ".venv/bench-peer/bin/python"
NO_ISOLATION = "{sharpe_below: null, failed_decisions: null, violations_per_day: null}"
HOUR: Final = timedelta(milliseconds=HOUR_MS)
DECISIONS_GOAL, TAKEN, SAME_WORK = 5000, 0.99, 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Name a file of candles and its time, from a full hour to a full hour."""

    candles: Path
    start: datetime
    end: datetime

    @staticmethod
    def cut(candles: Path, days: float | None, folder: Path) -> "Window":
        """Write the candles of the whole hours in which every symbol has some (beyond, marks would only age)."""
        frame = pl.read_parquet(candles)
        length_ms = frame.select(pl.col("ts_ms").diff().over("symbol").min()).item()
        ends = frame.group_by("symbol").agg(first=pl.col("ts_ms").min(), end=pl.col("ts_ms").max() + length_ms)
        [(first, end)] = ends.select(pl.col("first").max(), pl.col("end").min()).rows()
        first, end = -(-first // HOUR_MS) * HOUR_MS, end // HOUR_MS * HOUR_MS
        if days is not None:
            end = min(end, first + int(days * 24) * HOUR_MS)
        inside = frame.filter(pl.col("ts_ms").is_between(first, end, closed="left"))
        inside.write_parquet(folder / "candles.parquet")
        return Window(candles=folder / "candles.parquet", start=from_ms(first), end=from_ms(end))


def replay_once(window: Window, config: Path, interval: timedelta) -> Run:
    """Replay everything once, invariants on, loading of the candles included."""
    with measured() as took:
        report = run_replay(ReplayRequest(config=config, candles=window.candles))
    traders = report["traders"]
    decisions = sum(trader["decisions"] for trader in traders)
    return Run(
        engine="Propdesk",
        bars=report["bars"],
        decisions=decisions,
        orders=sum(trader["orders"] for trader in traders),
        fills=sum(trader["fills"] for trader in traders),
        share=decisions / (len(traders) * ((window.end - window.start) // interval)),
        violated=report["invariants"]["violated"],
        cpu_s=took.cpu_s,
        wall_s=took.wall_s,
    )


def peer_once(python: Path, script: str, window: Window, strategies: Path) -> Run:
    """Run a peer once in its own interpreter."""
    done = subprocess.run(
        [str(python), str(ROOT / "benchmarks/peers" / script), str(window.candles), str(strategies)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        sys.exit(f"{script} failed in {python}:\n{done.stderr[-2000:]}")
    return Run.told(done.stdout)


def present(python: Path) -> list[str]:
    """Return the scripts of the peers that this interpreter has, and say which are left out."""
    found = []
    for module, script in PEERS.items():
        if (
            python.is_file()
            and subprocess.run([str(python), "-c", f"import {module}"], capture_output=True).returncode == 0
        ):
            found.append(script)
        else:
            print(f"{module} is not in {python}: its figures are left out (benchmarks/README.md says how to get it)")
    return found


def compare(window: Window, folder: Path, given: argparse.Namespace) -> None:
    """Print all at one-hour decisions, run by run in turns, and the ratios of their CPU a decision."""
    config, strategies = write_config(folder, "1h"), folder / "strategies.json"
    strategies.write_text(json.dumps(twelve_strategies()), encoding="utf-8")
    turns: list[Callable[[], Run]] = [partial(replay_once, window, config, HOUR)]
    turns += [partial(peer_once, given.peers, script, window, strategies) for script in present(given.peers)]
    rounds = [[turn() for turn in turns] for _ in range(given.runs)]
    own, *peers = [list(runs) for runs in zip(*rounds, strict=True)]
    show("12 traders, 1h decisions", own)
    for runs in peers:
        show("the same 12 strategies", runs)
        print(f"  {ratio(own, runs)}")


def ratio(own: list[Run], peer: list[Run]) -> str:
    """Say how much more CPU a decision of the peer takes, unless they did not do the same work."""
    ours, theirs = own[0].decisions, peer[0].decisions
    if own[0].share < TAKEN or abs(theirs - ours) > SAME_WORK * ours:
        return f"no ratio: {theirs:,} decisions against {ours:,} is not the same work"
    times, loaded = (a_decision_ms(peer, loading=loading) / a_decision_ms(own) for loading in (False, True))
    return f"{times:.2f} times the replay's CPU a decision, {loaded:.2f} with its loading, which the replay's includes"


def a_decision_ms(runs: list[Run], *, loading: bool = False) -> float:
    """Return the median CPU of a decision."""
    return 1000 * median((run.cpu_s + loading * run.load_s) / max(run.decisions, 1) for run in runs)


def show(title: str, runs: list[Run]) -> None:
    """Print the median of some runs."""
    first, cpu, wall = runs[0], median(run.cpu_s for run in runs), median(run.wall_s for run in runs)
    each = " ".join(f"{run.cpu_s:.2f}" for run in runs)
    work = f"{first.decisions:,} decisions, {first.orders:,} orders, {first.fills:,} fills, {first.bars:,} bars"
    print(f"{first.engine}, {title}: {work}")
    loaded = f" (and {median(run.load_s for run in runs):.2f} to load)" if first.load_s else ""
    print(f"  CPU s of all processes {each}, median {cpu:.2f}{loaded}; wall s {wall:.2f}")
    print(
        f"  {a_decision_ms(runs):.2f} ms CPU a decision; "
        f"a CPU second: {first.decisions / cpu:,.0f} decisions, {first.bars / cpu:,.0f} bars"
    )
    if any(run.violated for run in runs):
        print("  invariants were VIOLATED")
    if first.share < TAKEN:
        print(f"  only {first.share:.1%} of the decisions due were taken: traders stopped, the figures mean little")


def write_config(folder: Path, interval: str, strategy: str = "highest_confidence") -> Path:
    """Write the config of the twelve traders, whom nothing isolates, and return its path."""
    path = folder / f"twelve_{interval}_{strategy}.yaml"
    path.write_text(twelve_traders(interval, strategy, NO_ISOLATION), encoding="utf-8")
    return path


def profile(window: Window, config: Path) -> None:
    """Print where the time of one replay goes."""
    profiler = cProfile.Profile()
    profiler.runcall(run_replay, ReplayRequest(config=config, candles=window.candles))
    pstats.Stats(profiler).strip_dirs().sort_stats("tottime").print_stats(30)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--candles", type=Path, default=CANDLES, help="candle file to replay")
    parser.add_argument("--days", type=float, help="only so many days from its start, for a try")
    parser.add_argument("--runs", type=int, default=3, help="how often each is run")
    parser.add_argument("--peers", type=Path, default=PEER_PYTHON, help="Python that has the peers")
    parser.add_argument("--hourly", action="store_true", help="leave out the decisions every three minutes")
    parser.add_argument("--profile", action="store_true", help="print where the time goes, at 1h and at 3m decisions")
    given = parser.parse_args()
    if not given.candles.is_file():
        print(f"{given.candles} is not here: give a candle file with --candles")
        return
    if missing := set(SYMBOLS) - set(pl.read_parquet(given.candles, columns=["symbol"])["symbol"]):
        sys.exit(
            f"{given.candles} has no {', '.join(sorted(missing))}: give a file with the symbols of twelve_traders.py"
        )
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        window = Window.cut(given.candles, given.days, folder)
        print(f"{given.candles.name}, {window.start:%Y-%m-%d %H:%M} to {window.end:%Y-%m-%d %H:%M}", flush=True)
        if given.profile:
            for interval in ("1h", "3m"):
                profile(window, write_config(folder, interval))
            return
        compare(window, folder, given)
        if given.hourly:
            return
        for strategy in ("highest_confidence", "first_come"):
            config = write_config(folder, "3m", strategy)
            show(f"12 traders, 3m decisions, {strategy}", [replay_once(window, config, timedelta(minutes=3))])
        print(f"  goal: {DECISIONS_GOAL:,} decisions/s")


if __name__ == "__main__":
    main()
