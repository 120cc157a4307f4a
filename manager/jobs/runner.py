"""What every job runner promises: one account, one writer; a waiting round is enough for any number of wakes."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from manager.state.records import AccountId, TenantId
from traders.spec import TraderId


class JobKind(StrEnum):
    """Name the three jobs of the desk."""

    DECIDE = "decide"
    ROUND = "round"
    MAINTAIN = "maintain"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Ask for one run of one kind; a decision also names its trader and the slot it is for."""

    kind: JobKind
    tenant_id: TenantId
    account_id: AccountId
    trader_id: TraderId = TraderId("")
    due_at: datetime | None = None

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

    async def defer_decisions(self, jobs: Sequence[Job]) -> None:
        """Queue decisions in one call, all of them or, when it raises, none that counts: a slot is decided once."""
        ...
