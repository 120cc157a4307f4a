"""What every job runner promises: one account, one writer, one waiting round for any wakes; and one in this process."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

import structlog

from manager.jobs.errors import HandlersMissing, RunnerBusy
from manager.state.records import AccountId, TenantId
from traders.spec import TraderId

_log = structlog.get_logger(__name__)


class JobKind(StrEnum):
    """Name the three jobs of the desk."""

    DECIDE = "decide"
    ROUND = "round"
    MAINTAIN = "maintain"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Ask for one run of one kind; a decision also names its trader, the slot it is for, and the gate it waits at."""

    kind: JobKind
    tenant_id: TenantId
    account_id: AccountId
    trader_id: TraderId = TraderId("")
    due_at: datetime | None = None
    gate: str = ""

    @property
    def slot(self) -> datetime:
        """Return the slot a decision is for; raise ValueError on a job of another kind."""
        if self.due_at is None:
            raise ValueError(f"a {self.kind} job has no slot: only decisions are for one")
        return self.due_at

    @property
    def lock(self) -> str | None:
        """Return the lock that keeps an account single-writer; decisions run free."""
        return None if self.kind is JobKind.DECIDE else f"{self.tenant_id}/{self.account_id}"

    @property
    def coalesce_key(self) -> str | None:
        """Return the key of which at most one job may wait; the running one does not count."""
        return None if self.kind is JobKind.DECIDE else f"{self.kind}:{self.tenant_id}/{self.account_id}"


class Handlers(Protocol):
    """Run the jobs; implemented by the desk, the same under every runner."""

    async def decide(self, job: Job) -> None: ...
    async def round(self, job: Job) -> None: ...
    async def maintain(self, job: Job) -> None: ...


class JobRunner(Protocol):
    """Defer jobs and run them: jobs with one lock never overlap, on any number of workers."""

    async def defer(self, job: Job) -> bool:
        """Queue a job; False if an equal one already waits, which is success."""
        ...

    async def wake(self, jobs: Sequence[Job]) -> None:
        """Queue in one call those jobs of accounts of which no equal one waits yet."""
        ...

    async def defer_decisions(self, jobs: Sequence[Job]) -> None:
        """Queue decisions in one call, all of them or, when it raises, none that counts: a slot is decided once."""
        ...

    async def decisions(self, *, waiting: bool = False) -> Sequence[Job]:
        """Return the decisions that wait or run anywhere, only those that wait when asked so."""
        ...


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
        if job.kind is not JobKind.DECIDE:
            key = job.coalesce_key
            if key is not None:
                if key in self._waiting:
                    return False
                self._waiting.add(key)
        self._jobs.append(job)
        return True

    async def wake(self, jobs: Sequence[Job]) -> None:
        """Queue those jobs of accounts of which no equal one waits yet."""
        for job in jobs:
            await self.defer(job)

    async def defer_decisions(self, jobs: Sequence[Job]) -> None:
        """Queue decisions."""
        self._jobs.extend(jobs)

    async def decisions(self, *, waiting: bool = False) -> Sequence[Job]:
        """Return the decisions that wait; while one runs nobody asks."""
        del waiting
        return [job for job in self._jobs if job.kind is JobKind.DECIDE]

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
                if job.kind is JobKind.DECIDE:
                    await decide(job)
                    continue
                waiting.discard(job.coalesce_key or "")
                await (round_ if job.kind is JobKind.ROUND else maintain)(job)
            except Exception as error:  # one job must not end the others; strict raises it
                if self._strict:
                    raise
                _log.error("job_failed", kind=job.kind, account=job.account_id, trader=job.trader_id, error=repr(error))
        return count
