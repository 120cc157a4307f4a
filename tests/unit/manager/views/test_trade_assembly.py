"""Trades are made of what the books were booked with: whatever happens, together they have made what the books have."""

import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchanges.types import FillKind, Symbol
from manager.desk.account_state import AccountState
from manager.desk.plan.booking import Execution, Part
from manager.desk.plan.late import CORRECTION
from manager.state.kinds import OrderPurpose
from manager.state.records import DecisionId, DecisionRow, FillPartRow, FillRow, IntentId, LedgerRow, OrderId, OrderRow
from manager.state.store import AccountRows
from manager.views.trade_assembly import Direction, HowClosed, Trade, TradeFacts, assemble
from state_rows import AT, BTC, make_account, make_row, make_trader
from traders.book import EXTERNAL
from traders.spec import TraderId

ETH = Symbol("ETH/USDT:USDT")
SECOND = timedelta(seconds=1)
ZERO, LOT = Decimal(0), Decimal("0.01")
A, B = TraderId("a"), TraderId("b")


class Desk:
    """Book executions and funding as a round does, and keep the rows that it writes."""

    def __init__(self) -> None:
        rows = [row for name in (A, B) for row in make_trader(name)]
        self.state = AccountState(
            AccountRows(
                account=make_account(),
                traders=rows[0::3],
                schedules=rows[1::3],
                books=rows[2::3],
                positions=[],
                intents=[],
                orders=[],
                incidents=[],
            ),
            {},
        )
        self.now = AT
        self._ids = count()

    def fill(self, trader_id: TraderId, quantity: Decimal, price: Decimal, symbol: Symbol = BTC, **of_part: Any) -> str:
        """Book one fill of one trader, a second after the last."""
        self.now += SECOND
        trade_id = f"t{next(self._ids)}"
        part = Part(trader_id=trader_id, quantity=quantity, **{"fee": abs(quantity) / 8, **of_part})
        self.state.book(Execution(trade_id=trade_id, symbol=symbol, price=price, at=self.now, parts=(part,)))
        return trade_id

    def fund(self, trader_id: TraderId, amount: Decimal, symbol: Symbol = BTC) -> None:
        """Post a payment, a second after the last."""
        self.now += SECOND
        self.state.fund(trader_id, symbol, amount, f"f{next(self._ids)}", self.now)

    def facts(self) -> TradeFacts:
        """Return what was written."""
        rows = self.state.pending.inserts
        parts = [row for row in rows if isinstance(row, FillPartRow)]
        return TradeFacts(parts=parts, postings=[row for row in rows if isinstance(row, LedgerRow)])

    def trades(self, **more: Any) -> list[Trade]:
        """Return the trades in the order of their openings."""
        facts = replace(self.facts(), **more)
        return sorted(assemble(facts).values(), key=lambda one: (one.opened_at, one.trader_id))


@st.composite
def histories(draw: st.DrawFn) -> Desk:
    """Return a desk after random fills, flips, partial closes and payments of two traders on two symbols."""
    desk = Desk()
    step = st.tuples(
        st.sampled_from((A, B, EXTERNAL)),
        st.sampled_from((BTC, ETH)),
        st.sampled_from(("add", "part", "close", "flip", "fund")),
        st.integers(-50, 50).filter(bool),
        st.integers(1, 900),
    )
    for trader_id, symbol, kind, size, price in draw(st.lists(step, max_size=30)):
        held = desk.state.held(symbol).get(trader_id, ZERO)
        quantity, at = Decimal(size) / 10, Decimal(price) / 4
        if kind == "fund":
            if held:
                desk.fund(trader_id, quantity, symbol)
        elif not held or kind == "add":
            desk.fill(trader_id, quantity if not held else abs(quantity).copy_sign(held), at, symbol)
        elif kind == "part":
            desk.fill(trader_id, -(held / 3).quantize(LOT), at, symbol)
        else:
            desk.fill(trader_id, -held, at, symbol)
            if kind == "flip":
                desk.now -= SECOND
                desk.fill(trader_id, -held, at, symbol)
    return desk


@given(histories(), st.randoms(use_true_random=False))
def test_trades_add_up_to_their_books_and_each_close_is_one(desk: Desk, shuffled: random.Random) -> None:
    trades, books = desk.trades(), desk.state.books
    for trader_id in (A, B):
        mine = [trade for trade in trades if trade.trader_id == trader_id]
        book = books[trader_id]
        assert sum((one.net_pnl for one in mine), ZERO) == book.realized - book.fees + book.funding
        assert sum((one.funding for one in mine), ZERO) == book.funding
        closed = [one for one in mine if one.closed_at is not None]
        curve = desk.state.heads[trader_id].performance
        assert (len(closed), sum(one.is_won for one in closed)) == (curve.trades, curve.wins)
        held = {one.symbol: one.left if one.side is Direction.LONG else -one.left for one in mine if one.left}
        assert held == {symbol: position.quantity for symbol, position in book.positions.items()}
    assert {trade.trader_id for trade in trades} <= {A, B}
    facts = desk.facts()
    parts, postings = list(facts.parts), list(facts.postings)
    shuffled.shuffle(parts)
    shuffled.shuffle(postings)
    assert assemble(TradeFacts(parts=parts, postings=postings)) == assemble(facts)


