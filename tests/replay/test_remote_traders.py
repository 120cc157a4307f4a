"""A replay whose trader decides elsewhere: as one that decides here, within its budget, and again from recordings."""

import asyncio
from decimal import Decimal
from itertools import accumulate, pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest

from config_files import write_config
from executor.baseline.executor import BaselineExecutor
from executor.baseline.styles import Style
from executor.contract import Context, FullDecision, Outcome, Usage
from executor.errors import RecordingMissing
from executor_servers import KEY, serving_any
from manager.bootstrap.request import ModelsMode, ReplayRequest
from manager.errors import ReplayInputError
from manager.replay.run import replay

HERE = "{type: baseline, style: breakout}"
COMPARED = ("traders", "account", "models", "conflicts", "denials", "clamps", "invariants")
CONFIG = """\
exchanges: {paper: {type: paper, market: {type: synthetic, seed: 7}}}
traders:
  - id: one
    exchange: paper
    executor: %s
    symbols: ["BTC/USDT:USDT"]
    decision_interval: 5m
    risk_params: {min_confidence: 50}
"""


def candles(folder: Path) -> Path:
    path = folder / "candles.csv"
    walk = Random(3)
    prices = list(
        accumulate(
            (walk.gauss(0.00005, 0.002) for _ in range(1000)), lambda price, move: price * (1 + move), initial=100.0
        )
    )
    rows = ["symbol,ts_ms,open,high,low,close,volume"]
    for minute, (opened, closed) in enumerate(pairwise(prices)):
        high, low = max(opened, closed) + 0.01, min(opened, closed) - 0.01
        rows.append(f"BTC/USDT:USDT,{1735689600000 + minute * 60000},{opened!r},{high!r},{low!r},{closed!r},10")
    path.write_text("\n".join(rows))
    return path


class Costly:
    """Decide nothing at a price, or fail; count how often."""

    def __init__(self, usd: str, outcome: Outcome = Outcome.DECIDED) -> None:
        self._decision = FullDecision(outcome=outcome, usage=Usage(input_tokens=9, cost_usd=Decimal(usd)))
        self.asked = 0

    async def decide(self, context: Context) -> FullDecision:
        """Return it."""
        del context
        self.asked += 1
        return self._decision

    async def ping(self) -> None:
        """Answer."""

    async def close(self) -> None:
        """Hold nothing."""


async def reported(folder: Path, executor: str, mode: ModelsMode = ModelsMode.LIVE, more: str = "") -> dict[str, Any]:
    config = write_config(folder, more + CONFIG % executor)
    request = ReplayRequest(config=config, candles=candles(folder), models=mode, recordings=folder / "kept")
    report = await replay(request)
    return {name: report[name] for name in COMPARED}


def elsewhere(url: str, more: str = "") -> str:
    return f'{{type: remote, url: "{url}", key: ${{SERVER_KEY}}{more}}}'


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVER_KEY", KEY)


def test_where_it_is_decided_makes_no_difference(tmp_path: Path) -> None:
    async def run() -> list[dict[str, Any]]:
        async with serving_any(BaselineExecutor(Style.BREAKOUT)) as serving:
            there = [elsewhere(url) for url in (serving.http, serving.grpc)]
            return [await reported(tmp_path, executor) for executor in (HERE, *there)]

    here, http, grpc = asyncio.run(run())
    assert here["traders"][0]["orders"] > 0
    assert http == here
    assert grpc == here


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_what_was_recorded_is_had_again_without_a_server(tmp_path: Path, scheme: str) -> None:
    async def run() -> tuple[dict[str, Any], str]:
        async with serving_any(BaselineExecutor(Style.BREAKOUT)) as serving:
            there = elsewhere(getattr(serving, scheme))
            return await reported(tmp_path, there, ModelsMode.RECORD), there

    recorded, there = asyncio.run(run())
    assert recorded["traders"][0]["orders"] > 0
    assert asyncio.run(reported(tmp_path, there, ModelsMode.RECORDED)) == recorded


def test_a_replay_of_recordings_asks_nobody(tmp_path: Path) -> None:
    async def run() -> str:
        server = Costly("0.5")
        async with serving_any(server) as serving:
            with pytest.raises(ReplayInputError, match="no recordings in"):
                await reported(tmp_path, elsewhere(serving.http), ModelsMode.RECORDED)
            (tmp_path / "kept").mkdir()
            with pytest.raises(RecordingMissing) as missed:
                await reported(tmp_path, elsewhere(serving.http), ModelsMode.RECORDED)
        assert server.asked == 0
        return str(missed.value)

    missed = asyncio.run(run())
    assert "trader one at 2025-01-01T00:0" in missed
    assert "was not recorded for model 'remote 127.0.0.1:" in missed


@pytest.mark.parametrize("scope", ["tenant_usd_per_day", "trader_usd_per_day"])
def test_a_trader_elsewhere_costs_and_stops_at_its_budget(tmp_path: Path, scope: str) -> None:
    async def run() -> tuple[list[dict[str, Any]], int]:
        server = Costly("0.4")
        budget = f"budgets: {{{scope}: 1}}\n"
        async with serving_any(server) as serving:
            there = elsewhere(serving.http, ", max_usd_per_decision: 0.5")
            first = await reported(tmp_path, there, ModelsMode.RECORD, budget)
        return [first, await reported(tmp_path, there, ModelsMode.RECORDED, budget)], server.asked

    (recorded, again), asked = asyncio.run(run())
    decisions = recorded["traders"][0]["decisions"]
    assert (asked, decisions > 100) == (2, True)
    assert recorded["traders"][0]["outcomes"] == {"decided": 2, "budget_exhausted": decisions - 2}
    assert recorded["models"]["total"]["cost_usd"] == "0.8"
    assert recorded["models"]["models"][0]["id"].startswith("remote 127.0.0.1:")
    assert again == recorded


def test_a_report_tells_what_failed(tmp_path: Path) -> None:
    async def run() -> dict[str, Any]:
        async with serving_any(Costly("0", Outcome.UNAVAILABLE)) as serving:
            return await reported(tmp_path, elsewhere(serving.grpc))

    trader = asyncio.run(run())["traders"][0]
    assert trader["outcomes"] == {"unavailable": trader["decisions"]}
