"""Worker processes on one database: one writer for each account, takeover after a kill, few connections."""

import asyncio
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from database_fixtures import Database
from job_handlers import RecordingHandlers, decide, eventually, maintain, round_of
from manager.jobs.queue import QueueRunner
from manager.jobs.runner import Job, JobKind
from manager.jobs.worker import QueueWorker, WorkerSettings
from queue_database import QueueDatabase, recorded_queue

pytestmark = pytest.mark.database
_ROOT = Path(__file__).parents[3]


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Hold a database and the log of the worker processes on it."""

    queue: QueueDatabase
    log: Path

    def lines(self) -> list[tuple[str, str, str, int]]:
        """Return the log as event, kind, account, pid."""
        fields = [line.split() for line in self.log.read_text().splitlines()] if self.log.exists() else []
        return [(event, kind, account, int(pid)) for event, kind, account, pid in fields]

    async def logs(self, *line: object) -> bool:
        """Tell whether a line has been logged."""
        return line in self.lines()

    async def yields(self, statement: str, value: object) -> bool:
        """Tell whether a query of one value yields this one."""
        return self.queue.query(statement) == [(value,)]

    async def is_idle(self) -> bool:
        """Tell whether no job is left."""
        return not self.queue.query("SELECT id FROM procrastinate_jobs")


@pytest.fixture
def site(database: Database, tmp_path: Path) -> Iterator[Site]:
    with recorded_queue(database) as queue:
        yield Site(queue=queue, log=tmp_path / "log")


@contextmanager
def _worker(site: Site, mode: str) -> Iterator[subprocess.Popen[bytes]]:
    program = _ROOT / "tests" / "support" / "queue_process.py"
    process = subprocess.Popen(
        [sys.executable, str(program), site.queue.dsn, str(site.log), mode],
        env={**os.environ, "PYTHONPATH": str(_ROOT)},
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _assert_one_writer_each(site: Site) -> None:
    holder: dict[str, tuple[str, int]] = {}
    for event, kind, account, pid in site.lines():
        if event == "start":
            assert account not in holder, f"{account} is held by {holder[account]} when {pid} starts a {kind}"
            holder[account] = (kind, pid)
        else:
            assert holder.pop(account) == (kind, pid)
    assert not holder


@pytest.mark.processes
async def test_two_processes_never_hold_one_account_at_once(site: Site) -> None:
    async def both_have_worked(runner: QueueRunner) -> bool:
        for n in range(6):
            await runner.defer(round_of(f"account{n}"))
            await runner.defer(maintain(f"account{n}"))
        pids = Counter(pid for event, _, _, pid in site.lines() if event == "end")
        return len(pids) == 2 and min(pids.values()) >= 30

    with _worker(site, "work") as first, _worker(site, "work") as second:
        async with QueueRunner(site.queue.dsn) as runner:
            await eventually(partial(both_have_worked, runner))
            await eventually(site.is_idle)
        for process in (first, second):
            process.send_signal(signal.SIGTERM)
        assert [process.wait(timeout=60) for process in (first, second)] == [0, 0]
    _assert_one_writer_each(site)
    assert site.queue.has_started_no_job_twice()
    assert site.queue.query("SELECT id FROM procrastinate_workers") == []


@pytest.mark.processes
@pytest.mark.slow
async def test_the_jobs_of_a_killed_process_are_taken_over_once(site: Site) -> None:
    held = [round_of("waiting"), round_of("quiet"), decide("trend", account_id="deciding")]
    with ExitStack() as processes:
        victim = processes.enter_context(_worker(site, "hold"))
        async with QueueRunner(site.queue.dsn) as runner:
            for job in held:
                await runner.defer(job)
            for job in held:
                await eventually(partial(site.logs, "start", str(job.kind), job.account_id, victim.pid))
            heir = processes.enter_context(_worker(site, "work"))
            assert await runner.defer(round_of("waiting"))
            await eventually(partial(site.yields, "SELECT count(*) FROM procrastinate_workers", 4))
        assert {pid for _, _, _, pid in site.lines()} == {victim.pid}
        victim.kill()
        victim.wait()
        await eventually(site.is_idle)
    ended = Counter(line for line in site.lines() if line[0] == "end")
    assert ended == {("end", str(job.kind), job.account_id, heir.pid): 1 for job in held}
    assert site.queue.has_started_no_job_twice()


def test_takeover_is_within_ten_seconds_of_the_last_heartbeat_by_default() -> None:
    settings = WorkerSettings()
    assert settings.stalled_after_s >= 3 * settings.heartbeat_s
    assert settings.stalled_after_s + settings.rescue_every_s + settings.account_poll_s < 10


async def test_two_thousand_waiting_decisions_take_few_connections_and_starve_no_round(site: Site) -> None:
    count, release, stop = 2_000, asyncio.Event(), asyncio.Event()

    async def wait_in_decisions(job: Job) -> None:
        if job.kind is JobKind.DECIDE:
            await release.wait()

    handlers = RecordingHandlers(act=wait_in_decisions)

    async def all_decide() -> bool:
        return len(handlers.ran) == count

    async def round_has_run() -> bool:
        return ("end", round_of()) in handlers.events

    async with QueueRunner(site.queue.dsn) as runner, asyncio.TaskGroup() as group:
        await asyncio.gather(*(runner.defer(decide(f"trader{n}")) for n in range(count)))
        worker = QueueWorker(runner, handlers, WorkerSettings(decision_concurrency=count))
        group.create_task(worker.run(stop))
        await eventually(all_decide)
        [(connections, in_transaction)] = site.queue.inspect(
            "SELECT count(*), count(*) FILTER (WHERE state LIKE 'idle in%') FROM pg_stat_activity "
            "WHERE application_name = 'propdesk-queue' AND datname = current_database()"
        )
        await runner.defer(round_of())
        await eventually(round_has_run)
        assert len(handlers.events) == count + 2
        release.set()
        await eventually(site.is_idle)
        stop.set()
    assert connections == 6
    assert in_transaction == 0
    assert site.queue.has_started_no_job_twice()
