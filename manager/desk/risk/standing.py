"""One trader's book as it will stand after what the round has accepted so far, and one wish held against it."""

from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Self

from exchanges.precision import meets_minimum, quantity_for
from exchanges.types import Instrument, Symbol
from manager.desk.plan.valuation import book_equity, price_of
from manager.desk.plan.values import ZERO, AccountView, Mark, TraderView
from manager.state.records import IntentId, IntentRow
from traders.book import Position
from traders.spec import TraderId


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """Hold what this round adds to one position: side and notional; `margin` is the most that all of it may need."""

    direction: int
    notional: Decimal
    margin: Decimal


class Standing:
    """Follow one trader through its batches; the round assumes that its reduces fill (RULES.md 2).

    `dust` are symbols of positions too small to send: they keep their margin but do not count as positions.
    """

    __slots__ = ("_dust", "_equity", "_held", "_planned", "entries", "trader", "view")

    def __init__(self, view: AccountView, trader: TraderView, dust: frozenset[Symbol] = frozenset()) -> None:
        self.view = view
        self.trader = trader
        self.entries = 0
        self._dust = dust
        self._equity: Decimal | None = None
        self._held: dict[Symbol, Decimal] = {}
        self._planned: dict[Symbol, Planned] = {}

    def position(self, symbol: Symbol) -> Position | None:
        """Return the position as booked, None when this round has closed it."""
        return self.trader.book.positions.get(symbol) if self.held(symbol) else None

    def held(self, symbol: Symbol) -> Decimal:
        """Return the signed quantity left after this round's reduces, its entries not counted."""
        held = self._held.get(symbol)
        return self.trader.book.quantity(symbol) if held is None else held

    def direction(self, symbol: Symbol) -> int:
        """Return +1 or -1 for what is held or being opened, 0 for nothing."""
        held = self.held(symbol)
        if held:
            return 1 if held > ZERO else -1
        planned = self._planned.get(symbol)
        return planned.direction if planned is not None else 0

    def take(self, symbol: Symbol, quantity: Decimal) -> Decimal:
        """Take up to `quantity` off the position and return what was taken; it never goes through zero."""
        held = self.held(symbol)
        taken = min(quantity, abs(held))
        self._held[symbol] = held - taken if held > ZERO else held + taken
        return taken

    def add(self, wish: "Wish") -> None:
        """Count an accepted open; its leverage becomes that of the whole position (RULES.md 7).

        A higher leverage frees no margin in this round, because the open may not fill.
        """
        symbol = wish.symbol
        needed = (self.notional(symbol) + wish.size_usd) / wish.leverage
        self._planned[symbol] = Planned(
            direction=wish.direction,
            notional=self.planned_usd(symbol) + wish.size_usd,
            margin=max(needed, self.margin(symbol)),
        )
        self.entries += 1

    def planned_usd(self, symbol: Symbol) -> Decimal:
        """Return the notional in USD of this round's accepted opens on the symbol."""
        planned = self._planned.get(symbol)
        return planned.notional if planned is not None else ZERO

    @property
    def equity(self) -> Decimal:
        """Return the trader's equity in USD; closing at the mark does not change it."""
        if self._equity is None:
            self._equity = book_equity(self.view, self.trader.book)
        return self._equity

    def notional(self, symbol: Symbol) -> Decimal:
        """Return the unsigned value in USD of what is held and being opened."""
        return self.planned_usd(symbol) + self._held_usd(symbol)

    def margin(self, symbol: Symbol) -> Decimal:
        """Return the most margin in USD that what is held and being opened may need."""
        planned = self._planned.get(symbol)
        if planned is not None:
            return planned.margin
        position = self.position(symbol)
        return self._held_usd(symbol) / position.leverage if position is not None else ZERO

    def reserved_notional(self, symbol: Symbol) -> Decimal:
        """Return the notional in USD of the trader's own entry orders whose outcome is not known."""
        own = (r for r in self.view.reservations if r.trader_id == self.trader.spec.id and r.symbol == symbol)
        return sum((reservation.notional for reservation in own), ZERO)

    def margin_without(self, symbol: Symbol) -> Decimal:
        """Return the virtual margin in USD of all other symbols and of the reserved orders."""
        total = self.trader.reserved_margin
        return total + sum((self.margin(other) for other in self._symbols() if other != symbol), ZERO)

    def count_without(self, symbol: Symbol) -> int:
        """Count the other positions, being opened and reserved ones included, dust not."""
        reserved = {r.symbol for r in self.view.reservations if r.trader_id == self.trader.spec.id}
        counted = (self._symbols() - self._dust) | set(self._planned) | reserved
        return len(counted - {symbol})

    def _symbols(self) -> set[Symbol]:
        held = {symbol for symbol in self.trader.book.positions if self.held(symbol)}
        return held | set(self._planned)

    def _held_usd(self, symbol: Symbol) -> Decimal:
        position = self.position(symbol)
        if position is None:
            return ZERO
        return abs(self.held(symbol)) * price_of(self.view, position) * position.contract_size


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """Hold one open, or one change of a stop, as the local rules see it.

    `entry` is the mark for an open and the average entry price for a held position; `stop` and `target` are those the
    position would have; `price` is 0 without a mark.
    """

    standing: Standing
    intent: IntentRow
    symbol: Symbol
    direction: int
    mark: Mark | None
    price: Decimal
    entry: Decimal
    instrument: Instrument
    leverage: int
    size_usd: Decimal = ZERO
    stop: Decimal | None = None
    target: Decimal | None = None

    @property
    def view(self) -> AccountView:
        """Return the frozen account."""
        return self.standing.view

    @property
    def trader(self) -> TraderView:
        """Return the trader whose wish this is."""
        return self.standing.trader

    @property
    def intent_id(self) -> IntentId:
        """Return the id of the intent."""
        return self.intent.intent_id

    @property
    def trader_id(self) -> TraderId:
        """Return the id of the trader."""
        return self.intent.trader_id

    def cut(self, limit: Decimal) -> Self | None:
        """Return the wish cut to `limit` USD, None when what can be sent is below the venue's minimum."""
        size = min(self.size_usd, limit)
        return replace(self, size_usd=size) if sendable(size, self.price, self.instrument) else None

    def lever(self, leverage: int) -> Self:
        """Return the wish at another leverage."""
        return replace(self, leverage=leverage)


def sendable(size_usd: Decimal, price: Decimal, instrument: Instrument) -> bool:
    """Tell whether a size, floored to the lot, is an entry that the venue accepts."""
    quantity = quantity_for(size_usd, price, instrument)
    return quantity > ZERO and meets_minimum(quantity, price, instrument)
