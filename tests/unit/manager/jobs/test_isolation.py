"""An isolated trader that holds is asked on for closes and stops; what isolates it, and what does not."""

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from executor.contract import Context, Decision, FullDecision, Outcome
from faulty_desk import ACCOUNT, FaultyDesk, adjust, close, open_long
from live_desk import OneExecutor
from manager.desk.plan.values import GlobalLimits, OnUnrealizedLoss
from manager.jobs.handlers import DeskHandlers
from manager.jobs.runner import Job, JobKind
from manager.manager import Manager
from manager.roster.registration import registration_check
from manager.state.records import (
    DEFAULT_TENANT,
    AccountId,
    BookRow,
    DecisionRow,
    IncidentRow,
    ScheduleRow,
    StateCode,
    TraderRow,
    TraderState,
)
from traders.errors import IllegalMove
from traders.spec import IsolationRules, TraderId

A = TraderId("a")
BAD = (Outcome.INVALID_REPLY, Outcome.EMPTY, Outcome.TRUNCATED, Outcome.REFUSED)


class Says:
    """Answer with these, one after the other, and keep what it was shown; `late` loses each claim meanwhile."""

    def __init__(self, desk: FaultyDesk, *answers: FullDecision, late: bool = False) -> None:
        self._desk, self._answers, self._late = desk, list(answers), late
        self.shown: list[Context] = []

    async def decide(self, context: Context) -> FullDecision:
        """Return the next answer."""
        self.shown.append(context)
        if self._late:
            async with self._desk.store.transaction(DEFAULT_TENANT) as tx:
                await tx.patch(ScheduleRow, ("a",), in_flight_due_at=None, claimed_at=None)
        return self._answers.pop(0)


def says(*decisions: Decision) -> FullDecision:
    return FullDecision(decisions=decisions)


async def ask(desk: FaultyDesk, says: Any, *, seconds: int = 60) -> bool:
    """Let so much time pass, claim who is due, ask the trader and do what follows; tell whether it was asked."""
    desk.pass_time(seconds)
    async with desk.store.service() as service:
        claims = await service.claim_due(desk.clock.now(), 10)
    handlers = DeskHandlers(replace(desk.handlers._parts, executors=OneExecutor(says)))
    for claim in claims:
        job = Job(kind=JobKind.DECIDE, tenant_id=DEFAULT_TENANT, account_id=AccountId(ACCOUNT), trader_id=A)
        await handlers.decide(replace(job, due_at=claim.due_at))
    await desk.round()
    return bool(claims)


async def isolated(**rules: Any) -> FaultyDesk:
    """Return a desk whose trader holds 10 and was isolated by an operator."""
    desk = await FaultyDesk.of(rules=rules)
    await desk.go("a", open_long())
    manager = Manager(desk.store, desk.clock, registration_check(desk.config))
    await manager.isolate(DEFAULT_TENANT, A, actor="ann", reason="strange trades")
    await desk.maintain()
    return desk


async def row(desk: FaultyDesk, kind: type[Any]) -> Any:
    found: Sequence[Any] = await desk.find(kind, trader_id="a")
    return found[-1]


async def test_it_is_asked_every_15_minutes_and_told_why_its_opens_are_denied() -> None:
    desk = await isolated()
    model = Says(desk, says(open_long(usd=100), adjust(stop=95)), says(close()), says(close()))
    assert await ask(desk, model, seconds=900)
    assert not await ask(desk, model, seconds=0)
    assert ("a", "TRADER_ISOLATED") in await desk.denials()
    [denial, *_] = model.shown[0].denials
    assert (denial.code, "OPERATOR: strange trades" in denial.detail) == ("TRADER_ISOLATED", True)
    assert [stop.trigger_price for stop in await desk.resting()] == [95]
    due: ScheduleRow = await row(desk, ScheduleRow)
    assert (due.interval_s, due.next_due_at) == (900, due.next_slot(desk.clock.now()))
    assert await ask(desk, model, seconds=900)
    assert await desk.held("a") == 0
    assert not await ask(desk, model, seconds=1800)


async def test_its_failures_do_not_count_again_nor_does_a_late_answer() -> None:
    desk = await isolated()
    await ask(desk, Says(desk, FullDecision(outcome=Outcome.INVALID_REPLY)), seconds=900)
    await ask(desk, Says(desk, says(close()), late=True), seconds=900)
    schedule = await row(desk, ScheduleRow)
    assert (schedule.failed_decisions, schedule.bad_replies) == (0, 0)
    late = max(await desk.find(DecisionRow, trader_id="a"), key=lambda one: one.decided_at)
    assert (late.outcome, late.errors[0].path) == (Outcome.TIMEOUT, "deadline")
    assert await desk.held("a") == 10


