"""A desk whose traders stay a whole interval late says so once, with numbers, until they are not."""

from collections.abc import Sequence
from datetime import timedelta

import pytest

from desk_factory import AT
from exchanges.clock import ManualClock
from manager.jobs.overload import OVERLOADED, OverloadWatch
from manager.state.memory.store import MemoryStore
from manager.state.records import DEFAULT_TENANT, IncidentRow, ScheduleRow
from manager.views.status import StatusQuery, read_status
from state_rows import make_account, make_trader

LATE = timedelta(seconds=61)


class Scene:
    """One trader with an interval of a minute, due since AT, and two workers that watch."""

    def __init__(self) -> None:
        self.store, self.clock = MemoryStore(), ManualClock(AT)
        self.watches = [OverloadWatch(self.store, self.clock) for _ in range(2)]

    async def look(self, times: int = 1) -> Sequence[IncidentRow]:
        """Let both look a few times, five seconds apart; return all incidents."""
        for _ in range(times):
            for watch in self.watches:
                await watch.look()
            self.clock.set(self.clock.now() + timedelta(seconds=5))
        async with self.store.transaction(DEFAULT_TENANT) as tx:
            return await tx.find(IncidentRow, {"code": OVERLOADED})

    async def catch_up(self) -> None:
        """Let the trader be due in a minute."""
        async with self.store.transaction(DEFAULT_TENANT) as tx:
            await tx.patch(ScheduleRow, ("t1",), next_due_at=self.clock.now() + timedelta(seconds=60))


@pytest.fixture
async def scene() -> Scene:
    made = Scene()
    async with made.store.service() as service:
        await service.ensure_tenant(DEFAULT_TENANT)
    async with made.store.transaction(DEFAULT_TENANT) as tx:
        await tx.insert([make_account(), *make_trader("t1", interval_s=60, next_due_at=AT)])
    return made


async def test_it_is_told_once_by_all_workers_and_ends(scene: Scene) -> None:
    assert await scene.look(3) == []
    scene.clock.set(AT + LATE)
    assert await scene.look(2) == [], "late for a moment, as after a start"
    [incident] = await scene.look(1)
    assert incident.resolved_at is None
    [renewed] = await scene.look(3)
    assert renewed.incident_id == incident.incident_id
    assert "1 traders are due, 0 decided within the last minute, the latest is 86 s behind (1 of" in renewed.detail
    await scene.catch_up()
    [ended] = await scene.look(1)
    assert ended.resolved_at is not None


async def test_status_tells_it_of_the_desk_as_a_whole(scene: Scene) -> None:
    scene.clock.set(AT + LATE)
    await scene.look(3)
    page = await read_status(scene.store, DEFAULT_TENANT, StatusQuery(now=scene.clock.now()))
    assert [one.code for one in page.incidents] == [OVERLOADED]
    await scene.catch_up()
    await scene.look(1)
    assert (await read_status(scene.store, DEFAULT_TENANT, StatusQuery(now=scene.clock.now()))).incidents == ()


async def test_what_a_worker_before_it_opened_is_ended_by_the_next(scene: Scene) -> None:
    scene.clock.set(AT + LATE)
    await scene.look(3)
    await scene.catch_up()
    scene.watches = [OverloadWatch(scene.store, scene.clock)]
    [ended] = await scene.look(1)
    assert ended.resolved_at is not None
