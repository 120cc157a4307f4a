"""A worker process whose database, stop or bookkeeping goes wrong."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial

import psycopg
import pytest
from procrastinate.exceptions import ConnectorException
from procrastinate.manager import JobManager
from psycopg import sql
from structlog.testing import capture_logs

from database_fixtures import Database, DatabaseServer
from job_handlers import RecordingHandlers, decide, eventually, nothing, round_of
from manager.jobs.errors import QueueUnavailable
from manager.jobs.queue import QueueRunner
from manager.jobs.runner import Job
from manager.jobs.worker import QueueWorker, WorkerSettings
from manager.state.postgres.roles import queue_dsn
from queue_database import QueueDatabase, recorded_queue

pytestmark = pytest.mark.database
_LOSE_CONNECTIONS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE application_name = 'propdesk-queue' AND datname = current_database()
"""
_BRISK = WorkerSettings(heartbeat_s=0.1, rescue_every_s=0.1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """Hold a runner, the handlers of its worker and the event that stops it."""

    runner: QueueRunner
    handlers: RecordingHandlers
    stop: asyncio.Event
    worker: asyncio.Task[None]

    async def has_run(self, count: int) -> bool:
        """Tell whether so many jobs have ended."""
        return sum(event == "end" for event, _ in self.handlers.events) >= count


@pytest.fixture
def queue(database: Database) -> Iterator[QueueDatabase]:
    with recorded_queue(database) as queue:
        yield queue


@asynccontextmanager
async def _desk(
    dsn: str, *, act: Callable[[Job], Awaitable[None]] = nothing, settings: WorkerSettings = _BRISK
) -> AsyncIterator[Desk]:
    handlers, stop = RecordingHandlers(act=act), asyncio.Event()
    async with QueueRunner(dsn) as runner, asyncio.TaskGroup() as group:
        worker = group.create_task(QueueWorker(runner, handlers, settings).run(stop))
        yield Desk(runner=runner, handlers=handlers, stop=stop, worker=worker)
        stop.set()


async def test_a_worker_outlives_the_loss_of_all_its_connections(queue: QueueDatabase) -> None:
    async with _desk(queue.dsn) as desk:
        for n in range(3):
            await desk.runner.defer(round_of())
            await eventually(partial(desk.has_run, n + 1))
            queue.inspect(_LOSE_CONNECTIONS)
        assert not desk.worker.done()


async def test_a_worker_listens_again_after_its_database_was_away(
    queue: QueueDatabase, database_server: DatabaseServer
) -> None:
    async with _desk(queue.dsn, settings=WorkerSettings(account_poll_s=3_600, decide_poll_s=3_600)) as desk:

        async def wakes(kind: Callable[[str], Job]) -> bool:
            before = len(desk.handlers.events)
            with suppress(QueueUnavailable):
                await desk.runner.defer(kind("a"))
            await asyncio.sleep(0.1)
            return len(desk.handlers.events) > before

        await eventually(partial(wakes, decide))
        await eventually(partial(wakes, round_of))
        with (
            psycopg.connect(database_server.admin_dsn, autocommit=True) as admin,
            psycopg.connect(queue.admin_dsn, autocommit=True) as guest,
        ):
            name = sql.Identifier(queue.name)
            admin.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(name))
            guest.execute(_LOSE_CONNECTIONS)
            await asyncio.sleep(0.3)
            admin.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(name))
        await eventually(partial(wakes, decide))
        await eventually(partial(wakes, round_of))


async def test_a_worker_whose_registration_was_pruned_registers_again(queue: QueueDatabase) -> None:
    async with _desk(queue.dsn) as desk:
        await desk.runner.defer(round_of())
        await eventually(partial(desk.has_run, 1))
        before = queue.query("DELETE FROM procrastinate_workers RETURNING id")
        for job in (round_of(), decide("a")):
            await desk.runner.defer(job)
        await eventually(partial(desk.has_run, 3))
        assert len(before) == 2
        assert not set(before) & set(queue.query("SELECT id FROM procrastinate_workers"))


