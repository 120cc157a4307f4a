"""What a process has built of an account's rows, kept from one job to the next: most traders have not changed."""

from collections.abc import Callable, Mapping
from decimal import Decimal
from operator import is_not
from typing import Any, TypeVar

from manager.desk.plan.values import TraderView
from manager.state import records
from manager.state.store import AccountRows
from traders.book import EXTERNAL, Book
from traders.spec import TraderId

T = TypeVar("T")


class Remembered:
    """Hold values with the objects that they were built of; those are frozen, so identity tells what still holds."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[tuple[object, ...], Any]] = {}
        self._blank: dict[TraderId, records.BookRow] = {}
        self.views: dict[TraderId, tuple[tuple[object, ...], tuple[Decimal, int], TraderView]] = {}

    def keep(self, name: str, of: tuple[object, ...], build: Callable[[], T]) -> T:
        """Return what `build` returned when it was called last for the same objects, or what it returns now."""
        kept = self._kept.get(name)
        if kept is None or any(map(is_not, kept[0], of)):
            kept = self._kept[name] = (of, build())
        value: T = kept[1]
        return value

    def books(self, rows: AccountRows) -> dict[TraderId, Book]:
        """Return the books of all owners, an empty one of who has no row."""
        return {**self.keep("books", (rows.traders, rows.books, rows.positions), lambda: self._build(rows))}

    def blank(self, account: records.AccountRow, owner: TraderId) -> records.BookRow:
        """Return the row of a book that has none yet."""
        found = self._blank.get(owner)
        if found is None:
            found = self._blank[owner] = records.BookRow(
                tenant_id=account.tenant_id, account_id=account.account_id, trader_id=owner
            )
        return found

    def _build(self, rows: AccountRows) -> Mapping[TraderId, Book]:
        books = _books(rows)
        for kept in (self.views, self._blank):
            for gone in kept.keys() - books.keys():
                del kept[gone]
        return books


def _books(rows: AccountRows) -> Mapping[TraderId, Book]:
    held: dict[TraderId, list[records.PositionRow]] = {}
    for row in rows.positions:
        held.setdefault(row.trader_id, []).append(row)
    books = {head.trader_id: head.book(held.pop(head.trader_id, ())) for head in rows.books}
    for owner in (*held, *(row.trader_id for row in rows.traders), EXTERNAL, records.UNALLOCATED, records.ROUNDING):
        if owner not in books:
            positions = {row.symbol: row.position for row in held.get(owner, ())}
            books[owner] = Book(trader_id=owner, positions=positions)
    return books