def test_a_trade_has_average_prices_and_what_it_cost() -> None:
    desk = Desk()
    desk.fill(A, Decimal(-1), Decimal(100), fee=Decimal("0.1"), order_id=OrderId("o1"))
    desk.fill(A, Decimal(-3), Decimal(104), fee=Decimal("0.3"), order_id=OrderId("o2"))
    desk.fund(A, Decimal("0.25"))
    desk.fill(A, Decimal(1), Decimal(90), fee=Decimal("0.1"), order_id=OrderId("o3"))
    desk.fill(A, Decimal(3), Decimal(98), fee=Decimal("0.3"), order_id=OrderId("o3"), purpose=OrderPurpose.STOP)
    [trade] = desk.trades()
    assert (trade.side, trade.quantity, trade.left) == (Direction.SHORT, Decimal(4), ZERO)
    assert (trade.entry_price, trade.exit_price) == (Decimal(103), Decimal(96))
    assert (trade.pnl, trade.fees, trade.funding, trade.net_pnl) == (
        Decimal(28),
        Decimal("0.8"),
        Decimal("0.25"),
        Decimal("27.45"),
    )
    assert (trade.opened_at, trade.closed_at, trade.hold_s) == (AT + SECOND, AT + 5 * SECOND, 4.0)
    assert (trade.orders, trade.closed_by, trade.order_id) == (3, HowClosed.STOP, "o3")


def test_a_payment_at_the_instant_of_a_flip_belongs_to_what_was_held_before() -> None:
    desk = Desk()
    desk.fill(A, Decimal(1), Decimal(100))
    desk.fund(A, Decimal(-1))
    desk.now -= SECOND
    desk.fill(A, Decimal(-1), Decimal(100))
    desk.now -= SECOND
    desk.fill(A, Decimal(-1), Decimal(100))
    assert [trade.funding for trade in desk.trades()] == [-1, 0]


def test_a_fee_corrected_after_the_close_stays_with_its_fill() -> None:
    desk = Desk()
    desk.fill(A, Decimal(1), Decimal(100), fee=Decimal(1))
    closing = desk.fill(A, Decimal(-1), Decimal(100), fee=Decimal(1))
    late = Part(trader_id=A, quantity=ZERO, fee=Decimal("0.5"), leg="/0~late", purpose=CORRECTION)
    desk.state.book(Execution(trade_id=closing, symbol=BTC, price=Decimal(100), at=desk.now, parts=(late,)))
    [trade] = desk.trades()
    assert (trade.fees, trade.closed_at) == (Decimal("2.5"), desk.now)


def reasons() -> Iterator[tuple[str, dict[str, Any], HowClosed, str]]:
    intent: dict[str, Any] = {"purpose": OrderPurpose.REDUCE, "intent_id": IntentId("d1#0"), "order_id": OrderId("o")}
    yield "decision", intent, HowClosed.DECISION, ""
    yield "operator", intent | {"intent_id": IntentId("d2#0")}, HowClosed.OPERATOR, "cli:eve: enough"
    yield "desk", {"purpose": OrderPurpose.REDUCE, "order_id": OrderId("o")}, HowClosed.DESK, "no stop stood"
    yield "stop", {"purpose": OrderPurpose.STOP}, HowClosed.STOP, ""
    yield "take_profit", {"purpose": OrderPurpose.TAKE_PROFIT}, HowClosed.TAKE_PROFIT, ""
    yield "book", {"purpose": OrderPurpose.LIQUIDATION, "order_id": OrderId("o")}, HowClosed.BOOK_LIQUIDATION, ""
    yield "venue", {"purpose": OrderPurpose.LIQUIDATION}, HowClosed.LIQUIDATION, ""
    yield "corrected", {"purpose": CORRECTION, "order_id": OrderId("o")}, HowClosed.DESK, "no stop stood"
    yield "unknown", {"purpose": CORRECTION}, HowClosed.CORRECTION, ""


@pytest.mark.parametrize(("of_part", "how", "why"), [one[1:] for one in reasons()], ids=[one[0] for one in reasons()])
def test_what_closed_a_trade_is_told(of_part: dict[str, Any], how: HowClosed, why: str) -> None:
    desk = Desk()
    desk.fill(A, Decimal(1), Decimal(100))
    desk.fill(A, Decimal(-1), Decimal(100), **of_part)
    order = make_row(OrderRow, account_id="acco", order_id="o", purpose=OrderPurpose.REDUCE, reason="no stop stood")
    own = make_row(DecisionRow, decision_id=DecisionId("d1"), model="gpt", reasoning="the trend is over")
    operators = replace(own, decision_id=DecisionId("d2"), model="operator:cli:eve", reasoning="enough")
    [trade] = desk.trades(orders=[order], decisions=[own, operators])
    assert (trade.closed_by, trade.why) == (how, why)


def test_an_adl_of_the_venue_is_told_from_its_liquidation() -> None:
    desk = Desk()
    desk.fill(A, Decimal(1), Decimal(100))
    trade_id = desk.fill(A, Decimal(-1), Decimal(100), purpose=OrderPurpose.LIQUIDATION)
    fill = replace(make_row(FillRow, account_id="acco", trade_id=trade_id), kind=FillKind.ADL)
    [trade] = desk.trades(fills=[fill])
    assert trade.closed_by is HowClosed.ADL
