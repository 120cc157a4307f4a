"""What is new since the last look, each row once; and how the accounts stand: what `propdesk run` tells as it goes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from manager.state import records
from manager.state.keys import KEYS
from manager.state.records import AccountId, TenantId
from manager.state.store import Search, Store, Transaction
from manager.state.switches import of_account, strictest
from manager.views.holdings import Holdings, Totals
from traders.book import EXTERNAL

_EACH: Final = 100
_OVERLAP: Final = timedelta(minutes=2)
_KEPT: Final = 50_000
_Keyed = dict[tuple[Any, ...], Any]
_TEXTS: Final = ("reasoning", "reply", "context")


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """Hold what is new in a tenant, each kind the oldest first; incidents that have ended come with their end."""

    fills: Sequence[records.FillPartRow] = ()
    decisions: Sequence[records.DecisionRow] = ()
    orders: Sequence[records.OrderRow] = ()
    raised: Sequence[records.IncidentRow] = ()
    resolved: Sequence[records.IncidentRow] = ()
    events: Sequence[records.EventRow] = ()


class ActivityReader:
    """Read what is new in a tenant since the look before; at the first look, what has happened since `since`.

    A row that is committed late, with an earlier time than others, is told when it is there. A fill is no longer found
    once its account has more than 100 newer ones, an order, decision or event after two minutes.
    """

    def __init__(self, tenant: TenantId, since: datetime) -> None:
        self._tenant = tenant
        self._incidents = _Incidents(since)
        each = ("account_id",)
        self._kinds = (
            _News(Search(kind=records.FillPartRow, newest_first="at", each=each, limit=_EACH), since),
            _News(
                Search(kind=records.DecisionRow, newest_first="decided_at", each=each, limit=_EACH, omit=_TEXTS),
                since,
                overlap=_OVERLAP,
            ),
            _News(
                Search(kind=records.OrderRow, newest_first="created_at", each=each, limit=_EACH),
                since,
                overlap=_OVERLAP,
            ),
            _News(Search(kind=records.EventRow, newest_first="at", limit=_EACH), since, overlap=_OVERLAP),
        )

    async def read(self, store: Store) -> Activity:
        """Return what is new, read in one statement unless more than 100 rows of a kind are."""
        async with store.transaction(self._tenant) as tx:
            searches = (*self._incidents.searches(), *(one.search() for one in self._kinds))
            standing, ended, *found = await tx.search(*searches)
            unknown = [await one.unknown(tx, rows) for one, rows in zip(self._kinds, found, strict=True)]
        raised, resolved = self._incidents.taken((*standing, *ended))
        fills, decisions, orders, events = (one.taken(*rows) for one, rows in zip(self._kinds, unknown, strict=True))
        return Activity(
            fills=fills, decisions=decisions, orders=orders, events=events, raised=raised, resolved=resolved
        )


class _News:
    """Keep which rows of a kind are known."""

    def __init__(self, search: Search, since: datetime, *, overlap: timedelta | None = None) -> None:
        self._search = search
        self._keys = KEYS[search.kind]
        self._since = self._newest = since
        self._overlap = overlap
        self._known: dict[tuple[Any, ...], None] = {}
        self._first = True

    def search(self, until: datetime | None = None) -> Search:
        """Ask for the newest rows."""
        since = None if self._overlap is None else self._newest - self._overlap
        return replace(self._search, since=since, until=until)

    async def unknown(self, tx: Transaction, rows: Sequence[Any]) -> tuple[_Keyed, _Keyed]:
        """Return which of the newest rows are not known yet, and which before them that a full page left out."""
        newest, older = self._unknown(rows), {}
        page = newest
        while (until := self._left_out(rows, page)) is not None and (not self._first or until >= self._since):
            [rows] = await tx.search(self.search(until))
            page = {key: row for key, row in self._unknown(rows).items() if key not in newest and key not in older}
            older.update(page)
        return newest, older

    def taken(self, newest: _Keyed, older: _Keyed) -> list[Any]:
        """Return the rows that are new, the oldest first, and know them all from now on."""
        late = not self._first  # what has come since the first look is new, whatever its time
        new = [row for row in newest.values() if late or self._at(row) >= self._since]
        new += [row for row in older.values() if self._at(row) >= self._since]
        self._first = False
        self._newest = max([self._newest, *map(self._at, new)])
        self._known.update(dict.fromkeys((*older, *newest)))
        for key in list(self._known)[: max(0, len(self._known) - _KEPT)]:
            del self._known[key]
        return sorted(new, key=self._at)

    def _unknown(self, rows: Sequence[Any]) -> _Keyed:
        keyed = {tuple(getattr(row, name) for name in self._keys): row for row in rows}
        return {key: row for key, row in keyed.items() if key not in self._known}

    def _left_out(self, rows: Sequence[Any], new: _Keyed) -> datetime | None:
        """Return until when to look on: an account whose page is full, its oldest row new, may have more."""
        full = []
        for owner in {self._owner(row) for row in new.values()}:
            mine = [row for row in rows if self._owner(row) == owner]
            oldest = min(mine, key=self._at)
            if len(mine) >= _EACH and any(row is oldest for row in new.values()):
                full.append(self._at(oldest))
        return max(full, default=None)

    def _at(self, row: Any) -> datetime:
        at: datetime = getattr(row, self._search.newest_first)
        return at

    def _owner(self, row: Any) -> tuple[Any, ...]:
        return tuple(getattr(row, name) for name in self._search.each)


class _Incidents:
    """Keep which incidents are open."""

    def __init__(self, since: datetime) -> None:
        self._since = since
        self._open: dict[str, records.IncidentRow] = {}
        self._over: dict[str, None] = {}

    def searches(self) -> tuple[Search, Search]:
        """Ask for what is open, and for what ended since the last end that is known."""
        ended = Search(kind=records.IncidentRow, newest_first="resolved_at", since=self._since - _OVERLAP, limit=_EACH)
        return Search(kind=records.IncidentRow, where={"resolved_at": None}, limit=2 * _EACH), ended

    def taken(self, rows: Sequence[records.IncidentRow]) -> tuple[list[records.IncidentRow], list[records.IncidentRow]]:
        """Return which were raised and which resolved; one that was both meanwhile is in both."""
        raised, resolved = [], []
        for row in sorted(rows, key=lambda row: row.at):
            if row.incident_id in self._over:
                continue
            if row.incident_id not in self._open:
                if row.resolved_at is not None and row.resolved_at < self._since:
                    continue
                raised.append(row)
                self._open[row.incident_id] = row
            if row.resolved_at is not None:
                resolved.append(row)
                del self._open[row.incident_id]
                self._over[row.incident_id] = None
        for known in list(self._over)[: max(0, len(self._over) - _KEPT)]:
            del self._over[known]
        return raised, resolved


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Hold how an account stands: its books as they are now, as `propdesk status` sums them up."""

    account_id: AccountId
    venue: str
    trading_state: str
    totals: Totals
    states: Sequence[tuple[str, int]]
    next_decisions: Sequence[tuple[datetime, str]]
    positions: Sequence[records.PositionRow]