async def test_it_is_asked_at_its_own_interval_when_it_runs_again() -> None:
    desk = await isolated()
    manager = Manager(desk.store, desk.clock, registration_check(desk.config))
    assert (await row(desk, ScheduleRow)).interval_s == 900
    with pytest.raises(IllegalMove, match=r"isolated already .OPERATOR: strange trades"):
        await manager.isolate(DEFAULT_TENANT, A, actor="ann", reason="again")
    await manager.stop(DEFAULT_TENANT, A, actor="ann")
    await manager.start(DEFAULT_TENANT, A, actor="ann")
    assert (await row(desk, ScheduleRow)).interval_s == 60
    assert (await row(desk, TraderRow)).state_code is StateCode.NONE


async def test_ten_bad_replies_in_a_row_isolate_and_nobody_is_asked_again() -> None:
    """An endpoint that is away neither counts nor ends the row; a sound decision does."""
    desk = await FaultyDesk.of()
    await desk.go("a", open_long())
    away = [FullDecision(outcome=Outcome.UNAVAILABLE), FullDecision(outcome=Outcome.TIMEOUT)]
    bad = [FullDecision(outcome=outcome) for outcome in (*BAD, *BAD, BAD[0])]
    model = Says(desk, *bad, says(), *bad, *away, FullDecision(outcome=Outcome.EMPTY))
    for _ in range(9 + 1 + 9 + 2):
        assert await ask(desk, model)
        assert (await row(desk, TraderRow)).state is TraderState.RUNNING
    await ask(desk, model)
    trader = await row(desk, TraderRow)
    assert (trader.state, trader.state_code) == (TraderState.ISOLATED, StateCode.FAILURES)
    assert not await ask(desk, model, seconds=3600)
    assert await desk.held("a") == 10
    assert len(await desk.resting()) == 1


async def test_a_threshold_may_be_switched_off_for_all_or_for_one() -> None:
    desk = await FaultyDesk.of(rules={"isolation": IsolationRules(failed_decisions=None)})
    bad = [FullDecision(outcome=Outcome.EMPTY)] * 12
    model = Says(desk, *bad)
    for _ in bad:
        await ask(desk, model)
    trader = await row(desk, TraderRow)
    assert trader.state is TraderState.RUNNING
    own = IsolationRules(failed_decisions=2, own=("failed_decisions",))
    async with desk.store.transaction(DEFAULT_TENANT) as tx:
        await tx.patch(TraderRow, ("a",), spec=replace(trader.spec, isolation=own))
    await ask(desk, Says(desk, *bad))
    assert (await row(desk, TraderRow)).state_code is StateCode.FAILURES


async def test_entries_against_its_own_limits_isolate_who_enters_nothing() -> None:
    desk = await FaultyDesk.of(rules={"isolation": IsolationRules(violations_per_day=3)})
    wrong = open_long(stop=110)
    for _ in range(2):
        await desk.go("a", wrong)
    desk.pass_time(25 * 3600)
    for _ in range(2):
        await desk.go("a", wrong)
        await desk.maintain()
    assert (await row(desk, TraderRow)).state is TraderState.RUNNING
    await desk.go("a", wrong)
    await desk.maintain()
    assert (await row(desk, TraderRow)).state_code is StateCode.VIOLATIONS
    assert (await row(desk, BookRow)).violations == ()


async def test_who_entered_within_the_day_is_not_isolated_for_its_denials() -> None:
    desk = await FaultyDesk.of(rules={"isolation": IsolationRules(violations_per_day=2)})
    await desk.go("a", open_long())
    for _ in range(5):
        await desk.go("a", open_long(stop=110))
        await desk.maintain()
    assert (await row(desk, TraderRow)).state is TraderState.RUNNING


async def test_flatten_closes_what_it_holds_and_says_so() -> None:
    desk = await isolated(isolation=IsolationRules(flatten=True))
    assert await desk.held("a") == await desk.net() == 0
    [told] = await desk.find(IncidentRow, code="DESK_CLOSE")
    assert "isolation.flatten" in told.detail
    assert await desk.wrongs() == []


async def test_the_worst_loser_goes_one_a_pass_and_never_what_is_external() -> None:
    limits = GlobalLimits(
        max_symbol_exposure_pct=Decimal(500),
        max_unrealized_loss_pct=Decimal(3),
        on_unrealized_loss=OnUnrealizedLoss.CLOSE_LOSERS,
    )
    desk = await FaultyDesk.of(traders=("a", "b"), account_limits=limits)
    await desk.go("a", open_long(usd=4000, stop=60))
    await desk.go("b", open_long(usd=2000, stop=60))
    assert (await desk.held("a"), await desk.held("b")) == (Decimal(40), Decimal(20))
    desk.price(92)
    await desk.maintain(2)
    assert (await desk.held("a"), await desk.held("b")) == (Decimal(0), Decimal(20))
    await desk.maintain(3)
    assert await desk.held("b") == 20
    assert await desk.wrongs() == []
