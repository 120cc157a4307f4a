"""Why a position is not closed: the first reason that holds is told, with what an operator can do about it."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchanges.types import Side, Symbol
from manager.desk.plan.leftovers import CloseFacts, told_order, waited_for
from manager.state.acts import FlattenRow
from manager.state.kinds import OrderPurpose, OrderState, WhyLeft
from manager.state.records import IncidentRow, OrderRow, PositionKey, PositionRow, Share
from state_rows import BTC, make_row
from traders.spec import TraderId

A = TraderId("a")
D = Decimal
ETH = Symbol("ETH/USDT:USDT")


def order(state: OrderState, **given: Any) -> OrderRow:
    mine = {"symbol": BTC, "side": Side.SELL, "purpose": OrderPurpose.REDUCE, "quantity": D(2), "filled": D(1)}
    row: OrderRow = make_row(
        OrderRow, **mine | {"shares": (Share(trader_id=A, quantity=D(2)),), "state": state} | given
    )
    return row


def incident(code: str, **given: Any) -> IncidentRow:
    row: IncidentRow = make_row(IncidentRow, code=code, detail="it timed out", resolved_at=None, **given)
    return row


def told(quantity: int = 2, *, dust: bool = False, **facts: Any) -> tuple[WhyLeft, str]:
    row: PositionRow = make_row(PositionRow, trader_id=A, symbol=BTC, quantity=D(quantity), dust=dust)
    empty: dict[str, Any] = {"orders": (), "incidents": (), "external": {}}
    left = CloseFacts(**empty | facts).why_left(row)
    assert (left.trader_id, left.symbol, left.quantity) == (A, BTC, D(quantity))
    return left.why, left.detail


REFUSED = {PositionKey(A, BTC): order(OrderState.REJECTED, reason="PRICE_BAND: too far")}


@pytest.mark.parametrize(
    ("facts", "why", "words"),
    [
        ({}, WhyLeft.WAITING, "next round closes it"),
        ({"dust": True, "watched": False}, WhyLeft.DUST, "too small"),
        ({"watched": False, "refused": REFUSED}, WhyLeft.NO_WORKER, "`propdesk run`"),
        ({"incidents": (incident("VENUE_UNAVAILABLE"),)}, WhyLeft.VENUE_UNAVAILABLE, "it timed out"),
        ({"orders": (order(OrderState.UNKNOWN),)}, WhyLeft.UNKNOWN_OUTCOME, "not known what became of it"),
        ({"orders": (order(OrderState.PENDING),)}, WhyLeft.UNKNOWN_OUTCOME, "not known what became of it"),
        ({"orders": (order(OrderState.ACCEPTED),)}, WhyLeft.UNDER_WAY, "stands at the venue, 1 of it filled"),
        ({"orders": (order(OrderState.FILLED),)}, WhyLeft.WAITING, ""),
        ({"orders": (order(OrderState.UNKNOWN, symbol=ETH),)}, WhyLeft.WAITING, ""),
        ({"orders": (order(OrderState.ACCEPTED, purpose=OrderPurpose.STOP),)}, WhyLeft.WAITING, ""),
        (
            {"incidents": (incident("CANCEL_UNKNOWN", trader_id=A, symbol=BTC),)},
            WhyLeft.STOP_IN_THE_WAY,
            "its stop must be gone first",
        ),
        ({"incidents": (incident("CANCEL_UNKNOWN", trader_id=A, symbol=ETH),)}, WhyLeft.WAITING, ""),
        ({"external": {BTC: D(-5)}, "refused": REFUSED}, WhyLeft.EXTERNAL_OVERLAP, "EXTERNAL holds -5 against it"),
        ({"external": {BTC: D(5)}}, WhyLeft.WAITING, ""),
        ({"refused": REFUSED}, WhyLeft.REFUSED, "PRICE_BAND: too far); it is tried again"),
    ],
)
def test_the_first_reason_that_holds_is_told(facts: dict[str, Any], why: WhyLeft, words: str) -> None:
    found = told(**facts)
    assert found[0] is why
    assert words in found[1]


@given(
    purpose=st.sampled_from(OrderPurpose),
    state=st.sampled_from(OrderState),
    owners=st.sets(st.sampled_from("abz"), min_size=1),
    holds=st.booleans(),
    scope=st.sampled_from(["", "a", "b"]),
)
def test_what_may_fill_in_scope_is_waited_for_unless_it_guards_what_is_held(
    purpose: OrderPurpose, state: OrderState, owners: set[str], holds: bool, scope: str
) -> None:
    shares = tuple(Share(trader_id=TraderId(owner), quantity=D(2)) for owner in sorted(owners))
    one = order(state, purpose=purpose, shares=shares)
    flatten: FlattenRow = make_row(FlattenRow, trader_id=TraderId(scope))
    held = {PositionKey(TraderId(owner), BTC) for owner in owners if holds}
    found = waited_for(flatten, [one], {A, TraderId("b")}, held)
    in_scope = owners & ({scope} if scope else {"a", "b"})
    guards = holds and purpose in (OrderPurpose.STOP, OrderPurpose.TAKE_PROFIT)
    live = state in (OrderState.ACCEPTED, OrderState.UNKNOWN, OrderState.PENDING)
    assert found == ((one,) if live and in_scope and not guards else ())
    assert all(f"{purpose} of" in told_order(told) and state in told_order(told) for told in found)
