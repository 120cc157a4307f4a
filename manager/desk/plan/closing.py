"""Which positions the desk closes of itself where the config asks for it; EXTERNAL is never among them."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from enum import StrEnum

from exchanges.types import ZERO
from manager.desk.plan.capital import is_withdrawn
from manager.desk.plan.isolation import rules_of
from manager.desk.plan.outcomes import Reduce
from manager.desk.plan.outstanding import without_outstanding
from manager.desk.plan.solvency import HUNDRED
from manager.desk.plan.values import AccountView, OnUnrealizedLoss, TraderView
from manager.state.records import PositionKey, TraderState
from traders.book import Position


class Cause(StrEnum):
    """Name why the desk closes a position that no trader asked it to close."""

    ISOLATED = "its trader is isolated and isolation.flatten is on"
    OVER_ALLOCATION = "its trader holds more than its allocation and rebalance_closes is on"
    UNREALIZED_LOSS = "the account's unrealized loss is above its limit and on_unrealized_loss is close_losers"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeskClose:
    """Hold one reduce of the desk's own and its cause."""

    reduce: Reduce
    cause: Cause


def isolated_holdings(view: AccountView) -> tuple[DeskClose, ...]:
    """Return the closes of all that isolated traders hold, where their rules say so."""
    return tuple(
        DeskClose(reduce=Reduce.whole(trader_id, position), cause=Cause.ISOLATED)
        for trader_id, trader in sorted(view.traders.items())
        if trader.state is TraderState.ISOLATED and rules_of(view, trader).flatten
        for _, position in sorted(trader.book.positions.items())
    )


def over_allocation(view: AccountView) -> tuple[DeskClose, ...]:
    """Return the reduces that bring each trader's margin back to its allocation, the worst unrealized first.

    Whose capital is withdrawn winds down by its own closes and stops: it is not pressed.
    """
    if not view.rules.rebalance_closes:
        return ()
    found: list[DeskClose] = []
    for trader_id, trader in sorted(view.traders.items()):
        excess = view.margin_of(trader.book) + trader.reserved_margin - trader.allocated
        for position in _worst_first(view, trader) if not is_withdrawn(view, trader) else ():
            if excess <= ZERO:
                break
            mark = view.price_of(position)
            margin, whole = position.margin(mark), Reduce.whole(trader_id, position)
            part = _lots_for(view, position, excess / margin * abs(position.quantity)) if margin > excess else None
            reduce = whole if part is None or part >= whole.quantity else _part(whole, part)
            found.append(DeskClose(reduce=reduce, cause=Cause.OVER_ALLOCATION))
            excess -= margin * reduce.quantity / whole.quantity
    return tuple(found)


def losers(view: AccountView, waiting: Mapping[PositionKey, Decimal]) -> tuple[DeskClose, ...]:
    """Return the closes of losing positions, the worst in USD first, while the account's loss is above its limit.

    What `waiting` reduces will take is no longer counted. One is to be closed in a pass.
    """
    limits = view.rules.limits
    if limits.on_unrealized_loss is not OnUnrealizedLoss.CLOSE_LOSERS:
        return ()
    left = without_outstanding(view, waiting)
    books = [*(trader.book for trader in left.traders.values()), left.external]
    unrealized = sum((view.equity_of(book) - book.cash for book in books), ZERO)
    if -unrealized <= max(ZERO, view.equity) * limits.max_unrealized_loss_pct / HUNDRED:
        return ()
    losing = [
        (loss, trader_id, symbol)
        for trader_id, trader in left.traders.items()
        for symbol, position in trader.book.positions.items()
        if symbol in view.marks and (loss := position.unrealized(view.marks[symbol].price)) < ZERO
    ]
    positions = ((trader_id, left.traders[trader_id].book.positions[symbol]) for _, trader_id, symbol in sorted(losing))
    return tuple(DeskClose(reduce=Reduce.whole(*one), cause=Cause.UNREALIZED_LOSS) for one in positions)


def _worst_first(view: AccountView, trader: TraderView) -> list[Position]:
    held = trader.book.positions.values()
    return sorted(held, key=lambda position: (position.unrealized(view.price_of(position)), position.symbol))


def _lots_for(view: AccountView, position: Position, quantity: Decimal) -> Decimal:
    lot = view.instrument(position.symbol).lot
    return (quantity / lot).to_integral_value(rounding=ROUND_CEILING) * lot


def _part(whole: Reduce, quantity: Decimal) -> Reduce:
    return Reduce(trader_id=whole.trader_id, symbol=whole.symbol, side=whole.side, quantity=quantity, closes=False)
