"""What the books of an account are worth at the marks.

A position without a mark is valued at its entry price: its PnL is not known and counts as nothing.
"""

from decimal import Decimal

from manager.desk.plan.values import ZERO, AccountView
from traders.book import Book, Position


def price_of(view: AccountView, position: Position) -> Decimal:
    """Return the mark of a position, its entry price where there is none."""
    mark = view.marks.get(position.symbol)
    return mark.price if mark is not None else position.entry_price


def unrealized_of(view: AccountView, position: Position) -> Decimal:
    """Return the PnL in USD that closing at the mark would realize."""
    mark = view.marks.get(position.symbol)
    return position.unrealized(mark.price) if mark is not None else ZERO


def is_marked(view: AccountView, book: Book) -> bool:
    """Tell whether every position of a book has a mark, so that its equity is known."""
    return all(symbol in view.marks for symbol in book.positions)


def book_equity(view: AccountView, book: Book) -> Decimal:
    """Return capital + realized - fees + funding + unrealized, in USD (RULES.md 1)."""
    return sum((unrealized_of(view, position) for position in book.positions.values()), book.cash)


def book_margin(view: AccountView, book: Book) -> Decimal:
    """Return the virtual margin of a book's positions in USD (RULES.md 7)."""
    return sum((position.margin(price_of(view, position)) for position in book.positions.values()), ZERO)
