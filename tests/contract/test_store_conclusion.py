"""What every store promises of the end of a decision: stored once, older intents ended, the trader freed."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from executor.contract import Action, Decision
from manager.state.errors import DuplicateRow
from manager.state.records import DEFAULT_TENANT, DecisionRow, IntentRow, IntentStatus, ScheduleRow, VerdictRow
from manager.state.store import Conclusion, Store
from state_rows import AT, make_account, make_intent, make_row, make_trader
from traders.spec import TraderId

SECOND = timedelta(seconds=1)


async def _seed(store: Store, *rows: Any) -> None:
    async with store.transaction(DEFAULT_TENANT) as transaction:
        await transaction.insert([make_account(), *rows])


async def _read(store: Store, kind: type[Any], key: str) -> Any:
    async with store.transaction(DEFAULT_TENANT) as transaction:
        return await transaction.get(kind, key)


def _conclusion(name: str, *, due_at: datetime, failed: bool | None) -> Conclusion:
    wanted = Decision(symbol="BTC", action=Action.CLOSE_LONG)
    return Conclusion(
        decision=make_row(DecisionRow, decision_id=name, trader_id="t1", due_at=due_at),
        prompts=[],
        intents=[make_intent(name, trader_id="t1", decision=wanted)],
        failed=failed,
        at=AT + SECOND,
    )


async def _conclude(store: Store, end: Conclusion) -> bool:
    async with store.transaction(DEFAULT_TENANT) as transaction:
        return await transaction.conclude(end)


@pytest.mark.parametrize(("failed", "count"), [(True, 3), (False, 0), (None, 2)])
async def test_a_conclusion_stores_ends_and_frees_at_once(store: Store, failed: bool | None, count: int) -> None:
    made = make_trader("t1", in_flight_due_at=AT, claimed_at=AT, failed_decisions=2)
    schedule = made[1]
    wants = {
        "open": Decision(symbol="ETH", action=Action.OPEN_LONG),
        "same": Decision(symbol="BTC", action=Action.CLOSE_LONG),
        "other": Decision(symbol="ETH", action=Action.CLOSE_LONG),
    }
    older = [make_intent(name, trader_id="t1", decision=wanted) for name, wanted in wants.items()]
    operators = make_intent("operator's", trader_id="t1", decision=wants["same"], asked_by="ann")
    anothers = make_intent("another's", trader_id="t2", decision=wants["same"])
    consumed = make_intent("consumed", trader_id="t1", decision=wants["open"], status=IntentStatus.CONSUMED)
    await _seed(store, *made, *older, operators, anothers, consumed)
    assert await _conclude(store, _conclusion("new", due_at=AT, failed=failed))
    read = {
        name: (await _read(store, IntentRow, name)).status.value
        for name in (*wants, "operator's", "another's", "consumed", "new")
    }
    pending, ended = IntentStatus.PENDING.value, IntentStatus.SUPERSEDED.value
    assert read == {
        "open": ended,
        "same": ended,
        "other": pending,
        "operator's": pending,
        "another's": pending,
        "consumed": IntentStatus.CONSUMED.value,
        "new": pending,
    }
    left = replace(schedule, in_flight_due_at=None, claimed_at=None, last_decision_at=AT + SECOND)
    assert await _read(store, ScheduleRow, "t1") == replace(left, failed_decisions=count)


@pytest.mark.parametrize("claim", [AT + SECOND, None])
async def test_a_late_conclusion_is_stored_once_and_wants_and_ends_nothing(
    store: Store, claim: datetime | None
) -> None:
    made = make_trader("t1", in_flight_due_at=claim, claimed_at=claim and AT, failed_decisions=2)
    wants = (Decision(symbol="ETH", action=Action.OPEN_LONG), Decision(symbol="BTC", action=Action.CLOSE_LONG))
    newer = [make_intent(wanted.symbol, trader_id="t1", decision=wanted) for wanted in wants]
    await _seed(store, *made, *newer)
    late = _conclusion("late", due_at=AT, failed=True)
    assert not await _conclude(store, late)
    assert (await _read(store, DecisionRow, "late")).decision_id == "late"
    assert await _read(store, IntentRow, "late") is None
    assert [(await _read(store, IntentRow, intent.intent_id)).status.value for intent in newer] == ["pending"] * 2
    assert await _read(store, ScheduleRow, "t1") == made[1]
    with pytest.raises(DuplicateRow):
        await _conclude(store, late)


async def test_a_slot_is_concluded_once(store: Store) -> None:
    made = make_trader("t1", in_flight_due_at=AT, claimed_at=AT)
    await _seed(store, *made)
    assert await _conclude(store, _conclusion("one", due_at=AT, failed=False))
    with pytest.raises(DuplicateRow):
        await _conclude(store, _conclusion("one", due_at=AT, failed=False))
    assert (await _read(store, IntentRow, "one")).status is IntentStatus.PENDING


async def test_a_trader_is_told_again_what_no_decision_has_told_it(store: Store) -> None:
    made = make_trader("t1", in_flight_due_at=AT, claimed_at=AT)
    places = {"before": AT - SECOND, "meanwhile": AT, "after": AT + 2 * SECOND}
    verdicts = [make_row(VerdictRow, round_id=name, trader_id="t1", at=at) for name, at in places.items()]
    await _seed(store, *made, *verdicts)

    async def untold() -> list[str]:
        async with store.transaction(DEFAULT_TENANT) as transaction:
            return [verdict.round_id for verdict in (await transaction.trader(TraderId("t1"))).verdicts]

    assert await untold() == ["before", "meanwhile", "after"]
    failed = _conclusion("failed", due_at=AT, failed=True)
    assert await _conclude(store, failed)
    assert await untold() == ["before", "meanwhile", "after"]
    async with store.transaction(DEFAULT_TENANT) as transaction:
        await transaction.patch(ScheduleRow, ("t1",), in_flight_due_at=AT + SECOND)
    told = replace(_conclusion("told", due_at=AT + SECOND, failed=False), told_at=AT)
    assert await _conclude(store, told)
    assert await untold() == ["meanwhile", "after"]
    async with store.transaction(DEFAULT_TENANT) as transaction:
        await transaction.patch(ScheduleRow, ("t1",), in_flight_due_at=AT + 2 * SECOND)
    assert await _conclude(store, _conclusion("failed again", due_at=AT + 2 * SECOND, failed=True))
    assert await untold() == ["meanwhile", "after"]
