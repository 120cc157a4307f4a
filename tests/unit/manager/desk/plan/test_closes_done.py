"""When a close or a target position has done its work, so that no round carries it out again."""

from decimal import Decimal

import pytest

from desk_factory import BTC
from executor.contract import Action, Decision
from manager.desk.plan.outstanding import close_is_done


def done(decision: Decision, held: int, taken: int, *, opens: bool = False) -> bool:
    return close_is_done(decision, held=Decimal(held), taken=Decimal(taken), asked=Decimal(10), opens=opens)


def target(quantity: int) -> Decision:
    return Decision(symbol=BTC, action=Action.TARGET, target_quantity=Decimal(quantity))


@pytest.mark.parametrize(("held", "taken", "expected"), [(0, 10, True), (4, 6, False), (10, 0, False), (0, 0, True)])
def test_a_whole_close_is_done_when_the_book_is_flat(held: int, taken: int, *, expected: bool) -> None:
    assert done(Decision(symbol=BTC, action=Action.CLOSE_LONG), held, taken) is expected


@pytest.mark.parametrize(("taken", "expected"), [(10, True), (1, True), (0, False)])
def test_a_partial_close_is_done_when_anything_was_taken(taken: int, *, expected: bool) -> None:
    assert done(Decision(symbol=BTC, action=Action.CLOSE_LONG, fraction=Decimal("0.5")), 20, taken) is expected


@pytest.mark.parametrize(("held", "taken", "expected"), [(5, 10, True), (-5, 10, False), (6, 9, False)])
def test_a_smaller_target_position_is_done_when_all_asked_was_taken(held: int, taken: int, *, expected: bool) -> None:
    assert done(target(5), held, taken) is expected


@pytest.mark.parametrize("quantity", [0, -5])
def test_a_target_position_at_or_through_zero_waits_for_what_an_earlier_reduce_may_still_take(quantity: int) -> None:
    assert not done(target(quantity), 4, 10)
    assert done(target(quantity), 0, 10)


def test_a_target_position_is_not_done_before_its_entry() -> None:
    assert not done(target(-5), 0, 10, opens=True)
