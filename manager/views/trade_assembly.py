"""From the parts of fills to trades: what each position made from its opening to its close; pure.

Live desks and replays make their trades here, and by what the books were booked with: the net PnL of all trades, open
ones with what they have realized so far, is what the books realized, less fees, plus funding.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple

from exchanges.types import ZERO, FillKind, Symbol
from manager.desk.plan.late import CORRECTION, is_cross
from manager.desk.plan.operator_closes import operator_of
from manager.state.kinds import LedgerKind, OrderPurpose
from manager.state.records import (
    AccountId,
    DecisionId,
    DecisionRow,
    FillPartRow,
    FillRow,
    LedgerRow,
    OrderId,
    OrderRow,
)
from traders.book import EXTERNAL
from traders.spec import TraderId


class Direction(StrEnum):
    """Name the side of a position."""

    LONG = "long"
    SHORT = "short"


class HowClosed(StrEnum):
    """Name what closed a position; DESK closes what a rule of the account or a missing stop asks for."""

    DECISION = "decision"
    OPERATOR = "operator"
    STOP = "stop"
    TAKE_PROFIT = "take_profit"
    BOOK_LIQUIDATION = "book_liquidation"
    LIQUIDATION = "liquidation"
    ADL = "adl"
    DESK = "desk"
    CORRECTION = "correction"


class TradeKey(NamedTuple):
    """Name one position of one book by when it was opened."""

    account_id: AccountId
    trader_id: TraderId
    symbol: Symbol
    opened_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Trade:
    """Hold one position from its opening on; money in USD, prices are averages, `quantity` all that was entered.

    `net_pnl` is `pnl` (gross) - `fees` + `funding`. What closed it and its exit are None while it is open; then `left`
    is what is still held, and `pnl` what it has realized. `order_id` is the order that closed it, empty for a cross.
    """

    trader_id: TraderId
    account_id: AccountId
    symbol: Symbol
    side: Direction
    quantity: Decimal
    left: Decimal
    entry_price: Decimal | None
    exit_price: Decimal | None
    pnl: Decimal
    fees: Decimal
    funding: Decimal
    net_pnl: Decimal
    opened_at: datetime
    closed_at: datetime | None
    hold_s: float | None
    orders: int
    closed_by: HowClosed | None
    why: str
    order_id: OrderId

    @property
    def is_won(self) -> bool:
        """Tell whether it made money, fees and funding aside, as the win rate counts it."""
        return self.pnl > ZERO


@dataclass(frozen=True, slots=True, kw_only=True)
class TradeFacts:
    """Hold what trades are made of: the parts of their fills and the ledger, and of the closes what tells why."""

    parts: Sequence[FillPartRow]
    postings: Sequence[LedgerRow]
    orders: Sequence[OrderRow] = ()
    fills: Sequence[FillRow] = ()
    decisions: Sequence[DecisionRow] = ()


def key_of(part: FillPartRow) -> TradeKey | None:
    """Return the position that a part is of; None for EXTERNAL's, and for a fee corrected after the close."""
    if part.opened_at is None or part.trader_id == EXTERNAL:
        return None
    return TradeKey(part.account_id, part.trader_id, part.symbol, part.opened_at)


def decision_of(part: FillPartRow) -> DecisionId:
    """Return the decision whose intent a part carries out, empty for one of the desk's own."""
    return DecisionId(part.intent_id.rpartition("#")[0])


def assemble(facts: TradeFacts) -> Mapping[TradeKey, Trade]:
    """Return the trades that the facts tell of, whole and each once; the order of the facts does not matter."""
    grouped = _grouped(facts.parts)
    funding = _funding(grouped, facts.postings)
    why = _Reasons(facts)
    return {key: _trade(key, parts, funding.get(key, ZERO), why) for key, parts in grouped.items()}


def _grouped(parts: Iterable[FillPartRow]) -> dict[TradeKey, list[FillPartRow]]:
    """Group parts by position, in the order of their instants; a corrected fee belongs where its fill does."""
    groups: dict[TradeKey, list[FillPartRow]] = {}
    homes: dict[tuple[AccountId, str, TraderId], TradeKey] = {}
    homeless = []
    for part in sorted(parts, key=_place):
        key = key_of(part)
        if key is not None:
            groups.setdefault(key, []).append(part)
            homes[part.account_id, part.trade_id, part.trader_id] = key
        elif part.trader_id != EXTERNAL:
            homeless.append(part)
    for part in homeless:
        home = homes.get((part.account_id, part.trade_id, part.trader_id))
        if home is not None:
            groups[home].append(part)
    return groups


def _place(part: FillPartRow) -> tuple[datetime, bool, str, str]:
    return part.at, part.closed_at is not None, part.trade_id, part.leg


