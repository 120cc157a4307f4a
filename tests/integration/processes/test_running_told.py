"""`propdesk run` in sentences: each fill of the database once, failures folded, the sum of the run as it is stored."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from config_files import write_config
from job_handlers import eventually
from live_desk import LIVELY
from manager.bootstrap.live import open_store
from manager.processes.plain import fill_line, usd
from manager.state.database import DatabasePlace
from manager.state.records import DEFAULT_TENANT, AccountRow, BookRow, DecisionRow, FillPartRow, OrderRow, PositionRow
from manager.state.store import Search
from manager.views.holdings import Holdings

pytestmark = [pytest.mark.processes, pytest.mark.database, pytest.mark.slow]

ROOT = Path(__file__).parents[3]
PROGRAM = "from manager.cli.app import main; main()"
AWAY = """\
models:
  away: {{base_url: "http://127.0.0.1:{port}/v1", model: none, api_key: "${{AWAY_KEY}}", allow_private: true}}
"""
ASKS = """\
  - {<<: *first, id: asks, executor: {type: llm, model: away}, prompt_template: prompts/general.md}
"""
SUM = re.compile(r"Ran [^:]+: ([\d,]+) decisions?(?: \(([\d,]+) failed\))?, ([\d,]+) orders?, ([\d,]+) fills?\.")


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def running(place: Path, out: Path) -> "subprocess.Popen[bytes]":
    unset = {key: value for key, value in os.environ.items() if key != "DATABASE_URL"}
    environment = {**unset, "PYTHONPATH": str(ROOT), "PROPDESK_LOG": "plain", "AWAY_KEY": "sk-away-0"}
    command = [sys.executable, "-c", PROGRAM, "run", "-c", str(place / "config.yaml"), "--port", "0"]
    with out.open("wb") as file:
        return subprocess.Popen(
            [*command, "--data-dir", str(place / "data")], env=environment, stdout=file, stderr=file
        )


async def test_a_run_tells_each_fill_once_folds_a_failure_and_sums_up(tmp_path: Path) -> None:
    config = AWAY.format(port=closed_port()) + LIVELY.replace("monitoring:", f"{ASKS}monitoring:")
    write_config(tmp_path, config)
    data, out = tmp_path / "data", tmp_path / "out"
    process = running(tmp_path, out)
    try:

        async def told() -> bool:
            assert process.poll() is None, out.read_text()
            text = out.read_text()
            return "(same failure," in text and "sells to close" in text and "buys to open" in text

        await eventually(told, patience_s=170)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    finally:
        process.kill()
    lines = [line[10:] for line in out.read_text().splitlines()]
    async with open_store(DatabasePlace(data_dir=data)) as store, store.transaction(DEFAULT_TENANT) as tx:
        kinds = (FillPartRow, DecisionRow, OrderRow, AccountRow, BookRow, PositionRow)
        parts, decisions, orders, accounts, books, positions = await tx.search(*(Search(kind=kind) for kind in kinds))
    fills = Counter(line for line in lines if " to open " in line or " to close " in line)
    assert fills == Counter(map(fill_line, parts))
    assert sum(line.startswith("asks takes no decision: ") for line in lines) < len(decisions) / 4
    counts = next(found for line in lines if (found := SUM.fullmatch(line)))
    failed = sum(row.trader_id == "asks" for row in decisions)
    assert [int((one or "0").replace(",", "")) for one in counts.groups()] == [
        *(len(decisions), failed),
        *(len(orders), len(parts)),
    ]
    [account] = accounts
    totals = Holdings(books, positions, account.marks).totals(traders=0, running=0)
    pnl = usd(totals.equity - 10_000, signed=True)
    assert f"paper: equity {usd(totals.equity)} USD = start 10,000.00 + moved 0.00 + PnL {pnl}" in lines
    assert any(line.startswith(f"{len(positions)} position") for line in lines) == bool(positions)
    assert not any(line.startswith("{") for line in out.read_text().splitlines()), "a log line on the terminal"
    logged = [json.loads(line) for line in (data / "logs" / "worker.log").read_text().splitlines()]
    assert "worker_ready" in {line["event"] for line in logged}
    assert "sk-away-0" not in out.read_text() + (data / "logs" / "worker.log").read_text()
