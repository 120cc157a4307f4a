"""A replay whose trader decides elsewhere ends as one whose trader decides here."""

import asyncio
from itertools import accumulate, pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest

from config_files import write_config
from executor.baseline import BaselineExecutor
from executor.baseline_styles import Style
from executor_servers import KEY, serving_any
from manager.replay.request import ReplayRequest
from manager.replay.run import replay

HERE = "{type: baseline, style: breakout}"
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


async def replayed(folder: Path, executor: str) -> dict[str, Any]:
    config = write_config(folder, CONFIG % executor)
    report = await replay(ReplayRequest(config=config, candles=candles(folder)))
    return {name: report[name] for name in ("traders", "account", "conflicts", "denials", "clamps", "invariants")}


def test_where_it_is_decided_makes_no_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVER_KEY", KEY)

    async def run() -> list[dict[str, Any]]:
        async with serving_any(BaselineExecutor(Style.BREAKOUT)) as serving:
            elsewhere = [
                f'{{type: remote, url: "{url}", key: ${{SERVER_KEY}}}}' for url in (serving.http, serving.grpc)
            ]
            return [await replayed(tmp_path, executor) for executor in (HERE, *elsewhere)]

    here, http, grpc = asyncio.run(run())
    assert here["traders"][0]["orders"] > 0
    assert http == here
    assert grpc == here