def _funding(
    groups: Mapping[TradeKey, Sequence[FillPartRow]], postings: Iterable[LedgerRow]
) -> dict[TradeKey, Decimal]:
    """Sum the funding of each position: what was posted after its first fill and up to its last, while it is open all.

    A position that is opened at the very instant of a payment had none; one that is closed then had.
    """
    spans: dict[tuple[AccountId, TraderId, str], list[tuple[datetime, datetime | None, TradeKey]]] = {}
    for key, parts in groups.items():
        last = max(part.at for part in parts) if _closing(parts) is not None else None
        spans.setdefault(key[:3], []).append((min(part.at for part in parts), last, key))
    sums: dict[TradeKey, Decimal] = {}
    for row in postings:
        if row.kind is LedgerKind.FUNDING:
            mine = spans.get((row.account_id, row.trader_id, row.symbol), ())
            found = max((span for span in mine if _covers(span[0], span[1], row.at)), default=None, key=lambda s: s[0])
            if found is not None:
                sums[found[2]] = sums.get(found[2], ZERO) + row.amount
    return sums


def _covers(first: datetime, last: datetime | None, at: datetime) -> bool:
    return first < at and (last is None or at <= last)


def _closing(parts: Iterable[FillPartRow]) -> FillPartRow | None:
    return next((part for part in parts if part.closed_at is not None), None)


def _trade(key: TradeKey, parts: Sequence[FillPartRow], funding: Decimal, why: "_Reasons") -> Trade:
    closing, held = _closing(parts), sum((part.quantity for part in parts), ZERO)
    is_long = held > ZERO if closing is None else closing.quantity < ZERO
    entered = [part for part in parts if part.quantity and (part.quantity > ZERO) is is_long]
    left_by = [part for part in parts if part.quantity and (part.quantity > ZERO) is not is_long]
    pnl, fees = (sum((getattr(part, name) for part in parts), ZERO) for name in ("realized", "fee"))
    closed_at = None if closing is None else closing.closed_at
    closed_by, told = (None, "") if closing is None else why.of(closing)
    return Trade(
        trader_id=key.trader_id,
        account_id=key.account_id,
        symbol=key.symbol,
        side=Direction.LONG if is_long else Direction.SHORT,
        quantity=sum((abs(part.quantity) for part in entered), ZERO),
        left=ZERO if closing is not None else abs(held),
        entry_price=_average(entered),
        exit_price=_average(left_by),
        pnl=pnl,
        fees=fees,
        funding=funding,
        net_pnl=pnl - fees + funding,
        opened_at=key.opened_at,
        closed_at=closed_at,
        hold_s=None if closed_at is None else (closed_at - key.opened_at).total_seconds(),
        orders=len({part.order_id for part in parts if part.order_id}),
        closed_by=closed_by,
        why=told,
        order_id=OrderId("") if closing is None else closing.order_id,
    )


def _average(parts: Sequence[FillPartRow]) -> Decimal | None:
    quantity = sum((abs(part.quantity) for part in parts), ZERO)
    return sum((abs(part.quantity) * part.price for part in parts), ZERO) / quantity if quantity else None


class _Reasons:
    """Tell what closed a position, from the last part that it had."""

    def __init__(self, facts: TradeFacts) -> None:
        self._orders = {(row.account_id, row.order_id): row for row in facts.orders}
        self._kinds = {(row.account_id, row.trade_id): row.kind for row in facts.fills}
        self._decisions = {row.decision_id: row for row in facts.decisions}

    def of(self, part: FillPartRow) -> tuple[HowClosed, str]:
        order = self._orders.get((part.account_id, part.order_id))
        purpose = order.purpose if part.purpose == CORRECTION and order is not None else part.purpose
        match purpose:
            case OrderPurpose.STOP:
                return HowClosed.STOP, ""
            case OrderPurpose.TAKE_PROFIT:
                return HowClosed.TAKE_PROFIT, ""
            case OrderPurpose.LIQUIDATION:
                return self._liquidation(part), ""
            case _ if part.intent_id:
                return self._wanted(part)
            case OrderPurpose.REDUCE:
                return HowClosed.DESK, order.reason if order is not None else ""
        return HowClosed.CORRECTION, ""

    def _liquidation(self, part: FillPartRow) -> HowClosed:
        if part.order_id:
            return HowClosed.BOOK_LIQUIDATION
        is_adl = self._kinds.get((part.account_id, part.trade_id)) is FillKind.ADL
        return HowClosed.ADL if is_adl else HowClosed.LIQUIDATION

    def _wanted(self, part: FillPartRow) -> tuple[HowClosed, str]:
        decision = self._decisions.get(decision_of(part))
        by = operator_of(decision.model) if decision is not None else ""
        if decision is not None and by:
            return HowClosed.OPERATOR, f"{by}: {decision.reasoning}" if decision.reasoning else by
        return HowClosed.DECISION, "crossed inside the desk" if is_cross(part.trade_id) else ""
