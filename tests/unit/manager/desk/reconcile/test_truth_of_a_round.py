"""A round's truth is fresh for as long as the round lasts, however the clock moves on within it."""

from datetime import timedelta
from decimal import Decimal

import pytest

from desk_factory import AT, make_intent, make_trader, make_view
from executor.contract import Action, Decision
from manager.desk.plan.risk_manager import check_local

INTENT = Decision(
    symbol="BTC/USDT:USDT",
    action=Action.OPEN_LONG,
    leverage=2,
    position_size_usd=Decimal(100),
    stop_loss=Decimal(90),
    take_profit=Decimal(160),
    confidence=Decimal(90),
)
SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(("read_after_s", "denied"), [(0, []), (1, []), (-1, ["ACCOUNT_STALE"])])
def test_truth_read_since_the_round_began_is_fresh(read_after_s: int, denied: list[str]) -> None:
    began = AT - 3 * SECOND
    desk = make_view(make_trader("t"), began_at=began, truth_at=began + read_after_s * SECOND)
    verdict = check_local(desk, [make_intent("t", INTENT)])
    assert [denial.code for denial in verdict.denials] == denied
