"""What the stages of a round return: verdicts, conflicts, sized entries, reduces, orders, legs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from exchanges.types import Side, Symbol
from manager.desk.plan.values import OfPosition
from manager.state.records import IntentId, IntentRow, OrderId, OrderPurpose, PositionKey, Share
from traders.book import Position
from traders.spec import TraderId

_SEVERITIES = {"direction": "high", "resource": "medium", "duplicate": "low"}


def plain(value: object) -> str:
    """Write a number without exponent or trailing zeros, to eight decimals; anything else as it is."""
    if isinstance(value, Decimal):
        text = f"{value:.8f}".rstrip("0").rstrip(".")
        return "0" if text == "-0" else text
    return str(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Denial:
    """Deny one intent, with a code of docs/risk-codes.md and the numbers that decided."""

    intent_id: IntentId
    trader_id: TraderId
    symbol: Symbol
    code: str
    detail: str
    numbers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, intent: IntentRow, code: str, detail: str, **numbers: object) -> "Denial":
        """Return the denial of an intent, its numbers as text."""
        return cls(
            intent_id=intent.intent_id,
            trader_id=intent.trader_id,
            symbol=Symbol(intent.decision.symbol),
            code=code,
            detail=detail,
            numbers={name: str(number) for name, number in numbers.items()},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Clamp:
    """Record that an intent was cut to a limit: LEVERAGE or the code of the limit that cut the size."""

    intent_id: IntentId
    trader_id: TraderId
    symbol: Symbol
    code: str
    before: Decimal
    after: Decimal

    @classmethod
    def of(cls, intent: IntentRow, code: str, before: Decimal, after: Decimal) -> "Clamp":
        """Return the clamp of an intent."""
        return cls(
            intent_id=intent.intent_id,
            trader_id=intent.trader_id,
            symbol=Symbol(intent.decision.symbol),
            code=code,
            before=before,
            after=after,
        )

    @property
    def detail(self) -> str:
        """Return what was cut in plain figures."""
        return f"cut from {plain(self.before)} to {plain(self.after)}"

    @property
    def numbers(self) -> Mapping[str, str]:
        """Return both numbers, exactly."""
        return {"before": str(self.before), "after": str(self.after)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate(OfPosition):
    """Hold an entry that passed its trader's own checks; direction is +1 long or -1 short, size notional USD.

    A target-position intent fixes `quantity` and has no size in USD of its own.
    """

    intent: IntentRow
    direction: int
    size_usd: Decimal
    leverage: int
    confidence: Decimal | None
    decided_at: datetime
    stop_loss: Decimal | None = None
    take_profit: Decimal | None = None

    @property
    def tie_break(self) -> tuple[datetime, TraderId, int, IntentId]:
        """Return what orders entries of equal rank: the earlier decision, then ids."""
        return self.decided_at, self.trader_id, self.intent.n, self.intent.intent_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict:
    """Record one conflict: `type` is direction, duplicate or resource, `severity` high, medium or low.

    Each trader has its direction, +1 or -1, and its confidence, None for one that only holds a position.
    """

    type: str
    symbol: Symbol
    traders: tuple[TraderId, ...]
    directions: tuple[int, ...]
    confidences: tuple[Decimal | None, ...]
    severity: str
    outcome: str

    @property
    def told_traders(self) -> str:
        """Return each trader with its direction and confidence, such as `a long 80, b short, holds`."""
        return ", ".join(
            f"{trader_id} {'long' if direction > 0 else 'short'}{', holds' if sure is None else f' {plain(sure)}'}"
            for trader_id, direction, sure in zip(self.traders, self.directions, self.confidences, strict=True)
        )

    @classmethod
    def between(
        cls, kind: str, entries: Sequence[Candidate], outcome: str, holders: Iterable[TraderId] = (), side: int = 0
    ) -> "Conflict":
        """Return the conflict of those who want entries on a symbol, and of those who hold it on one `side`."""
        involved: dict[TraderId, tuple[int, Decimal | None]] = {}
        for entry in entries:
            involved.setdefault(entry.trader_id, (entry.direction, entry.confidence))
        for holder in holders:
            involved.setdefault(holder, (side, None))
        return cls(
            type=kind,
            symbol=entries[0].symbol,
            traders=tuple(involved),
            directions=tuple(direction for direction, _ in involved.values()),
            confidences=tuple(confidence for _, confidence in involved.values()),
            severity=_SEVERITIES[kind],
            outcome=outcome,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SizedEntry:
    """Hold an entry with its quantity, floored to the lot; notional and margin in USD at the mark."""

    candidate: Candidate
    quantity: Decimal
    notional: Decimal
    margin: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Reduce(OfPosition):
    """Take `quantity` (unsigned, at most what the book holds) off one position; `side` is the order's side."""

    side: Side
    quantity: Decimal
    intent_id: IntentId = IntentId("")
    closes: bool = True

    @classmethod
    def whole(cls, trader_id: TraderId, held: Position) -> "Reduce":
        """Return the reduce that closes a position."""
        side = Side.SELL if held.quantity > 0 else Side.BUY
        return cls(trader_id=trader_id, symbol=held.symbol, side=side, quantity=abs(held.quantity))


