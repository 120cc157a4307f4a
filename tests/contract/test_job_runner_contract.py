"""What every job runner promises, inline and on Postgres."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from functools import partial

import pytest

from job_handlers import RecordingHandlers, decide, eventually, maintain, round_of
from manager.jobs.queue import QueueRunner
from manager.jobs.runner import InlineRunner, Job, JobKind, JobRunner
from manager.jobs.worker import QueueWorker
from manager.state.postgres.roles import queue_dsn
from manager.state.records import TenantId


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """Hold a runner, its handlers and the way to let it run until nothing waits or runs."""

    runner: JobRunner
    handlers: RecordingHandlers
    settle: Callable[[], Awaitable[None]]


def _inline() -> Bench:
    handlers = RecordingHandlers()
    runner = InlineRunner(handlers)

    async def settle() -> None:
        await runner.run_until_idle()

    return Bench(runner=runner, handlers=handlers, settle=settle)


async def _is_empty(runner: QueueRunner) -> bool:
    return not await runner.manager.list_jobs_async()


async def _queued(dsn: str) -> AsyncIterator[Bench]:
    handlers, stop = RecordingHandlers(), asyncio.Event()
    async with QueueRunner(dsn) as runner, asyncio.TaskGroup() as group:
        worker = QueueWorker(runner, handlers)
        running: list[asyncio.Task[None]] = []

        async def settle() -> None:
            if not running:
                running.append(group.create_task(worker.run(stop)))
            await eventually(partial(_is_empty, runner))

        yield Bench(runner=runner, handlers=handlers, settle=settle)
        stop.set()


@pytest.fixture(params=["inline", pytest.param("queue", marks=pytest.mark.database)])
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    if request.param == "inline":
        yield _inline()
        return
    async for bench in _queued(queue_dsn(request.getfixturevalue("database").dsn)):
        yield bench


async def _briefly(job: Job) -> None:
    await asyncio.sleep(0.01)


async def test_a_job_arrives_as_it_was_deferred(bench: Bench) -> None:
    jobs = [decide("trend_btc"), decide("日本 'x' {}"), round_of(), maintain()]
    for job in jobs:
        assert await bench.runner.defer(job)
    await bench.settle()
    assert sorted(bench.handlers.ran, key=repr) == sorted(jobs, key=repr)


async def test_jobs_of_one_account_never_overlap_and_keep_their_order(bench: Bench) -> None:
    bench.handlers.act = _briefly
    jobs = [maintain(), round_of()]
    for job in jobs:
        await bench.runner.defer(job)
    await bench.settle()
    assert bench.handlers.events == [(event, job) for job in jobs for event in ("start", "end")]


async def test_one_round_may_wait_however_often_it_is_asked_for(bench: Bench) -> None:
    assert [await bench.runner.defer(round_of()) for _ in range(4)] == [True, False, False, False]
    await bench.settle()
    assert bench.handlers.ran == [round_of()]


async def test_waiting_jobs_coalesce_within_their_kind_account_and_tenant(bench: Bench) -> None:
    jobs = [round_of("a"), maintain("a"), round_of("b"), round_of("a", tenant_id=TenantId("acme"))]
    for job in jobs:
        assert await bench.runner.defer(job)
    await bench.settle()
    assert sorted(bench.handlers.ran, key=repr) == sorted(jobs, key=repr)


async def test_decisions_never_coalesce(bench: Bench) -> None:
    for trader_id in ("a", "b", "b"):
        assert await bench.runner.defer(decide(trader_id))
    await bench.settle()
    assert sorted(job.trader_id for job in bench.handlers.ran) == ["a", "b", "b"]


async def test_decisions_are_deferred_together_and_none_is_lost_or_merged(bench: Bench) -> None:
    jobs = [decide("a"), decide("b"), decide("b"), decide("日本 'x' {}")]
    await bench.runner.defer_decisions([])
    await bench.runner.defer_decisions(jobs)
    await bench.settle()
    assert sorted(bench.handlers.ran, key=repr) == sorted(jobs, key=repr)


async def test_accounts_are_woken_together_and_one_that_waits_or_is_named_twice_keeps_no_other_out(
    bench: Bench,
) -> None:
    await bench.runner.wake([])
    await bench.runner.defer(maintain("b"))
    await bench.runner.wake([maintain("a"), maintain("b")])
    await bench.runner.wake([maintain("c"), maintain("d"), maintain("d"), maintain("a")])
    assert not await bench.runner.defer(maintain("d"))
    await bench.settle()
    assert sorted(job.account_id for job in bench.handlers.ran) == ["a", "b", "c", "d"]


async def test_wakes_during_a_round_lead_to_exactly_one_more_after_it(bench: Bench) -> None:
    answers: list[bool] = []

    async def wake_thrice(job: Job) -> None:
        if not answers:
            answers.extend([await bench.runner.defer(round_of()) for _ in range(3)])
            await asyncio.sleep(0.05)

    bench.handlers.act = wake_thrice
    await bench.runner.defer(round_of())
    await bench.settle()
    assert answers == [True, False, False]
    assert [event for event, _ in bench.handlers.events] == ["start", "end", "start", "end"]


async def test_a_decision_wakes_the_round_of_its_account(bench: Bench) -> None:
    async def wake(job: Job) -> None:
        if job.kind is JobKind.DECIDE:
            await bench.runner.defer(round_of(job.account_id))

    bench.handlers.act = wake
    await bench.runner.defer(decide("trend"))
    await bench.settle()
    assert bench.handlers.ran == [decide("trend"), round_of()]


async def test_a_failing_handler_ends_its_own_job_only(bench: Bench) -> None:
    async def fail_once(job: Job) -> None:
        if len(bench.handlers.ran) == 1:
            raise ValueError("a handler's mistake")

    bench.handlers.act = fail_once
    await bench.runner.defer(round_of())
    await bench.settle()
    assert await bench.runner.defer(round_of())
    await bench.runner.defer(decide("a"))
    await bench.settle()
    assert bench.handlers.ran[0] == round_of()
    assert sorted(bench.handlers.ran[1:], key=repr) == [decide("a"), round_of()]
