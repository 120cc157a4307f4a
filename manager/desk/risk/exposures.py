"""What an account carries on each symbol and side, and one sized entry held against it."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Self

from exchanges.precision import notional, quantity_for, resting_stop, resting_take_profit
from exchanges.types import ZERO, Instrument, Symbol
from manager.desk.plan.outcomes import Reduce, SizedEntry
from manager.desk.plan.values import AccountView, TraderView
from manager.desk.risk.standing import sendable
from manager.state.records import IntentRow, PositionKey
from traders.book import Book, Position
from traders.spec import TraderId


@dataclass(slots=True)
class Sides:
    """Sum one symbol over books, EXTERNAL and reservations: notional and margin in USD of longs and of shorts."""

    long_notional: Decimal = ZERO
    short_notional: Decimal = ZERO
    long_margin: Decimal = ZERO
    short_margin: Decimal = ZERO

    def add(self, direction: int, worth: Decimal, margin: Decimal) -> None:
        """Add to one side."""
        if direction > 0:
            self.long_notional += worth
            self.long_margin += margin
        else:
            self.short_notional += worth
            self.short_margin += margin

    def notional(self, direction: int) -> Decimal:
        """Return the notional of one side."""
        return self.long_notional if direction > 0 else self.short_notional

    def side_margin(self, direction: int) -> Decimal:
        """Return the margin of one side."""
        return self.long_margin if direction > 0 else self.short_margin

    @property
    def margin(self) -> Decimal:
        """Return what the symbol binds: the larger side's margin."""
        return max(self.long_margin, self.short_margin)


@dataclass(frozen=True, slots=True, kw_only=True)
class Own:
    """Hold what one trader carries on one side of a symbol: worth at the mark, entry notional and margin in USD."""

    direction: int = 0
    worth: Decimal = ZERO
    cost: Decimal = ZERO
    margin: Decimal = ZERO


_NOTHING = Own()


