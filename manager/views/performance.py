"""How traders have done: each with its place in the ranking, and all of them summed up (docs/rules.md 1)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from exchanges.types import ZERO
from executor.contract import PerformanceView
from manager.errors import UnknownAccount
from manager.monitor.ranking import AggregatePerformance, TrackRecord, aggregate, ranked
from manager.state.records import (
    AccountId,
    AccountRow,
    BookRow,
    PositionRow,
    SampledMark,
    TenantId,
    TraderRow,
    TraderState,
)
from manager.state.store import Search, Store
from manager.views.pages import cursor_of, parts_of
from traders import performance
from traders.spec import TraderId


@dataclass(frozen=True, slots=True, kw_only=True)
class PerformanceQuery:
    """Say whose performance is asked and at which instant; without an account that of all, without a limit at once."""

    now: datetime
    account_id: AccountId = AccountId("")
    limit: int | None = None
    after: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TraderPerformance:
    """Hold one trader: its place among those asked for, the score that gave it, and what it is made of.

    `equity` and the PnL in USD are at the marks of the last sample, None while a position has none.
    """

    rank: int
    id: TraderId
    name: str
    account_id: AccountId
    state: TraderState
    score: float
    equity: Decimal | None
    pnl_usd: Decimal | None
    performance: PerformanceView


@dataclass(frozen=True, slots=True, kw_only=True)
class PerformancePage:
    """Hold traders, the best first, and the sums of all that were asked for; `next` is empty at the end."""

    traders: tuple[TraderPerformance, ...]
    total: AggregatePerformance
    next: str


async def read_performance(store: Store, tenant: TenantId, query: PerformanceQuery) -> PerformancePage:
    """Return the ranking of a tenant's traders, read in one statement; raise UnknownAccount or UnknownCursor."""
    past = parts_of(query.after, int)[0] if query.after else 0
    where = {"account_id": query.account_id} if query.account_id else {}
    async with store.transaction(tenant) as tx:
        kinds = (AccountRow, TraderRow, BookRow, PositionRow)
        accounts, traders, books, positions = await tx.search(*(Search(kind=kind, where=where) for kind in kinds))
    if query.account_id and not accounts:
        raise UnknownAccount(f"there is no account {query.account_id!r}; `propdesk status` names them")
    shown = _Traders(query.now, accounts, books, positions)
    rows = {row.trader_id: row for row in traders}
    order = ranked(shown.record(row) for row in traders)
    end = None if query.limit is None else past + query.limit
    page = [shown.performance(past + n, rows[one.trader_id], one) for n, one in enumerate(order[past:end], start=1)]
    following = cursor_of(end) if end is not None and end < len(order) else ""
    return PerformancePage(traders=tuple(page), total=aggregate(order), next=following)


class _Traders:
    """Put together what was read of traders."""

    def __init__(
        self,
        now: datetime,
        accounts: Sequence[AccountRow],
        books: Sequence[BookRow],
        positions: Sequence[PositionRow],
    ) -> None:
        self._now = now
        self._marks: Mapping[AccountId, Mapping[str, SampledMark]] = {row.account_id: row.marks for row in accounts}
        self._books = {(row.account_id, row.trader_id): row for row in books}
        self._held: dict[tuple[AccountId, TraderId], list[PositionRow]] = {}
        for row in positions:
            self._held.setdefault((row.account_id, row.trader_id), []).append(row)

    def record(self, row: TraderRow) -> TrackRecord:
        """Return what a trader is ranked by; without any capital yet it has nothing."""
        book, equity = self._book(row), self._equity(row)
        if book is None:
            return TrackRecord(trader_id=row.trader_id, running=row.state is TraderState.RUNNING)
        curve = book.performance
        return TrackRecord(
            trader_id=row.trader_id,
            running=row.state is TraderState.RUNNING,
            equity=equity,
            pnl_usd=None if equity is None else equity - book.capital,
            pnl=curve.nav - 1,
            sharpe=curve.sharpe,
            win_rate=curve.win_rate,
            trades=curve.trades,
        )

    def performance(self, rank: int, row: TraderRow, record: TrackRecord) -> TraderPerformance:
        """Return the view of a trader at its place."""
        book = self._book(row)
        curve = book.performance if book is not None else performance.Performance()
        return TraderPerformance(
            rank=rank,
            id=row.trader_id,
            name=row.spec.name,
            account_id=row.account_id,
            state=row.state,
            score=record.score,
            equity=record.equity,
            pnl_usd=record.pnl_usd,
            performance=performance.view(curve, record.pnl_usd or ZERO, self._now),
        )

    def _book(self, row: TraderRow) -> BookRow | None:
        return self._books.get((row.account_id, row.trader_id))

    def _equity(self, row: TraderRow) -> Decimal | None:
        book = self._book(row)
        if book is None:
            return None
        marks, equity = self._marks.get(row.account_id, {}), book.cash
        for held in self._held.get((row.account_id, row.trader_id), ()):
            mark = marks.get(held.symbol)
            if mark is None:
                return None
            equity += held.position.unrealized(mark.price)
        return equity
