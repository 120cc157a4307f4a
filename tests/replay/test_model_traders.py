"""Traders that ask a model, replayed: recorded once, then had again for nothing and exactly the same."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from executor.errors import RecordedError, RecordingMissing
from executor_contexts import BTC, open_item, reply_text
from manager.bootstrap.request import ModelsMode, ReplayRequest
from manager.config import ConfigError
from manager.errors import ReplayInputError
from manager.replay import driver
from manager.replay.run import replay
from openai_endpoint import Answer, Endpoint, after, cuts, endpoint, fails, hangs, says
from replay_harness import without_timings

ROOT = Path(__file__).resolve().parents[2]
MAIN = "import sys; from manager.cli.app import main; sys.argv[0] = 'propdesk'; main()"
START = datetime(2025, 5, 1, tzinfo=UTC)
MINUTES = 90
PRICE = "price_per_mtok: {input: 3, cached_input: 0.3, output: 15}"
CONFIG = """\
manager: {total_equity_usd: 10000, conflict_strategy: net, decision_timeout: 60s}
budgets: {BUDGETS}
models:
  big: {base_url: "URL", model: tiny, timeout: 60s, extra_body: {max_tokens: 100}, PRICE}
  spare: {base_url: "URL", model: spare, extra_body: {max_tokens: 100}, PRICE}
exchanges:
  desk: {type: paper, market: {type: synthetic}}
traders:
  - &one
    id: one
    exchange: desk
    executor: {type: llm, model: big, fallback: [spare]}
    prompt_template: prompts/general.md
    symbols: ["BTC/USDT:USDT"]
    decision_interval: 5m
    budget_usd_per_day: 1
    risk_params: {min_confidence: 0, min_risk_reward_ratio: 0, max_entries_per_hour: 100, cooldown_after_stop: 0s}
  - {<<: *one, id: two, prompt_template: prompts/conservative_long.md, decision_interval: 7m}
  - {<<: *one, id: rules, executor: {type: baseline, style: trend}, budget_usd_per_day: null, decision_interval: 1m}