async def read_standing(store: Store, tenant: TenantId) -> tuple[Standing, ...]:
    """Return the accounts of a tenant, read in two statements; positions are of its traders, not of EXTERNAL."""
    kinds = (records.AccountRow, records.BookRow, records.TraderRow, records.ScheduleRow, records.PositionRow)
    async with store.transaction(tenant) as tx:
        accounts, books, traders, schedules, positions = await tx.search(*(Search(kind=kind) for kind in kinds))
        switches = await tx.switches()
    due = {row.trader_id: row.next_due_at for row in schedules}
    standing = []
    for account in accounts:
        mine = [row for row in traders if row.account_id == account.account_id]
        states = [row.state for row in mine]
        coming = [
            (at, row.trader_id)
            for row in mine
            if row.state is records.TraderState.RUNNING and (at := due.get(row.trader_id)) is not None
        ]
        standing.append(
            Standing(
                account_id=account.account_id,
                venue=account.venue,
                trading_state=strictest(switches.over(tenant, of_account(account))).state,
                totals=Holdings(
                    [row for row in books if row.account_id == account.account_id],
                    [row for row in positions if row.account_id == account.account_id],
                    account.marks,
                ).totals(traders=len(mine), running=states.count(records.TraderState.RUNNING)),
                states=[(state, states.count(state)) for state in dict.fromkeys(states)],
                next_decisions=sorted(coming),
                positions=[
                    row
                    for row in positions
                    if row.account_id == account.account_id and row.trader_id != EXTERNAL and row.quantity
                ],
            )
        )
    return tuple(standing)
