"""The values that flow through a round; every stage takes some of them and returns new ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from exchanges.types import Capabilities, Instrument, Side, Symbol
from manager.state.records import (
    AccountId,
    IntentId,
    IntentRow,
    OrderId,
    OrderPurpose,
    PositionKey,
    Share,
    TraderState,
    TradingState,
)
from traders.book import Book
from traders.spec import TraderId, TraderSpec

ZERO = Decimal(0)
UNRANKED = Decimal(-1)


class ConflictStrategy(StrEnum):
    """Name how opens of several traders on one symbol are reconciled (RULES.md 4)."""

    FIRST_COME = "first_come"
    HIGHEST_CONFIDENCE = "highest_confidence"
    AGGREGATE = "aggregate"
    PROPORTIONAL = "proportional"
    NET = "net"


class AllocationStrategy(StrEnum):
    """Name how capital is dealt to traders (RULES.md 6)."""

    EQUAL = "equal"
    CUSTOM = "custom"
    PERFORMANCE_BASED = "performance_based"


@dataclass(frozen=True, slots=True, kw_only=True)
class GlobalLimits:
    """Hold the account's limits; percentages (0-100) of account equity."""

    max_margin_usage_pct: Decimal = Decimal(85)
    max_positions: int = 10
    max_symbol_exposure_pct: Decimal = Decimal(50)
    max_unrealized_loss_pct: Decimal = Decimal(20)


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountRules:
    """Hold what the operator configured for one account; times in seconds."""

    conflict_strategy: ConflictStrategy = ConflictStrategy.HIGHEST_CONFIDENCE
    allocation_strategy: AllocationStrategy = AllocationStrategy.EQUAL
    reserve_equity_pct: Decimal = Decimal(10)
    rebalance_interval_s: int = 3600
    limits: GlobalLimits = field(default_factory=GlobalLimits)
    trading_enabled: bool = True
    max_data_age_s: float = 15.0
    data_age_intervals: float | None = None
    protection_grace_s: float = 5.0
    send_window_s: float = 10.0
    max_open_orders: int = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """Hold the price that values books; `age_s` since its candle closed or tick came, `interval_s` its candle."""

    price: Decimal
    age_s: float = 0.0
    interval_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TraderView:
    """Hold one trader as the round sees it; `reserved_margin` is that of its entry orders not yet terminal."""

    spec: TraderSpec
    state: TraderState
    trading_state: TradingState
    book: Book
    seq: int
    allocated: Decimal = ZERO
    reserved_margin: Decimal = ZERO
    recent_entries: tuple[datetime, ...] = ()
    last_stop_at: datetime | None = None
    drawdown_pct: Decimal = ZERO
    sharpe: float | None = None
    closed_trades: int = 0
    failed_decisions: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class OfPosition:
    """Name the position that a value is about."""

    trader_id: TraderId
    symbol: Symbol

    @property
    def key(self) -> PositionKey:
        """Return the two as one key."""
        return PositionKey(self.trader_id, self.symbol)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation(OfPosition):
    """Hold the worst case of an entry order whose outcome is not known: signed quantity, notional and margin in USD."""

    quantity: Decimal
    notional: Decimal
    margin: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountView:
    """Freeze one account within a round: venue truth, books, marks and rules; `began_at` is when the round began."""

    at: datetime
    account_id: AccountId
    trading_state: TradingState
    equity: Decimal
    traders: Mapping[TraderId, TraderView]
    external: Book
    marks: Mapping[Symbol, Mark]
    instruments: Mapping[Symbol, Instrument]
    rules: AccountRules = field(default_factory=AccountRules)
    capabilities: Capabilities = field(default_factory=Capabilities)
    reservations: Sequence[Reservation] = ()
    unresolved: frozenset[Symbol] = frozenset()
    liquidation_prices: Mapping[Symbol, Decimal] = field(default_factory=dict)
    open_orders: int = 0
    truth_at: datetime | None = None
    began_at: datetime | None = None

    def prices(self) -> dict[Symbol, Decimal]:
        """Return the price of each mark."""
        return {symbol: mark.price for symbol, mark in self.marks.items()}


def plain(value: object) -> str:
    """Write a number without exponent or trailing zeros, to eight decimals; anything else as it is."""
    if isinstance(value, Decimal):
        text = f"{value:.8f}".rstrip("0").rstrip(".")
        return "0" if text == "-0" else text
    return str(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Denial:
    """Refuse one intent, with a code of docs/risk-codes.md and the numbers that decided."""

    intent_id: IntentId
    trader_id: TraderId
    symbol: Symbol
    code: str
    detail: str
    numbers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Clamp:
    """Record that an intent was cut to a limit: LEVERAGE or the code of the limit that cut the size."""

    intent_id: IntentId
    trader_id: TraderId
    symbol: Symbol
    code: str
    before: Decimal
    after: Decimal

    @property
    def detail(self) -> str:
        """Return what was cut in plain figures."""
        return f"cut from {plain(self.before)} to {plain(self.after)}"

    @property
    def numbers(self) -> Mapping[str, str]:
        """Return both numbers, exactly."""
        return {"before": str(self.before), "after": str(self.after)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict:
    """Record one conflict: `type` is direction, duplicate or resource, `severity` high, medium or low."""

    type: str
    symbol: Symbol
    traders: tuple[str, ...]
    confidences: tuple[Decimal | None, ...]
    severity: str
    outcome: str


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


@dataclass(frozen=True, slots=True, kw_only=True)
class StopChange(OfPosition):
    """Move a position's stop or target; None leaves it."""

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
    done: tuple[str, ...] = ()


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
    """Plan one resting stop or target of one trader."""

    side: Side
    purpose: OrderPurpose
    quantity: Decimal
    trigger_price: Decimal
    reduce_only: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ProtectionPlan:
    """Return legs to place, then order ids to cancel, targets the desk must fire, and positions without a stop."""

    place: tuple[ProtectiveLeg, ...] = ()
    cancel: tuple[OrderId, ...] = ()
    watch: tuple[ProtectiveLeg, ...] = ()
    unprotected: tuple[PositionKey, ...] = ()
