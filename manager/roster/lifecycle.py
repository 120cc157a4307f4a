"""Move a trader through its life: legal moves only, each an event with actor and reason."""

from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import uuid4

from manager.desk.incidents.safe_mode import end_safe_mode
from manager.errors import UnknownTrader
from manager.roster.schedules import first_due
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
    if to is TraderState.RUNNING:
        await tx.patch(ScheduleRow, (trader_id,), next_due_at=first_due(schedule, at), failed_decisions=0)
    event = event_of(row, at, kind=EventKind.TRADER_STATE, actor=actor, reason=reason)
    await tx.insert([replace(event, before=row.state, after=to)])
    return changed


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
