"""Move a trader through its life: legal moves only, each an event with actor and reason."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import uuid4

from manager.desk.incidents.safe_mode import end_safe_mode, end_safe_modes
from manager.desk.plan.isolation import Isolation
from manager.errors import UnknownTrader
from manager.roster.schedules import asked_every, first_due
from manager.state.kinds import EventKind
from manager.state.records import AccountRow, EventRow, ScheduleRow, StateCode, TraderRow, TraderState
from manager.state.store import Transaction
from traders.spec import TraderId
from traders.trader import move


async def transition(
    tx: Transaction, trader_id: TraderId, to: TraderState, *, actor: str, reason: str, at: datetime
) -> TraderRow:
    """Move one trader within `tx`; raise UnknownTrader or IllegalMove.

    The reason is for people and decides nothing; the code of the state before is over. One that begins to run gets its
    first due time, so that nothing it missed meanwhile is made up for.
    """
    row = await tx.get(TraderRow, trader_id)
    schedule = await tx.get(ScheduleRow, trader_id)
    if row is None or schedule is None:
        raise UnknownTrader.of(trader_id)
    told: dict[str, Any] = {"state": move(trader_id, row.state, to), "state_reason": reason}
    told |= {"state_code": StateCode.NONE, "updated_at": at}
    changed = replace(row, **told)
    await tx.patch(TraderRow, (trader_id,), **told)
    await end_safe_mode(tx, schedule, at)
    if TraderState.ISOLATED in (row.state, to):
        schedule = replace(schedule, interval_s=asked_every(row.spec, to))
        due = schedule.next_slot(at) if schedule.next_due_at is not None else None
        await tx.patch(ScheduleRow, (trader_id,), interval_s=schedule.interval_s, next_due_at=due)
    if to is TraderState.RUNNING:
        begun = {"next_due_at": first_due(schedule, at), "failed_decisions": 0, "bad_replies": 0}
        await tx.patch(ScheduleRow, (trader_id,), **begun)
    event = event_of(row, at, kind=EventKind.TRADER_STATE, actor=actor, reason=reason)
    await tx.insert([replace(event, before=row.state, after=to)])
    return changed


async def stop_each(
    tx: Transaction, rows: Sequence[TraderRow], schedules: Mapping[TraderId, ScheduleRow], event: EventRow
) -> None:
    """Stop traders that run or pause, in few statements; each gets the event under an id of its own."""
    told = {"state": TraderState.STOPPED, "state_reason": event.reason, "state_code": StateCode.NONE}
    await tx.patch_each(TraderRow, [(row.trader_id,) for row in rows], **told, updated_at=event.at)
    await end_safe_modes(tx, [schedules[row.trader_id] for row in rows], event.at)
    events = [
        event_of(row, event.at, kind=EventKind.TRADER_STATE, actor=event.actor, reason=event.reason) for row in rows
    ]
    await tx.insert(
        [replace(one, before=row.state, after=TraderState.STOPPED) for one, row in zip(events, rows, strict=True)]
    )


async def isolate(tx: Transaction, isolation: Isolation, *, actor: str, at: datetime) -> TraderRow:
    """Isolate a trader from any state, with its code; one that is isolated already gets the new code.

    Raises as `transition`.
    """
    trader_id, code, reason = isolation.trader_id, isolation.code, isolation.reason
    row = await tx.get(TraderRow, trader_id)
    if row is not None and row.state is TraderState.ISOLATED:
        event = event_of(row, at, kind=EventKind.TRADER_STATE, actor=actor, reason=f"{code}: {reason}")
        await tx.insert([replace(event, before=row.state, after=row.state)])
    else:
        row = await transition(tx, trader_id, TraderState.ISOLATED, actor=actor, reason=f"{code}: {reason}", at=at)
    await tx.patch(TraderRow, (trader_id,), state_code=code, state_reason=reason)
    return replace(row, state_code=code, state_reason=reason)


def event_of(row: TraderRow | AccountRow, at: datetime, *, kind: EventKind, actor: str, reason: str) -> EventRow:
    """Return the event of one act on a trader or an account, still without what was before and after."""
    trader_id = row.trader_id if isinstance(row, TraderRow) else TraderId("")
    return EventRow(
        tenant_id=row.tenant_id,
        event_id=f"{trader_id or row.account_id}/{at.isoformat()}/{kind}/{uuid4().hex[:8]}",
        at=at,
        actor=actor,
        kind=kind,
        account_id=row.account_id,
        trader_id=trader_id,
        reason=reason,
    )
