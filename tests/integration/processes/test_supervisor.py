"""`propdesk run`: health from the start, a dead worker restarted alone, clean ends, the same books afterwards."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psutil  # type: ignore[import-untyped]  # ships no types
import pytest

from config_files import write_config
from job_handlers import eventually
from live_desk import LIVELY
from manager.bootstrap.live import open_store
from manager.state.database import DatabasePlace
from manager.state.kinds import EventKind
from manager.state.records import DEFAULT_TENANT, DecisionRow, EventRow, FillRow, LedgerKind, LedgerRow

pytestmark = [pytest.mark.processes, pytest.mark.database, pytest.mark.slow]

_ROOT = Path(__file__).parents[3]
_PATIENCE_S = 120.0


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One life of `propdesk run` and what it logged."""

    process: "subprocess.Popen[bytes]"
    log: Path
    url: str

    def events(self, event: str) -> list[dict[str, Any]]:
        """Return the log lines of one event."""
        lines = (json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{"))
        return [line for line in lines if line["event"] == event]

    def children(self, name: str) -> list[int]:
        """Return the pids of a child, each life of it one."""
        return [line["pid"] for line in self.events("child_started") if line["child"] == name]

    async def says(self, status: str) -> bool:
        """Tell whether /healthz says this; fail when the desk has ended."""
        assert self.process.poll() is None, self.log.read_text()[-2000:]
        async with httpx.AsyncClient(timeout=10) as client:
            try:
                answer = await client.get(f"{self.url}/healthz")
            except httpx.TransportError:
                return False
        health = answer.json()
        assert health.keys() == {"status", "database", "worker_heartbeat_age_s", "version"}
        assert (answer.status_code == 200) == (health["status"] == "ok")
        return bool(health["status"] == status)

    async def worker_lives(self, lives: int) -> bool:
        """Tell whether the worker has been ready in as many lives."""
        return len(self.events("worker_ready")) >= lives


@pytest.fixture
def place(tmp_path: Path) -> Path:
    write_config(tmp_path, LIVELY)
    return tmp_path


@contextmanager
def _run(place: Path, **given: str) -> Iterator[Run]:
    port, log = _free_port(), place / "log"
    program = "from manager.cli.app import main; main()"
    arguments = ["run", "-c", str(place / "config.yaml"), "--port", str(port), "--data-dir", str(place / "data")]
    environment = {key: value for key, value in os.environ.items() if key != "DATABASE_URL"}
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-c", program, *arguments],
            env={**environment, "PYTHONPATH": str(_ROOT), "PROPDESK_LOG": "json", **given},
            stdout=out,
            stderr=out,
        )
    run = Run(process=process, log=log, url=f"http://127.0.0.1:{port}")
    try:
        yield run
    finally:
        process.kill()
        process.wait()


async def _stored(place: Path, kind: type[Any], **where: Any) -> list[Any]:
    async with open_store(DatabasePlace(data_dir=place / "data")) as store, store.transaction(DEFAULT_TENANT) as tx:
        return list(await tx.find(kind, where, limit=100_000))


async def _trades(place: Path) -> None:
    async with open_store(DatabasePlace(data_dir=place / "data")) as store:

        async def traded() -> bool:
            async with store.transaction(DEFAULT_TENANT) as tx:
                return bool(await tx.find(FillRow, {}, limit=1))

        await eventually(traded)


async def _gone(pids: list[int]) -> bool:
    for pid in pids:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            continue
        return False
    return True


async def _server_gone(place: Path) -> bool:
    return not list((place / "data").rglob("postmaster.pid")) and not list((place / "data").rglob("users/*"))


async def test_a_desk_runs_heals_ends_cleanly_and_goes_on(place: Path) -> None:
    with _run(place) as run:
        await eventually(partial(run.says, "ok"), patience_s=_PATIENCE_S)
        await _trades(place)
        os.kill(run.children("worker")[0], signal.SIGKILL)
        await eventually(partial(run.worker_lives, 2), patience_s=_PATIENCE_S)
        await eventually(partial(run.says, "ok"))
        assert (len(run.children("worker")), len(run.children("web"))) == (2, 1)
        children = run.children("worker") + run.children("web")
        run.process.send_signal(signal.SIGINT)
        assert run.process.wait(60) == 0
        assert await _gone(children)
        assert [line["code"] for line in run.events("child_died")] == [-9]
        assert len(run.events("worker_stopped")) == 1
    assert await _server_gone(place)
    events = [(row.kind, row.after, row.actor.split()[0]) for row in await _stored(place, EventRow)]
    assert events.count((EventKind.DESK_STARTED, "worker ready", "worker")) == 2
    assert events.count((EventKind.DESK_STOPPED, "worker stopped", "worker")) == 1
    assert events.count((EventKind.PROCESS_ENDED, "worker ended: SIGKILL", "supervisor")) == 1
    decided = {row.decision_id for row in await _stored(place, DecisionRow)}
    money = await _stored(place, LedgerRow)
    assert decided

    with _run(place) as run:
        await eventually(partial(run.says, "ok"), patience_s=_PATIENCE_S)
        children = run.children("worker") + run.children("web")
        run.process.kill()
        await eventually(partial(_gone, children))
        await eventually(partial(_server_gone, place))
    assert decided <= {row.decision_id for row in await _stored(place, DecisionRow)}
    later = await _stored(place, LedgerRow)
    assert [row for row in later if row in money] == money
    assert len([row for row in later if row.kind is LedgerKind.DEPOSIT]) == 1


def _environ(pid: int) -> bytes:
    return Path(f"/proc/{pid}/environ").read_bytes()


def _environment(pid: int) -> dict[str, str]:
    return dict(word.split("=", 1) for word in _environ(pid).decode().split("\0") if "=" in word)


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="the system does not show environments")
async def test_each_child_is_given_the_least_environment(place: Path) -> None:
    named = "models: {some: {base_url: 'http://127.0.0.1:9', model: m, api_key: '${MODEL_KEY}'}}\n"
    write_config(place, named + LIVELY)
    keys = {"MODEL_KEY": "sk-model", "OTHER_KEY": "sk-other", "PROPDESK_SECRET_KEY": "5d" * 32, "PGPASSWORD": "sk-pg"}
    ways = {"https_proxy": "http://127.0.0.1:1", "SSL_CERT_DIR": "/certs", "PROPDESK_LOG_LEVEL": "info"}
    with _run(place, **keys, **ways, TZ="UTC") as run:
        await eventually(partial(run.says, "ok"), patience_s=_PATIENCE_S)
        worker, web = (_environment(run.children(name)[0]) for name in ("worker", "web"))
        pid_file = (place / "data" / "postgres" / "data").resolve() / "postmaster.pid"
        postmaster = psutil.Process(int(pid_file.read_text().split()[0]))
        served = [_environ(one.pid) for one in (postmaster, *postmaster.children())]
    service_key = ("PROPDESK_SECRET_KEY", "5d" * 32)
    assert keys.items() & worker.items() == {("MODEL_KEY", "sk-model"), service_key}
    assert keys.items() & web.items() == {service_key}
    assert ways.items() <= worker.items()
    assert web["PROPDESK_LOG_LEVEL"] == "info"
    assert (web["PATH"], web["TZ"]) == (os.environ["PATH"], "UTC")
    assert "sk-" not in " ".join(web.values())
    assert len(served) > 3
    assert not any(given in b"".join(served) for given in (b"sk-", b"5d5d"))


def test_a_taken_port_and_a_bad_config_end_at_once_with_a_message(place: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        program = "from manager.cli.app import main; main()"
        for text, said, code in ((LIVELY, "is not free", 2), (LIVELY.replace("1s", "soon"), "decision_interval", 2)):
            path = write_config(place, text)
            ended = subprocess.run(
                [sys.executable, "-c", program, "run", "-c", str(path), "--port", port, "--data-dir", str(place / "d")],
                env={**os.environ, "PYTHONPATH": str(_ROOT)},
                capture_output=True,
                text=True,
                timeout=60,
            )
            assert (ended.returncode, said in ended.stderr, "Traceback" in ended.stderr) == (code, True, False)
    assert not (place / "d").exists()
