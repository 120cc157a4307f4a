"""The inline runner: order, late handlers, strict failures."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from job_handlers import RecordingHandlers, decide, maintain, round_of
from manager.jobs.errors import HandlersMissing, RunnerBusy
from manager.jobs.runner import InlineRunner, Job

_JOBS = [decide("a"), decide("b"), round_of("x"), maintain("x"), round_of("y")]


@given(st.lists(st.sampled_from(_JOBS)))
async def test_jobs_run_in_the_order_of_their_first_deferral(jobs: list[Job]) -> None:
    handlers = RecordingHandlers()
    runner = InlineRunner(handlers)
    accepted = [job for job in jobs if await runner.defer(job)]
    assert await runner.run_until_idle() == len(accepted)
    assert handlers.ran == accepted
    keys = [job.coalesce_key for job in accepted if job.coalesce_key]
    assert len(keys) == len(set(keys))
    assert len(accepted) == len(set(keys)) + sum(job.coalesce_key is None for job in jobs)


async def test_decisions_of_an_instant_run_before_the_one_round_they_wake() -> None:
    runner = InlineRunner()

    async def wake(job: Job) -> None:
        if job in deciders:
            await runner.defer(round_of())

    deciders = [decide("a"), decide("b"), decide("c")]
    handlers = RecordingHandlers(act=wake)
    runner.attach(handlers)
    for job in deciders:
        await runner.defer(job)
    assert await runner.run_until_idle() == 4
    assert handlers.ran == [*deciders, round_of()]
    assert await runner.run_until_idle() == 0


async def test_a_strict_runner_raises_a_failure_and_keeps_what_waits() -> None:
    async def fail(job: Job) -> None:
        if job == decide("a"):
            raise ValueError("a handler's mistake")

    handlers = RecordingHandlers(act=fail)
    runner = InlineRunner(handlers, strict=True)
    for job in (decide("a"), decide("b")):
        await runner.defer(job)
    with pytest.raises(ValueError, match="a handler's mistake"):
        await runner.run_until_idle()
    assert handlers.ran == [decide("a")]
    assert await runner.run_until_idle() == 1
    assert handlers.ran == [decide("a"), decide("b")]


async def test_a_runner_without_handlers_says_so() -> None:
    with pytest.raises(HandlersMissing, match="attach"):
        await InlineRunner().run_until_idle()


async def test_a_job_cannot_run_the_jobs_within_itself() -> None:
    runner = InlineRunner(strict=True)

    async def nest(job: Job) -> None:
        await runner.run_until_idle()

    runner.attach(RecordingHandlers(act=nest))
    await runner.defer(round_of())
    with pytest.raises(RunnerBusy, match="while it runs"):
        await runner.run_until_idle()
