"""Dust: a position too small for the venue to be closed alone (docs/rules.md 7).

It has no legs and counts as no position, but keeps its worth and margin; it goes along with the next order of its
symbol, and is dust no more once it has grown.
"""

from decimal import Decimal
from typing import Final

from exchanges.precision import meets_minimum
from exchanges.types import Symbol
from manager.desk.plan.outcomes import LocalVerdict, Reduce
from manager.desk.plan.values import AccountView
from manager.state.records import PositionKey, PositionRow
from traders.book import Position

NO_DUST: Final[frozenset[PositionKey]] = frozenset()


def leaves_dust(view: AccountView, symbol: Symbol, quantity: Decimal) -> bool:
    """Tell whether a reduce is too small for the venue, so that what it would close stays as dust."""
    mark = view.marks.get(symbol)
    if view.capabilities.reduce_below_minimum or mark is None:
        return False
    return not meets_minimum(quantity, mark.price, view.instruments[symbol])


def still_dust(before: PositionRow | None, now: Position) -> bool:
    """Tell whether a position that was dust still is: it is until it has grown."""
    return before is not None and before.dust and abs(now.quantity) <= abs(before.quantity)


def sweep_dust(view: AccountView, local: LocalVerdict, dust: frozenset[PositionKey]) -> list[Reduce]:
    """Return closes of the dust whose symbol others trade in this round; its own trader's intents go before."""
    if not dust:
        return []
    traded = {reduce.symbol for reduce in local.reduces} | {entry.symbol for entry in local.entries}
    asked = {reduce.key for reduce in local.reduces} | {entry.key for entry in local.entries}
    swept = []
    for key in sorted(dust - asked):
        held = view.traders[key.trader_id].book.positions.get(key.symbol)
        if key.symbol in traded and held is not None:
            swept.append(Reduce.whole(key.trader_id, held))
    return swept
