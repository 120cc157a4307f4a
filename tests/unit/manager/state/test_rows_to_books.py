"""Rows of a book and of its positions give back the book that they were written from, to the last field."""

from dataclasses import fields, replace
from decimal import Decimal
from typing import Any

from manager.state.records import BookRow, PositionRow
from state_rows import AT, BTC, make_row
from traders.book import Book, Position

POSITION = Position(
    symbol=BTC,
    quantity=Decimal(-2),
    cost=Decimal(-190),
    leverage=7,
    opened_at=AT,
    contract_size=Decimal("0.1"),
    stop_loss=Decimal(110),
    take_profit=Decimal(60),
    realized=Decimal("-1.5"),
)
MONEY: dict[str, Any] = {
    "capital": Decimal(1000),
    "realized": Decimal(30),
    "fees": Decimal(4),
    "funding": Decimal("-0.5"),
}


def test_a_book_comes_back_from_its_rows() -> None:
    head = replace(make_row(BookRow), **MONEY)
    row = replace(make_row(PositionRow), **{one.name: getattr(POSITION, one.name) for one in fields(Position)})
    book = head.book([row])
    assert book == Book(trader_id=head.trader_id, positions={BTC: POSITION}, **MONEY)
    assert head.cash == book.cash == Decimal("1025.5")
