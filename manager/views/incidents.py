"""Which incidents there are, and what has become of each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from manager.desk.incidents.codes import INCIDENTS, threat_of
from manager.state.records import AccountId, IncidentRow, TenantId
from manager.state.store import Search, Store
from manager.views.pages import Moment
from traders.spec import TraderId

RECENT: Final = timedelta(hours=1)
_MOST: Final = 200


class IncidentState(StrEnum):
    """Say what has become of an incident: HAPPENED is the end of an event, which never lasted."""

    OPEN = "open"
    RESOLVED = "resolved"
    HAPPENED = "happened"


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident(IncidentRow):
    """Hold an incident and what has become of it."""

    state: IncidentState

    @property
    def is_red(self) -> bool:
        """Tell whether it endangers money or stops the desk."""
        threat = threat_of(self)
        return threat is not None and threat.red

    @classmethod
    def of(cls, row: IncidentRow) -> "Incident":
        """Return the view of a row; a code that this version does not know is no event."""
        kind = INCIDENTS.get(row.code)
        over = IncidentState.HAPPENED if kind is not None and not kind.ends else IncidentState.RESOLVED
        state = IncidentState.OPEN if row.resolved_at is None else over
        return cls(**{item.name: getattr(row, item.name) for item in fields(row)}, state=state)


@dataclass(frozen=True, slots=True, kw_only=True)
class IncidentQuery:
    """Say which incidents to return; empty fields do not narrow."""

    account_id: AccountId = AccountId("")
    trader_id: TraderId = TraderId("")
    open_only: bool = False
    limit: int = 50
    after: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class IncidentPage:
    """Hold incidents, the newest first; `next` is the cursor of the next page, empty at the end."""

    incidents: tuple[Incident, ...]
    next: str


async def read_incidents(store: Store, tenant: TenantId, query: IncidentQuery) -> IncidentPage:
    """Return incidents of a tenant, those of no account too, the newest first; raise UnknownCursor."""
    after = Moment.of(query.after)
    where = {"account_id": query.account_id} if query.account_id else {}
    search = Search(
        kind=IncidentRow,
        where={**where, "resolved_at": None} if query.open_only else where,
        newest_first="at",
        until=after.at,
        limit=after.wanted(query.limit),
        about=query.trader_id,
    )
    async with store.transaction(tenant) as tx:
        [rows] = await tx.search(search)
    page, following = after.cut(rows, lambda row: row.at, query.limit)
    return IncidentPage(incidents=tuple(map(Incident.of, page)), next=following)


def current_searches(where: Mapping[str, Any]) -> tuple[Search, Search]:
    """Ask for the incidents of each account that are open, and for the last that ended, each the newest first."""
    each: dict[str, Any] = {"kind": IncidentRow, "each": ("account_id",), "limit": _MOST}
    standing = Search(**each, where={**where, "resolved_at": None}, newest_first="at")
    return standing, Search(**each, where=where, newest_first="resolved_at")


def current(standing: Sequence[IncidentRow], ended: Sequence[IncidentRow], now: datetime) -> tuple[Incident, ...]:
    """Return open incidents and those that ended or happened within the hour, each the newest first."""
    recent = [row for row in ended if row.resolved_at is not None and now - row.resolved_at <= RECENT]
    return tuple(map(Incident.of, (*standing, *recent)))
