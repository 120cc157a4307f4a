"""An account has a curve of its own: what its traders lose together shows, what is deposited or withdrawn does not."""

from dataclasses import replace
from decimal import Decimal

import pytest

from exchanges.types import CashKind
from faulty_desk import FaultyDesk, close, open_long
from late_venue import LateVenue
from manager.desk.sampling import LiveSampler
from manager.jobs.handlers import DeskHandlers
from manager.state.records import DEFAULT_TENANT, UNALLOCATED, BookRow
from manager.views.performance import AccountPerformance, PerformanceQuery, read_performance


async def _account(desk: FaultyDesk) -> AccountPerformance:
    await desk.maintain(seconds=1)
    [account] = (await read_performance(desk.store, DEFAULT_TENANT, PerformanceQuery(now=desk.clock.now()))).accounts
    return account


async def test_a_deposit_moves_no_drawdown_and_a_loss_does() -> None:
    desk = await FaultyDesk.of(traders=("a", "b"))
    desk.handlers = DeskHandlers(replace(desk.handlers._parts, sampler=LiveSampler(0)))
    late = LateVenue(desk.paper, desk.clock, seed=1)
    desk.venue.inner = late  # type: ignore[assignment]  # it passes everything else on
    await desk.go("a", open_long(usd=1000))
    before = await _account(desk)
    assert before.curve_since is not None
    desk.price(98)
    lost = await _account(desk)
    assert lost.sums.equity is not None
    assert lost.drawdown_pct == pytest.approx(float(1 - lost.sums.equity / lost.sums.start_usd) * 100, abs=0.001)
    for amount, kind in ((5000, CashKind.DEPOSIT), (-2000, CashKind.WITHDRAWAL), (-7000, CashKind.WITHDRAWAL)):
        late.move_cash(amount, kind)
        moved = await _account(desk)
        assert moved.drawdown_pct == pytest.approx(lost.drawdown_pct, abs=1e-6), (amount, kind)
    assert moved.sums.equity == lost.sums.equity - 4000
    assert (moved.sums.moved_usd, moved.sums.pnl_usd) == (Decimal(-4000), lost.sums.pnl_usd)
    books = {row.trader_id: row for row in await desk.find(BookRow)}
    assert books[UNALLOCATED].performance.max_drawdown * 100 == pytest.approx(moved.max_drawdown_pct)


async def test_an_account_that_was_emptied_keeps_its_drawdown_when_money_comes_back() -> None:
    desk = await FaultyDesk.of(traders=("a", "b"))
    desk.handlers = DeskHandlers(replace(desk.handlers._parts, sampler=LiveSampler(0)))
    late = LateVenue(desk.paper, desk.clock, seed=1)
    desk.venue.inner = late  # type: ignore[assignment]  # it passes everything else on
    await desk.go("a", open_long(usd=1000))
    desk.price(98)
    lost = await _account(desk)
    await desk.go("a", close())
    flat = await _account(desk)
    assert flat.sums.equity is not None
    late.move_cash(str(-flat.sums.equity), CashKind.WITHDRAWAL)
    await _account(desk)
    late.move_cash(500, CashKind.DEPOSIT)
    back = await _account(desk)
    assert back.sums.equity == 500
    assert None not in (lost.max_drawdown_pct, back.max_drawdown_pct, back.drawdown_pct)
    assert (back.max_drawdown_pct or 0) >= (lost.max_drawdown_pct or 0) > 0
    assert (back.drawdown_pct or 0) > 0


async def _between_samples() -> tuple[FaultyDesk, LateVenue, Decimal]:
    """Return a desk that has lost 50 USD since its last sample, with the equity of that sample."""
    desk = await FaultyDesk.of(traders=("a", "b"))
    late = LateVenue(desk.paper, desk.clock, seed=1)
    desk.venue.inner = late  # type: ignore[assignment]  # it passes everything else on
    await desk.go("a", open_long(usd=1000))
    desk.handlers = DeskHandlers(replace(desk.handlers._parts, sampler=LiveSampler(0)))
    sampled = await _account(desk)
    assert sampled.sums.equity is not None
    desk.handlers = DeskHandlers(replace(desk.handlers._parts, sampler=LiveSampler(600)))
    desk.price(95)
    desk.pass_time()
    return desk, late, sampled.sums.equity


async def _sampled(desk: FaultyDesk) -> AccountPerformance:
    desk.pass_time(600)
    return await _account(desk)


@pytest.mark.parametrize("left", [0, 1, 4000])
async def test_a_withdrawal_after_a_loss_that_nobody_sampled_keeps_the_loss_as_it_was(left: int) -> None:
    desk, late, before = await _between_samples()
    await desk.go("a", close())
    books = await desk.find(BookRow)
    after = sum((book.cash for book in books), Decimal(0))
    assert after == before - 50
    late.move_cash(str(left - after), CashKind.WITHDRAWAL)
    account = await _sampled(desk)
    assert account.sums.equity == left
    told = float(1 - after / before) * 100
    assert (account.drawdown_pct, account.max_drawdown_pct) == pytest.approx((told, told))


async def test_flows_of_one_pass_are_measured_at_the_marks_of_now_each_after_the_other() -> None:
    desk, late, before = await _between_samples()
    for amount in (-5000, -4000, 20_000):
        late.move_cash(amount, CashKind.DEPOSIT if amount > 0 else CashKind.WITHDRAWAL)
    account = await _sampled(desk)
    assert account.sums.equity == before - 50 + 11_000
    told = float(50 / before) * 100
    assert (account.drawdown_pct, account.max_drawdown_pct) == pytest.approx((told, told))


async def test_what_is_lost_of_new_money_before_it_is_sampled_is_measured_too() -> None:
    desk, late, before = await _between_samples()
    await desk.go("a", close())
    late.move_cash(str(50 - before), CashKind.WITHDRAWAL)
    emptied = await _sampled(desk)
    late.move_cash(1000)
    await desk.maintain(seconds=1)
    late.move_cash(-1, CashKind.FEE)
    late.move_cash(1, CashKind.INTEREST)
    account = await _sampled(desk)
    assert account.sums.equity == 1000
    assert account.max_drawdown_pct == pytest.approx(emptied.max_drawdown_pct)
    assert emptied.max_drawdown_pct == pytest.approx(float(50 / before) * 100)
