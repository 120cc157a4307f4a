"""What the desk did, newest first: orders, denials, conflicts, decisions, incidents and acts of operators."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final, NamedTuple

from exchanges.types import ZERO
from executor.contract import Outcome
from manager.errors import UnknownAccount, UnknownSymbol, UnknownTrader
from manager.state import records
from manager.state.account_terms import differing_terms
from manager.state.journal import ConflictRow
from manager.state.keys import KEYS
from manager.state.kinds import EventKind, VerdictKind
from manager.state.records import AccountId, AccountRow, DecisionRow, TenantId, VerdictRow
from manager.state.store import Search, Store, Transaction
from manager.views.incidents import Incident, IncidentState
from manager.views.pages import Moment
from traders.spec import TraderId

_DENYING: Final = (VerdictKind.DENIAL, VerdictKind.CLAMP)
_EDITS: Final = (EventKind.TRADER_UPDATED, EventKind.ACCOUNT_TERMS, EventKind.CONFIG_CHANGED)
_FAILED: Final = tuple(outcome for outcome in Outcome if outcome is not Outcome.DECIDED)
_MOST_INVALID: Final = 20
_LEVERAGE: Final = "LEVERAGE"


class OperationKind(StrEnum):
    """Name what `propdesk operations` lists."""

    ORDER = "order"
    DENIAL = "denial"
    DECISION = "decision"
    CONFLICT = "conflict"
    INCIDENT = "incident"
    EVENT = "event"


_WITHOUT_SYMBOL: Final = (OperationKind.DECISION, OperationKind.EVENT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """Hold one line of the log; `ref` is an order or decision that `propdesk why` explains, or the row's own id.

    Of an order are `quantity` asked for, `filled` of it at `average_price` for `fee`, and the price that triggers it.
    """

    at: datetime
    kind: OperationKind
    account_id: AccountId
    traders: tuple[str, ...] = ()
    symbol: str = ""
    what: str
    outcome: str
    detail: str
    ref: str
    quantity: Decimal | None = None
    filled: Decimal | None = None
    average_price: Decimal | None = None
    fee: Decimal | None = None
    trigger_price: Decimal | None = None

    @classmethod
    def of_order(cls, row: records.OrderRow) -> "Operation":
        """Return the line of an order, still without its fills."""
        return cls(
            at=row.created_at,
            kind=OperationKind.ORDER,
            account_id=row.account_id,
            traders=tuple(dict.fromkeys(share.trader_id for share in row.shares)),
            symbol=row.symbol,
            what=f"{row.purpose} {row.side}",
            outcome=row.state,
            detail=row.reason,
            ref=row.order_id,
            quantity=row.quantity,
            filled=row.filled,
            trigger_price=row.trigger_price,
        )

    def with_fills(self, fills: Sequence[records.FillRow]) -> "Operation":
        """Return an order's line with what it was filled at and for; the price is the average over the quantities."""
        quantity = sum((fill.quantity for fill in fills), ZERO)
        if not quantity:
            return self
        paid = sum((fill.quantity * fill.price for fill in fills), ZERO)
        return replace(self, average_price=paid / quantity, fee=sum((fill.fee for fill in fills), ZERO))

    @classmethod
    def of_verdict(cls, row: VerdictRow) -> "Operation":
        """Return the line of a denial or clamp."""
        return cls(
            at=row.at,
            kind=OperationKind.DENIAL,
            account_id=row.account_id,
            traders=(row.trader_id,),
            symbol=row.symbol,
            what=row.kind,
            outcome=row.code,
            detail=_told(row),
            ref=row.intent_id,
        )

    @classmethod
    def of_decision(cls, row: DecisionRow) -> "Operation":
        """Return the line of a decision: a failed one says what went wrong first, a sound one what it wants."""
        failed = row.outcome is not Outcome.DECIDED
        errors = [f"{error.path}: {error.message}" for error in row.errors] or [row.reasoning or row.outcome]
        wants = ", ".join(f"{one.action} {one.symbol}" for one in row.decisions) or "nothing to do"
        return cls(
            at=row.decided_at,
            kind=OperationKind.DECISION,
            account_id=row.account_id,
            traders=(row.trader_id,),
            what="no decision" if failed else "decision",
            outcome=row.outcome,
            detail=errors[0] if failed else wants,
            ref=row.decision_id,
        )

    @classmethod
    def of_invalid(cls, first: VerdictRow, parts: int) -> "Operation":
        """Return the line of a decision of which parts could not be read."""
        more = f" and {parts - 1} more" if parts > 1 else ""
        return cls(
            at=first.at,
            kind=OperationKind.DECISION,
            account_id=first.account_id,
            traders=(first.trader_id,),
            what="partly invalid",
            outcome=first.code,
            detail=f"{first.detail}{more}",
            ref=first.intent_id,
        )

    @classmethod
    def of_conflict(cls, row: ConflictRow) -> "Operation":
        """Return the line of a conflict between traders."""
        return cls(
            at=row.at,
            kind=OperationKind.CONFLICT,
            account_id=row.account_id,
            traders=row.traders,
            symbol=row.symbol,
            what=row.type,
            outcome=row.severity,
            detail=row.outcome,
            ref=f"{row.round_id}/{row.n}",
        )

    @classmethod
    def of_incident(cls, row: records.IncidentRow) -> "Operation":
        """Return the line of an incident, with its end if it had lasted."""
        state = Incident.of(row).state
        until = f" (until {row.resolved_at:%Y-%m-%d %H:%M:%S} UTC)" if state is IncidentState.RESOLVED else ""
        return cls(
            at=row.at,
            kind=OperationKind.INCIDENT,
            account_id=row.account_id,
            traders=(row.trader_id,) if row.trader_id else (),
            symbol=row.symbol,
            what=row.code,
            outcome=state,
            detail=f"{row.detail}{until}",
            ref=row.incident_id,
        )

    @classmethod
    def of_event(cls, row: records.EventRow) -> "Operation":
        """Return the line of an act: what became of what, or for an edit what was changed."""
        by = f"{row.actor}: {row.reason}" if row.reason else row.actor
        outcome = f"{row.before} -> {row.after}" if row.before else row.after
        if row.kind == EventKind.CONFIG_CHANGED and not row.before:
            outcome = "taken"
        elif row.kind in _EDITS:
            differing = differing_terms(row.before, row.after) if row.kind != EventKind.TRADER_UPDATED else ()
            changes = "; ".join(f"{name}: {old} -> {new}" for name, old, new in differing) or row.after
            outcome, by = "changed", f"{changes} ({by})"
        return cls(
            at=row.at,
            kind=OperationKind.EVENT,
            account_id=row.account_id,
            traders=(row.trader_id,) if row.trader_id else (),
            what=row.kind,
            outcome=outcome,
            detail=by,
            ref=row.event_id,
        )