"""
COST = "0.000342"


def write_inputs(folder: Path, url: str, budgets: str = "{}", *, hasty: bool = False) -> ReplayRequest:
    """Write a config of two model traders and 90 candles that go up and down, and return a request for both.

    Only `hasty` traders give up on a model soon: elsewhere a slow host must not change what is decided.
    """
    text = CONFIG.replace("URL", url).replace("PRICE", PRICE).replace("{BUDGETS}", budgets)
    if hasty:
        text = text.replace("decision_timeout: 60s", "decision_timeout: 2s").replace(" timeout: 60s", " timeout: 1s")
    (folder / "config.yaml").write_text(text, encoding="utf-8")
    rows = []
    for minute in range(MINUTES):
        low = 100 + abs(minute % 40 - 20) * 0.1
        stamp = int((START + timedelta(minutes=minute)).timestamp() * 1000)
        rows.append((BTC, stamp, low, low + 0.3, low - 0.2, low + 0.1, 1000.0))
    names = ["symbol", "ts_ms", "open", "high", "low", "close", "volume"]
    pl.DataFrame(rows, schema=names, orient="row").write_csv(folder / "candles.csv")
    return ReplayRequest(
        config=folder / "config.yaml", candles=folder / "candles.csv", recordings=folder / "recordings"
    )


def lively(fake: Endpoint, more: Callable[[int], Answer | None] = lambda number: None) -> None:
    """Open, close and wait in turn, with an invalid reply now and then; `more` says what else."""

    def choose(request: dict[str, Any]) -> Answer:
        number = len(fake.requests)
        other = more(number)
        if other is not None:
            return other
        if number % 5 == 0:
            return says("I would rather not say.")
        if number % 3 == 0:
            return says(reply_text({"symbol": BTC, "action": "close_long"}))
        return says(reply_text(open_item(stop_loss=99, take_profit=104)))

    fake.choose = choose


@asynccontextmanager
async def recorded(
    folder: Path,
    more: Callable[[int], Answer | None] = lambda number: None,
    budgets: str = "{}",
    *,
    hasty: bool = False,
) -> AsyncIterator[tuple[ReplayRequest, dict[str, Any], Endpoint]]:
    """Record a replay, then give its request, in recorded mode, its report and the endpoint."""
    async with endpoint() as fake:
        lively(fake, more)
        request = write_inputs(folder, fake.base_url, budgets, hasty=hasty)
        report = await replay(replace(request, models=ModelsMode.RECORD))
        yield request, report, fake


async def test_a_recorded_replay_is_the_same_and_calls_nobody(tmp_path: Path) -> None:
    async with recorded(tmp_path) as (request, first, fake):
        asked = len(fake.requests)
        again = [await replay(request) for _ in range(2)]
        assert len(fake.requests) == asked
    assert [without_timings(report) for report in again] == [without_timings(first)] * 2
    models = first["models"]
    assert models["total"]["calls"] == asked == models["models"][0]["calls"] > 30
    assert float(models["total"]["cost_usd"]) == pytest.approx(asked * float(COST))
    assert [row["id"] for row in models["traders"]] == ["one", "two"]
    assert sum(row["calls"] for row in models["traders"]) == asked
    assert first["traders"][0]["fills"] > 2
    assert first["invariants"]["violated"] == 0


async def test_what_a_model_said_is_written_the_same_in_each_run(tmp_path: Path) -> None:
    waits = says(reply_text({"symbol": BTC, "action": "wait"}))
    mute = {number: says("I would rather not say.") for number in (7, 8)}
    async with recorded(tmp_path, lambda number: mute.get(number, waits)) as (request, _, _):
        for name in ("a", "b"):
            report = await replay(replace(request, out=tmp_path / name))
    texts = [(tmp_path / name / "decisions.jsonl").read_text(encoding="utf-8") for name in ("a", "b")]
    assert texts[0] == texts[1]
    asked = [line for line in map(json.loads, texts[0].splitlines()) if line["trader_id"] != "rules"]
    assert len(asked) == sum(row["decisions"] for row in report["traders"] if row["id"] != "rules")
    [failed] = [line for line in asked if line["outcome"] != "decided"]
    assert (failed["outcome"], failed["attempts"]) == ("invalid_reply", 2)
    assert "I would rather not say." in failed["reply"]
    assert failed["errors"][0]["path"] == "reply"


async def test_progress_is_told_while_a_model_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "_BEAT_S", 0.01)
    told = asyncio.Event()
    async with endpoint() as fake:
        fake.choose = lambda _: after(told, says(reply_text()))
        heard: list[int] = []

        def progress(share: float, decisions: int) -> None:
            assert 0 <= share <= 1
            heard.append(decisions)
            if fake.requests:
                told.set()

        request = write_inputs(tmp_path, fake.base_url, hasty=True)
        report = await replay(replace(request, models=ModelsMode.LIVE, progress=progress))
    assert [set(row["outcomes"]) for row in report["traders"]] == [{"decided"}] * 3
    assert heard == sorted(heard)
    assert heard[-1] == sum(row["decisions"] for row in report["traders"])


async def test_two_recordings_ask_the_same_questions(tmp_path: Path) -> None:
    prompts = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        async with recorded(tmp_path / name) as (_, _, fake):
            prompts.append([request["messages"] for request in fake.requests])
    assert prompts[0] == prompts[1]


async def test_failures_hangs_and_fallbacks_are_had_again_too(tmp_path: Path) -> None:
    played = {4: fails(400, "maximum context length is 9 tokens"), 9: hangs, 12: fails(401, "bad key"), 16: cuts}
    async with recorded(tmp_path, played.get, hasty=True) as (request, first, fake):
        asked = len(fake.requests)
        assert without_timings(await replay(request)) == without_timings(first)
        assert len(fake.requests) == asked
    assert {row["id"] for row in first["models"]["models"]} == {"big", "spare"}
    assert float(first["models"]["total"]["unknown_usd"]) > 0


async def test_a_replay_that_calls_nobody_needs_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with endpoint() as fake:
        lively(fake)
        request = write_inputs(tmp_path, fake.base_url)
        written = request.config.read_text(encoding="utf-8")
        request.config.write_text(
            written.replace("model: tiny,", 'model: tiny, api_key: "${MY_KEY}",'), encoding="utf-8"
        )
        monkeypatch.setenv("MY_KEY", "sk-one-of-many")
        first = await replay(replace(request, models=ModelsMode.RECORD))
        for unset in ("", None):
            monkeypatch.delenv("MY_KEY") if unset is None else monkeypatch.setenv("MY_KEY", unset)
            assert without_timings(await replay(request)) == without_timings(first)
            for mode in (ModelsMode.LIVE, ModelsMode.RECORD):
                with pytest.raises(ConfigError, match="MY_KEY is not set"):
                    await replay(replace(request, models=mode))


async def test_a_second_recording_of_a_dead_endpoint_hides_no_first_one(tmp_path: Path) -> None:
    async with recorded(tmp_path) as (request, first, _):
        pass
    down = await replay(replace(request, models=ModelsMode.RECORD))
    assert sum(trader["orders"] for trader in down["traders"][:2]) == 0
    assert without_timings(await replay(request)) == without_timings(first)


@pytest.mark.processes
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL])
async def test_a_recording_that_is_broken_off_hides_no_whole_one(tmp_path: Path, sent: signal.Signals) -> None:
    async with endpoint() as fake:
        lively(fake)
        request = write_inputs(tmp_path, fake.base_url)
        text = request.config.read_text(encoding="utf-8")
        request.config.write_text(text.replace("fallback: [spare]", "fallback: []"), encoding="utf-8")
        first = await replay(replace(request, models=ModelsMode.RECORD))
        told = len(fake.requests)
        waiting = asyncio.Event()

        def choose(_: dict[str, Any]) -> Answer:
            if len(fake.requests) < told + 5:
                return says(reply_text({"symbol": BTC, "action": "hold"}))
            waiting.set()
            return hangs

        fake.choose = choose
        command = ["replay", "-c", "config.yaml", "--candles", "candles.csv", "--models", "record"]
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", MAIN, *command, "--recordings", str(request.recordings)),
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT), "DATABASE_URL": ""},
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        await asyncio.wait_for(waiting.wait(), 60)
        process.send_signal(sent)
        await process.wait()
        again = await replay(request)
    assert sorted(path.name for path in request.recordings.iterdir()) == [
        "calls-0001.jsonl.gz",
        "calls-0002.partial.jsonl.gz",
    ]
    assert without_timings(again) == without_timings(first)


async def test_a_place_that_takes_no_recording_is_told_before_a_call_is_paid_for(tmp_path: Path) -> None:
    async with endpoint() as fake:
        lively(fake)
        request = write_inputs(tmp_path, fake.base_url)
        request.recordings.write_text("", encoding="utf-8")
        with pytest.raises(RecordedError, match="name another --recordings"):
            await replay(replace(request, models=ModelsMode.RECORD))
        assert fake.requests == []


async def test_live_calls_and_keeps_nothing(tmp_path: Path) -> None:
    async with endpoint() as fake:
        lively(fake)
        request = write_inputs(tmp_path, fake.base_url)
        report = await replay(replace(request, models=ModelsMode.LIVE))
        assert len(fake.requests) == report["models"]["total"]["calls"] > 30
    assert not request.recordings.exists()


async def test_a_budget_stops_a_replay_as_it_stops_a_desk(tmp_path: Path) -> None:
    async with recorded(tmp_path, budgets="{tenant_usd_per_day: 0.015}") as (request, first, fake):
        asked = len(fake.requests)
        assert without_timings(await replay(request)) == without_timings(first)
        assert len(fake.requests) == asked
    assert 0 < asked < 30
    assert float(first["models"]["total"]["cost_usd"]) <= 0.015
    assert first["traders"][0]["decisions"] == 18


async def test_what_was_not_recorded_ends_the_replay_with_its_name(tmp_path: Path) -> None:
    async with recorded(tmp_path) as (request, _, fake):
        asked = len(fake.requests)
        template = tmp_path / "prompts"
        template.mkdir()
        shipped = (ROOT / "prompts" / "general.md").read_text(encoding="utf-8")
        for name in ("_data.md", "_rules.md"):
            (template / name).write_text((ROOT / "prompts" / name).read_text(encoding="utf-8"), encoding="utf-8")
        (template / "general.md").write_text(
            shipped.replace("{% block user %}", "{% block user %}\nHello."), encoding="utf-8"
        )
        with pytest.raises(RecordingMissing) as missed:
            await replay(request)
        assert len(fake.requests) == asked
    told = str(missed.value)
    assert told.startswith("trader one at 2025-05-01T00:05:00+00:00: prompt ")
    assert missed.value.prompt_hash[:16] in told
    assert "'tiny'" in told


async def test_without_recordings_nothing_is_replayed(tmp_path: Path) -> None:
    with pytest.raises(ReplayInputError, match="--models record first"):
        await replay(write_inputs(tmp_path, "http://127.0.0.1:9/v1"))


@pytest.mark.processes
def test_the_command_records_repeats_and_tells_a_miss(tmp_path: Path) -> None:
    async def run() -> None:
        async with endpoint() as fake:
            lively(fake)
            write_inputs(tmp_path, fake.base_url)
            first = await propdesk(tmp_path, "--models", "record", "--json")
            asked = len(fake.requests)
            second = await propdesk(tmp_path, "--json")
            assert (first.returncode, second.returncode, len(fake.requests)) == (0, 0, asked)
            assert without_timings(json.loads(first.stdout)) == without_timings(json.loads(second.stdout))
            shown = await propdesk(tmp_path)
            assert "Models" in shown.stdout
            missed = await propdesk(tmp_path, "--to", "2025-05-01T01:00:00Z", "--from", "2025-05-01T00:03:00Z")
            assert (missed.returncode, missed.stdout, len(fake.requests)) == (2, "", asked)
            assert "propdesk: trader " in missed.stderr
            assert "--models record" in missed.stderr

    asyncio.run(run())


async def propdesk(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run `propdesk replay` in a folder as a process."""
    command = [sys.executable, "-c", MAIN, "replay", "-c", "config.yaml", "--candles", "candles.csv", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "DATABASE_URL": ""}

    def run() -> "subprocess.CompletedProcess[str]":
        return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)

    return await asyncio.to_thread(run)
