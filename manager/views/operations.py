"""What the desk did, newest first: orders, refusals, conflicts, decisions, incidents and acts of operators."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from executor.contract import Outcome
from manager.config.terms import changed_terms
from manager.errors import UnknownAccount, UnknownTrader
from manager.state.kinds import EventKind
from manager.state.records import (
    AccountId,
    AccountRow,
    BookRow,
    ConflictRow,
    DecisionId,
    DecisionRow,
    EventRow,
    IncidentRow,
    OrderRow,
    TenantId,
    TraderRow,
    VerdictKind,
    VerdictRow,
)
from manager.state.store import Store, Transaction
from manager.views.incidents import state_of
from traders.spec import TraderId

_REFUSING: Final = (VerdictKind.DENIAL, VerdictKind.CLAMP)
_FAILED: Final = tuple(outcome for outcome in Outcome if outcome is not Outcome.DECIDED)


class OperationKind(StrEnum):
    """Name what `propdesk operations` lists."""

    ORDER = "order"
    REFUSAL = "refusal"
    DECISION = "decision"
    CONFLICT = "conflict"
    INCIDENT = "incident"
    EVENT = "event"


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """Hold one line of the log; `ref` is an order or decision that `propdesk why` explains, or the row's own id."""

    at: datetime
    kind: OperationKind
    account_id: AccountId
    traders: tuple[str, ...]
    symbol: str
    what: str
    outcome: str
    detail: str
    ref: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationQuery:
    """Say which operations to return, at most `limit` of them; empty fields do not narrow.

    Of decisions those that failed or lost a part, unless `sound_decisions` asks for the others too.
    """

    account_id: AccountId = AccountId("")
    trader_id: TraderId = TraderId("")
    kinds: tuple[OperationKind, ...] = tuple(OperationKind)
    sound_decisions: bool = False
    limit: int = 50


async def read_operations(store: Store, tenant: TenantId, query: OperationQuery) -> tuple[Operation, ...]:
    """Return the newest operations that match, newest first; raise UnknownAccount or UnknownTrader.

    A trader that was removed is known as long as its book is.
    """
    found: list[Operation] = []
    async with store.transaction(tenant) as tx:
        accounts = [row.account_id for row in await tx.find(AccountRow, {})]
        if query.account_id and query.account_id not in accounts:
            raise UnknownAccount(f"there is no account {query.account_id!r}; `propdesk status` names them")
        if query.trader_id and not await _known(tx, query.trader_id):
            raise UnknownTrader(f"there is no trader {query.trader_id!r}; `propdesk traders list` names them")
        for account_id in accounts:
            if query.account_id in ("", account_id):
                for kind in query.kinds:
                    found += await _of_kind(tx, kind, account_id, query)
    found.sort(key=lambda one: (one.at, one.ref), reverse=True)
    return tuple(found[: query.limit])


async def _known(tx: Transaction, trader_id: TraderId) -> bool:
    return bool(
        await tx.get(TraderRow, trader_id)
        or await tx.find(BookRow, {"trader_id": trader_id}, limit=1)
        or await tx.find(EventRow, {"trader_id": trader_id}, limit=1)
    )


async def _of_kind(
    tx: Transaction, kind: OperationKind, account_id: AccountId, query: OperationQuery
) -> Iterable[Operation]:
    rows: Sequence[Any]
    where: dict[str, Any] = {"account_id": account_id}
    mine = {**where, "trader_id": query.trader_id} if query.trader_id else where
    # Orders and conflicts name several traders, so they are narrowed after reading; the window is wider for that.
    window = query.limit * 20 if query.trader_id else query.limit
    match kind:
        case OperationKind.ORDER:
            rows = await tx.find(OrderRow, where, newest_first="created_at", limit=window)
            operations = [_order(row) for row in rows]
        case OperationKind.CONFLICT:
            rows = await tx.find(ConflictRow, where, newest_first="at", limit=window)
            operations = [_conflict(row) for row in rows]
        case OperationKind.REFUSAL:
            rows = await tx.find(VerdictRow, {**mine, "kind": _REFUSING}, newest_first="at", limit=query.limit)
            operations = [_verdict(row) for row in rows]
        case OperationKind.DECISION:
            operations = await _decisions(tx, mine, query)
        case OperationKind.INCIDENT:
            rows = await tx.find(IncidentRow, mine, newest_first="at", limit=query.limit)
            operations = [_incident(row) for row in rows]
        case OperationKind.EVENT:
            rows = await tx.find(EventRow, mine, newest_first="at", limit=query.limit)
            operations = [_event(row) for row in rows]
    return [one for one in operations if query.trader_id in ("", *one.traders)]