def _told(row: VerdictRow) -> str:
    """Return what a verdict says; what a size was cut to in cents, the row's numbers have it exactly."""
    sizes = [Decimal(row.numbers[name]) for name in ("before", "after") if name in row.numbers]
    if row.kind != VerdictKind.CLAMP or row.code == _LEVERAGE or len(sizes) < 2:
        return row.detail
    return "cut from {:,.2f} to {:,.2f} USD".format(*sizes)


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationQuery:
    """Say which operations to return, at most `limit` of them; empty fields do not narrow.

    Of decisions those that failed or lost a part, unless `sound_decisions` asks for the others too. With a symbol what
    is of none, decisions and events, is left out; `since` and `until` belong to the time asked about.
    """

    account_id: AccountId = AccountId("")
    trader_id: TraderId = TraderId("")
    kinds: tuple[OperationKind, ...] = tuple(OperationKind)
    sound_decisions: bool = False
    symbol: str = ""
    since: datetime | None = None
    until: datetime | None = None
    limit: int = 50
    after: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationPage:
    """Hold operations, the newest first; `next` is the cursor of the next page, empty at the end."""

    operations: tuple[Operation, ...]
    next: str


class _Source(NamedTuple):
    kind: type[Any]
    time: str
    line: Callable[[Any], Operation]
    where: Mapping[str, Any] = {}


_SOURCES: Final = {
    OperationKind.ORDER: _Source(records.OrderRow, "created_at", Operation.of_order),
    OperationKind.DENIAL: _Source(VerdictRow, "at", Operation.of_verdict, {"kind": _DENYING}),
    OperationKind.CONFLICT: _Source(ConflictRow, "at", Operation.of_conflict),
    OperationKind.INCIDENT: _Source(records.IncidentRow, "at", Operation.of_incident),
    OperationKind.EVENT: _Source(records.EventRow, "at", Operation.of_event),
    OperationKind.DECISION: _Source(DecisionRow, "decided_at", Operation.of_decision),
}


async def read_operations(store: Store, tenant: TenantId, query: OperationQuery) -> OperationPage:
    """Return the newest operations that match, read in two statements; a trader is known as long as its book is.

    Raises UnknownAccount, UnknownTrader, UnknownSymbol or UnknownCursor.
    """
    log = _Log(query)
    async with store.transaction(tenant) as tx:
        accounts, *found = await tx.search(Search(kind=AccountRow), *log.searches())
        if query.account_id and query.account_id not in {row.account_id for row in accounts}:
            raise UnknownAccount(f"there is no account {query.account_id!r}; `propdesk status` names them")
        page = log.page(found)
        if query.trader_id and not page.operations and not await _known(tx, query.trader_id):
            raise UnknownTrader(f"there is no trader {query.trader_id!r}; `propdesk traders list` names them")
        if query.symbol and not page.operations:
            await _refuse_unknown_symbol(tx, query.symbol)
        return replace(page, operations=await _filled(tx, page.operations))


