"""A worker whose database is away: one line for each try, no traceback, nothing lost, and an end when it is told to."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from config_files import write_config
from database_fixtures import Database, DatabaseServer
from job_handlers import eventually
from live_desk import LIVELY
from manager.bootstrap.live import END_S
from manager.processes.supervisor import FORCED, Patience
from manager.state.postgres.roles import ROLES
from silent_proxy import silent_proxy

pytestmark = [pytest.mark.processes, pytest.mark.database, pytest.mark.slow]

_ROOT = Path(__file__).parents[3]
_PATIENCE_S = 110.0
_LOGIN = "propdesk_whole"
_END_SESSIONS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s AND datname = %s"
_FAULTS = (
    ("ALLOW_CONNECTIONS false", "ALLOW_CONNECTIONS true", "not currently accepting connections"),
    ("CONNECTION LIMIT 0", "CONNECTION LIMIT -1", "too many connections"),
    ("SET default_transaction_read_only = on", "RESET default_transaction_read_only", "point DATABASE_URL at one that"),
)


class Worker:
    """One life of `propdesk worker` and what it logged."""

    def __init__(self, process: "subprocess.Popen[bytes]", log: Path) -> None:
        self.process = process
        self._log = log

    def said(self) -> str:
        """Return all that it wrote."""
        return self._log.read_text()

    async def says(self, event: str, words: str = "") -> bool:
        """Tell whether it logged an event with these words."""
        assert self.process.poll() is None, self.said()[-3000:]
        lines: list[dict[str, Any]] = [json.loads(line) for line in self.said().splitlines() if line.startswith("{")]
        return any(line["event"] == event and words in str(line.get("error")) for line in lines)


@contextmanager
def _worker(folder: Path, dsn: str) -> Iterator[Worker]:
    write_config(folder, LIVELY)
    program = "from manager.cli.app import main; main()"
    environment = {**os.environ, "PYTHONPATH": str(_ROOT), "PROPDESK_LOG": "json", "DATABASE_URL": f"{dsn}\r\n"}
    with (folder / "log").open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-c", program, "worker", "-c", str(folder / "config.yaml")],
            env=environment,
            stdout=out,
            stderr=out,
        )
    try:
        yield Worker(process, folder / "log")
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def admin(database: Database, database_server: DatabaseServer) -> Iterator[psycopg.Connection[Any]]:
    if database_server.external:
        pytest.skip("the proxy needs the embedded server's unix socket")
    with psycopg.connect(database_server.admin_dsn, autocommit=True) as connection:
        if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (_LOGIN,)).fetchone():
            connection.execute(f"CREATE ROLE {_LOGIN} LOGIN IN ROLE {', '.join(ROLES)}".encode())
        yield connection
        connection.execute(_END_SESSIONS, (_LOGIN, database.name))


async def test_a_database_that_is_away_is_waited_for_and_a_silent_one_keeps_no_worker_from_its_end(
    database: Database, admin: psycopg.Connection[Any], tmp_path: Path
) -> None:
    decided = 0

    def decisions() -> int:
        with psycopg.connect(database.admin_dsn) as connection:
            [(count,)] = connection.execute("SELECT count(*) FROM decisions WHERE outcome = 'decided'").fetchall()
            return int(count)

    async def it_decides() -> bool:
        assert worker.process.poll() is None, worker.said()[-3000:]
        return decisions() > decided

    def alter(change: str) -> None:
        admin.execute(f'ALTER DATABASE "{database.name}" {change}'.encode())

    async with silent_proxy(database.dsn) as proxy:
        alter(_FAULTS[0][0])
        with _worker(tmp_path, make_conninfo(proxy.dsn(database.dsn), user=_LOGIN)) as worker:
            for (_, mend, words), following in zip(_FAULTS, (*(fault[0] for fault in _FAULTS[1:]), ""), strict=True):
                await eventually(partial(worker.says, "start_tried_again", words), patience_s=_PATIENCE_S)
                for change in filter(None, (following, mend)):
                    alter(change)
            await eventually(it_decides, patience_s=_PATIENCE_S)
            for _ in range(5):
                admin.execute(_END_SESSIONS, (_LOGIN, database.name))
                await asyncio.sleep(1)
            decided = decisions()
            await eventually(it_decides, patience_s=_PATIENCE_S)
            proxy.silence()
            await asyncio.sleep(1)
            proxy.speak()
            decided = decisions()
            await eventually(it_decides, patience_s=_PATIENCE_S)
            proxy.silence()
            await asyncio.sleep(1)
            worker.process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(worker.process.wait, _PATIENCE_S) in (0, FORCED)
            assert "Traceback" not in worker.said()


def test_a_worker_ends_by_itself_before_its_supervisor_kills_it() -> None:
    assert END_S + 1 < Patience().stop_s <= 25


@pytest.mark.parametrize("hangs", ["asyncio.run_coroutine_threadsafe", "time.sleep(3600)", "while True: pass"])
def test_a_signal_ends_a_process_whose_loop_or_job_hangs(hangs: str) -> None:
    held = "await asyncio.Event().wait()" if hangs.startswith("asyncio") else f"import time\n        {hangs}"
    program = f"""
import asyncio
from manager.processes.supervisor import stop_on_signals
async def main():
    async with stop_on_signals(within_s=0.5):
        print("up", flush=True)
        {held}
asyncio.run(main())
"""
    environment = {**os.environ, "PYTHONPATH": str(_ROOT)}
    with subprocess.Popen([sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(_PATIENCE_S) == FORCED
