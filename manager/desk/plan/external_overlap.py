"""What EXTERNAL leaves of the books: while it opposes them, nothing automatic trades the overlap (docs/rules.md 7).

Of a symbol the overlap is the smaller of |EXTERNAL| and the opposed books' total. The venue nets it away, so an order
for it would open a position that no book has. What is left over, the room, is dealt to the opposed books pro rata.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from exchanges.precision import floor_to_lot, meets_minimum
from exchanges.types import ZERO, Symbol
from manager.desk.plan.outcomes import Reduce
from manager.desk.plan.values import AccountView
from manager.state.records import PositionKey
from traders.spec import TraderId


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    """Hold one symbol that EXTERNAL opposes; quantities are unsigned, `books` are the opposed traders' positions."""

    symbol: Symbol
    external: Decimal
    books: Mapping[TraderId, Decimal]

    @property
    def total(self) -> Decimal:
        """Return what the opposed books hold together."""
        return sum(self.books.values(), ZERO)

    @property
    def quantity(self) -> Decimal:
        """Return what both sides hold against each other."""
        return min(self.external, self.total)

    @property
    def room(self) -> Decimal:
        """Return what orders may still take off the opposed books together."""
        return self.total - self.quantity


def overlaps(view: AccountView) -> tuple[Overlap, ...]:
    """Return the symbols on which EXTERNAL stands against books, with these books."""
    found = []
    for symbol, held in sorted(view.external.positions.items()):
        books = {
            trader_id: abs(quantity)
            for trader_id, trader in sorted(view.traders.items())
            if (quantity := trader.book.quantity(symbol)) * held.quantity < ZERO
        }
        if books:
            found.append(Overlap(symbol=symbol, external=abs(held.quantity), books=books))
    return tuple(found)


def automatic_limits(view: AccountView) -> dict[PositionKey, Decimal]:
    """Return what stops, take-profits and forced closes may take off each opposed position, floored to the lot.

    The limits of a symbol never add up to more than its room; what the venue would find too small is none.
    """
    limits: dict[PositionKey, Decimal] = {}
    for overlap in overlaps(view):
        total, room = overlap.total, overlap.room
        for trader_id, quantity in overlap.books.items():
            key = PositionKey(trader_id, overlap.symbol)
            limits[key] = _sendable(view, overlap.symbol, quantity * room / total)
    return limits


def within_room(
    view: AccountView, reduces: Sequence[Reduce], waiting: Mapping[PositionKey, Decimal]
) -> tuple[Reduce, ...]:
    """Return traders' own closes cut to the room that `waiting` reduces leave, pro rata; what has none waits.

    A close for more would open a position at the venue in the trader's name, which no stop guards.
    """
    cut: dict[int, Decimal] = {}
    for overlap in overlaps(view):
        mine = [i for i, r in enumerate(reduces) if r.symbol == overlap.symbol and r.trader_id in overlap.books]
        asked = sum((reduces[i].quantity for i in mine), ZERO)
        under_way = sum(
            (waiting.get(PositionKey(trader_id, overlap.symbol), ZERO) for trader_id in overlap.books), ZERO
        )
        room = max(ZERO, overlap.room - under_way)
        if asked > room:
            cut |= {i: _sendable(view, overlap.symbol, reduces[i].quantity * room / asked) for i in mine}
    if not cut:
        return tuple(reduces)
    kept = (replace(reduce, quantity=cut[i]) if i in cut else reduce for i, reduce in enumerate(reduces))
    return tuple(reduce for reduce in kept if reduce.quantity)


def limited(limits: Mapping[PositionKey, Decimal], reduces: Iterable[Reduce]) -> tuple[Reduce, ...]:
    """Return forced closes cut to their limits, those with none left out."""
    cut = (
        replace(reduce, quantity=min(reduce.quantity, limits.get(reduce.key, reduce.quantity))) for reduce in reduces
    )
    return tuple(reduce for reduce in cut if reduce.quantity > ZERO)


def _sendable(view: AccountView, symbol: Symbol, quantity: Decimal) -> Decimal:
    instrument, mark = view.instruments.get(symbol), view.marks.get(symbol)
    if instrument is None:
        return quantity
    whole = floor_to_lot(quantity, instrument.lot)
    if mark is not None and not meets_minimum(whole, mark.price, instrument):
        return ZERO
    return whole
