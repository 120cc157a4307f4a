"""How traders and accounts have done: start, moved capital, PnL, ranking and sums (docs/rules.md 1).

Equity = start + moved + PnL holds exactly, for each book and for each account over all of its books.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from exchanges.types import ZERO
from executor.contract import PerformanceView
from manager.errors import UnknownAccount, UnknownTrader
from manager.monitor.ranking import AggregatePerformance, ScoreParts, TrackRecord, aggregate, ranked
from manager.state.records import (
    UNALLOCATED,
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
    """Say whose performance is asked and at which instant; without an account that of all, without a limit at once.

    A `trader_id` narrows what is returned to one trader; its rank is the one among all of the account or desk.
    """

    now: datetime
    account_id: AccountId = AccountId("")
    trader_id: TraderId = TraderId("")
    limit: int | None = None
    after: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BookPerformance:
    """Hold what a book began with, what was moved since, and what it has made, in USD at the marks of the last sample.

    `equity`, `pnl_usd` and `unrealized` are None while a position has no mark. PnL = realized - fees + funding +
    unrealized; `moved_usd` is all capital that came after the start less what went: deals, rebalances, funds.
    """

    id: TraderId
    start_usd: Decimal
    started_at: datetime | None
    moved_usd: Decimal
    equity: Decimal | None
    pnl_usd: Decimal | None
    realized: Decimal
    fees: Decimal
    funding: Decimal
    unrealized: Decimal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TraderPerformance:
    """Hold one trader: its place among those asked for, the score that gave it, and what it is made of.

    `equity` and the PnL in USD are at the marks of the last sample, None while a position has none. `book` has them
    with what they come from; the PnL in percent, Sharpe (of so many hourly returns) and trades are of the curve that
    began at `curve_since`, None before the first sample. The curve goes up to that equity, whenever it was sampled.
    """

    rank: int
    id: TraderId
    name: str
    account_id: AccountId
    state: TraderState
    state_code: str
    state_reason: str
    score: float
    score_parts: ScoreParts
    equity: Decimal | None
    pnl_usd: Decimal | None
    book: BookPerformance
    performance: PerformanceView
    curve_since: datetime | None
    hourly_returns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountPerformance:
    """Hold one account: the sums over its books, and those books that no trader has.

    `pnl_pct` is of the capital that came in (start + moved), None where there is none; the curve, None before the first
    sample, is of the account's equity, deposits and withdrawals excluded. The trades are those of its traders' curves.
    """

    id: AccountId
    venue: str
    sampled_at: datetime | None
    sums: BookPerformance
    pnl_pct: Decimal | None
    curve_since: datetime | None
    hourly_returns: int
    sharpe: float | None
    drawdown_pct: float | None
    max_drawdown_pct: float | None
    traders: AggregatePerformance
    won: int
    average_win: Decimal
    average_loss: Decimal
    other_books: tuple[BookPerformance, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PerformancePage:
    """Hold traders, the best first, the sums of all asked for, and their accounts; `next` is empty at the end."""

    traders: tuple[TraderPerformance, ...]
    total: AggregatePerformance
    accounts: tuple[AccountPerformance, ...]
    next: str


async def read_performance(store: Store, tenant: TenantId, query: PerformanceQuery) -> PerformancePage:
    """Return the ranking of a tenant's traders, read in one statement.

    Raises UnknownAccount, UnknownTrader or UnknownCursor.
    """
    past = parts_of(query.after, int)[0] if query.after else 0
    where = {"account_id": query.account_id} if query.account_id else {}
    async with store.transaction(tenant) as tx:
        kinds = (AccountRow, TraderRow, BookRow, PositionRow)
        accounts, traders, books, positions = await tx.search(*(Search(kind=kind, where=where) for kind in kinds))
    if query.account_id and not accounts:
        raise UnknownAccount(f"there is no account {query.account_id!r}; `propdesk status` names them")
    if query.trader_id and query.trader_id not in {row.trader_id for row in traders}:
        raise UnknownTrader.of(query.trader_id)
    shown = Standings(query.now, accounts, traders, books, positions)
    order = shown.order
    end = None if query.limit is None else past + query.limit
    page = [shown.trader(past + n, one) for n, one in enumerate(order[past:end], start=1)]
    following = cursor_of(end) if end is not None and end < len(order) else ""
    asked = [one for one in page if query.trader_id in ("", one.id)]
    return PerformancePage(
        traders=tuple(asked), total=aggregate(order), accounts=tuple(map(shown.account, accounts)), next=following
    )


class Standings:
    """Put together what was read of accounts and their traders; `order` is the ranking."""

    def __init__(
        self,
        now: datetime,
        accounts: Sequence[AccountRow],
        traders: Sequence[TraderRow],
        books: Sequence[BookRow],
        positions: Sequence[PositionRow],
    ) -> None:
        self._now = now
        self._marks: Mapping[AccountId, Mapping[str, SampledMark]] = {row.account_id: row.marks for row in accounts}
        self._rows = {row.trader_id: row for row in traders}
        self._books: dict[AccountId, dict[TraderId, BookRow]] = {}
        for book in books:
            self._books.setdefault(book.account_id, {})[book.trader_id] = book
        self._held: dict[tuple[AccountId, TraderId], list[PositionRow]] = {}
        for row in positions:
            self._held.setdefault((row.account_id, row.trader_id), []).append(row)
        self.order = ranked(map(self._record, traders))
        self._ranked: dict[AccountId, list[TrackRecord]] = {}
        for record in self.order:
            self._ranked.setdefault(self._rows[record.trader_id].account_id, []).append(record)

    def trader(self, rank: int, record: TrackRecord) -> TraderPerformance:
        """Return the view of a trader at its place."""
        row = self._rows[record.trader_id]
        head = self._book(row)
        curve, book = performance.shown(head.performance, record.equity), self._performance(head)
        return TraderPerformance(
            rank=rank,
            id=row.trader_id,
            name=row.spec.name,
            account_id=row.account_id,
            state=row.state,
            state_code=row.state_code,
            state_reason=row.state_reason,
            score=record.score,
            score_parts=record.score_parts,
            equity=record.equity,
            pnl_usd=record.pnl_usd,
            book=book,
            performance=performance.view(curve, record.pnl_usd or ZERO, self._now),
            curve_since=curve.since,
            hourly_returns=curve.returns,
        )

    def account(self, row: AccountRow) -> AccountPerformance:
        """Return the view of an account: its sums are those of all its books, whoever has them."""
        mine, records = self._books.get(row.account_id, {}), self._ranked.get(row.account_id, [])
        books = [self._performance(book) for _, book in sorted(mine.items())]
        names = {record.trader_id for record in records}
        curves = [book.performance for name, book in mine.items() if name in names]
        won, trades = sum(curve.wins for curve in curves), sum(curve.trades for curve in curves)
        bare = BookRow(tenant_id=row.tenant_id, account_id=row.account_id, trader_id=UNALLOCATED)
        common = mine.get(UNALLOCATED, bare)
        sums = _summed(books, common)
        whole = performance.shown(common.performance, sums.equity)
        capital = sums.start_usd + sums.moved_usd
        return AccountPerformance(
            id=row.account_id,
            venue=row.venue,
            sampled_at=row.updated_at,
            sums=sums,
            pnl_pct=None if sums.pnl_usd is None or capital <= ZERO else sums.pnl_usd / capital * 100,
            curve_since=whole.since,
            hourly_returns=whole.returns,
            sharpe=whole.sharpe,
            drawdown_pct=None if whole.since is None else whole.drawdown * 100,
            max_drawdown_pct=None if whole.since is None else whole.max_drawdown * 100,
            traders=aggregate(records),
            won=won,
            average_win=sum((curve.won_usd for curve in curves), ZERO) / won if won else ZERO,
            average_loss=sum((curve.lost_usd for curve in curves), ZERO) / (trades - won) if trades > won else ZERO,
            other_books=tuple(book for book in books if book.id not in names),
        )

    def _record(self, row: TraderRow) -> TrackRecord:
        """Return what a trader is ranked by; without any capital yet it has nothing."""
        running = row.state is TraderState.RUNNING
        if row.trader_id not in self._books.get(row.account_id, {}):
            return TrackRecord(trader_id=row.trader_id, running=running)
        head = self._book(row)
        book = self._performance(head)
        curve = performance.shown(head.performance, book.equity)
        return TrackRecord(
            trader_id=row.trader_id,
            running=running,
            equity=book.equity,
            pnl_usd=book.pnl_usd,
            start_usd=book.start_usd,
            moved_usd=book.moved_usd,
            pnl=curve.nav - 1,
            sharpe=curve.sharpe,
            win_rate=curve.win_rate,
            trades=curve.trades,
        )

    def _book(self, row: TraderRow) -> BookRow:
        bare = BookRow(tenant_id=row.tenant_id, account_id=row.account_id, trader_id=row.trader_id)
        return self._books.get(row.account_id, {}).get(row.trader_id, bare)

    def _performance(self, book: BookRow) -> BookPerformance:
        unrealized = self._unrealized(book)
        equity = None if unrealized is None else book.cash + unrealized
        return BookPerformance(
            id=book.trader_id,
            start_usd=book.started_usd,
            started_at=book.started_at,
            moved_usd=book.capital - book.started_usd,
            equity=equity,
            pnl_usd=None if equity is None else equity - book.capital,
            realized=book.realized,
            fees=book.fees,
            funding=book.funding,
            unrealized=unrealized,
        )

    def _unrealized(self, book: BookRow) -> Decimal | None:
        marks, total = self._marks.get(book.account_id, {}), ZERO
        for held in self._held.get((book.account_id, book.trader_id), ()):
            mark = marks.get(held.symbol)
            if mark is None:
                return None
            total += held.position.unrealized(mark.price)
        return total


def _summed(books: Sequence[BookPerformance], common: BookRow) -> BookPerformance:
    """Return the sums over all books of an account, which began with its first deposit."""
    start, capital = common.started_usd, _sum(b.start_usd + b.moved_usd for b in books)
    return BookPerformance(
        id=TraderId(""),
        start_usd=start,
        started_at=common.started_at,
        moved_usd=capital - start,
        equity=_known_sum(book.equity for book in books),
        pnl_usd=_known_sum(book.pnl_usd for book in books),
        realized=_sum(book.realized for book in books),
        fees=_sum(book.fees for book in books),
        funding=_sum(book.funding for book in books),
        unrealized=_known_sum(book.unrealized for book in books),
    )


def _sum(amounts: Iterable[Decimal]) -> Decimal:
    return sum(amounts, ZERO)


def _known_sum(amounts: Iterable[Decimal | None]) -> Decimal | None:
    found = list(amounts)
    known = [amount for amount in found if amount is not None]
    return _sum(known) if len(known) == len(found) else None
