"""One trader's book as it will stand after what the round has accepted so far, and one entry held against it."""

from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Self

from exchanges.precision import (
    floor_to_lot,
    meets_minimum,
    notional,
    quantity_for,
    resting_stop,
    resting_take_profit,
)
from exchanges.types import ZERO, Instrument, Side, Symbol
from executor.contract import Action
from manager.desk.plan.outcomes import Reduce
from manager.desk.plan.values import AccountView, Mark, TraderView
from manager.state.records import IntentRow
from traders.book import Position
from traders.spec import TraderId


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """Hold what this round adds to one position: side and notional; `margin` is the most that all of it may need."""

    direction: int
    notional: Decimal
    margin: Decimal


class Standing:
    """Follow one trader through its batches; the round assumes that its reduces fill (docs/rules.md 2).

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

    def holds(self, intent: IntentRow) -> bool:
        """Tell whether the book holds the side that a close names."""
        wanted = 1 if intent.decision.action is Action.CLOSE_LONG else -1
        return self.held(Symbol(intent.decision.symbol)) * wanted > ZERO

    def close(self, intent: IntentRow) -> Reduce | None:
        """Return the reduce of a close, None when its fraction is below one lot; a fraction of 1 closes all."""
        symbol, fraction = Symbol(intent.decision.symbol), intent.decision.fraction
        held = abs(self.held(symbol))
        return self._reduce(intent, held if fraction >= 1 else self._floor(symbol, held * fraction))

    def reduce_to_target_position(self, intent: IntentRow) -> Reduce | None:
        """Return what a target position takes off the book, None when it wants no less; through zero it closes all."""
        wanted, symbol = intent.decision.target_quantity, Symbol(intent.decision.symbol)
        held = self.held(symbol)
        if wanted is None or not held:
            return None
        if wanted * held <= ZERO:
            return self._reduce(intent, abs(held))
        return self._reduce(intent, self._floor(symbol, max(ZERO, abs(held) - abs(wanted))))

    def add(self, case: "OpenCase") -> None:
        """Count an accepted entry; its leverage becomes that of the whole position (docs/rules.md 7).

        A higher leverage frees no margin in this round, because the entry may not fill.
        """
        symbol = case.symbol
        needed = (self.notional(symbol) + case.notional) / case.leverage
        self._planned[symbol] = Planned(
            direction=case.direction,
            notional=self.planned_usd(symbol) + case.notional,
            margin=max(needed, self.margin(symbol)),
        )
        self.entries += 1

    def planned_usd(self, symbol: Symbol) -> Decimal:
        """Return the notional in USD of this round's accepted entries on the symbol."""
        planned = self._planned.get(symbol)
        return planned.notional if planned is not None else ZERO

    @property
    def equity(self) -> Decimal:
        """Return the trader's equity in USD; closing at the mark does not change it."""
        if self._equity is None:
            self._equity = self.view.equity_of(self.trader.book)
        return self._equity

    def notional(self, symbol: Symbol) -> Decimal:
        """Return the unsigned value in USD of what is held and being opened."""
        return self.planned_usd(symbol) + self._held_usd(symbol)

    def cost(self, symbol: Symbol) -> Decimal:
        """Return the unsigned entry notional in USD of what is held and being opened."""
        position = self.position(symbol)
        if position is None:
            return self.planned_usd(symbol)
        return self.planned_usd(symbol) + position.cost * self.held(symbol) / abs(position.quantity)

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

    def counted(self) -> set[Symbol]:
        """Return the symbols that count as positions, being opened and reserved ones included, dust not."""
        reserved = {r.symbol for r in self.view.reservations if r.trader_id == self.trader.spec.id}
        return (self._symbols() - self._dust) | set(self._planned) | reserved

    def _floor(self, symbol: Symbol, quantity: Decimal) -> Decimal:
        instrument = self.view.instruments.get(symbol)
        return floor_to_lot(quantity, instrument.lot) if instrument is not None else quantity

    def _reduce(self, intent: IntentRow, quantity: Decimal) -> Reduce | None:
        symbol = Symbol(intent.decision.symbol)
        side = Side.SELL if self.held(symbol) > ZERO else Side.BUY
        taken = self.take(symbol, quantity)
        if not taken:
            return None
        return Reduce(
            trader_id=intent.trader_id,
            symbol=symbol,
            side=side,
            quantity=taken,
            intent_id=intent.intent_id,
            closes=not self.held(symbol),
        )

    def _symbols(self) -> set[Symbol]:
        held = {symbol for symbol in self.trader.book.positions if self.held(symbol)}
        return held | set(self._planned)

    def _held_usd(self, symbol: Symbol) -> Decimal:
        position = self.position(symbol)
        if position is None:
            return ZERO
        return abs(self.held(symbol)) * self.view.price_of(position) * position.contract_size


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenCase:
    """Hold one entry, or one change of a stop, as the local rules see it.

    `stop_loss` and `take_profit` are those the position would have, at the tick where they would rest; `price` is the
    mark, 0 without one.
    """

    standing: Standing
    intent: IntentRow
    symbol: Symbol
    direction: int
    mark: Mark | None
    price: Decimal
    instrument: Instrument
    leverage: int
    size_usd: Decimal = ZERO
    stop_loss: Decimal | None = None
    take_profit: Decimal | None = None

    @classmethod
    def of_open(cls, standing: Standing, intent: IntentRow) -> Self:
        """Return the case of an open."""
        direction = 1 if intent.decision.action is Action.OPEN_LONG else -1
        return cls._of_entry(standing, intent, direction, intent.decision.position_size_usd or ZERO)

    @classmethod
    def of_target_position(cls, standing: Standing, intent: IntentRow) -> Self | None:
        """Return the case of what a target position still lacks, None when it lacks no lot."""
        wanted, symbol = intent.decision.target_quantity, Symbol(intent.decision.symbol)
        if not wanted:
            return None
        view, held = standing.view, standing.held(symbol)
        instrument, mark = view.instrument(symbol), view.marks.get(symbol)
        opening = standing.planned_usd(symbol) / (mark.price * instrument.contract_size) if mark is not None else ZERO
        more = floor_to_lot(abs(wanted) - abs(held) - opening, instrument.lot)
        if held * wanted < ZERO or more <= ZERO:
            return None
        size = notional(more, mark.price, instrument) if mark is not None else ZERO
        return cls._of_entry(standing, intent, 1 if wanted > ZERO else -1, size)

    @classmethod
    def of_adjustment(cls, standing: Standing, intent: IntentRow, position: Position) -> Self:
        """Return the case of a moved stop or take-profit."""
        mark = standing.view.marks.get(position.symbol)
        case = cls(
            standing=standing,
            intent=intent,
            symbol=position.symbol,
            direction=position.direction,
            mark=mark,
            price=mark.price if mark is not None else ZERO,
            instrument=standing.view.instrument(position.symbol),
            leverage=position.leverage,
        )
        return case.guarded(intent.decision.stop_loss, intent.decision.take_profit)

    @classmethod
    def _of_entry(cls, standing: Standing, intent: IntentRow, direction: int, size_usd: Decimal) -> Self:
        decision, symbol = intent.decision, Symbol(intent.decision.symbol)
        mark = standing.view.marks.get(symbol)
        price = mark.price if mark is not None else ZERO
        position = standing.position(symbol)
        same = position if position is not None and position.direction == direction else None
        stop_loss, take_profit = decision.stop_loss, decision.take_profit
        if same is not None:
            stop_loss = same.stop_loss if stop_loss is None else stop_loss
            take_profit = same.take_profit if take_profit is None else take_profit
        case = cls(
            standing=standing,
            intent=intent,
            symbol=symbol,
            direction=direction,
            mark=mark,
            price=price,
            instrument=standing.view.instrument(symbol),
            leverage=max(1, decision.leverage or (same.leverage if same is not None else 1)),
            size_usd=size_usd,
        )
        return case.guarded(stop_loss, take_profit)

    @property
    def view(self) -> AccountView:
        """Return the frozen account."""
        return self.standing.view

    @property
    def trader(self) -> TraderView:
        """Return the trader whose intent this is."""
        return self.standing.trader

    @property
    def trader_id(self) -> TraderId:
        """Return the id of the trader."""
        return self.intent.trader_id

    @property
    def adds(self) -> bool:
        """Tell whether this is an entry that adds to what is held or being opened on its side."""
        return self.size_usd > ZERO and self.standing.direction(self.symbol) == self.direction

    @property
    def notional(self) -> Decimal:
        """Return the worth in USD of the whole lots that the size buys, at the mark."""
        return notional(quantity_for(self.size_usd, self.price, self.instrument), self.price, self.instrument)

    @property
    def entry_price(self) -> Decimal:
        """Return the average entry price of the position that will result, the mark for a new one."""
        position = self.standing.position(self.symbol)
        if not self.size_usd and position is not None:
            return position.entry_price
        worth, added = self.standing.notional(self.symbol), self.notional if self.size_usd else ZERO
        return self.price * (self.standing.cost(self.symbol) + added) / (worth + added) if worth else self.price

    def guarded(self, stop_loss: Decimal | None, take_profit: Decimal | None) -> Self:
        """Return the case with a stop and a take-profit where they would rest."""
        direction, tick = self.direction, self.instrument.tick
        return replace(
            self,
            stop_loss=None if stop_loss is None else resting_stop(stop_loss, direction, tick),
            take_profit=None if take_profit is None else resting_take_profit(take_profit, direction, tick),
        )

    def cut(self, limit: Decimal) -> Self | None:
        """Return the case cut to `limit` USD, None when what can be sent is below the venue's minimum."""
        size = min(self.size_usd, limit)
        return replace(self, size_usd=size) if sendable(size, self.price, self.instrument) else None

    def lever(self, leverage: int) -> Self:
        """Return the case at another leverage."""
        return replace(self, leverage=leverage)


def sendable(size_usd: Decimal, price: Decimal, instrument: Instrument) -> bool:
    """Tell whether a size, floored to the lot, is an entry that the venue accepts."""
    quantity = quantity_for(size_usd, price, instrument)
    return quantity > ZERO and meets_minimum(quantity, price, instrument)