class Exposures:
    """Follow the account through a round: the books after its reduces, then what each accepted entry adds.

    EXTERNAL and reserved orders count in full (docs/rules.md 5); `dust` positions count in everything but the number.
    """

    def __init__(self, view: AccountView, reduces: Iterable[Reduce], dust: frozenset[PositionKey]) -> None:
        self.view = view
        self.unrealized = ZERO
        self.orders = view.open_orders
        self.positions: set[PositionKey] = set()
        self._dust = dust
        self._sides: dict[Symbol, Sides] = {}
        self._own: dict[PositionKey, Own] = {}
        taken: dict[PositionKey, Decimal] = {}
        for reduce in reduces:
            key = reduce.key
            taken[key] = taken.get(key, ZERO) + reduce.quantity
        for trader_id, trader in view.traders.items():
            if trader.book.positions:
                self._count(trader_id, trader.book, taken)
        self._count(TraderId(""), view.external, {})
        for reserved in view.reservations:
            self.positions.add(PositionKey(reserved.trader_id, reserved.symbol))
            self.sides(reserved.symbol).add(1 if reserved.quantity > 0 else -1, reserved.notional, reserved.margin)

    def sides(self, symbol: Symbol) -> Sides:
        """Return the sums of one symbol, zeros for a new one."""
        return self._sides.setdefault(symbol, Sides())

    def margin_without(self, symbol: Symbol) -> Decimal:
        """Return the margin in USD that all other symbols bind."""
        return sum((sides.margin for other, sides in self._sides.items() if other != symbol), ZERO)

    def own(self, trader_id: TraderId, symbol: Symbol, direction: int) -> Own:
        """Return the trader's position on this side, zeros for none."""
        own = self._own.get(PositionKey(trader_id, symbol), _NOTHING)
        return own if own.direction == direction else _NOTHING

    def accept(self, entry: "Entry") -> None:
        """Count an entry that passed; its leverage becomes that of the whole position (docs/rules.md 7).

        A higher leverage frees no margin in this round, because the entry may not fill.
        """
        key, direction = PositionKey(entry.trader_id, entry.symbol), entry.direction
        own = self.own(entry.trader_id, entry.symbol, direction)
        worth = own.worth + entry.size_usd
        result = max(own.margin, worth / entry.leverage)
        self.sides(entry.symbol).add(direction, entry.size_usd, result - own.margin)
        self.orders += entry.new_orders
        self.positions.add(key)
        self._own[key] = Own(direction=direction, worth=worth, cost=own.cost + entry.size_usd, margin=result)

    def _count(self, trader_id: TraderId, book: Book, taken: dict[PositionKey, Decimal]) -> None:
        for symbol, position in book.positions.items():
            key = PositionKey(trader_id, symbol)
            left = abs(position.quantity) - taken.get(key, ZERO)
            if left <= ZERO:
                continue
            worth = left * self.view.price_of(position) * position.contract_size
            margin = worth / position.leverage
            self.sides(symbol).add(position.direction, worth, margin)
            whole = abs(position.quantity)
            cost = abs(position.cost if left == whole else position.cost * left / whole)
            if symbol in self.view.marks:
                self.unrealized += position.direction * (worth - cost)
            if trader_id:
                self._own[key] = Own(direction=position.direction, worth=worth, cost=cost, margin=margin)
                if key not in self._dust:
                    self.positions.add(key)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Hold one sized entry against the account as it stands; `size_usd` is its notional at `price`."""

    exposures: Exposures
    sized: SizedEntry
    price: Decimal
    instrument: Instrument
    size_usd: Decimal

    @classmethod
    def of(cls, exposures: Exposures, sized: SizedEntry) -> Self:
        """Hold an entry against the account, at the mark."""
        view, symbol = exposures.view, sized.candidate.symbol
        instrument, price = view.instrument(symbol), view.marks[symbol].price
        worth = notional(sized.quantity, price, instrument)
        return cls(exposures=exposures, sized=sized, price=price, instrument=instrument, size_usd=worth)

    @property
    def intent(self) -> IntentRow:
        """Return the intent."""
        return self.sized.candidate.intent

    @property
    def trader_id(self) -> TraderId:
        """Return the id of the trader."""
        return self.sized.candidate.trader_id

    @property
    def symbol(self) -> Symbol:
        """Return what is traded."""
        return self.sized.candidate.symbol

    @property
    def direction(self) -> int:
        """Return +1 for a long and -1 for a short."""
        return self.sized.candidate.direction

    @property
    def leverage(self) -> int:
        """Return the leverage that the resulting position would have."""
        return self.sized.candidate.leverage

    @property
    def view(self) -> AccountView:
        """Return the frozen account."""
        return self.exposures.view

    @property
    def trader(self) -> TraderView:
        """Return the trader whose intent this is."""
        return self.view.traders[self.trader_id]

    @property
    def adds(self) -> bool:
        """Tell whether this adds to what the trader holds or opens on this side."""
        return bool(self._own.direction)

    @property
    def entry_price(self) -> Decimal:
        """Return the average entry price of the position that will result, the mark for a new one."""
        own = self._own
        return self.price * (own.cost + self.size_usd) / (own.worth + self.size_usd) if own.worth else self.price

    @property
    def stop_loss(self) -> Decimal | None:
        """Return where the position's stop would rest."""
        held, asked = self._standing, self.sized.candidate.stop_loss
        stop = held.stop_loss if asked is None and held is not None else asked
        return None if stop is None else resting_stop(stop, self.direction, self.instrument.tick)

    @property
    def take_profit(self) -> Decimal | None:
        """Return where the position's take-profit would rest."""
        held, asked = self._standing, self.sized.candidate.take_profit
        price = held.take_profit if asked is None and held is not None else asked
        return None if price is None else resting_take_profit(price, self.direction, self.instrument.tick)

    @property
    def _own(self) -> Own:
        return self.exposures.own(self.trader_id, self.symbol, self.direction)

    @property
    def _standing(self) -> Position | None:
        """Return the booked position that this adds to."""
        return self.trader.book.positions.get(self.symbol) if self.adds else None

    @property
    def is_new(self) -> bool:
        """Tell whether this would be one more book position."""
        return PositionKey(self.trader_id, self.symbol) not in self.exposures.positions

    @property
    def new_orders(self) -> int:
        """Count the orders it may leave open: itself, and for a new position its stop and take-profit."""
        wanted = self.sized.candidate
        legs = (wanted.stop_loss is not None) + (wanted.take_profit is not None)
        return 1 + legs if self.is_new else 1

    def cut(self, limit: Decimal) -> Self | None:
        """Return the entry cut to `limit` USD in whole lots, None when that is below the venue's minimum."""
        if not sendable(limit, self.price, self.instrument):
            return None
        quantity = quantity_for(limit, self.price, self.instrument)
        worth = notional(quantity, self.price, self.instrument)
        sized = replace(self.sized, quantity=quantity, notional=worth, margin=worth / self.leverage)
        return replace(self, sized=sized, size_usd=worth)

    def lever(self, leverage: int) -> Self:
        """Return the entry at another leverage."""
        candidate = replace(self.sized.candidate, leverage=leverage)
        return replace(self, sized=replace(self.sized, candidate=candidate, margin=self.size_usd / leverage))
