"""`propdesk executor serve` as a process: it decides for who has its key, and says what keeps it from serving."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from config_files import SOUND, changed, write_config
from executor.contract import FullDecision, Indicators, Outcome
from executor.prompts.library import PromptLibrary
from executor.registry import ExecutorParts, ModelClients, build_executor
from executor_contexts import BTC, market_context
from executor_servers import remote_spec

pytestmark = pytest.mark.processes

MAIN = "import sys; from manager.cli.app import main; sys.argv[0] = 'propdesk'; main()"
ROOT = Path(__file__).resolve().parents[3]
KEY = "the-key-of-this-server"
SERVES = "executor_server: {key: ${EXECUTOR_KEY}}\n"
UP = Indicators(ema_20=99.0, ema_50=97.0, macd=0.5, macd_signal=0.2, rsi_14=66.0, atr_14=1.0)
CONTEXT = replace(market_context({BTC: UP}), trader_id="one")


def command(*arguments: str) -> tuple[list[str], dict[str, str]]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "EXECUTOR_KEY": KEY, "PROPDESK_LOG": "json"}
    return [sys.executable, "-c", MAIN, "executor", "serve", *arguments], environment


@contextmanager
def serving(folder: Path) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    line, environment = command("--http-port", "0", "--grpc-port", "0")
    with subprocess.Popen(line, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            yield process, json.loads(process.stderr.readline())
        finally:
            process.kill()


async def decided(urls: list[str]) -> list[FullDecision]:
    prompts = PromptLibrary(ROOT / "prompts")
    parts = ExecutorParts(prompts=prompts, clients=ModelClients(), monotonic=lambda: 0.0)
    executors = [build_executor(remote_spec(url, api_key=KEY, timeout_s=20.0), parts) for url in urls]
    for executor in executors:
        await executor.ping()
    decisions = [await executor.decide(CONTEXT) for executor in executors]
    await parts.remotes.close()
    return decisions


def test_a_server_decides_until_it_is_told_to_stop(tmp_path: Path) -> None:
    write_config(tmp_path, SERVES + SOUND)
    with serving(tmp_path) as (process, started):
        assert (started["event"], started["traders"]) == ("executor_serves", 2)
        assert started["http"].startswith("http://127.0.0.1:")
        decisions = asyncio.run(decided([started["http"], started["grpc"]]))
        assert [decision.outcome for decision in decisions] == [Outcome.DECIDED] * 2
        assert [decision.decisions[0].symbol for decision in decisions] == [BTC] * 2
        process.send_signal(signal.SIGTERM)
        _, rest = process.communicate(timeout=30)
        assert process.returncode == 0
    told = [json.loads(line) for line in rest.splitlines()]
    assert [line["event"] for line in told] == ["decided", "decided", "stopping", "executor_stopped"]
    assert [(line["trader"], line["usd"]) for line in told[:2]] == [("one", "0")] * 2
    assert KEY not in f"{started} {rest}"


REFUSED = [
    (SOUND, {}, "executor_server is missing; add `executor_server: {key: ${NAME}}`"),
    (SERVES + SOUND, {"EXECUTOR_KEY": "short"}, "executor_server.key: the key of an executor server has 5 characters"),
    (SERVES + SOUND, {"EXECUTOR_KEY": ""}, "the environment variable EXECUTOR_KEY is not set"),
    (
        SERVES + changed("{type: baseline, style: trend}", "{type: recorded}"),
        {},
        "trader one: executor type is 'recorded'",
    ),
]


@pytest.mark.parametrize("option", ["--http-port", "--grpc-port"])
def test_a_port_that_is_taken_is_one_message(tmp_path: Path, option: str) -> None:
    write_config(tmp_path, SERVES + SOUND)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports = {"--http-port": "0", "--grpc-port": "0", option: str(taken.getsockname()[1])}
        line, environment = command(*(word for pair in ports.items() for word in pair))
        done = subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert f"pass another {option}" in done.stderr


@pytest.mark.parametrize(("text", "more", "said"), REFUSED)
def test_what_keeps_it_from_serving_is_one_message(tmp_path: Path, text: str, more: dict[str, str], said: str) -> None:
    write_config(tmp_path, text)
    line, environment = command()
    done = subprocess.run(line, cwd=tmp_path, env={**environment, **more}, capture_output=True, text=True, timeout=60)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert said in done.stderr
    assert "Traceback" not in done.stderr
