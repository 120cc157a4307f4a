"""How many trades a trader closed an hour of late, as a hand counts them."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from traders import performance
from traders.performance import RECENT_TRADES, Performance

NOW = datetime(2025, 1, 15, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("minutes", "rate"),
    [
        ([], 0.0),
        ([5], 1.0),
        ([50, 30, 10], 3.0),
        ([180, 90, 10], 1.0),
        ([24 * 60, 120], 0.5),
        ([24 * 60 - 1, 10], 2 / (24 - 1 / 60)),
        ([30] * 11, 11.0),
        ([30] * 12, 24.0),
        ([600] * 5 + [30] * 12, 24.0),
    ],
)
def test_they_are_counted_over_the_time_that_they_took(minutes: list[int], rate: float) -> None:
    curve = Performance()
    for ago in minutes:
        curve = performance.closed_trade(curve, Decimal(1), NOW - timedelta(minutes=ago))
    assert curve.trades_per_hour(NOW) == pytest.approx(rate)
    assert curve.trades == len(minutes)
    assert len(curve.closed_at) <= RECENT_TRADES


def test_the_view_tells_of_which_sample_it_is() -> None:
    curve = performance.flow(Performance(), Decimal(0), Decimal(100))
    assert performance.view(curve, Decimal(0), NOW).updated_at is None
    sampled = performance.sample(curve, Decimal(101), NOW - timedelta(seconds=9))
    assert performance.view(sampled, Decimal(1), NOW).updated_at == NOW - timedelta(seconds=9)
