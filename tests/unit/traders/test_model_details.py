"""What a model is shown beside the figures: budgets by the risk manager's own limits, peaks, exposure of others."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

import pytest

from executor.contract import Candle, Context, Indicators, Limits, NetExposure, PositionInfo
from executor.prompts.sample import SampleView, sample_context
from executor_contexts import BTC, SOL, position
from traders.details import EarlierPositions, Holding, LiveEntry, OwnRecord, peak_pnl, with_details

NOW = sample_context().now


def context(**changes: object) -> Context:
    return replace(sample_context(), details=None, **changes)  # type: ignore[arg-type]  # fields of a context


def test_the_budget_is_what_the_limits_leave() -> None:
    plain = context(limits=Limits(max_entries_per_hour=3, max_positions=2, max_margin_usage_pct=Decimal(60)))
    entries = tuple(plain.now - timedelta(minutes=minutes) for minutes in (5, 59, 60, 90))
    details = with_details(plain, OwnRecord(recent_entries=entries)).details
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
    details = with_details(spent, OwnRecord(recent_entries=(plain.now,) * 9)).details
    assert details is not None
    assert (details.budget.entries, details.budget.positions) == (0, 0)
    assert (details.budget.margin_usd, details.budget.drawdown_pct) == (Decimal(0), 0.0)


def test_exposure_of_others_is_net_by_symbol_or_switched_off() -> None:
    plain = context()
    tenth = Decimal("0.1")
    held = {
        SOL: Holding(quantity=Decimal(-20), contract_size=tenth),
        BTC: Holding(quantity=Decimal(0), contract_size=tenth),
        "GONE": Holding(quantity=Decimal(1), contract_size=tenth),
    }
    shown = with_details(plain, OwnRecord(others=held)).details
    assert shown is not None
    assert shown.others == (
        NetExposure(symbol="GONE", quantity=Decimal(1), notional_usd=None),
        NetExposure(symbol=SOL, quantity=Decimal(-20), notional_usd=Decimal(-41)),
    )
    hidden = with_details(plain, OwnRecord()).details
    assert hidden is not None
    assert hidden.others is None


def test_live_entries_are_taken_off_what_is_free() -> None:
    """Short 1.25 at leverage 3, mark 100; two more entries that may fill: margin as the risk checks reserve it."""
    plain = context(limits=Limits(max_positions=3, max_margin_usage_pct=Decimal(60)))
    account = replace(plain.account, equity=Decimal(1000), margin_used=Decimal(125) / 3)
    plain = replace(plain, account=account, positions=(_held("-1.25", opened_minutes=5),))
    record = OwnRecord(
        live_entries=(_entry(BTC, -1, leverage=2), _entry(SOL, 10, leverage=5), _entry(SOL, 2, leverage=5))
    )
    shown = with_details(plain, record)
    reserved = (Decimal(225) / 2 - Decimal(125) / 3) + Decimal("20.5") * 12 / 5
    assert shown.details is not None
    assert float(shown.details.budget.reserved_usd) == pytest.approx(float(reserved))
    assert float(shown.account.available) == pytest.approx(float(1000 - Decimal(125) / 3 - reserved))
    assert float(shown.details.budget.margin_usd) == pytest.approx(float(600 - Decimal(125) / 3 - reserved))
    assert shown.details.budget.positions == 1


def test_an_entry_against_the_own_side_or_without_a_price_is_reserved_too() -> None:
    plain = replace(context(), positions=(_held("1", opened_minutes=5),))
    against = with_details(plain, OwnRecord(live_entries=(_entry(BTC, -1, leverage=4),))).details
    unknown = with_details(plain, OwnRecord(live_entries=(_entry("NEW/USDT:USDT", 2, leverage=1, price="7"),))).details
    assert against is not None
    assert unknown is not None
    assert (against.budget.reserved_usd, unknown.budget.reserved_usd) == (Decimal(25), Decimal(14))


def test_what_is_free_is_bounded_by_equity_and_by_allocation_and_never_negative() -> None:
    plain = context()
    for equity, allocated, margin, free in ((900, 1000, 100, 800), (1100, 1000, 100, 900), (50, 1000, 100, 0)):
        account = replace(
            plain.account, equity=Decimal(equity), allocated=Decimal(allocated), margin_used=Decimal(margin)
        )
        assert with_details(replace(plain, account=account), OwnRecord()).account.available == free


def test_dust_counts_as_no_position() -> None:
    plain = context(limits=Limits(max_positions=2))
    details = with_details(plain, OwnRecord(dust=frozenset({plain.positions[0].symbol}))).details
    assert details is not None
    assert details.budget.positions == 2


def test_a_first_peak_is_the_best_price_of_the_candles_since_the_opening() -> None:
    view = _view(*[100] * 5, 104, 103, 100, low=97)
    opened = NOW - timedelta(minutes=44)
    assert peak_pnl(_position("2", opened), view, None, opened) == 6
    assert peak_pnl(_position("-2", opened), view, None, opened) == 6
    assert peak_pnl(_position("2", NOW - timedelta(hours=2)), view, None, opened) == 8
    assert peak_pnl(_position("2", NOW - timedelta(minutes=1)), view, None, opened) == 0


def test_a_peak_never_fades_with_the_history_of_the_feed() -> None:
    opened = NOW - timedelta(days=10)
    before = replace(_position("1", opened), peak_pnl=Decimal(50))
    assert peak_pnl(_position("1", opened), _view(100, 100), before, NOW - timedelta(minutes=15)) == 50
    assert peak_pnl(_position("1", opened), None, before, NOW) == 50


def test_a_peak_is_not_invented_by_an_add() -> None:
    opened = NOW - timedelta(hours=10)
    before = replace(_position("1", opened), peak_pnl=Decimal(50))
    view = _view(150, 100, 100, 101)
    assert peak_pnl(_position("10", opened), view, before, NOW - timedelta(minutes=30)) == 50
    assert peak_pnl(_position("100", opened), view, before, NOW - timedelta(minutes=30, seconds=-1)) == 100


def test_a_peak_is_not_invented_by_a_candle_that_began_before_the_position_or_its_size() -> None:
    opened, since, view = NOW - timedelta(minutes=20), NOW - timedelta(minutes=16), _view(150, 101)
    before = replace(_position("1", opened), peak_pnl=Decimal(0))
    assert peak_pnl(_position("1", opened), view, before, since) == 1
    older = replace(_position("1", NOW - timedelta(days=1)), peak_pnl=Decimal(0))
    assert peak_pnl(_position("1", older.opened_at), view, older, since) == 50
    assert peak_pnl(_position("10", older.opened_at), view, older, since) == 10


@pytest.mark.parametrize(("opened_minutes", "expected"), [(600, Decimal(50)), (30, Decimal(0))])
def test_the_peak_of_an_earlier_position_in_the_symbol_is_not_taken_over(
    opened_minutes: int, expected: Decimal
) -> None:
    held = replace(_held("1", opened_minutes=opened_minutes), unrealized_pnl=Decimal(0))
    earlier = replace(_held("1", opened_minutes=600), peak_pnl=Decimal(50))
    plain = replace(context(), positions=(held,), market={})
    before = EarlierPositions(at=plain.now, positions={BTC: earlier})
    assert with_details(plain, OwnRecord(before=before)).positions[0].peak_pnl == expected


def test_a_peak_is_never_below_now_nor_below_zero() -> None:
    view, opened = _view(100), NOW - timedelta(minutes=1)
    fresh = _position("1", opened)
    assert peak_pnl(replace(fresh, unrealized_pnl=Decimal(7)), view, None, opened) == 7
    assert peak_pnl(replace(fresh, unrealized_pnl=Decimal(-7)), view, None, opened) == 0
    assert peak_pnl(replace(fresh, unrealized_pnl=Decimal(3)), None, None, opened) == 3


@dataclass(frozen=True)
class _Candles(SampleView):
    given: tuple[Candle, ...] = ()

    def candles(self, count: int, every: int = 1) -> Sequence[Candle]:
        return self.given[-count:]


def _view(*highs: int, low: int = 100) -> _Candles:
    """Candles of 15 minutes, the last one closed now."""
    given = tuple(
        Candle(
            at=NOW - back * timedelta(minutes=15), open=100.0, high=float(high), low=float(low), close=100.0, volume=1.0
        )
        for back, high in zip(range(len(highs) - 1, -1, -1), highs, strict=True)
    )
    return _Candles(symbol=BTC, mark=Decimal(100), indicators=Indicators(), given=given)


def _position(quantity: str, opened: datetime) -> PositionInfo:
    size = Decimal(quantity)
    held = replace(position(BTC, quantity), mark=Decimal(100), entry_price=Decimal(100), leverage=1)
    return replace(held, margin=abs(size) * 100, unrealized_pnl=Decimal(0), opened_at=opened)


def _entry(symbol: str, quantity: int, *, leverage: int, price: str | None = None) -> LiveEntry:
    paid = None if price is None else Decimal(price)
    return LiveEntry(symbol=symbol, quantity=Decimal(quantity), price=paid, leverage=leverage, contract_size=Decimal(1))


def _held(quantity: str, opened_minutes: int) -> PositionInfo:
    size = abs(Decimal(quantity))
    return replace(
        position(BTC, quantity),
        margin=size * 100 / 3,
        opened_at=sample_context().now - timedelta(minutes=opened_minutes),
    )
