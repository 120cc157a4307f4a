"""A decision whose database goes away meanwhile is asked for once, and stored when the database is back."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from executor.contract import Context, FullDecision
from faulty_desk import ACCOUNT, SECOND, FaultyDesk, open_long
from live_desk import OneExecutor
from manager.jobs.handlers import DeskHandlers
from manager.jobs.runner import Job, JobKind
from manager.state.errors import CommitUnknown, DatabaseAway
from manager.state.outlast import OUTLAST_S
from manager.state.records import (
    DEFAULT_TENANT,
    AccountId,
    DecisionRow,
    IntentRow,
    IntentStatus,
    ScheduleRow,
    TenantId,
)
from manager.state.store import Fence, ServiceTransaction, Store, Transaction
from traders.spec import TraderId


class Restarting:
    """Refuse all transactions for a while, from when it is told to; a commit of before may have been made."""

    def __init__(self, desk: FaultyDesk) -> None:
        self._store: Store = desk.store
        self._clock = desk.clock
        self.until: datetime | None = None
        self.commits = False

    def transaction(self, tenant: TenantId, *, fence: Fence | None = None) -> AbstractAsyncContextManager[Transaction]:
        return self._transaction(tenant, fence)

    def service(self) -> AbstractAsyncContextManager[ServiceTransaction]:
        return self._store.service()

    @asynccontextmanager
    async def _transaction(self, tenant: TenantId, fence: Fence | None) -> AsyncIterator[Transaction]:
        if self.until is None or self._clock.now() >= self.until:
            async with self._store.transaction(tenant, fence=fence) as tx:
                yield tx
            return
        if self.commits:
            self.commits = False
            async with self._store.transaction(tenant, fence=fence) as tx:
                yield tx
            raise CommitUnknown("the connection broke during a commit")
        raise DatabaseAway("the database cannot be used")


class Once:
    """Decide, while the database goes away; asked again it fails."""

    def __init__(self, store: Restarting, away: timedelta, clock: Any) -> None:
        self._store, self._away, self._clock, self.asked = store, away, clock, 0

    async def decide(self, context: Context) -> FullDecision:
        self.asked += 1
        self._store.until = self._clock.now() + self._away
        return FullDecision(decisions=(open_long(usd=500),))


@pytest.mark.parametrize("commits", [False, True])
async def test_it_is_asked_once_and_stored_when_the_database_is_back(commits: bool) -> None:
    desk, (store, once, slot) = await _due(timedelta(seconds=40))
    store.commits = commits
    await _decide(desk, store, once, slot)
    assert once.asked == 1
    [row] = [row for row in await desk.find(DecisionRow, trader_id="a") if row.due_at == slot]
    assert row.decisions == (open_long(usd=500),)
    assert len(await desk.find(IntentRow, trader_id="a", status=IntentStatus.PENDING)) == 1


async def test_a_database_away_at_the_beginning_delays_the_decision() -> None:
    desk, (store, once, slot) = await _due(timedelta(0))
    store.until = slot + timedelta(seconds=20)
    await _decide(desk, store, once, slot)
    assert once.asked == 1
    assert [row for row in await desk.find(DecisionRow, trader_id="a") if row.due_at == slot]


async def test_one_that_stays_away_ends_the_job() -> None:
    desk, (store, once, slot) = await _due(timedelta(seconds=10 * OUTLAST_S))
    with pytest.raises(DatabaseAway):
        await _decide(desk, store, once, slot)
    assert once.asked == 1
    assert desk.clock.now() <= slot + timedelta(seconds=OUTLAST_S)


async def _due(away: timedelta) -> tuple[FaultyDesk, tuple[Restarting, Once, datetime]]:
    desk = await FaultyDesk.of()
    store = Restarting(desk)
    slot = desk.clock.now()
    async with desk.store.transaction(DEFAULT_TENANT) as tx:
        await tx.patch(ScheduleRow, ("a",), in_flight_due_at=slot, claimed_at=slot, next_due_at=slot + 600 * SECOND)
    return desk, (store, Once(store, away, desk.clock), slot)


async def _decide(desk: FaultyDesk, store: Any, once: Any, slot: datetime) -> None:
    handlers = DeskHandlers(replace(desk.handlers._parts, store=store, executors=OneExecutor(once)))
    job = Job(
        kind=JobKind.DECIDE,
        tenant_id=DEFAULT_TENANT,
        account_id=AccountId(ACCOUNT),
        trader_id=TraderId("a"),
        due_at=slot,
    )
    await handlers.decide(job)