@dataclass(frozen=True, slots=True, kw_only=True)
class StopChange(OfPosition):
    """Move a position's stop or take-profit; None leaves it."""

    intent_id: IntentId
    stop_loss: Decimal | None = None
    take_profit: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalVerdict:
    """Return what survived the traders' own checks; `done` are intents with nothing to do, such as holds."""

    entries: tuple[Candidate, ...] = ()
    reduces: tuple[Reduce, ...] = ()
    stops: tuple[StopChange, ...] = ()
    denials: tuple[Denial, ...] = ()
    clamps: tuple[Clamp, ...] = ()
    done: tuple[IntentId, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """Return the entries that stand, in the resolver's order; a denial's code is DIRECTION or DUPLICATE."""

    kept: tuple[Candidate, ...] = ()
    denials: tuple[Denial, ...] = ()
    conflicts: tuple[Conflict, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizing:
    """Return sized entries in the resolver's order, what was denied or cut, and resource conflicts."""

    entries: tuple[SizedEntry, ...] = ()
    denials: tuple[Denial, ...] = ()
    clamps: tuple[Clamp, ...] = ()
    conflicts: tuple[Conflict, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossPart:
    """Give one book its part of an internal cross: signed quantity, at the mark, fee-free."""

    purpose: OrderPurpose
    quantity: Decimal
    share: Share


@dataclass(frozen=True, slots=True, kw_only=True)
class Cross:
    """Trade opposite flow of one symbol inside the desk; the parts' quantities add up to zero."""

    symbol: Symbol
    price: Decimal
    parts: tuple[CrossPart, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedOrder:
    """Plan one account order; the shares' quantities add up to `quantity`."""

    symbol: Symbol
    side: Side
    purpose: OrderPurpose
    quantity: Decimal
    shares: tuple[Share, ...]
    reduce_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NetPlan:
    """Return crosses and account orders, reduces before entries; crosses + orders + cuts = the requests."""

    crosses: tuple[Cross, ...] = ()
    orders: tuple[PlannedOrder, ...] = ()
    denials: tuple[Denial, ...] = ()
    dust: tuple[Reduce, ...] = ()

    def ordered(self, purpose: OrderPurpose) -> set[IntentId]:
        """Return the intents that orders of a purpose carry out."""
        return {share.intent_id for order in self.orders if order.purpose is purpose for share in order.shares}


@dataclass(frozen=True, slots=True, kw_only=True)
class ProtectiveLeg(OfPosition):
    """Plan one stop or take-profit of one trader."""

    side: Side
    purpose: OrderPurpose
    quantity: Decimal
    trigger_price: Decimal
    reduce_only: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ProtectionPlan:
    """Return legs to place, then order ids to cancel, take-profits the desk must fire, and positions without a stop."""

    place: tuple[ProtectiveLeg, ...] = ()
    cancel: tuple[OrderId, ...] = ()
    watch: tuple[ProtectiveLeg, ...] = ()
    unprotected: tuple[PositionKey, ...] = ()
