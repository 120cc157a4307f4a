"""Move a trader through its life: legal moves only, each an event with actor and reason."""

from dataclasses import replace
from datetime import datetime

from manager.errors import UnknownTrader
from manager.state.records import EventRow, TraderRow, TraderState
from manager.state.store import Transaction
from traders.trader import move


async def transition(
    tx: Transaction, trader_id: str, to: TraderState, *, actor: str, reason: str, at: datetime
) -> TraderRow:
    """Move one trader within `tx`; raise UnknownTrader or IllegalMove."""
    row = await tx.get(TraderRow, trader_id)
    if row is None:
        raise UnknownTrader(f"there is no trader {trader_id!r}; `propdesk traders list` names them")
    changed = replace(row, state=move(trader_id, row.state, to), state_reason=reason)
    await tx.upsert([changed])
    await tx.insert(
        [
            EventRow(
                tenant_id=row.tenant_id,
                event_id=f"{trader_id}/{at.isoformat()}/{to}",
                at=at,
                actor=actor,
                kind="trader_state",
                account_id=row.account_id,
                trader_id=trader_id,
                before=row.state,
                after=to,
                reason=reason,
            )
        ]
    )
    return changed
