"""Which books are used up, what the account lacks for them, and what may leave a book unharmed (docs/rules.md 6)."""

from decimal import Decimal

from exchanges.types import ZERO
from manager.desk.plan.liquidation import maintenance
from manager.desk.plan.values import AccountView, TraderView
from traders.book import Book, Position
from traders.spec import TraderId

HUNDRED = Decimal(100)


def is_bankrupt(view: AccountView, trader: TraderView) -> bool:
    """Tell whether a book is marked as bankrupt, or its own results have taken its equity to 0 or below.

    Equity 0 before any capital came, or after all of it was withdrawn, is no bankruptcy.
    """
    if trader.bankrupt:
        return True
    equity = view.equity_of(trader.book)
    return equity < ZERO or (equity == ZERO and trader.has_capital and trader.allocated > ZERO)


def newly_bankrupt(view: AccountView) -> tuple[TraderId, ...]:
    """Return the traders to be marked as bankrupt; one waits while its equity is not known."""
    found = (
        trader_id
        for trader_id, trader in view.traders.items()
        if not trader.bankrupt and view.is_marked(trader.book) and is_bankrupt(view, trader)
    )
    return tuple(sorted(found))


def deficit(view: AccountView) -> Decimal:
    """Return what books below zero lack together, in USD; those of traders that were let go count."""
    equities = (view.equity_of(trader.book) for trader in view.traders.values())
    return sum((-equity for equity in equities if equity < ZERO), view.departed_deficit)


def reserve(view: AccountView) -> Decimal:
    """Return the part of the account's equity that is not dealt."""
    return max(view.equity, ZERO) * view.rules.reserve_equity_pct / HUNDRED


def free_money(view: AccountView, unallocated: Decimal) -> Decimal:
    """Return what may be dealt, below zero when money is lacking: unallocated - deficit - reserve.

    What EXTERNAL has lost is lacking too, but it is no trader's deficit.
    """
    return unallocated - deficit(view) - max(ZERO, -view.equity_of(view.external)) - reserve(view)


def withdrawable(view: AccountView, trader: TraderView) -> Decimal:
    """Return what may leave a book: no unrealized gain, no margin, and nothing that a stop may cost.

    At most min(equity, cash) - max(margin at the mark, margin at entry) - reserved, and so much less that with every
    position at its stop the book still covers its maintenance margin.
    """
    book = trader.book
    at_entry = sum((abs(position.cost) / position.leverage for position in book.positions.values()), ZERO)
    spare = min(view.equity_of(book), book.cash) - max(view.margin_of(book), at_entry)
    return max(min(spare, book.cash - _needed_at_stops(view, book)) - trader.reserved_margin, ZERO)


def _needed_at_stops(view: AccountView, book: Book) -> Decimal:
    return sum((_needed(view, position) for position in book.positions.values()), ZERO)


def _needed(view: AccountView, position: Position) -> Decimal:
    """Return the cash that a position needs to live until its stop; one without a stop needs its margin and its loss.

    A stop that the mark has passed already is about to fire there.
    """
    mark, stop = view.price_of(position), position.stop_loss
    if stop is None:
        margin = max(position.margin(mark), abs(position.cost) / position.leverage)
        return margin + max(ZERO, -position.unrealized(mark))
    price = min(stop, mark) if position.direction > 0 else max(stop, mark)
    return maintenance(view, position, price) - position.unrealized(price)