async def test_a_job_whose_end_could_not_be_recorded_frees_its_account(
    queue: QueueDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish = JobManager.finish_job
    failed: list[object] = []

    async def fail_once(self: JobManager, job: object, status: object, delete_job: bool) -> None:
        if not failed:
            failed.append(job)
            raise ConnectorException
        await finish(self, job, status, delete_job)  # type: ignore[arg-type]  # passed through

    monkeypatch.setattr(JobManager, "finish_job", fail_once)
    async with _desk(queue.dsn) as desk:
        await desk.runner.defer(round_of())
        await eventually(partial(desk.has_run, 2))
        await desk.runner.defer(round_of())
        await eventually(partial(desk.has_run, 3))
    assert len(failed) == 1
    assert queue.has_started_no_job_twice()
    assert queue.query("SELECT id FROM procrastinate_jobs") == []


async def test_a_long_round_is_not_rescued_while_its_worker_lives_or_drains(queue: QueueDatabase) -> None:
    release = asyncio.Event()

    async def wait(job: Job) -> None:
        await release.wait()

    settings = WorkerSettings(heartbeat_s=0.1, stalled_after_s=0.8, rescue_every_s=0.1)

    async def is_running() -> bool:
        return len(draining.handlers.ran) == 1

    async with _desk(queue.dsn, act=wait, settings=settings) as draining:
        await draining.runner.defer(round_of())
        await eventually(is_running)
        async with _desk(queue.dsn, settings=settings) as other:
            draining.stop.set()
            await asyncio.sleep(2 * settings.stalled_after_s)
            release.set()
            await draining.worker
        assert len(draining.handlers.events) == 2
        assert other.handlers.events == []


async def test_a_stop_lets_running_jobs_end_and_leaves_the_waiting_ones_queued(queue: QueueDatabase) -> None:
    async def stop_and_linger(job: Job) -> None:
        await desk.runner.defer(round_of())
        desk.stop.set()
        await asyncio.sleep(0.2)

    async with _desk(queue.dsn, act=stop_and_linger) as desk:
        await desk.runner.defer(round_of())
        await desk.worker
    assert [event for event, _ in desk.handlers.events] == ["start", "end"]
    assert queue.query("SELECT status::text, lock FROM procrastinate_jobs") == [("todo", "default/paper")]
    assert queue.query("SELECT id FROM procrastinate_workers") == []


@pytest.mark.parametrize("job", [round_of(), decide("a")], ids=["round", "decide"])
async def test_a_job_cut_short_by_a_stop_is_queued_afresh(queue: QueueDatabase, job: Job) -> None:
    async def stop_and_hang(job: Job) -> None:
        desk.stop.set()
        await asyncio.Event().wait()

    settings = WorkerSettings(stop_timeout_s=0.1)
    async with _desk(queue.dsn, act=stop_and_hang, settings=settings) as desk:
        await desk.runner.defer(job)
        await desk.worker
    [(first,)] = queue.query("SELECT job_id FROM job_starts")
    [(status, left)] = queue.query("SELECT status::text, id FROM procrastinate_jobs")
    assert status == "todo"
    assert left != first
    async with _desk(queue.dsn) as successor:
        await eventually(partial(successor.has_run, 1))
        assert successor.handlers.ran == [job]


async def test_a_job_of_another_version_is_skipped_and_the_next_one_runs(queue: QueueDatabase) -> None:
    queue.query("INSERT INTO procrastinate_jobs (queue_name, task_name) VALUES ('decide', 'decide')")
    async with _desk(queue.dsn) as desk:
        await desk.runner.defer(decide("a"))
        await eventually(partial(desk.has_run, 1))
    assert desk.handlers.ran == [decide("a")]
    assert queue.query("SELECT id FROM procrastinate_jobs") == []


async def test_a_failure_is_logged_with_its_job(queue: QueueDatabase) -> None:
    async def fail(job: Job) -> None:
        raise ValueError("a handler's mistake")

    with capture_logs() as logs:
        async with _desk(queue.dsn, act=fail) as desk:
            await desk.runner.defer(decide("a"))
            await eventually(partial(desk.has_run, 1))
    [entry] = [entry for entry in logs if entry["event"] == "job_failed"]
    assert (entry["kind"], entry["trader_id"], entry["error"]) == (
        "decide",
        "a",
        'ValueError("a handler\'s mistake")',
    )


async def test_a_job_taken_over_while_it_ran_ends_quietly(queue: QueueDatabase) -> None:
    async def lose_the_row(job: Job) -> None:
        if len(desk.handlers.ran) == 1:
            queue.query("DELETE FROM procrastinate_jobs")

    with capture_logs() as logs:
        async with _desk(queue.dsn, act=lose_the_row) as desk:
            for n in range(2):
                await desk.runner.defer(round_of())
                await eventually(partial(desk.has_run, n + 1))
    assert [entry["event"] for entry in logs] == ["job_taken_over_while_it_ran"]


async def test_a_lock_lost_to_another_worker_is_no_error(queue: QueueDatabase) -> None:
    async with QueueRunner(queue.dsn) as runner:
        mine, other = [await runner.manager.register_worker() for _ in range(2)]
        await runner.defer(round_of())
        with psycopg.connect(queue.owner_dsn) as rival:
            rival.execute("SELECT procrastinate_fetch_job_v2('{account}', %s)", [other])
            queue.query(
                "INSERT INTO procrastinate_jobs (queue_name, task_name, lock, priority) "
                "VALUES ('account', 'maintain', 'default/paper', 1)",
            )
            fetch = asyncio.create_task(runner.manager.fetch_job(["account"], mine))

            async def waits_for_the_rival() -> bool:
                return bool(queue.inspect("SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock'"))

            await eventually(waits_for_the_rival)
            rival.commit()
            assert await fetch is None


async def test_a_wake_race_is_success_not_an_error(queue: QueueDatabase) -> None:
    async with QueueRunner(queue.dsn) as runner:
        answers = await asyncio.gather(*(runner.defer(round_of()) for _ in range(20)))
    assert sorted(answers) == [False] * 19 + [True]


async def test_a_queue_without_its_tables_is_unavailable(empty_database: Database) -> None:
    async with QueueRunner(queue_dsn(empty_database.dsn)) as runner:
        with pytest.raises(QueueUnavailable, match="round of account default/paper was not queued"):
            await runner.defer(round_of())
