"""The values that flow through a round; every stage takes some of them and returns new ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Final

from exchanges.types import ZERO, Capabilities, Instrument, Symbol
from manager.state.kinds import SwitchScope
from manager.state.records import AccountId, IntentId, PositionKey, StateCode, TraderState, TradingState
from traders.book import Book, Position
from traders.spec import IsolationRules, TraderId, TraderSpec

UNRANKED = Decimal(-1)
LEASE_S: Final = 20.0
"""How long a job may work on an account."""
VENUE_TIMEOUT_S: Final = 10.0
"""How long a call of a venue may take unless its config says otherwise."""
VENUE_TIMEOUT_MOST_S: Final = LEASE_S - 5
"""What is left of a lease after one call has to do for the others."""


class ConflictStrategy(StrEnum):
    """Name how opens of several traders on one symbol are reconciled (docs/rules.md 4)."""

    FIRST_COME = "first_come"
    HIGHEST_CONFIDENCE = "highest_confidence"
    AGGREGATE = "aggregate"
    PROPORTIONAL = "proportional"
    NET = "net"


class AllocationStrategy(StrEnum):
    """Name how capital is dealt to traders (docs/rules.md 6)."""

    EQUAL = "equal"
    CUSTOM = "custom"
    PERFORMANCE_BASED = "performance_based"
    FIXED = "fixed"


class OnUnrealizedLoss(StrEnum):
    """Name what an unrealized loss above its limit does: it stops entries, or also closes the worst positions."""

    STOP_ENTRIES = "stop_entries"
    CLOSE_LOSERS = "close_losers"


@dataclass(frozen=True, slots=True, kw_only=True)
class GlobalLimits:
    """Hold the account's limits; percentages (0-100) of account equity."""

    max_margin_usage_pct: Decimal = Decimal(85)
    max_positions: int = 10
    max_symbol_exposure_pct: Decimal = Decimal(50)
    max_unrealized_loss_pct: Decimal = Decimal(20)
    on_unrealized_loss: OnUnrealizedLoss = OnUnrealizedLoss.STOP_ENTRIES


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
    isolation: IsolationRules = field(default_factory=IsolationRules)
    rebalance_closes: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """Hold the price that values books; `age_s` since its candle closed or tick came, `interval_s` its candle."""

    price: Decimal
    age_s: float = 0.0
    interval_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TraderView:
    """Hold one trader as the round sees it; `reserved_margin` is that of its entry orders not yet terminal.

    `has_capital` tells that its curve has units, `bankrupt` that its book is marked as such.
    `recent_entries` are the instants of entries that filled, `reserved_entries` counts those that may still.
    """

    spec: TraderSpec
    state: TraderState
    trading_state: TradingState
    book: Book
    seq: int
    state_code: StateCode = StateCode.NONE
    allocated: Decimal = ZERO
    reserved_margin: Decimal = ZERO
    recent_entries: tuple[datetime, ...] = ()
    reserved_entries: int = 0
    last_stop_at: datetime | None = None
    drawdown_pct: Decimal = ZERO
    sharpe: float | None = None
    closed_trades: int = 0
    failed_decisions: int = 0
    bad_replies: int = 0
    has_capital: bool = False
    bankrupt: bool = False
    violations: tuple[datetime, ...] = ()
    last_entry_at: datetime | None = None


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
    intent_id: IntentId = IntentId("")


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountView:
    """Freeze one account within a round: venue truth, books, marks and rules; `began_at` is when the round began.

    `trading_state` is the strictest of the account's scopes, `trading_scope` whose it is.
    `departed_deficit` is what books of traders that were let go lack. `closing` are positions that an operator closes,
    `flattening` the traders in the scope of a flatten that is under way.
    """

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
    departed_deficit: Decimal = ZERO
    trading_scope: SwitchScope = SwitchScope.ACCOUNT
    closing: frozenset[PositionKey] = frozenset()
    flattening: frozenset[TraderId] = frozenset()
    truth_at: datetime | None = None
    began_at: datetime | None = None

    def instrument(self, symbol: Symbol) -> Instrument:
        """Return an instrument, one that cannot be traded for a symbol that the venue does not list."""
        listed = self.instruments.get(symbol)
        return listed if listed is not None else Instrument(symbol=symbol, tradable=False)

    def price_of(self, position: Position) -> Decimal:
        """Return the mark of a position, its entry price where there is none."""
        mark = self.marks.get(position.symbol)
        return mark.price if mark is not None else position.entry_price

    def is_marked(self, book: Book) -> bool:
        """Tell whether every position of a book has a mark, so that its equity is known."""
        return not book.positions or all(symbol in self.marks for symbol in book.positions)

    def equity_of(self, book: Book) -> Decimal:
        """Return capital + realized - fees + funding + unrealized of a book, in USD (docs/rules.md 1).

        Without a mark the PnL of a position is not known and counts as nothing.
        """
        if not book.positions:
            return book.cash
        marks = self.marks
        held = ((position, marks.get(symbol)) for symbol, position in book.positions.items())
        return sum((position.unrealized(mark.price) for position, mark in held if mark is not None), book.cash)

    def margin_of(self, book: Book) -> Decimal:
        """Return the virtual margin of a book's positions in USD (docs/rules.md 7)."""
        return sum((position.margin(self.price_of(position)) for position in book.positions.values()), ZERO)
