"""The trades of traders, newest first: closed positions, or those that are open, with what each has made."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from operator import attrgetter
from typing import Any, Final

from exchanges.clock import EPOCH
from exchanges.types import ZERO
from manager.errors import UnknownAccount, UnknownTrader
from manager.state import records
from manager.state.keys import KEYS
from manager.state.kinds import LedgerKind
from manager.state.records import AccountId, AccountRow, FillPartRow, TenantId
from manager.state.store import Search, Store
from manager.views.pages import Moment
from manager.views.trade_assembly import Trade, TradeFacts, TradeKey, assemble, decision_of, key_of
from traders.book import EXTERNAL
from traders.spec import TraderId

_BULKY: Final = ("context", "reply", "decisions", "errors", "prompt_cuts")


@dataclass(frozen=True, slots=True, kw_only=True)
class TradeQuery:
    """Say which trades to return, at most `limit` of them; empty fields do not narrow.

    `since` and `until` bound the close; `open_only` asks for the positions still held, by when they were opened.
    """

    account_id: AccountId = AccountId("")
    trader_id: TraderId = TraderId("")
    symbol: str = ""
    since: datetime | None = None
    until: datetime | None = None
    open_only: bool = False
    limit: int = 50
    after: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TradeTotals:
    """Sum up some trades, money in USD; those that made money before fees and funding are `won`."""

    trades: int = 0
    won: int = 0
    pnl: Decimal = ZERO
    fees: Decimal = ZERO
    funding: Decimal = ZERO
    net_pnl: Decimal = ZERO

    @classmethod
    def of(cls, trades: Sequence[Trade]) -> "TradeTotals":
        """Return the sums of these trades."""
        sums = {name: sum(map(attrgetter(name), trades), ZERO) for name in ("pnl", "fees", "funding", "net_pnl")}
        return cls(trades=len(trades), won=sum(trade.is_won for trade in trades), **sums)


@dataclass(frozen=True, slots=True, kw_only=True)
class TradePage:
    """Hold trades, the newest first, and the sums of these; `next` is the cursor of the next page, empty at the end."""

    trades: tuple[Trade, ...]
    total: TradeTotals
    next: str


async def read_trades(store: Store, tenant: TenantId, query: TradeQuery) -> TradePage:
    """Return the newest trades that match, read in three statements at most.

    A trader is known as long as its book is. Raises UnknownAccount, UnknownTrader or UnknownCursor.
    """
    reading = _Reading(query)
    async with store.transaction(tenant) as tx:
        found, *known = await tx.search(reading.newest(), *reading.known())
        reading.check(*known)
        rows, following = reading.page(found)
        if not rows:
            return TradePage(trades=(), total=TradeTotals(), next="")
        keys = [TradeKey(row.account_id, row.trader_id, row.symbol, row.opened_at) for row in rows]
        until = None if query.open_only else rows[0].closed_at
        parts, postings = await tx.search(*_of_positions(keys, until))
        orders, fills, decisions, fees = await tx.search(*_of_closes(parts))
    facts = TradeFacts(parts=(*parts, *fees), postings=postings, orders=orders, fills=fills, decisions=decisions)
    made = assemble(facts)
    trades = tuple(made[key] for key in dict.fromkeys(keys) if key in made)
    return TradePage(trades=trades, total=TradeTotals.of(trades), next=following)


class _Reading:
    """Find the positions of a page: by the part that closed each, or among those held."""

    def __init__(self, query: TradeQuery) -> None:
        self._query = query
        self._after = Moment.of(query.after)
        given = {"account_id": query.account_id, "trader_id": query.trader_id, "symbol": query.symbol}
        self._where = {name: value for name, value in given.items() if value}

    def newest(self) -> Search:
        """Return the search for closing parts, of each account as many as the page may take, or for positions."""
        if self._query.open_only:
            return Search(kind=records.PositionRow, where=self._where)
        bounds = [at for at in (self._after.at, self._query.until) if at is not None]
        return Search(
            kind=FillPartRow,
            where=self._where,
            newest_first="closed_at",
            since=self._query.since or EPOCH,
            until=min(bounds, default=None),
            each=("account_id",),
            limit=self._after.wanted(self._query.limit),
        )

    def known(self) -> Iterator[Search]:
        """Yield the searches that tell whether account and trader are known."""
        yield Search(kind=AccountRow, where={"account_id": self._query.account_id} if self._query.account_id else {})
        for kind in (records.TraderRow, records.BookRow):
            yield Search(kind=kind, where={"trader_id": self._query.trader_id}, limit=1)

    def check(self, accounts: Sequence[AccountRow], *traders: Sequence[Any]) -> None:
        """Raise UnknownAccount or UnknownTrader for what nobody has."""
        query = self._query
        if query.account_id and not accounts:
            raise UnknownAccount(f"there is no account {query.account_id!r}; `propdesk status` names them")
        if query.trader_id and not any(traders):
            raise UnknownTrader.of(query.trader_id)

    def page(self, found: Sequence[Any]) -> tuple[Sequence[Any], str]:
        """Return the rows of this page, the newest first, and the next cursor.

        At one instant the order is that of keys, which a row keeps for ever; so no page repeats or loses one.
        """
        at = attrgetter("opened_at" if self._query.open_only else "closed_at")
        rows = [row for row in found if row.trader_id != EXTERNAL and self._wants(at(row))]
        rows.sort(key=lambda row: [getattr(row, name) for name in KEYS[type(row)]])
        rows.sort(key=at, reverse=True)
        return self._after.cut(rows, at, self._query.limit)

    def _wants(self, at: datetime) -> bool:
        since, until = self._query.since or EPOCH, [self._query.until, self._after.at]
        return at >= since and all(bound is None or at <= bound for bound in until)


def _of_positions(keys: Sequence[TradeKey], until: datetime | None) -> tuple[Search, ...]:
    accounts, traders, symbols, opened = (tuple(dict.fromkeys(part)) for part in zip(*keys, strict=True))
    mine: dict[str, Any] = {"account_id": accounts, "trader_id": traders, "symbol": symbols}
    funding = Search(
        kind=records.LedgerRow,
        where={**mine, "kind": LedgerKind.FUNDING},
        newest_first="at",
        since=min(opened),
        until=until,
    )
    return Search(kind=FillPartRow, where={**mine, "opened_at": opened}), funding


def _of_closes(parts: Iterable[FillPartRow]) -> tuple[Search, ...]:
    """Return the searches for what tells why positions were closed, and for fees corrected after that."""
    known = [part for part in parts if key_of(part) is not None]
    closing = [part for part in known if part.closed_at is not None]
    accounts = tuple({part.account_id for part in known})
    decisions = tuple({decision_of(part) for part in closing if part.intent_id})

    def of_account(kind: type[Any], name: str, rows: Iterable[FillPartRow], **more: Any) -> Search:
        return Search(kind=kind, where={"account_id": accounts, name: tuple({getattr(r, name) for r in rows}), **more})

    return (
        of_account(records.OrderRow, "order_id", closing),
        of_account(records.FillRow, "trade_id", closing),
        Search(kind=records.DecisionRow, where={"decision_id": decisions}, omit=_BULKY),
        of_account(FillPartRow, "trade_id", known, opened_at=None),
    )
