"""Keep the desk going: claim who is due, wake the accounts' jobs, release what got stuck.

Every worker runs one; they share the work through the database, so any number of them may.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from math import ceil, inf

import structlog

from exchanges.clock import Clock
from manager.jobs.errors import JobsError
from manager.jobs.overload import OverloadWatch
from manager.jobs.retention import Keep, Retention
from manager.jobs.runner import Job, JobKind, JobRunner
from manager.jobs.slots import Slots
from manager.state.errors import StateError
from manager.state.store import AccountKey, Claim, Store

_LOG = structlog.get_logger(__name__)
_STALE_TIMEOUTS = 3
_LONGEST_BACK_OFF = 5
_WOKEN_TOGETHER = 25


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Set how often each duty is done, in seconds; a claim older than `stale_s` is released.

    An idle worker looks for due traders at least every `idle_s`, for one that another process may have started; one
    whose slots were filled looks after `again_s` whether enough are free.
    """

    claim_s: float = 0.25
    again_s: float = 0.05
    idle_s: float = 1.0
    maintain_s: float = 1.0
    sweep_s: float = 2.0
    release_s: float = 5.0
    stale_s: float = 90.0
    failed_s: float = 1.0
    batch: int = 500
    forget_s: float = 600.0
    keep: Keep = field(default_factory=Keep)

    @staticmethod
    def of(decision_timeout_s: float, keep: Keep | None = None) -> "Pace":
        """Return the pace for a decision timeout, three of which make a claim stale."""
        return Pace(stale_s=_STALE_TIMEOUTS * decision_timeout_s, keep=keep or Keep())


class Orchestrator:
    """Turn time into jobs; a failed tick is logged and done again, it ends nothing."""

    def __init__(
        self,
        store: Store,
        runner: JobRunner,
        clock: Clock,
        accounts: Collection[AccountKey],
        pace: Pace | None = None,
        slots: Slots | None = None,
    ) -> None:
        self._store = store
        self._runner = runner
        self._clock = clock
        self._accounts = tuple(accounts)
        self._pace = pace or Pace()
        self._slots = slots
        self._claimed_s = -inf
        self._woken = 0
        self._undelivered: list[Claim] = []
        self._overload = OverloadWatch(store, clock)
        self._retention = Retention(store, clock, self._pace.keep)

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set."""
        duties = (self.claim, self.maintain, self.sweep, self.release, self.watch_load)
        named = {duty.__name__: duty for duty in duties}
        named |= {duty.__name__: partial(self._seldom, duty) for duty in self._retention.duties}
        async with asyncio.TaskGroup() as group:
            for name, duty in named.items():
                group.create_task(self._repeat(name, duty, stop), name=f"orchestrator-{name}")

    async def claim(self) -> float:
        """Claim the due traders that can be served now, queue their decisions; return the seconds until the next look.

        What was claimed and could not be queued is queued first at the next call. Where all slots were filled, it is
        looked again as soon as a quarter of them is free.
        """
        await self._deliver()
        pace, slots = self._pace, self._slots
        waiting = await self._runner.decisions(waiting=True) if slots is not None else ()
        free = pace.batch if slots is None else min(pace.batch, slots.free(waiting))
        now_s = self._clock.boot_s()
        if (
            slots is not None
            and free < max(1, slots.count // 4)
            and (not free or now_s - self._claimed_s < pace.claim_s)
        ):
            return pace.again_s
        self._claimed_s = now_s
        async with self._store.service() as service:
            room = () if slots is None else slots.room(waiting)
            claims = await service.claim_due(self._clock.now(), free, room)
            due = None if len(claims) >= free else await service.next_due()
        self._undelivered += claims
        await self._deliver()
        if len(claims) >= free:
            return 0.0 if slots is None else pace.again_s
        ahead = pace.idle_s if due is None else (due - self._clock.now()).total_seconds()
        return min(max(ahead, pace.claim_s), pace.idle_s)

    async def maintain(self) -> float:
        """Wake the upkeep of the next accounts, of all within the pace; one that already waits is enough.

        Were many woken at once, a round would wait behind the upkeep of all.
        """
        end = self._woken + _WOKEN_TOGETHER
        await self._wake(JobKind.MAINTAIN, self._accounts[self._woken : end])
        self._woken = end if end < len(self._accounts) else 0
        parts = max(1, ceil(len(self._accounts) / _WOKEN_TOGETHER))
        return self._pace.maintain_s / parts * random.uniform(0.8, 1.2)

    async def sweep(self) -> float:
        """Wake the rounds of accounts with pending intents, whose own wake may have been lost."""
        async with self._store.service() as service:
            waiting = await service.accounts_with_intents()
        await self._wake(JobKind.ROUND, [account for account in waiting if account in self._accounts])
        return self._pace.sweep_s * random.uniform(0.8, 1.2)

    async def release(self) -> float:
        """Release traders whose claim has led to no decision for too long, and whose job no worker has any more."""
        before = self._clock.now() - timedelta(seconds=self._pace.stale_s)
        async with self._store.service() as service:
            stale = await service.stale_claims(before)
        if stale:
            alive = {(job.tenant_id, job.trader_id, job.due_at) for job in await self._runner.decisions()}
            lost = [one for one in stale if (one.tenant_id, one.trader_id, one.due_at) not in alive]
            async with self._store.service() as service:
                freed = await service.release(lost)
            if freed:
                _LOG.warning("stale_claims_released", count=freed, older_than_s=self._pace.stale_s)
        return self._pace.release_s

    async def watch_load(self) -> float:
        """Tell of tenants whose traders wait longer than their intervals."""
        await self._overload.look()
        return self._pace.release_s * random.uniform(0.8, 1.2)

    async def _deliver(self) -> None:
        waiting = self._undelivered
        if waiting:
            await self._runner.defer_decisions([_decision(claim) for claim in waiting])
            self._undelivered = []

    async def _wake(self, kind: JobKind, accounts: Collection[AccountKey]) -> None:
        await self._runner.wake(
            [Job(kind=kind, tenant_id=one.tenant_id, account_id=one.account_id) for one in accounts]
        )

    async def _seldom(self, duty: Callable[[], Awaitable[None]]) -> float:
        await duty()
        return self._pace.forget_s * random.uniform(0.8, 1.2)

    async def _repeat(self, name: str, duty: Callable[[], Awaitable[float]], stop: asyncio.Event) -> None:
        failures = 0
        while not stop.is_set():
            try:
                pause_s = await duty()
                failures = 0
            except Exception as error:  # noqa: BLE001 - a tick may fail in any way; the next one is the mend
                pause_s = self._pace.failed_s * min(2**failures, _LONGEST_BACK_OFF)
                failures += 1
                told = str(error) if isinstance(error, StateError | JobsError) else repr(error)
                _LOG.error("tick_failed", duty=name, error=told, again_in_s=pause_s)
            try:
                await asyncio.wait_for(stop.wait(), pause_s)
            except TimeoutError:
                continue


def _decision(claim: Claim) -> Job:
    return Job(
        kind=JobKind.DECIDE,
        tenant_id=claim.tenant_id,
        account_id=claim.account_id,
        trader_id=claim.trader_id,
        due_at=claim.due_at,
        gate=claim.gate,
    )