async def _filled(tx: Transaction, operations: Sequence[Operation]) -> tuple[Operation, ...]:
    orders = [one for one in operations if one.filled]
    if not orders:
        return tuple(operations)
    where = {"account_id": tuple({one.account_id for one in orders}), "order_id": tuple(one.ref for one in orders)}
    [rows] = await tx.search(Search(kind=records.FillRow, where=where))
    fills: dict[tuple[str, str], list[records.FillRow]] = {}
    for row in rows:
        fills.setdefault((row.account_id, row.order_id), []).append(row)
    return tuple(one.with_fills(fills.get((one.account_id, one.ref), ())) for one in operations)


async def _refuse_unknown_symbol(tx: Transaction, symbol: str) -> None:
    traders, orders = await tx.search(
        Search(kind=records.TraderRow), Search(kind=records.OrderRow, where={"symbol": symbol}, limit=1)
    )
    known = sorted({name for row in traders for name in row.spec.symbols})
    if not orders and symbol not in known:
        raise UnknownSymbol(f"no trader has the symbol {symbol!r}; they have {', '.join(known) or 'none'}")


async def _known(tx: Transaction, trader_id: TraderId) -> bool:
    kinds = (records.TraderRow, records.BookRow, records.EventRow)
    return any(await tx.search(*(Search(kind=kind, where={"trader_id": trader_id}, limit=1) for kind in kinds)))


class _Log:
    """Ask for the rows of a page, of each account and of the desk as many as it may take, and make the page of them.

    At one instant the order is that of kinds and keys, which a row keeps for ever; so no page repeats or loses one.
    """

    def __init__(self, query: OperationQuery) -> None:
        self._query = query
        self._after = Moment.of(query.after)
        bare = _WITHOUT_SYMBOL if query.symbol else ()
        self._kinds = tuple(kind for kind in OperationKind if kind in query.kinds and kind not in bare)
        ends = [at for at in (self._after.at, query.until) if at is not None]
        self._bounds: dict[str, Any] = {"since": query.since, "until": min(ends, default=None)}
        self._whole = not query.account_id and not query.trader_id

    def searches(self) -> Iterator[Search]:
        """Yield one search for each kind, and before that of decisions one for the parts of them that are invalid."""
        wanted = self._after.wanted(self._query.limit)
        for kind in self._kinds:
            source = _SOURCES[kind]
            if kind is OperationKind.DECISION:
                invalid = _Source(VerdictRow, "at", Operation.of_verdict, {"kind": VerdictKind.INVALID})
                yield self._search(invalid, wanted * _MOST_INVALID)
                failed: Mapping[str, Any] = {} if self._query.sound_decisions else {"outcome": _FAILED}
                source = source._replace(where=failed)
            yield self._search(source, wanted)
            if kind is OperationKind.EVENT and self._whole:
                ours = {**source.where, "account_id": AccountId("")}
                yield Search(kind=source.kind, where=ours, newest_first=source.time, limit=wanted, **self._bounds)

    def page(self, found: Sequence[Sequence[Any]]) -> OperationPage:
        """Return the page of what the searches found."""
        rows = iter(found)
        lines: list[Operation] = []
        for kind in self._kinds:
            if kind is OperationKind.DECISION:
                lines += self._decisions(next(rows), next(rows))
            else:
                names = KEYS[_SOURCES[kind].kind]
                read = [*next(rows), *(next(rows) if kind is OperationKind.EVENT and self._whole else ())]
                ordered = sorted(read, key=lambda row: [getattr(row, name) for name in names])
                lines += map(_SOURCES[kind].line, ordered)
        lines.sort(key=lambda one: one.at, reverse=True)
        cut, following = self._after.cut(lines, lambda one: one.at, self._query.limit)
        return OperationPage(
            operations=tuple(sorted(cut, key=lambda one: (one.at, one.ref), reverse=True)), next=following
        )

    def _search(self, source: _Source, limit: int) -> Search:
        narrowed = {"account_id": self._query.account_id, "symbol": self._query.symbol}
        return Search(
            kind=source.kind,
            where={**{name: wanted for name, wanted in narrowed.items() if wanted}, **source.where},
            newest_first=source.time,
            **self._bounds,
            about=self._query.trader_id,
            each=("account_id",),
            limit=limit,
        )

    def _decisions(self, invalid: Sequence[VerdictRow], rows: Sequence[DecisionRow]) -> list[Operation]:
        parts = Counter(row.intent_id for row in invalid)
        lines = {row.intent_id: Operation.of_invalid(row, parts[row.intent_id]) for row in reversed(invalid)}
        for row in rows:
            ref = records.IntentId(row.decision_id)
            if row.outcome is not Outcome.DECIDED or ref not in lines:
                lines[ref] = Operation.of_decision(row)
        return [lines[ref] for ref in sorted(lines)]
