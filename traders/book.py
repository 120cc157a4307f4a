"""A trader's book: positions, realized PnL, fees and funding, to the last digit (docs/rules.md 1).

A position keeps its exact signed cost, not an average price: what partial closes round stays in the cost, so the sum
of realized PnL and remaining cost always equals the cash that moved.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal

from exchanges.types import ZERO, Symbol
from traders.spec import TraderId

EXTERNAL = TraderId("EXTERNAL")
_STEP = Decimal("1E-12")


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """Hold one symbol of one book; `quantity` is signed, `cost` its signed entry notional in USD.

    `realized` is what partial closes of this position have realized so far, gross.
    """

    symbol: Symbol
    quantity: Decimal
    cost: Decimal
    leverage: int
    opened_at: datetime
    contract_size: Decimal = Decimal(1)
    stop_loss: Decimal | None = None
    take_profit: Decimal | None = None
    realized: Decimal = ZERO

    @property
    def entry_price(self) -> Decimal:
        """Return the average entry price."""
        return self.cost / (self.quantity * self.contract_size)

    @property
    def direction(self) -> int:
        """Return +1 for a long and -1 for a short."""
        return 1 if self.quantity > 0 else -1

    def value(self, mark: Decimal) -> Decimal:
        """Return the signed notional at `mark`."""
        return self.quantity * mark * self.contract_size

    def unrealized(self, mark: Decimal) -> Decimal:
        """Return the PnL that closing at `mark` would realize."""
        return self.quantity * mark * self.contract_size - self.cost

    def margin(self, mark: Decimal) -> Decimal:
        """Return the virtual margin: notional at `mark` over leverage (docs/rules.md 7)."""
        return abs(self.quantity) * mark * self.contract_size / self.leverage

    def reduced(self, fill: "BookFill") -> "tuple[Position | None, Decimal, Decimal]":
        """Return what an opposite fill leaves, None for nothing, the gross PnL it realizes and what of it opens."""
        size = abs(self.quantity)
        closed = min(abs(fill.quantity), size)
        proceeds = self.direction * closed * fill.price * self.contract_size
        rest = fill.quantity + self.direction * closed
        if closed == size:
            return None, proceeds - self.cost, rest
        cost = (self.cost * closed / size).quantize(_STEP)
        realized = proceeds - cost
        quantity = self.quantity - self.direction * closed
        kept = replace(self, quantity=quantity, cost=self.cost - cost, realized=self.realized + realized)
        return kept, realized, rest

    def added(self, fill: "BookFill") -> "Position":
        """Return the position with a fill of its own side; the newest leverage counts for the whole."""
        cost = self.cost + fill.quantity * fill.price * fill.contract_size
        return replace(self, quantity=self.quantity + fill.quantity, cost=cost, leverage=fill.leverage)


@dataclass(frozen=True, slots=True, kw_only=True)
class Book:
    """Hold what one trader owns; `realized` is gross, `fees` positive when paid, `funding` positive when received."""

    trader_id: TraderId
    capital: Decimal = ZERO
    realized: Decimal = ZERO
    fees: Decimal = ZERO
    funding: Decimal = ZERO
    positions: Mapping[Symbol, Position] = field(default_factory=dict)

    @property
    def cash(self) -> Decimal:
        """Return equity without unrealized PnL."""
        return self.capital + self.realized - self.fees + self.funding

    def unrealized(self, marks: Mapping[Symbol, Decimal]) -> Decimal:
        """Return the unrealized PnL of all positions; a missing mark is a KeyError."""
        return sum((p.unrealized(marks[s]) for s, p in self.positions.items()), ZERO)

    def equity(self, marks: Mapping[Symbol, Decimal]) -> Decimal:
        """Return capital + realized - fees + funding + unrealized."""
        return self.cash + self.unrealized(marks)

    def margin(self, marks: Mapping[Symbol, Decimal]) -> Decimal:
        """Return the virtual margin of all positions."""
        return sum((p.margin(marks[s]) for s, p in self.positions.items()), ZERO)

    def quantity(self, symbol: Symbol) -> Decimal:
        """Return the signed quantity held, 0 when flat."""
        position = self.positions.get(symbol)
        return position.quantity if position is not None else ZERO


@dataclass(frozen=True, slots=True, kw_only=True)
class BookFill:
    """Feed one execution into a book: `quantity` is signed, positive for a buy; `fee` in USD."""

    symbol: Symbol
    quantity: Decimal
    price: Decimal
    fee: Decimal
    at: datetime
    leverage: int = 1
    contract_size: Decimal = Decimal(1)


def liquidation_estimate(direction: int, entry: Decimal, leverage: int, maintenance_rate: Decimal) -> Decimal:
    """Return the price at which a position alone would be liquidated; `direction` is +1 for a long, -1 for a short.

    entry x (1 -/+ (1/leverage - maintenance)): below the entry for a long, above for a short (docs/rules.md 5).
    """
    return entry * (1 - direction * (Decimal(1) / leverage - maintenance_rate))


def apply_fill(book: Book, fill: BookFill) -> tuple[Book, Decimal]:
    """Return the book after `fill` and the gross PnL it realized.

    Partial closes realize pro rata; a fill through zero closes at its price and opens the rest.
    """
    held = book.positions.get(fill.symbol)
    realized, opened = ZERO, fill.quantity
    if held is not None and (held.quantity > 0) != (fill.quantity > 0):
        held, realized, opened = held.reduced(fill)
    elif held is not None and opened:
        held = held.added(fill)
    if held is None and opened:
        held = Position(
            symbol=fill.symbol,
            quantity=opened,
            cost=opened * fill.price * fill.contract_size,
            leverage=fill.leverage,
            opened_at=fill.at,
            contract_size=fill.contract_size,
        )
    positions = dict(book.positions)
    if held is None:
        positions.pop(fill.symbol, None)
    else:
        positions[fill.symbol] = held
    return replace(book, positions=positions, realized=book.realized + realized, fees=book.fees + fill.fee), realized


def apply_funding(book: Book, amount: Decimal) -> Book:
    """Return the book after a funding posting, positive when received."""
    return replace(book, funding=book.funding + amount)


def apply_capital(book: Book, amount: Decimal) -> Book:
    """Return the book after a capital entry: allocate, rebalance, deposit or withdraw."""
    return replace(book, capital=book.capital + amount)


def with_protection(book: Book, symbol: Symbol, stop_loss: Decimal | None, take_profit: Decimal | None) -> Book:
    """Return the book with a new stop and take-profit on `symbol`; None leaves the old one standing."""
    held = book.positions[symbol]
    held = replace(
        held,
        stop_loss=stop_loss if stop_loss is not None else held.stop_loss,
        take_profit=take_profit if take_profit is not None else held.take_profit,
    )
    return replace(book, positions={**book.positions, symbol: held})
