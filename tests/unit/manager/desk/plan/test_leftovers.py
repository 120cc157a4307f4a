"""Why a position is not closed: the first reason that holds is told, with what an operator can do about it."""

from decimal import Decimal
from typing import Any

import pytest

from exchanges.types import Side, Symbol
from manager.desk.plan.leftovers import CloseFacts
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
