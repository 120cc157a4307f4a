"""Time becomes jobs: claims once each, upkeep of every account, rounds for waiting intents, stuck claims freed."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from config_files import write_config
from desk_factory import AT
from exchanges.clock import ManualClock
from executor.contract import Action, Decision
from manager.config import load_config
from manager.jobs.errors import QueueUnavailable
from manager.jobs.runner import Job, JobKind
from manager.manager import Manager
from manager.orchestrator import Orchestrator, Pace
from manager.roster.registration import registration_check
from manager.roster.schedules import phase_of
from manager.state.memory.store import MemoryStore
from manager.state.records import (
    DEFAULT_TENANT,
    AccountId,
    DecisionId,
    IntentId,
    IntentRow,
    ScheduleRow,
    TenantId,
)
from manager.state.store import AccountKey
from traders.spec import TraderId

PAPER = AccountKey(tenant_id=DEFAULT_TENANT, account_id=AccountId("paper"))


class Queue:
    """Keep what is deferred; refuse as many calls as it is told to."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []
        self.refuse = 0

    async def defer(self, job: Job) -> bool:
        await self.defer_decisions([job])
        return True

    async def wake(self, jobs: Sequence[Job]) -> None:
        await self.defer_decisions(jobs)

    async def defer_decisions(self, jobs: Sequence[Job]) -> None:
        if self.refuse:
            self.refuse -= 1
            raise QueueUnavailable("down")
        self.jobs.extend(jobs)

    async def decisions(self, *, waiting: bool = False) -> Sequence[Job]:
        del waiting
        return [job for job in self.jobs if job.kind is JobKind.DECIDE]


class Scene:
    """Two traders, due within three seconds, before an orchestrator."""

    def __init__(self, folder: Path) -> None:
        self.store, self.clock, self.queue = MemoryStore(), ManualClock(AT), Queue()
        self.config = load_config(write_config(folder), {})
        self.orchestrator = Orchestrator(self.store, self.queue, self.clock, [PAPER], Pace(failed_s=0.01))

    async def schedule(self, trader_id: str) -> ScheduleRow:
        async with self.store.transaction(DEFAULT_TENANT) as tx:
            found = await tx.get(ScheduleRow, trader_id)
        assert found is not None
        return found


@pytest.fixture
async def scene(tmp_path: Path) -> Scene:
    made = Scene(tmp_path)
    await Manager(made.store, made.clock, registration_check(made.config)).sync(made.config)
    return made


async def test_each_due_trader_gets_one_decision_for_its_slot(scene: Scene) -> None:
    scene.clock.set(AT + timedelta(seconds=10))
    for _ in range(3):
        await scene.orchestrator.claim()
    assert sorted(job.trader_id for job in scene.queue.jobs) == ["one", "two"]
    assert {job.kind for job in scene.queue.jobs} == {JobKind.DECIDE}
    for job in scene.queue.jobs:
        assert job.due_at == (await scene.schedule(job.trader_id)).in_flight_due_at


async def test_a_claim_that_the_queue_refused_is_delivered_at_the_next_tick_and_not_again(scene: Scene) -> None:
    scene.clock.set(AT + timedelta(seconds=10))
    scene.queue.refuse = 1
    with pytest.raises(QueueUnavailable):
        await scene.orchestrator.claim()
    await scene.orchestrator.claim()
    await scene.orchestrator.claim()
    assert sorted(job.trader_id for job in scene.queue.jobs) == ["one", "two"]


async def test_it_sleeps_until_the_next_due_time_within_its_bounds(scene: Scene) -> None:
    earliest = min([(await scene.schedule(name)).next_due_at or AT for name in ("one", "two")])
    pace = Pace()
    scene.clock.set(max(earliest - timedelta(seconds=0.5), AT))
    ahead = (earliest - scene.clock.now()).total_seconds()
    assert await scene.orchestrator.claim() == pytest.approx(min(max(ahead, pace.claim_s), pace.idle_s))
    scene.clock.set(AT + timedelta(seconds=30))
    await scene.orchestrator.claim()
    assert await scene.orchestrator.claim() == pace.idle_s