def _order(row: OrderRow) -> Operation:
    trigger = "" if row.trigger_price is None else f" at {row.trigger_price:f}"
    return Operation(
        at=row.created_at,
        kind=OperationKind.ORDER,
        account_id=row.account_id,
        traders=tuple(dict.fromkeys(share.trader_id for share in row.shares)),
        symbol=row.symbol,
        what=f"{row.purpose} {row.side} {row.quantity:f}{trigger}",
        outcome=row.state,
        detail=row.reason,
        ref=row.order_id,
    )


def _verdict(row: VerdictRow) -> Operation:
    return Operation(
        at=row.at,
        kind=OperationKind.REFUSAL,
        account_id=row.account_id,
        traders=(row.trader_id,),
        symbol=row.symbol,
        what=row.kind,
        outcome=row.code,
        detail=row.detail,
        ref=row.intent_id,
    )


async def _decisions(tx: Transaction, mine: Mapping[str, Any], query: OperationQuery) -> list[Operation]:
    lost = await tx.find(VerdictRow, {**mine, "kind": VerdictKind.INVALID}, newest_first="at", limit=query.limit)
    wanted = mine if query.sound_decisions else {**mine, "outcome": _FAILED}
    rows = await tx.find(DecisionRow, wanted, newest_first="decided_at", limit=query.limit)
    failed = {row.decision_id for row in rows if row.outcome is not Outcome.DECIDED}
    last_to_first = sorted(lost, key=lambda row: row.n, reverse=True)
    partial = {DecisionId(row.intent_id): row for row in last_to_first if DecisionId(row.intent_id) not in failed}
    counts = Counter(DecisionId(row.intent_id) for row in lost)
    whole = [_decision(row) for row in rows if row.decision_id not in partial]
    return whole + [_partial(row, counts[ref]) for ref, row in partial.items()]


def _decision(row: DecisionRow) -> Operation:
    """A failed one says what went wrong first, a sound one what it wants."""
    failed = row.outcome is not Outcome.DECIDED
    errors = [f"{error.path}: {error.message}" for error in row.errors] or [row.reasoning or row.outcome]
    wants = ", ".join(f"{one.action} {one.symbol}" for one in row.decisions) or "nothing to do"
    return Operation(
        at=row.decided_at,
        kind=OperationKind.DECISION,
        account_id=row.account_id,
        traders=(row.trader_id,),
        symbol="",
        what="no decision" if failed else "decision",
        outcome=row.outcome,
        detail=errors[0] if failed else wants,
        ref=row.decision_id,
    )


def _partial(row: VerdictRow, errors: int) -> Operation:
    more = f" and {errors - 1} more" if errors > 1 else ""
    return Operation(
        at=row.at,
        kind=OperationKind.DECISION,
        account_id=row.account_id,
        traders=(row.trader_id,),
        symbol="",
        what="partly dropped",
        outcome=row.code,
        detail=f"{row.detail}{more}",
        ref=row.intent_id,
    )


def _conflict(row: ConflictRow) -> Operation:
    return Operation(
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


def _incident(row: IncidentRow) -> Operation:
    state = state_of(row)
    return Operation(
        at=row.at,
        kind=OperationKind.INCIDENT,
        account_id=row.account_id,
        traders=(row.trader_id,) if row.trader_id else (),
        symbol=row.symbol,
        what=row.code,
        outcome=state,
        detail=f"{row.detail} (until {row.resolved_at:%Y-%m-%d %H:%M:%S} UTC)" if state == "resolved" else row.detail,
        ref=row.incident_id,
    )


def _event(row: EventRow) -> Operation:
    by = f"{row.actor}: {row.reason}" if row.reason else row.actor
    outcome = f"{row.before} -> {row.after}" if row.before else row.after
    if row.kind in (EventKind.TRADER_UPDATED, EventKind.ACCOUNT_TERMS):
        changes = row.after if row.kind == EventKind.TRADER_UPDATED else changed_terms(row.before, row.after)
        outcome, by = "changed", f"{changes} ({by})"
    return Operation(
        at=row.at,
        kind=OperationKind.EVENT,
        account_id=row.account_id,
        traders=(row.trader_id,) if row.trader_id else (),
        symbol="",
        what=row.kind,
        outcome=outcome,
        detail=by,
        ref=row.event_id,
    )
