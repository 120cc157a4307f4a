"""A tenant's traders in a list: who they are, how they stand, in the order that is asked for."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final

from manager.errors import UnknownAccount, UnknownCursor
from manager.state.records import AccountId, AccountRow, BookRow, PositionRow, ScheduleRow, TenantId, TraderRow
from manager.state.store import Search, Store
from manager.state.switches import Switched, Switches, of_account, of_trader
from manager.views.definitions import version_of
from manager.views.holdings import Holdings, start_of
from manager.views.lights import Condition, condition_of
from manager.views.pages import cursor_of, parts_of
from manager.views.trader import executor_text
from traders import performance
from traders.spec import ManagedBy, TraderId

_NEVER: Final = datetime.min.replace(tzinfo=UTC)
_UNKNOWN: Final = Decimal("-Infinity")


class TraderSort(StrEnum):
    """Name the orders of the list: by id and state from A on, by the others from the largest or latest on."""

    ID = "id"
    STATE = "state"
    EQUITY = "equity"
    PNL = "pnl"
    PNL_PCT = "pnl_pct"
    LAST_DECISION = "last_decision"


@dataclass(frozen=True, slots=True, kw_only=True)
class RosterQuery:
    """Say which traders to return, at most `limit` of them, and in which order; empty fields do not narrow."""

    account_id: AccountId = AccountId("")
    states: tuple[str, ...] = ()
    sort: TraderSort = TraderSort.ID
    limit: int = 50
    after: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedTrader:
    """Hold one trader; money in USD: `equity` = `start_usd` + `moved_usd` + `pnl_usd`, None without a mark.

    `version` is of its definition. `next_decision_at` is None for one that nobody lets decide.
    """

    id: TraderId
    name: str
    account_id: AccountId
    state: str
    condition: Condition
    code: str
    reason: str
    executor: str
    symbols: tuple[str, ...]
    decision_interval_s: int
    managed_by: ManagedBy
    version: str
    allocated: Decimal
    equity: Decimal | None
    start_usd: Decimal
    moved_usd: Decimal
    pnl_usd: Decimal | None
    pnl_pct: float | None
    open_positions: int
    next_decision_at: datetime | None
    last_decision_at: datetime | None
    created_at: datetime | None
    updated_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Roster:
    """Hold traders; `total` counts all that match, `next` is the cursor of the next page, empty at the end."""

    traders: tuple[ListedTrader, ...]
    total: int
    next: str


_KEYS: Final[Mapping[TraderSort, Callable[[ListedTrader], Any]]] = {
    TraderSort.ID: lambda one: one.id,
    TraderSort.STATE: lambda one: one.state,
    TraderSort.EQUITY: lambda one: _UNKNOWN if one.equity is None else one.equity,
    TraderSort.PNL: lambda one: _UNKNOWN if one.pnl_usd is None else one.pnl_usd,
    TraderSort.PNL_PCT: lambda one: float("-inf") if one.pnl_pct is None else one.pnl_pct,
    TraderSort.LAST_DECISION: lambda one: one.last_decision_at or _NEVER,
}
_RISING: Final = (TraderSort.ID, TraderSort.STATE)


async def read_roster(store: Store, tenant: TenantId, query: RosterQuery) -> Roster:
    """Return a tenant's traders, read in two statements; raise UnknownAccount or UnknownCursor.

    A cursor names the trader that was told last: the list goes on after it, wherever it stands by now.
    """
    where = {"account_id": query.account_id} if query.account_id else {}
    kinds = (AccountRow, TraderRow, ScheduleRow, BookRow, PositionRow)
    async with store.transaction(tenant) as tx:
        switches = await tx.switches()
        accounts, traders, schedules, books, positions = await tx.search(
            *(Search(kind=kind, where=where) for kind in kinds)
        )
    if query.account_id and not accounts:
        raise UnknownAccount(f"there is no account {query.account_id!r}; `propdesk status` names them")
    listing = _Listing(switches, accounts, schedules, books, positions)
    wanted = [row for row in traders if not query.states or row.state in query.states]
    listed = sorted((listing.of(row) for row in wanted), key=lambda one: one.id)
    listed.sort(key=_KEYS[query.sort], reverse=query.sort not in _RISING)
    begin = _begin(listed, query)
    page = tuple(listed[begin : begin + query.limit])
    more = begin + query.limit < len(listed)
    return Roster(traders=page, total=len(listed), next=cursor_of(query.sort, page[-1].id) if more else "")


def _begin(listed: Sequence[ListedTrader], query: RosterQuery) -> int:
    if not query.after:
        return 0
    sort, last = parts_of(query.after, str, str)
    places = [place for place, one in enumerate(listed) if one.id == last]
    if sort != query.sort or not places:
        raise UnknownCursor(
            f"{query.after!r} is no cursor of this list: it is of another order, or its trader is gone; begin anew"
        )
    return places[0] + 1


class _Listing:
    """Put together what was read."""

    def __init__(
        self,
        switches: Switches,
        accounts: Sequence[AccountRow],
        schedules: Sequence[ScheduleRow],
        books: Sequence[BookRow],
        positions: Sequence[PositionRow],
    ) -> None:
        self._switches = switches
        self._accounts = {row.account_id: row for row in accounts}
        self._schedules = {row.trader_id: row for row in schedules}
        self._books = {(row.account_id, row.trader_id): row for row in books}
        held: dict[AccountId, list[PositionRow]] = {}
        for row in positions:
            held.setdefault(row.account_id, []).append(row)
        self._holdings = {
            name: Holdings((), held.get(name, ()), account.marks) for name, account in self._accounts.items()
        }

    def of(self, row: TraderRow) -> ListedTrader:
        """Return the line of a trader."""
        bare = BookRow(tenant_id=row.tenant_id, account_id=row.account_id, trader_id=row.trader_id)
        book, schedule = self._books.get((row.account_id, row.trader_id), bare), self._schedules.get(row.trader_id)
        equity, start = self._holdings[row.account_id].equity(book), start_of(book)
        sampled = book.performance.sampled_at is not None
        asked = schedule is not None and row.is_asked(holds=book.open_positions > 0)
        return ListedTrader(
            id=row.trader_id,
            name=row.spec.name,
            account_id=row.account_id,
            state=row.state,
            condition=condition_of(row, self._switched(row), schedule),
            code=row.state_code,
            reason=row.state_reason,
            executor=executor_text(row.spec.executor),
            symbols=row.spec.symbols,
            decision_interval_s=row.spec.decision_interval_s,
            managed_by=row.spec.managed_by,
            version=version_of(row.spec),
            allocated=book.allocated,
            equity=equity,
            start_usd=start,
            moved_usd=book.capital - start,
            pnl_usd=None if equity is None else equity - book.capital,
            pnl_pct=(performance.shown(book.performance, equity).nav - 1.0) * 100 if sampled else None,
            open_positions=book.open_positions,
            next_decision_at=schedule.next_due_at if schedule is not None and asked else None,
            last_decision_at=schedule.last_decision_at if schedule is not None else None,
            created_at=row.created_at,
            updated_at=row.updated_at,
        )

    def _switched(self, row: TraderRow) -> tuple[Switched, ...]:
        return self._switches.over(row.tenant_id, of_account(self._accounts[row.account_id]), of_trader(row))
