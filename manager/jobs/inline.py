"""Run jobs in this process, one after the other, with the lock semantics of the queue."""

from collections import deque
from collections.abc import Sequence

import structlog

from manager.jobs.errors import HandlersMissing, RunnerBusy
from manager.jobs.runner import Handlers, Job, JobKind

_log = structlog.get_logger(__name__)
_DECIDE = JobKind.DECIDE
_ROUND = JobKind.ROUND


class InlineRunner:
    """Run deferred jobs in the order of their deferral; for replay, simulation and tests.

    Jobs never overlap, so every lock holds; what a job defers runs after it. `strict` raises the first failure of a
    handler instead of logging it: a replay must not go on over a hole.
    """

    __slots__ = ("_handlers", "_jobs", "_running", "_strict", "_waiting")

    def __init__(self, handlers: Handlers | None = None, *, strict: bool = False) -> None:
        self._handlers = handlers
        self._strict = strict
        self._jobs: deque[Job] = deque()
        self._waiting: set[str] = set()
        self._running = False

    def attach(self, handlers: Handlers) -> None:
        """Set who runs the jobs; the handlers usually need the runner first."""
        self._handlers = handlers

    async def defer(self, job: Job) -> bool:
        """Queue a job; False if an equal one already waits, which is success."""
        if job.kind is not _DECIDE:
            key = job.coalesce_key
            if key is not None:
                if key in self._waiting:
                    return False
                self._waiting.add(key)
        self._jobs.append(job)
        return True

    async def defer_decisions(self, jobs: Sequence[Job]) -> None:
        """Queue decisions."""
        self._jobs.extend(jobs)

    async def run_until_idle(self) -> int:
        """Run until nothing waits, jobs deferred meanwhile included, and return how many ran.

        Raises HandlersMissing, RunnerBusy when called from within a job, and a handler's own error when strict.
        """
        if self._handlers is None:
            raise HandlersMissing("the inline runner has no handlers; call attach(handlers) before run_until_idle()")
        if self._running:
            raise RunnerBusy(
                "run_until_idle() was called while it runs; a job defers and returns, the outer call goes on"
            )
        self._running = True
        try:
            return await self._run(self._handlers)
        finally:
            self._running = False

    async def _run(self, handlers: Handlers) -> int:
        decide, round_, maintain = handlers.decide, handlers.round, handlers.maintain
        jobs, waiting, count = self._jobs, self._waiting, 0
        while jobs:
            job = jobs.popleft()
            count += 1
            try:
                if job.kind is _DECIDE:
                    await decide(job)
                    continue
                waiting.discard(job.coalesce_key or "")
                await (round_ if job.kind is _ROUND else maintain)(job)
            except Exception as error:  # one job must not end the others; strict raises it
                if self._strict:
                    raise
                _log.error("job_failed", kind=job.kind, account=job.account_id, trader=job.trader_id, error=repr(error))
        return count
