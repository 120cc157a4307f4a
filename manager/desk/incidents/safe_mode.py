"""The incident of a trader whose decisions keep failing: raised once, ended when it decides again or is moved."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from manager.desk.incidents.codes import INCIDENTS
from manager.desk.incidents.log import log_raised, log_resolved
from manager.desk.risk.trader import SAFE_MODE_FAILURES
from manager.state.records import AccountId, DecisionRow, IncidentRow, ScheduleRow
from manager.state.store import Transaction
from traders.spec import TraderId

SAFE_MODE: Final = "SAFE_MODE"


async def note_outcome(
    tx: Transaction, before: ScheduleRow, decision: DecisionRow, failed: bool | None
) -> list[IncidentRow]:
    """Raise the incident with the failure that blocks entries, and end it with the first success after it.

    `before` is the schedule as the decision began. Decisions that change nothing cost no statement. Return the
    incidents that are new or ended.
    """
    if failed and before.failed_decisions + 1 >= SAFE_MODE_FAILURES:
        return await _raise(tx, decision)
    if failed is False and before.failed_decisions >= SAFE_MODE_FAILURES:
        return await end_safe_mode(tx, before, decision.decided_at)
    return []


def log_changes(changed: Sequence[IncidentRow]) -> None:
    """Log what `note_outcome` returned, when it is stored."""
    for row in changed:
        if row.resolved_at is None:
            log_raised(row, f"{SAFE_MODE_FAILURES} decisions in a row have failed; it opens nothing until one succeeds")
    log_resolved(row for row in changed if row.resolved_at is not None)


async def end_safe_mode(tx: Transaction, schedule: ScheduleRow, at: datetime) -> list[IncidentRow]:
    """Resolve the trader's incident if one is open and return it; it costs nothing outside safe mode."""
    return await end_safe_modes(tx, [schedule], at)


async def end_safe_modes(tx: Transaction, schedules: Iterable[ScheduleRow], at: datetime) -> list[IncidentRow]:
    """Resolve the open incidents of these traders, in two statements however many they are, and return them."""
    failing = [one for one in schedules if one.failed_decisions >= SAFE_MODE_FAILURES]
    if not failing:
        return []
    accounts, traders = {one.account_id for one in failing}, {one.trader_id for one in failing}
    incidents = await _open(tx, tuple(sorted(accounts)), tuple(sorted(traders)))
    await tx.patch_each(IncidentRow, [(incident.incident_id,) for incident in incidents], resolved_at=at)
    return [replace(incident, resolved_at=at) for incident in incidents]


async def _raise(tx: Transaction, decision: DecisionRow) -> list[IncidentRow]:
    if await _open(tx, (decision.account_id,), (decision.trader_id,)):
        return []
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
    return [incident]


async def _open(tx: Transaction, accounts: tuple[AccountId, ...], traders: tuple[TraderId, ...]) -> list[IncidentRow]:
    where = {"account_id": accounts, "trader_id": traders, "code": SAFE_MODE, "resolved_at": None}
    return list(await tx.find(IncidentRow, where, limit=None))
