"""Which incidents of an account are shown, what has become of each, and which of them turn its light red."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from manager.desk.incidents.codes import INCIDENTS, Severity
from manager.state.records import AccountId, IncidentRow
from manager.state.store import Transaction

RECENT: Final = timedelta(hours=1)
_MOST: Final = 200


async def read_incidents(tx: Transaction, account_id: AccountId, now: datetime) -> tuple[IncidentRow, ...]:
    """Return an account's open incidents and those that ended or happened within the hour, each the newest first."""
    where = {"account_id": account_id}
    standing = await tx.find(IncidentRow, {**where, "resolved_at": None}, newest_first="at", limit=_MOST)
    ended = await tx.find(IncidentRow, where, newest_first="resolved_at", limit=_MOST)
    return (*standing, *(row for row in ended if row.resolved_at is not None and now - row.resolved_at <= RECENT))


def state_of(row: IncidentRow) -> str:
    """Return `open`, `resolved`, or `happened` for an event."""
    if row.resolved_at is None:
        return "open"
    return "happened" if _is_event(row) else "resolved"


def alarms(rows: Sequence[IncidentRow]) -> list[str]:
    """Say why the light is red: since when each high code is open, and when one last happened."""
    red = [row for row in rows if row.severity == Severity.HIGH]
    since: dict[str, datetime] = {}
    at: dict[str, datetime] = {}
    for row in red:
        if row.resolved_at is None:
            since[row.code] = min(row.at, since.get(row.code, row.at))
        elif _is_event(row):
            at[row.code] = max(row.at, at.get(row.code, row.at))
    told = [f"incident {code} since {_instant(begin)}" for code, begin in since.items()]
    return told + [f"incident {code} at {_instant(when)}, shown for one hour" for code, when in at.items()]


def _is_event(row: IncidentRow) -> bool:
    kind = INCIDENTS.get(row.code)
    return kind is not None and not kind.ends


def _instant(at: datetime) -> str:
    return at.strftime("%Y-%m-%d %H:%M:%S UTC")
