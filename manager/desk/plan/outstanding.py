"""What live orders may still do to the books: reduces under way, legs that may stand, and when a close is done.

An order counts until its end is known: one without an outcome may have filled already, or may still.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal

from exchanges.precision import floor_to_lot
from exchanges.types import ZERO, Side
from executor.contract import Action, Decision
from manager.desk.plan.outcomes import Reduce
from manager.desk.plan.values import AccountView
from manager.state.records import OrderId, OrderPurpose, OrderRow, PositionKey
from traders.book import Book
from traders.spec import TraderId


class Outstanding:
    """Look at an account's orders beside its books; both mappings stay the caller's and are read as they are then."""

    def __init__(self, orders: Mapping[OrderId, OrderRow], books: Mapping[TraderId, Book]) -> None:
        self._orders = orders
        self._books = books

    def reduces(self, *, harmless: bool = True) -> dict[PositionKey, Decimal]:
        """Return the quantity of each position that an earlier reduce may still take: it must not be sent again.

        Without `harmless`, reduce-only orders of books alone on their symbol are left out: a reduce-only stop beside
        them is safe whether they fill or not.
        """
        waiting: dict[PositionKey, Decimal] = {}
        for order in self._orders.values():
            if not order.state.live or not order.closes:
                continue
            left = order.quantity - order.filled
            for share in order.shares:
                key = PositionKey(share.trader_id, order.symbol)
                if harmless or not order.reduce_only or self.is_shared(key):
                    waiting[key] = waiting.get(key, ZERO) + min(share.quantity, left)
        return waiting

    def entries(self) -> set[PositionKey]:
        """Return the positions that an entry may still make or widen."""
        orders = [order for order in self._orders.values() if order.state.live and order.purpose is OrderPurpose.ENTRY]
        return {PositionKey(share.trader_id, order.symbol) for order in orders for share in order.shares}

    def unresolved(self) -> list[OrderRow]:
        """Return the orders of which it is not known whether the venue has them."""
        return [order for order in self._orders.values() if order.state.unresolved]

    def unresolved_reduces(self) -> set[PositionKey]:
        """Return the positions for which it is not known whether the venue has an order that closes them."""
        orders = [order for order in self.unresolved() if order.closes]
        return {PositionKey(share.trader_id, order.symbol) for order in orders for share in order.shares}

    def legs(self) -> list[OrderRow]:
        """Return the stops and take-profits that stand or may stand."""
        return [order for order in self._orders.values() if order.state.live and order.purpose.protects]

    def is_shared(self, key: PositionKey) -> bool:
        """Tell whether any book but this trader's, EXTERNAL included, holds the symbol."""
        return any(key.symbol in book.positions for owner, book in self._books.items() if owner != key.trader_id)

    def must_clear(self, key: PositionKey) -> bool:
        """Tell whether a position's stops must surely be gone before it is closed in another way.

        Left behind, they would trade what another book holds, or, where one of them is a plain order, open a position.
        """
        plain = (leg.guards == key and leg.purpose is OrderPurpose.STOP and not leg.reduce_only for leg in self.legs())
        return self.is_shared(key) or any(plain)


def without_outstanding(view: AccountView, waiting: Mapping[PositionKey, Decimal]) -> AccountView:
    """Return the account with books as if every waiting reduce had filled, for what must not reduce twice."""
    if not waiting:
        return view
    traders = dict(view.traders)
    for (trader_id, symbol), quantity in waiting.items():
        trader = traders.get(trader_id)
        held = trader.book.positions.get(symbol) if trader is not None else None
        if trader is None or held is None:
            continue
        positions = dict(trader.book.positions)
        left = abs(held.quantity) - quantity
        if left <= 0:
            del positions[symbol]
        else:
            cost = held.cost * left / abs(held.quantity)
            positions[symbol] = replace(held, quantity=held.direction * left, cost=cost)
        traders[trader_id] = replace(trader, book=replace(trader.book, positions=positions))
    return replace(view, traders=traders)


def beside_outstanding(
    view: AccountView, reduces: Sequence[Reduce], waiting: Mapping[PositionKey, Decimal]
) -> tuple[Reduce, ...]:
    """Return reduces cut to what is left beside waiting ones, so that both are safe whether these fill or not."""
    if not waiting:
        return tuple(reduces)
    kept: list[Reduce] = []
    for reduce in reduces:
        taken = waiting.get(reduce.key)
        if taken is None:
            kept.append(reduce)
            continue
        held = abs(view.traders[reduce.trader_id].book.quantity(reduce.symbol))
        left = floor_to_lot(min(reduce.quantity, held - taken), view.instruments[reduce.symbol].lot)
        if left > 0:
            kept.append(replace(reduce, quantity=left))
    return tuple(kept)


def close_is_done(
    decision: Decision, side: Side, position: Decimal, *, taken: Decimal, lot: Decimal, unsettled: bool
) -> bool:
    """Tell whether a close or target position, whose reduce is on `side`, has done its work on the signed `position`.

    A whole close is done when the book is flat, a partial one when anything was `taken`, a target position when no more
    than a part of a `lot` is held beyond it, unless it is `unsettled`: its entry is still to come, or an earlier reduce
    that it left room for may turn out never to have arrived. A reduce cut to what EXTERNAL leaves has not done it.
    """
    if decision.action is not Action.TARGET:
        return taken > ZERO if decision.fraction < 1 else not position
    beyond = max(ZERO, -side.sign * position) - max(ZERO, -side.sign * (decision.target_quantity or ZERO))
    return beyond < lot and not unsettled
