"""Traders are ranked by 0.5 Sharpe, clipped, 0.3 PnL and 0.2 win rate, and summed up without what is not known."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manager.monitor.ranking import AggregatePerformance, TrackRecord, aggregate, ranked
from traders.spec import TraderId

FLOATS = st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=True))


def record(name: str, **given: Any) -> TrackRecord:
    return TrackRecord(trader_id=TraderId(name), **given)


@pytest.mark.parametrize(
    ("given", "score"),
    [
        ({}, 0.0),
        ({"sharpe": 2.0, "pnl": 0.5, "win_rate": 0.75}, 1.3),
        ({"sharpe": 9.0, "pnl": 0.1}, 1.53),
        ({"sharpe": -9.0, "win_rate": 1.0}, -1.3),
        ({"sharpe": 3.0}, 1.5),
        ({"pnl": -1.0}, -0.3),
        ({"sharpe": float("nan"), "pnl": float("inf"), "win_rate": 0.5}, 0.1),
    ],
)
def test_the_score_is_what_a_hand_computes(given: dict[str, Any], score: float) -> None:
    assert record("a", **given).score == pytest.approx(score)


def test_equal_scores_stand_by_id() -> None:
    order = ranked([record("c"), record("b", pnl=-0.1), record("a"), record("d", sharpe=0.1)])
    assert [one.trader_id for one in order] == ["d", "a", "c", "b"]


@given(st.lists(st.builds(dict, sharpe=FLOATS, pnl=FLOATS, win_rate=FLOATS), max_size=8), st.data())
def test_the_order_of_the_input_decides_nothing(given: list[dict[str, Any]], data: st.DataObject) -> None:
    records = [record(f"t{place}", **one) for place, one in enumerate(given)]
    order = ranked(records)
    assert [one.trader_id for one in ranked(data.draw(st.permutations(records)))] == [one.trader_id for one in order]
    assert sorted((one.score for one in order), reverse=True) == [one.score for one in order]


def test_sums_leave_out_what_is_not_known() -> None:
    records = [
        record("a", running=True, equity=Decimal(110), pnl_usd=Decimal(10), pnl=0.1, sharpe=1.0, trades=3),
        record("b", equity=Decimal(80), pnl_usd=Decimal(-20), pnl=-0.2, sharpe=-2.0, win_rate=0.5, trades=2),
        record("c", running=True, pnl=0.05),
    ]
    assert aggregate(records) == AggregatePerformance(
        total_equity=Decimal(190), total_pnl_usd=Decimal(-10), average_sharpe=-0.5, best=TraderId("a"),
        worst=TraderId("b"), traders=3, running=2, profitable=1, unknown=1, trades=5,
    )  # fmt: skip
    assert aggregate([]) == AggregatePerformance()
    assert aggregate([record("a")]).average_sharpe is None
