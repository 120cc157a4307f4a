"""When a close or a target position has done its work, so that no round carries it out again."""

from decimal import Decimal

import pytest

from desk_factory import BTC
from executor.contract import Action, Decision
from manager.desk.plan.outstanding import close_is_done

WHOLE = Decision(symbol=BTC, action=Action.CLOSE_LONG)
HALF = Decision(symbol=BTC, action=Action.CLOSE_LONG, fraction=Decimal("0.5"))
TARGET = Decision(symbol=BTC, action=Action.TARGET, target_quantity=Decimal(5))


def done(decision: Decision, taken: int, *, flat: bool = False, unsettled: bool = False) -> bool:
    return close_is_done(decision, flat=flat, taken=Decimal(taken), asked=Decimal(10), unsettled=unsettled)


def test_a_whole_close_is_done_when_the_book_is_flat() -> None:
    assert done(WHOLE, 10, flat=True)
    assert done(WHOLE, 0, flat=True)
    assert not done(WHOLE, 6)


@pytest.mark.parametrize(("taken", "expected"), [(10, True), (1, True), (0, False)])
def test_a_partial_close_is_done_when_anything_was_taken(taken: int, *, expected: bool) -> None:
    assert done(HALF, taken) is expected


@pytest.mark.parametrize("flat", [True, False])
def test_a_target_position_is_done_when_all_asked_was_taken_and_nothing_is_to_come(*, flat: bool) -> None:
    assert done(TARGET, 10, flat=flat)
    assert not done(TARGET, 9, flat=flat)
    assert not done(TARGET, 10, flat=flat, unsettled=True)
