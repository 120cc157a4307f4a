"""Instants that bring only decisions: leaving out their upkeep changes no number and nothing that a trader sees."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from executor.baseline.executor import BaselineExecutor
from executor.contract import Context, FullDecision, PerformanceView
from manager.bootstrap.request import ReplayRequest
from manager.replay.run import run_replay
from manager.replay.upkeep import Upkeep
from replay_harness import without_timings
from shared_data import shared_file
from twelve_traders import write_twelve

Seen = list[tuple[str, datetime, PerformanceView]]


def replayed(folder: Path, strategy: str, monkeypatch: pytest.MonkeyPatch) -> tuple[dict[str, Any], Seen]:
    """Return the report without timings and the performance that each decision was shown."""
    candles = shared_file("candles", "binance_usdm_2025", "candles_1m.parquet")
    symbols = pl.read_parquet(candles, columns=["symbol"])["symbol"].unique().sort().to_list()
    start = datetime(2025, 5, 20, tzinfo=UTC)
    seen: Seen = []
    plan = BaselineExecutor.plan

    def noted(self: BaselineExecutor, context: Context) -> FullDecision:
        seen.append((context.trader_id, context.now, context.performance))
        return plan(self, context)

    with monkeypatch.context() as patched:
        patched.setattr(BaselineExecutor, "plan", noted)
        report = run_replay(
            ReplayRequest(
                config=write_twelve(folder, symbols, strategy, "3m"),
                candles=candles,
                start=start,
                end=start + timedelta(hours=5),
            )
        )
    return without_timings(report), seen


@pytest.mark.parametrize("strategy", ["highest_confidence", "net"])
def test_upkeep_left_out_changes_nothing(tmp_path: Path, strategy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    quiet = Upkeep.quiet
    found: list[bool] = []

    def counted(self: Upkeep, now: datetime, *, event: bool) -> bool:
        found.append(quiet(self, now, event=event))
        return found[-1]

    def never(self: Upkeep, now: datetime, *, event: bool) -> bool:
        del self, now, event
        return False

    (tmp_path / "quiet").mkdir()
    (tmp_path / "kept").mkdir()
    with monkeypatch.context() as patched:
        patched.setattr(Upkeep, "quiet", counted)
        report, seen = replayed(tmp_path / "quiet", strategy, monkeypatch)
    with monkeypatch.context() as patched:
        patched.setattr(Upkeep, "quiet", never)
        kept_report, kept_seen = replayed(tmp_path / "kept", strategy, monkeypatch)
    assert sum(found) > 20
    assert report == kept_report
    assert [(who, at) for who, at, _ in seen] == [(who, at) for who, at, _ in kept_seen]
    for (_, _, shown), (_, _, kept) in zip(seen, kept_seen, strict=True):
        assert shown.pnl_pct == pytest.approx(kept.pnl_pct, abs=1e-9)
        assert shown.drawdown_pct == pytest.approx(kept.drawdown_pct, abs=1e-9)
        assert shown.max_drawdown_pct == pytest.approx(kept.max_drawdown_pct, abs=1e-9)
        assert (shown.sharpe is None) == (kept.sharpe is None)
