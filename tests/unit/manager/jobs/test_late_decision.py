"""A decision that comes back after its claim was given to the next slot is kept, and moves nothing."""

from dataclasses import replace
from datetime import datetime
from typing import Any

from executor.contract import Context, FullDecision
from faulty_desk import ACCOUNT, BTC, SECOND, FaultyDesk, close, open_long
from live_desk import OneExecutor
from manager.jobs.handlers import DeskHandlers
from manager.jobs.runner import Job, JobKind
from manager.state.records import DEFAULT_TENANT, DecisionRow, IntentRow, IntentStatus, ScheduleRow


class SlowThenQuick:
    """Take so long over the first decision that the next slot is claimed and decided meanwhile."""

    def __init__(self, desk: FaultyDesk, slots: tuple[datetime, datetime]) -> None:
        self.handlers: DeskHandlers
        self._desk, self._slots, self._calls = desk, slots, 0

    async def decide(self, context: Context) -> FullDecision:
        """Return an open, late; then a close, in time."""
        self._calls += 1
        if self._calls > 1:
            return FullDecision(decisions=(close(),))
        self._desk.clock.set(self._slots[1])
        await claim(self._desk, self._slots[1])
        await self.handlers.decide(decide(self._slots[1]))
        return FullDecision(decisions=(open_long(usd=500),))


def decide(slot: datetime) -> Job:
    return Job(kind=JobKind.DECIDE, tenant_id=DEFAULT_TENANT, account_id=ACCOUNT, trader_id="a", due_at=slot)


async def claim(desk: FaultyDesk, slot: datetime) -> None:
    async with desk.store.transaction(DEFAULT_TENANT) as tx:
        later = slot + 60 * SECOND
        await tx.patch(ScheduleRow, ("a",), in_flight_due_at=slot, claimed_at=slot, next_due_at=later)


async def test_a_late_open_does_not_replace_the_newer_close() -> None:
    desk = await FaultyDesk.of()
    await desk.go("a", open_long())
    desk.pass_time()
    slots = desk.clock.now(), desk.clock.now() + 60 * SECOND
    slow: Any = SlowThenQuick(desk, slots)
    slow.handlers = desk.handlers = DeskHandlers(replace(desk.handlers._parts, executors=OneExecutor(slow)))
    await claim(desk, slots[0])
    await desk.handlers.decide(decide(slots[0]))
    decided = {row.due_at: row.decisions for row in await desk.find(DecisionRow, trader_id="a")}
    assert decided[slots[0]] == (open_long(usd=500),)
    pending: list[IntentRow] = list(await desk.find(IntentRow, trader_id="a", status=IntentStatus.PENDING))
    assert [intent.decision for intent in pending] == [close()]
    await desk.round()
    assert await desk.held("a", BTC) == 0 == await desk.net(BTC)