async def test_upkeep_is_woken_for_each_account_and_rounds_only_where_intents_wait(scene: Scene) -> None:
    await scene.orchestrator.sweep()
    assert scene.queue.jobs == []
    intent = IntentRow(
        tenant_id=DEFAULT_TENANT,
        intent_id=IntentId("one@0#0"),
        decision_id=DecisionId("one@0"),
        account_id=AccountId("paper"),
        trader_id=TraderId("one"),
        decided_at=AT,
        decision=Decision(symbol="BTC/USDT:USDT", action=Action.CLOSE_LONG),
    )
    async with scene.store.transaction(DEFAULT_TENANT) as tx:
        await tx.insert([intent])
    await scene.orchestrator.sweep()
    await scene.orchestrator.maintain()
    assert [job.kind for job in scene.queue.jobs] == [JobKind.ROUND, JobKind.MAINTAIN]
    outsider = Orchestrator(scene.store, scene.queue, scene.clock, [])
    await outsider.sweep()
    assert len(scene.queue.jobs) == 2


async def test_upkeep_of_many_accounts_is_woken_in_parts_of_the_pace_and_none_is_left_out(scene: Scene) -> None:
    accounts = [AccountKey(tenant_id=DEFAULT_TENANT, account_id=AccountId(f"a{n}")) for n in range(60)]
    orchestrator = Orchestrator(scene.store, scene.queue, scene.clock, accounts)
    for turn in range(2):
        await orchestrator.maintain()
        scene.queue.refuse = 1
        with pytest.raises(QueueUnavailable):
            await orchestrator.maintain()
        pauses = [await orchestrator.maintain() for _ in range(2)]
        assert all(Pace().maintain_s * 0.8 / 3 <= pause <= Pace().maintain_s * 1.2 / 3 for pause in pauses)
        woken = [job.account_id for job in scene.queue.jobs]
        assert woken == [account.account_id for account in accounts] * (turn + 1)


async def test_a_claim_that_led_to_nothing_is_free_again_after_three_timeouts(scene: Scene) -> None:
    scene.clock.set(AT + timedelta(seconds=10))
    await scene.orchestrator.claim()
    pace = Pace.of(30)
    orchestrator = Orchestrator(scene.store, scene.queue, scene.clock, [PAPER], pace)
    scene.clock.set(AT + timedelta(seconds=10 + pace.stale_s))
    await orchestrator.release()
    assert (await scene.schedule("one")).in_flight_due_at is not None
    scene.clock.set(AT + timedelta(seconds=11 + pace.stale_s))
    await orchestrator.release()
    assert (await scene.schedule("one")).in_flight_due_at is not None, "its job is still there"
    scene.queue.jobs.clear()
    await orchestrator.release()
    assert (await scene.schedule("one")).in_flight_due_at is None


async def test_failed_ticks_end_nothing(scene: Scene) -> None:
    scene.clock.set(AT + timedelta(seconds=10))
    scene.queue.refuse = 4
    stop = asyncio.Event()
    running = asyncio.create_task(scene.orchestrator.run(stop))
    async with asyncio.timeout(20):
        while {job.kind for job in scene.queue.jobs} < {JobKind.DECIDE, JobKind.MAINTAIN}:  # noqa: ASYNC110 - a fake sets no event
            await asyncio.sleep(0.01)
    stop.set()
    await running
    assert sorted(job.trader_id for job in scene.queue.jobs if job.kind is JobKind.DECIDE) == ["one", "two"]


def test_traders_spread_over_their_interval_alike_on_every_host() -> None:
    phases = [phase_of(DEFAULT_TENANT, TraderId(f"trader{n}"), 180) for n in range(1800)]
    assert phases[:3] == [phase_of(DEFAULT_TENANT, TraderId(f"trader{n}"), 180) for n in range(3)]
    assert phase_of(DEFAULT_TENANT, TraderId("trader0"), 180) != phase_of(TenantId("acme"), TraderId("trader0"), 180)
    per_second = [phases.count(second) for second in range(180)]
    assert max(per_second) <= 25
    assert per_second.count(0) <= 2
