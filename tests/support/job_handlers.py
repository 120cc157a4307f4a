"""Handlers that record what ran, for the tests of the job runners."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from manager.jobs.runner import Job, JobKind
from manager.state.records import DEFAULT_TENANT, AccountId, TenantId
from traders.spec import TraderId

DUE = datetime(2025, 3, 1, 12, 3, tzinfo=UTC)


async def eventually(holds: Callable[[], Awaitable[bool]], *, patience_s: float = 60) -> None:
    """Wait until something holds; raise TimeoutError when it does not."""
    async with asyncio.timeout(patience_s):
        while not await holds():  # noqa: ASYNC110 - other processes and the database set no event
            await asyncio.sleep(0.02)


async def nothing(job: Job) -> None:
    """Do nothing with a job."""


@dataclass(slots=True)
class RecordingHandlers:
    """Record the start and the end of each job around what `act` does with it."""

    act: Callable[[Job], Awaitable[None]] = nothing
    events: list[tuple[str, Job]] = field(default_factory=list)

    @property
    def ran(self) -> list[Job]:
        """Return the jobs in the order of their starts."""
        return [job for event, job in self.events if event == "start"]

    async def _run(self, job: Job) -> None:
        self.events.append(("start", job))
        try:
            await self.act(job)
        finally:
            self.events.append(("end", job))

    async def decide(self, job: Job) -> None:
        """Run a decision."""
        assert job.kind is JobKind.DECIDE
        await self._run(job)

    async def round(self, job: Job) -> None:
        """Run a round."""
        assert job.kind is JobKind.ROUND
        await self._run(job)

    async def maintain(self, job: Job) -> None:
        """Run an account's maintenance."""
        assert job.kind is JobKind.MAINTAIN
        await self._run(job)


def decide(trader_id: str, *, account_id: str = "paper") -> Job:
    """Make a decision job."""
    return Job(
        kind=JobKind.DECIDE,
        tenant_id=DEFAULT_TENANT,
        account_id=AccountId(account_id),
        trader_id=TraderId(trader_id),
        due_at=DUE,
    )


def round_of(account_id: str = "paper", *, tenant_id: TenantId = DEFAULT_TENANT) -> Job:
    """Make a round job."""
    return Job(kind=JobKind.ROUND, tenant_id=tenant_id, account_id=AccountId(account_id))


def maintain(account_id: str = "paper") -> Job:
    """Make a maintenance job."""
    return Job(kind=JobKind.MAINTAIN, tenant_id=DEFAULT_TENANT, account_id=AccountId(account_id))
