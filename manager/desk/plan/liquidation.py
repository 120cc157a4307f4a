"""When a book is closed because its own money is used up, and the price at which that is to be expected."""

from decimal import Decimal

from exchanges.types import Instrument, Side
from manager.desk.plan.external_overlap import automatic_limits, limited
from manager.desk.plan.outcomes import Reduce
from manager.desk.plan.values import ZERO, AccountView, TraderView
from traders.book import Position, liquidation_estimate

MAINTENANCE_RATE = Decimal("0.005")


def nearer(direction: int, entry: Decimal, own: Decimal, account: Decimal | None) -> Decimal:
    """Return the liquidation price that is met first; an account's estimate on the winning side counts for nothing."""
    if account is None or (account - entry) * direction >= ZERO:
        return own
    return max(own, account) if direction > 0 else min(own, account)


def liquidation_price(position: Position, instrument: Instrument, account_estimate: Decimal | None = None) -> Decimal:
    """Return where a held position is liquidated: the nearer of the account's estimate and the book's own."""
    own = liquidation_estimate(position.direction, position.entry_price, position.leverage, instrument.maintenance_rate)
    return nearer(position.direction, position.entry_price, own, account_estimate)


def books_to_liquidate(view: AccountView) -> tuple[Reduce, ...]:
    """Return reduces that close whole each book whose equity is below its maintenance margin (BOOK_LIQUIDATED).

    The book's negative equity stays in it (RULES.md 7); EXTERNAL is never touched, nor what it holds against the book.
    """
    holding = sorted(trader_id for trader_id, trader in view.traders.items() if trader.book.positions)
    whole = (
        Reduce(
            trader_id=trader_id,
            symbol=symbol,
            side=Side.SELL if position.quantity > 0 else Side.BUY,
            quantity=abs(position.quantity),
        )
        for trader_id in holding
        if _below_maintenance(view, view.traders[trader_id])
        for symbol, position in sorted(view.traders[trader_id].book.positions.items())
    )
    return limited(automatic_limits(view), whole)


def _below_maintenance(view: AccountView, trader: TraderView) -> bool:
    needed = ZERO
    for symbol, position in trader.book.positions.items():
        instrument = view.instruments.get(symbol)
        rate = instrument.maintenance_rate if instrument is not None else MAINTENANCE_RATE
        needed += abs(position.value(view.price_of(position))) * rate
    return view.equity_of(trader.book) < needed
