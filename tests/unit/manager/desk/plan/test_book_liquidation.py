"""A book is closed whole when its equity is below its maintenance margin, and not before."""

from decimal import Decimal

import pytest

from desk_factory import BTC, ETH, make_book, make_position, make_trader, make_view
from exchanges.types import Side
from manager.desk.plan.liquidation import books_to_liquidate, liquidation_price
from manager.desk.plan.values import AccountView
from traders.book import EXTERNAL

D = Decimal


def view_of(capital: str) -> AccountView:
    """Build a book of 10 BTC bought at 110 (mark 100: -100 USD, maintenance 5 USD) and -4 ETH at its mark (1 USD)."""
    held = (make_position(BTC, 10, price=110), make_position(ETH, -4))
    return make_view(make_trader("a", *held, capital=capital), make_trader("b"))


def test_a_book_below_its_maintenance_margin_is_closed_whole() -> None:
    closed = books_to_liquidate(view_of("105.99"))
    assert [(r.symbol, r.side, r.quantity, r.closes) for r in closed] == [
        (BTC, Side.SELL, D(10), True),
        (ETH, Side.BUY, D(4), True),
    ]


def test_a_book_at_its_maintenance_margin_stands() -> None:
    assert books_to_liquidate(view_of("106")) == ()


def test_external_is_never_liquidated() -> None:
    ruined = make_book(EXTERNAL, make_position(BTC, 10, price=500), capital=0)
    assert books_to_liquidate(make_view(external=ruined)) == ()


@pytest.mark.parametrize(
    ("quantity", "estimate", "expected"),
    [
        (1, None, "80.5"), (-1, None, "119.5"), (1, "85", "85"), (1, "70", "80.5"), (1, "120", "80.5"),
        (-1, "110", "110"), (-1, "130", "119.5"), (-1, "90", "119.5"),
    ],
)  # fmt: skip
def test_the_nearer_liquidation_price_counts(quantity: int, estimate: str | None, expected: str) -> None:
    account = D(estimate) if estimate else None
    assert liquidation_price(quantity, D(100), 5, D("0.005"), account) == D(expected)


def test_a_position_closed_at_its_liquidation_price_leaves_the_maintenance_margin() -> None:
    held = make_position(BTC, 3, leverage=8)
    price = liquidation_price(held.direction, held.entry_price, held.leverage, D("0.005"))
    margin = held.cost / held.leverage
    assert margin + held.unrealized(price) == held.cost * D("0.005")


def test_a_position_counts_at_the_mark() -> None:
    trader = make_trader("a", make_position(BTC, 10, price=110))
    view = make_view(trader)
    assert view.equity_of(trader.book) == D(900)
    assert view.margin_of(trader.book) == D(200)


def test_without_a_mark_a_position_counts_at_its_entry_price() -> None:
    trader = make_trader("a", make_position(BTC, 10, price=110))
    view = make_view(trader, marks={})
    assert view.equity_of(trader.book) == D(1000)
    assert view.margin_of(trader.book) == D(220)
