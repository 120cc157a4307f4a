"""What a model is shown beside the figures: budgets by the risk manager's own limits, peaks, exposure of others."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from executor.contract import Context, Limits, PositionInfo
from executor.details import NetExposure
from executor.sample import SampleView, sample_context
from executor_contexts import BTC, SOL, position
from traders.details import OwnRecord, peak_pnl, with_details


def context(**changes: object) -> Context:
    return replace(sample_context(), details=None, **changes)  # type: ignore[arg-type]  # fields of a context


def test_the_budget_is_what_the_limits_leave() -> None:
    plain = context(limits=Limits(max_entries_per_hour=3, max_positions=2, max_margin_usage_pct=Decimal(60)))
    entries = tuple(plain.now - timedelta(minutes=minutes) for minutes in (5, 59, 60, 90))
    details = with_details(plain, OwnRecord(entries=entries)).details
    assert details is not None
    assert (details.budget.entries, details.budget.positions) == (1, 1)
    assert details.budget.margin_usd == plain.account.equity * Decimal("0.6") - plain.account.margin_used
    assert details.budget.drawdown_pct == 20.0


def test_nothing_left_is_zero_and_not_negative() -> None:
    plain = context(limits=Limits(max_positions=1))
    spent = replace(
        plain,
        account=replace(plain.account, margin_used=Decimal(5000)),
        performance=replace(plain.performance, drawdown_pct=55.0),
    )
    details = with_details(spent, OwnRecord(entries=(plain.now,) * 9)).details
    assert details is not None
    assert (details.budget.entries, details.budget.positions) == (0, 0)
    assert (details.budget.margin_usd, details.budget.drawdown_pct) == (Decimal(0), 0.0)


def test_exposure_of_others_is_net_by_symbol_or_switched_off() -> None:
    plain = context()
    shown = with_details(plain, OwnRecord(others={SOL: Decimal(-2), BTC: Decimal(0), "GONE": Decimal(1)})).details
    assert shown is not None
    assert shown.others == (
        NetExposure(symbol="GONE", quantity=Decimal(1), notional_usd=None),
        NetExposure(symbol=SOL, quantity=Decimal(-2), notional_usd=Decimal(-41)),
    )
    hidden = with_details(plain, OwnRecord()).details
    assert hidden is not None
    assert hidden.others is None


@pytest.mark.parametrize(("quantity", "expected"), [("2", Decimal("0.4")), ("-2", Decimal(9))])
def test_a_peak_is_the_best_price_since_the_opening(quantity: str, expected: Decimal) -> None:
    view = SampleView(symbol=BTC, mark=Decimal(100), indicators=sample_context().market[BTC].indicators)
    now = sample_context().now
    held = _held(quantity, opened_minutes=46)
    assert peak_pnl(replace(held, opened_at=now - timedelta(minutes=46)), view) == pytest.approx(
        Decimal("0.4") if quantity == "2" else -2 * (min(c.low for c in view.candles(3)) - 100)
    )
    assert peak_pnl(replace(held, opened_at=now - timedelta(days=1)), view) >= expected


def test_a_peak_is_never_below_now_nor_below_zero() -> None:
    view = SampleView(symbol=BTC, mark=Decimal(100), indicators=sample_context().market[BTC].indicators)
    fresh = _held("1", opened_minutes=0)
    assert peak_pnl(replace(fresh, unrealized_pnl=Decimal(7)), view) == 7
    assert peak_pnl(replace(fresh, unrealized_pnl=Decimal(-7)), view) == 0
    assert peak_pnl(replace(fresh, unrealized_pnl=Decimal(3)), None) == 3


def _held(quantity: str, opened_minutes: int) -> PositionInfo:
    size = abs(Decimal(quantity))
    return replace(
        position(BTC, quantity),
        margin=size * 100 / 3,
        opened_at=sample_context().now - timedelta(minutes=opened_minutes),
    )
