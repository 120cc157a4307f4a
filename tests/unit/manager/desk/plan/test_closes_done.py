"""When a close or a target position has done its work, so that no round carries it out again."""

from dataclasses import replace
from decimal import Decimal

import pytest

from desk_factory import BTC
from exchanges.types import Side
from executor.contract import Action, Decision
from manager.desk.plan.outstanding import close_is_done

WHOLE = Decision(symbol=BTC, action=Action.CLOSE_LONG)
HALF = Decision(symbol=BTC, action=Action.CLOSE_LONG, fraction=Decimal("0.5"))
TARGET = Decision(symbol=BTC, action=Action.TARGET, target_quantity=Decimal(5))


def done(decision: Decision, held: int, *, taken: int = 0, unsettled: bool = False) -> bool:
    lot, side = Decimal("0.001"), Side.SELL
    return close_is_done(decision, side, Decimal(held), taken=Decimal(taken), lot=lot, unsettled=unsettled)


def test_a_whole_close_is_done_when_the_book_is_flat() -> None:
    assert done(WHOLE, 0, taken=10)
    assert done(WHOLE, 0)
    assert not done(WHOLE, 4, taken=6)


@pytest.mark.parametrize(("taken", "expected"), [(10, True), (1, True), (0, False)])
def test_a_partial_close_is_done_when_anything_was_taken(taken: int, *, expected: bool) -> None:
    assert done(HALF, 5, taken=taken) is expected


@pytest.mark.parametrize("held", [5, 3, 0, -2])
def test_a_target_position_is_done_when_no_more_is_held_and_nothing_is_to_come(held: int) -> None:
    assert done(TARGET, held, taken=10)
    assert not done(TARGET, held, taken=10, unsettled=True)


def test_a_target_position_that_took_what_its_order_asked_for_is_not_done_while_more_is_held() -> None:
    """EXTERNAL had cut the order: the rest waits until an operator has resolved the overlap."""
    assert not done(TARGET, 6, taken=4)
    assert not done(replace(TARGET, target_quantity=Decimal(0)), 6, taken=4)
    assert not done(replace(TARGET, target_quantity=Decimal(-5)), 6, taken=4)


def test_a_part_of_a_lot_beyond_a_target_position_does_not_keep_it_open() -> None:
    fine = replace(TARGET, target_quantity=Decimal("4.9995"))
    assert done(fine, 5, taken=10)
