"""The rows that the desk wrote: decisions, intents, orders, rounds, conflicts, denials, each kind the newest first."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, Generic, NamedTuple, TypeVar

from executor.contract import Decision, ItemError, Outcome, Usage
from manager.errors import UnknownAccount, UnknownTrader
from manager.state import records
from manager.state.journal import ConflictRow
from manager.state.records import AccountId, AccountRow, BookRow, TenantId, TraderRow
from manager.state.store import Search, Store
from manager.views.pages import Moment
from traders.spec import TraderId

V = TypeVar("V")


class JournalKind(StrEnum):
    """Name what can be listed."""

    DECISIONS = "decisions"
    INTENTS = "intents"
    ORDERS = "orders"
    ROUNDS = "rounds"
    CONFLICTS = "conflicts"
    VERDICTS = "verdicts"


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalQuery:
    """Say which rows to return, at most `limit` of them; empty fields do not narrow.

    Decisions, intents and rounds are of no symbol, rounds of no trader: these fields do not narrow them.
    """

    kind: JournalKind
    account_id: AccountId = AccountId("")
    trader_id: TraderId = TraderId("")
    symbol: str = ""
    since: datetime | None = None
    until: datetime | None = None
    limit: int = 50
    after: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalPage(Generic[V]):
    """Hold rows, the newest first; `next` is the cursor of the next page, empty at the end."""

    rows: tuple[V, ...]
    next: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedDecision:
    """Hold a decision without what was shown to the model and its reply, which `why` has."""

    decision_id: records.DecisionId
    trader_id: TraderId
    account_id: AccountId
    due_at: datetime
    decided_at: datetime
    outcome: Outcome
    decisions: tuple[Decision, ...]
    errors: tuple[ItemError, ...]
    model: str
    prompt_hash: str
    reasoning: str
    usage: Usage
    latency_s: float
    attempts: int

    @classmethod
    def of(cls, row: records.DecisionRow) -> "ListedDecision":
        """Return the view of a row."""
        return cls(**{item.name: getattr(row, item.name) for item in fields(cls)})


class _Source(NamedTuple):
    kind: type[Any]
    time: str
    shown: Callable[[Any], Any] = lambda row: row
    by_trader: bool = True
    by_symbol: bool = False
    omit: tuple[str, ...] = ()


_SOURCES: Final[Mapping[JournalKind, _Source]] = {
    JournalKind.DECISIONS: _Source(
        records.DecisionRow, "decided_at", ListedDecision.of, omit=("context", "reply", "prompt_cuts")
    ),
    JournalKind.INTENTS: _Source(records.IntentRow, "decided_at"),
    JournalKind.ORDERS: _Source(records.OrderRow, "created_at", by_symbol=True),
    JournalKind.ROUNDS: _Source(records.RoundRow, "at", by_trader=False),
    JournalKind.CONFLICTS: _Source(ConflictRow, "at", by_symbol=True),
    JournalKind.VERDICTS: _Source(records.VerdictRow, "at", by_symbol=True),
}


_OWNERS: Final = (TraderRow, BookRow)


async def read_journal(store: Store, tenant: TenantId, query: JournalQuery) -> JournalPage[Any]:
    """Return the newest rows that match, read in one statement; a trader is known as long as its book is.

    Raises UnknownAccount, UnknownTrader or UnknownCursor.
    """
    source, after = _SOURCES[query.kind], Moment.of(query.after)
    search = Search(
        kind=source.kind,
        where=_narrowed(source, query),
        newest_first=source.time,
        limit=after.wanted(query.limit),
        since=query.since,
        until=min((one for one in (after.at, query.until) if one is not None), default=None),
        about=query.trader_id if source.by_trader else TraderId(""),
        omit=source.omit,
    )
    mine = {"trader_id": query.trader_id} if query.trader_id else {}
    async with store.transaction(tenant) as tx:
        rows, accounts, *owners = await tx.search(
            search, Search(kind=AccountRow), *(Search(kind=kind, where=mine, limit=1) for kind in _OWNERS)
        )
    if query.account_id and query.account_id not in {row.account_id for row in accounts}:
        raise UnknownAccount(f"there is no account {query.account_id!r}; `propdesk status` names them")
    if query.trader_id and not any(owners):
        raise UnknownTrader.of(query.trader_id)
    page, following = after.cut(rows, lambda row: getattr(row, source.time), query.limit)
    return JournalPage(rows=tuple(map(source.shown, page)), next=following)


def _narrowed(source: _Source, query: JournalQuery) -> dict[str, Any]:
    given = {"account_id": query.account_id, "symbol": query.symbol if source.by_symbol else ""}
    return {name: wanted for name, wanted in given.items() if wanted}
