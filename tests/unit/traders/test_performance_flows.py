"""Capital flows leave PnL %, drawdown and Sharpe alone, also while a released trader still holds (docs/rules.md 1)."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from exchanges.types import ZERO
from traders.performance import Performance, flow, sample

AT = datetime(2025, 5, 4, tzinfo=UTC)
AMOUNTS = st.decimals(min_value=1, max_value=5000, places=2)
STEPS = st.lists(st.tuples(st.sampled_from(("in", "out", "wind down", "move")), AMOUNTS), min_size=1, max_size=40)


def started(capital: int = 1000) -> Performance:
    return sample(flow(Performance(), Decimal(0), Decimal(capital)), Decimal(capital), AT)


def released(equity: int, left: int) -> Performance:
    return flow(started(equity), Decimal(equity), Decimal(left - equity), winding_down=True)


def test_a_loss_while_winding_down_is_measured_against_the_capital_before_the_release() -> None:
    lost = sample(released(1000, 50), Decimal(39), AT)
    assert lost.drawdown == pytest.approx(0.011)
    back = sample(flow(lost, Decimal(39), Decimal(961)), Decimal(1000), AT)
    assert back.drawdown == back.max_drawdown == pytest.approx(0.011)
    assert back.nav == pytest.approx(0.989)
    assert back.released_usd == 0
    assert sample(back, Decimal(1100), AT).nav == pytest.approx(0.989 * 1.1)


def test_a_released_trader_below_zero_has_lost_what_it_lost_and_no_more() -> None:
    lost = sample(released(1000, 50), Decimal("-0.01"), AT)
    assert lost.nav == pytest.approx(0.94999)
    assert lost.max_drawdown == pytest.approx(0.05001)


def test_a_second_release_while_holding_keeps_the_base() -> None:
    gained = sample(released(1000, 50), Decimal(80), AT)
    less = flow(gained, Decimal(80), Decimal(-20), winding_down=True)
    assert less.units == gained.units
    assert sample(less, Decimal(60), AT).nav == pytest.approx(1.03)


def test_a_flat_trader_that_gives_back_the_rest_stands_still() -> None:
    lost = sample(released(1000, 50), Decimal(39), AT)
    gone = flow(lost, Decimal(39), Decimal(-39))
    assert gone.units == gone.released_usd == 0
    assert sample(gone, Decimal(0), AT + timedelta(hours=3)) == gone
    again = sample(flow(gone, Decimal(0), Decimal(500)), Decimal(500), AT)
    assert again.nav == pytest.approx(0.989)
    assert again.drawdown == pytest.approx(0.011)


def test_a_wiped_out_released_trader_may_start_again() -> None:
    lost = sample(released(1000, 500), Decimal(-100), AT)
    assert lost.drawdown == pytest.approx(0.6)
    again = sample(flow(lost, Decimal(-100), Decimal(1100)), Decimal(1000), AT)
    assert again.drawdown == pytest.approx(0.6)
    assert sample(again, Decimal(1100), AT).nav > again.nav


def test_a_loss_since_the_last_sample_is_kept_when_all_capital_goes() -> None:
    gone = flow(started(4500), Decimal(2250), Decimal(-2250))
    assert sample(gone, Decimal(0), AT) == gone
    back = sample(flow(gone, Decimal(0), Decimal(4500)), Decimal(4500), AT)
    assert (back.nav, back.drawdown, back.max_drawdown) == pytest.approx((0.5, 0.5, 0.5))


def test_a_loss_of_nearly_all_since_the_last_sample_is_kept_when_capital_comes() -> None:
    back = sample(flow(started(1000), Decimal("0.005"), Decimal(1000)), Decimal("1000.005"), AT)
    assert back.nav == pytest.approx(0.000005)
    assert back.max_drawdown == pytest.approx(0.999995)


def test_a_curve_that_lost_all_does_not_restart_with_new_capital() -> None:
    for lost in (sample(started(), Decimal(0), AT), started()):
        back = sample(flow(lost, Decimal(0), Decimal(1000)), Decimal(1200), AT)
        assert (back.nav, back.drawdown, back.max_drawdown) == (0, 1, 1)
        assert sample(flow(back, Decimal(1200), Decimal(500)), Decimal(1700), AT).nav == 0


def test_a_curve_stored_before_releases_were_kept_still_loads() -> None:
    stored = TypeAdapter(Performance).dump_python(started(), mode="json")
    del stored["released_usd"]
    assert TypeAdapter(Performance).validate_python(stored) == started()
    kept = released(1000, 50)
    assert TypeAdapter(Performance).validate_json(TypeAdapter(Performance).dump_json(kept)) == kept


@given(STEPS)
def test_flows_alone_never_move_the_curve(steps: list[tuple[str, Decimal]]) -> None:
    state, equity, at = started(), Decimal(1000), AT
    for kind, size in steps:
        at += timedelta(minutes=47)
        amount = size if kind == "in" else -min(size, max(equity - 1, Decimal(0)))
        if kind != "move":
            state = flow(state, equity, amount, winding_down=kind == "wind down")
            equity += amount
        state = sample(state, equity, at)
        assert state.nav == pytest.approx(1.0)
        assert state.max_drawdown == pytest.approx(0.0, abs=1e-9)
        assert state.mean == pytest.approx(0.0, abs=1e-9)
        assert state.m2 == pytest.approx(0.0, abs=1e-12)


@given(STEPS)
def test_a_curve_follows_what_is_earned_whatever_flows_between(steps: list[tuple[str, Decimal]]) -> None:
    state, equity = started(), Decimal(1000)
    for kind, size in steps:
        nav, base = state.nav, equity + state.released_usd
        if kind == "move":
            earned = (size - 2500) / 25_000 * equity
            equity += earned
            state = sample(state, equity, AT)
            assert state.nav == pytest.approx(nav * float(1 + earned / base))
        else:
            amount = size if kind == "in" else -min(size, max(equity - 1, Decimal(0)))
            state = flow(state, equity, amount, winding_down=kind == "wind down")
            equity += amount
            after = sample(state, equity, AT)
            assert after.nav == pytest.approx(nav)
            assert after.drawdown == pytest.approx(state.drawdown, abs=1e-9)


@given(st.lists(st.tuples(st.floats(min_value=0.2, max_value=3), AMOUNTS, st.booleans(), st.booleans()), max_size=20))
def test_the_curve_is_what_the_equity_ratios_say_whether_or_not_it_is_sampled_between(
    steps: list[tuple[float, Decimal, bool, bool]],
) -> None:
    state, equity, ratio, lowest = started(), Decimal(1000), 1.0, 1.0
    for ratio_now, capital, sampled, leaves in steps:
        after = (equity * Decimal(ratio_now)).quantize(Decimal("0.00000001"))
        ratio *= float(after / equity) if equity else 1.0
        if sampled:
            state = sample(state, after, AT)
        equity = ZERO if leaves and equity else capital
        state = flow(state, after, equity - after)
        lowest = min(lowest, ratio)
        assert state.nav == pytest.approx(ratio)
        assert state.max_drawdown >= 1 - ratio - 1e-9
    assert sample(state, equity, AT).nav == pytest.approx(ratio)
    assert state.max_drawdown >= 1 - lowest - 1e-9
