"""The alert of a trader whose decisions keep failing: raised once, ended when it decides again or is moved."""

from datetime import datetime
from typing import Final

from manager.desk.incident_codes import INCIDENTS
from manager.desk.risk.states import SAFE_MODE_FAILURES
from manager.state.records import DecisionRow, IncidentRow, ScheduleRow
from manager.state.store import Transaction

SAFE_MODE: Final = "SAFE_MODE"


async def note_outcome(tx: Transaction, before: ScheduleRow, decision: DecisionRow, failed: bool | None) -> None:
    """Raise the alert with the failure that blocks entries, and end it with the first success after it.

    `before` is the schedule as the decision began. Decisions that change nothing cost no statement.
    """
    if failed and before.failed_decisions + 1 >= SAFE_MODE_FAILURES:
        await _raise(tx, decision)
    elif failed is False and before.failed_decisions >= SAFE_MODE_FAILURES:
        await end_alert(tx, before, decision.decided_at)


async def end_alert(tx: Transaction, schedule: ScheduleRow, at: datetime) -> None:
    """Resolve the trader's alert if one is open; free for a trader that is not in safe mode."""
    if schedule.failed_decisions >= SAFE_MODE_FAILURES:
        for incident in await _open(tx, schedule.account_id, schedule.trader_id):
            await tx.patch(IncidentRow, (incident.incident_id,), resolved_at=at)


async def _raise(tx: Transaction, decision: DecisionRow) -> None:
    if await _open(tx, decision.account_id, decision.trader_id):
        return
    errors = "; ".join(f"{error.path}: {error.message}" for error in decision.errors)
    why = errors or decision.reasoning or decision.outcome
    incident = IncidentRow(
        tenant_id=decision.tenant_id,
        incident_id=f"safe_mode/{decision.decision_id}",
        account_id=decision.account_id,
        code=SAFE_MODE,
        severity=INCIDENTS[SAFE_MODE].severity.value,
        detail=(
            f"{SAFE_MODE_FAILURES} decisions in a row have failed, the last one with {decision.outcome}: {why}; "
            "it opens nothing until one succeeds, its stops stay in place"
        ),
        at=decision.decided_at,
        trader_id=decision.trader_id,
    )
    await tx.insert([incident])


async def _open(tx: Transaction, account_id: str, trader_id: str) -> list[IncidentRow]:
    where = {"account_id": account_id, "trader_id": trader_id, "code": SAFE_MODE, "resolved_at": None}
    return list(await tx.find(IncidentRow, where))
