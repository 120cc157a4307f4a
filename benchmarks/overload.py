"""A desk past its limit: decisions in each window of 30 s, and whether any was made twice or thrown away.

`python benchmarks/overload.py --traders 3000 --accounts 10 --seconds 600` runs rule-based traders that only hold;
`--traders 150 --places 10 --answer-s 10` asks a local model that takes ten calls at once, ten seconds each. One worker
as `propdesk worker` starts it, the embedded server in a temporary folder.
"""

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.many_traders import HOLD, Desk
from manager.state.database import DATABASE, DatabasePlace
from manager.state.embedded.server import attach

WINDOW_S = 30
MODELS = """\
models:
  local: {{base_url: "http://127.0.0.1:{port}/v1", model: local, api_key: "${{BENCH_KEY}}", max_concurrency: {places}}}
"""
LLM = "{type: llm, model: local}\n    prompt_template: prompts/general.md"
ANSWER = (
    b'{"id":"c","object":"chat.completion","model":"local","choices":[{"index":0,"finish_reason":"stop","message":'
    b'{"role":"assistant","content":"{\\"reasoning\\": \\"wait\\", \\"decisions\\": []}"}}],'
    b'"usage":{"prompt_tokens":10,"completion_tokens":5}}'
)
_DECISIONS = """
SELECT floor(extract(epoch FROM decided_at) / %s)::bigint, outcome, count(*) FROM decisions GROUP BY 1, 2 ORDER BY 1
"""
_TWICE = "SELECT count(*) - count(DISTINCT (tenant_id, trader_id, due_at)) FROM decisions"
_SCHEDULE = """
SELECT count(*) FILTER (WHERE last_decision_at IS NULL), count(*) FILTER (WHERE in_flight_due_at IS NOT NULL),
       coalesce(max(extract(epoch FROM now() - next_due_at)) FILTER (WHERE in_flight_due_at IS NULL), 0)::int
FROM schedules
"""


class LocalModel:
    """Answer each request after a while; count requests and answers."""

    def __init__(self, answer_s: float) -> None:
        self.asked = self.answered = 0
        self._answer_s = answer_s

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)
                await reader.readexactly(length)
                self.asked += 1
                await asyncio.sleep(self._answer_s)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n")
                writer.write(b"Content-Length: %d\r\n\r\n%b" % (len(ANSWER), ANSWER))
                await writer.drain()
                self.answered += 1
        except (ConnectionError, asyncio.IncompleteReadError):
            writer.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Name one run: the desk's data directory, and the model it asks, if any."""

    data_dir: Path
    model: LocalModel | None

    def report(self) -> None:
        """Print what the database says."""
        with ExitStack() as stack:
            server = stack.enter_context(attach(self.data_dir))
            dsn = server.dsn(user="postgres", database=DATABASE)
            connection = stack.enter_context(psycopg.connect(dsn, autocommit=True))
            windows: dict[int, Counter[str]] = {}
            for window, outcome, count in connection.execute(_DECISIONS, (WINDOW_S,)):
                windows.setdefault(window, Counter())[outcome] += count
            [(twice,)] = connection.execute(_TWICE).fetchall()
            [(never, in_flight, behind_s)] = connection.execute(_SCHEDULE).fetchall()
        made = Counter[str]()
        for window in range(min(windows, default=0), max(windows, default=-1) + 1):
            made += windows.get(window, Counter())
            print(f"  {WINDOW_S} s: {dict(windows.get(window, {}))}")
        print(f"decisions {dict(made)}; made twice {twice}; traders that never decided {never}")
        print(f"in flight at the end {in_flight}, the latest {behind_s} s behind")
        if self.model is not None:
            print(f"model asked {self.model.asked}, lost {self.model.answered - made['decided']}")


@asynccontextmanager
async def local_model(given: argparse.Namespace) -> AsyncIterator[tuple[dict[str, Any], LocalModel | None]]:
    """Yield what the desk decides with, and the model behind it while it runs."""
    if not given.answer_s:
        yield {"executor": HOLD}, None
        return
    model = LocalModel(given.answer_s)
    server = await asyncio.start_server(model.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        yield {"executor": LLM, "models": MODELS.format(port=port, places=given.places)}, model


async def run(given: argparse.Namespace) -> None:
    """Let a worker trade for the time asked for, and report."""
    with tempfile.TemporaryDirectory(prefix="propdesk-overload-") as name:
        folder = Path(name)
        async with local_model(given) as (deciding, model):
            desk = Desk(
                traders=given.traders,
                accounts=given.accounts,
                interval_s=given.interval_s,
                slots=given.slots,
                **deciding,
            )
            command = ("-c", "from manager.cli.app import main; main()")
            worker = await asyncio.create_subprocess_exec(
                sys.executable,
                *command,
                *("worker", "-c", str(desk.write(folder)), "--data-dir", str(folder / "desk")),
                env={**os.environ, "BENCH_KEY": "key", "PROPDESK_LOG": "json"},
                stderr=subprocess.PIPE,
                limit=1 << 24,
            )
            began = time.perf_counter()
            log = asyncio.create_task(_follow(worker))
            await asyncio.sleep(given.seconds)
            print(f"{given.traders} traders on {given.accounts} accounts, {time.perf_counter() - began:.0f} s")
            with DatabasePlace(url="", data_dir=folder / "desk").reach(prepare=False):
                worker.terminate()
                await worker.wait()
                Run(data_dir=folder / "desk", model=model).report()
            print(f"log lines {dict(await log)}")


async def _follow(worker: asyncio.subprocess.Process) -> Counter[str]:
    """Count what the worker logs, warnings and worse."""
    seen: Counter[str] = Counter()
    assert worker.stderr is not None
    async for line in worker.stderr:
        if b'"level": "info"' not in line and b'"event": "' in line:
            seen[line.partition(b'"event": "')[2].partition(b'"')[0].decode()] += 1
    return seen


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--traders", type=int, default=3_000)
    parser.add_argument("--accounts", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=180)
    parser.add_argument("--interval-s", type=int, default=30, help="decision_interval of every trader")
    parser.add_argument("--slots", type=int, default=64, help="decision_concurrency")
    parser.add_argument("--answer-s", type=float, default=0, help="ask a local model that answers after so long")
    parser.add_argument("--places", type=int, default=10, help="how many calls the local model takes at once")
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
