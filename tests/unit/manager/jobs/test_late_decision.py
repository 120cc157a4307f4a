"""A decision that comes late is kept, moves nothing and counts as failed, as does one whose job fails."""

from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from executor.contract import Context, FullDecision, Outcome
from executor.errors import RecordedError
from faulty_desk import ACCOUNT, BTC, SECOND, FaultyDesk, close, open_long
from live_desk import OneExecutor
from manager.desk.incidents.safe_mode import SAFE_MODE
from manager.jobs.handlers import DeskHandlers
from manager.jobs.runner import Job, JobKind
from manager.state.errors import StoreUnavailable
from manager.state.records import (
    DEFAULT_TENANT,
    AccountId,
    DecisionRow,
    IncidentRow,
    IntentRow,
    IntentStatus,
    ScheduleRow,
    TraderRow,
    TraderState,
)
from traders.spec import TraderId


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
    return Job(
        kind=JobKind.DECIDE,
        tenant_id=DEFAULT_TENANT,
        account_id=AccountId(ACCOUNT),
        trader_id=TraderId("a"),
        due_at=slot,
    )


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
    [late] = [row for row in await desk.find(DecisionRow, trader_id="a") if row.due_at == slots[0]]
    assert (late.outcome, [error.path for error in late.errors]) == (Outcome.TIMEOUT, ["deadline"])
    pending: list[IntentRow] = list(await desk.find(IntentRow, trader_id="a", status=IntentStatus.PENDING))
    assert [intent.decision for intent in pending] == [close()]
    await desk.round()
    assert await desk.held("a", BTC) == 0 == await desk.net(BTC)


class SlowAlways:
    """Take each decision after its claim was given free."""

    def __init__(self, desk: FaultyDesk) -> None:
        self._desk = desk

    async def decide(self, context: Context) -> FullDecision:
        """Return an open, late."""
        async with self._desk.store.transaction(DEFAULT_TENANT) as tx:
            await tx.patch(ScheduleRow, ("a",), in_flight_due_at=None, claimed_at=None)
        return FullDecision(decisions=(open_long(usd=500),))


async def test_three_late_decisions_in_a_row_are_safe_mode() -> None:
    desk = await FaultyDesk.of()
    await desk.go("a", open_long())
    slow: Any = SlowAlways(desk)
    handlers = DeskHandlers(replace(desk.handlers._parts, executors=OneExecutor(slow)))
    for number in range(1, 4):
        desk.pass_time()
        slot = desk.clock.now()
        await claim(desk, slot)
        await handlers.decide(decide(slot))
        [schedule] = await desk.find(ScheduleRow, trader_id="a")
        assert schedule.failed_decisions == number
    [alert] = await desk.find(IncidentRow, trader_id="a", code=SAFE_MODE)
    assert "the last one with timeout: deadline: came after its claim was released" in alert.detail
    assert not await desk.find(IntentRow, trader_id="a", status=IntentStatus.PENDING)


class PausedMeanwhile:
    """Decide after an operator paused the trader."""

    def __init__(self, desk: FaultyDesk) -> None:
        self._desk = desk

    async def decide(self, context: Context) -> FullDecision:
        """Return an open that nobody wants any more."""
        async with self._desk.store.transaction(DEFAULT_TENANT) as tx:
            await tx.patch(ScheduleRow, ("a",), in_flight_due_at=None, claimed_at=None)
            await tx.patch(TraderRow, ("a",), state=TraderState.PAUSED)
        return FullDecision(decisions=(open_long(usd=500),))


async def test_a_decision_that_an_operator_overtook_is_no_failure() -> None:
    desk = await FaultyDesk.of()
    await desk.go("a", open_long())
    desk.pass_time()
    overtaken: Any = PausedMeanwhile(desk)
    slot = desk.clock.now()
    await claim(desk, slot)
    await DeskHandlers(replace(desk.handlers._parts, executors=OneExecutor(overtaken))).decide(decide(slot))
    [schedule] = await desk.find(ScheduleRow, trader_id="a")
    assert schedule.failed_decisions == 0
    [kept] = [row for row in await desk.find(DecisionRow, trader_id="a") if row.due_at == slot]
    assert (kept.outcome, kept.errors) == (Outcome.DECIDED, ())


class Broken:
    """Fail in a way that no executor should."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    async def decide(self, context: Context) -> FullDecision:
        """Raise the error."""
        raise self._error


async def test_a_job_that_fails_leaves_a_failed_decision_that_hides_the_text() -> None:
    desk = await FaultyDesk.of()
    await desk.go("a", open_long())
    desk.pass_time()
    broken: Any = Broken(RuntimeError("Bearer sk-1"))
    slot = desk.clock.now()
    await claim(desk, slot)
    await DeskHandlers(replace(desk.handlers._parts, executors=OneExecutor(broken))).decide(decide(slot))
    [schedule] = await desk.find(ScheduleRow, trader_id="a")
    assert (schedule.in_flight_due_at, schedule.failed_decisions) == (None, 1)
    [row] = [row for row in await desk.find(DecisionRow, trader_id="a") if row.due_at == slot]
    assert row.outcome is Outcome.UNAVAILABLE
    assert "RuntimeError" in row.errors[0].message
    assert "sk-1" not in row.errors[0].message


@pytest.mark.parametrize("error", [StoreUnavailable("gone"), RecordedError("file", "is unreadable")])
async def test_what_no_row_can_mend_ends_the_job(error: Exception) -> None:
    desk = await FaultyDesk.of()
    await desk.go("a", open_long())
    desk.pass_time()
    broken: Any = Broken(error)
    slot = desk.clock.now()
    await claim(desk, slot)
    with pytest.raises(type(error)):
        await DeskHandlers(replace(desk.handlers._parts, executors=OneExecutor(broken))).decide(decide(slot))
