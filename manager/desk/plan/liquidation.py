"""When a book is closed because its own money is used up, and the price at which that is to be expected."""

from decimal import Decimal

from exchanges.types import ZERO
from manager.desk.plan.external_overlap import automatic_limits, limited
from manager.desk.plan.outcomes import Reduce
from manager.desk.plan.values import AccountView, TraderView
from traders.book import Position, liquidation_estimate

MAINTENANCE_RATE = Decimal("0.005")


def liquidation_price(
    direction: int, entry_price: Decimal, leverage: int, maintenance_rate: Decimal, account: Decimal | None = None
) -> Decimal:
    """Return the price at which a position is liquidated: what is met first, the book's own or the account's estimate.

    An estimate of the account on the winning side of the entry counts for nothing.
    """
    own = liquidation_estimate(direction, entry_price, leverage, maintenance_rate)
    if account is None or (account - entry_price) * direction >= ZERO:
        return own
    return max(own, account) if direction > 0 else min(own, account)


def books_to_liquidate(view: AccountView) -> tuple[Reduce, ...]:
    """Return reduces that close each book whose equity is below its maintenance margin (BOOK_LIQUIDATED).

    A book's negative equity stays in it (docs/rules.md 7); EXTERNAL is never touched, nor what it holds against a book.
    """
    holding = sorted(trader_id for trader_id, trader in view.traders.items() if trader.book.positions)
    whole = (
        Reduce.whole(trader_id, position)
        for trader_id in holding
        if _below_maintenance(view, view.traders[trader_id])
        for _, position in sorted(view.traders[trader_id].book.positions.items())
    )
    return limited(automatic_limits(view), whole)


def maintenance(view: AccountView, position: Position, price: Decimal) -> Decimal:
    """Return the maintenance margin of a position at `price`, in USD."""
    instrument = view.instruments.get(position.symbol)
    rate = instrument.maintenance_rate if instrument is not None else MAINTENANCE_RATE
    return abs(position.value(price)) * rate


def _below_maintenance(view: AccountView, trader: TraderView) -> bool:
    held = trader.book.positions.values()
    needed = sum((maintenance(view, position, view.price_of(position)) for position in held), ZERO)
    return view.equity_of(trader.book) < needed
