"""A symbol without a mark stops what needs its price, and nothing else."""

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

from executor.contract import Decision
from faulty_desk import BTC, ETH, FREE_HAND, FaultyDesk, open_long
from manager.desk.plan.values import GlobalLimits
from manager.desk.sampling import LiveSampler
from manager.jobs.handlers import DeskHandlers
from manager.state.journal import EquityRow
from manager.state.records import AccountRow, LedgerKind, LedgerRow

LIMITS = replace(
    FREE_HAND, stop_loss_enabled=False, max_margin_usage_pct=Decimal(100), max_position_size_usd=Decimal(10**6)
)


def without_stop(decision: Decision, leverage: int) -> Decision:
    return replace(decision, stop_loss=None, leverage=leverage)


async def two_books() -> FaultyDesk:
    """Return a desk where `a` is 45,000 USD long BTC with 5,000, and `b` holds ETH that has no mark any more."""
    wide = GlobalLimits(max_symbol_exposure_pct=Decimal(1000), max_margin_usage_pct=Decimal(100))
    view = await FaultyDesk.of(traders=("a", "b"), limits=LIMITS, account_limits=wide)
    await view.go("a", without_stop(open_long(usd=45000), 10))
    await view.go("b", without_stop(open_long(ETH, usd=100), 1))
    view.pass_time()
    view.feed.hidden = {ETH}
    return view


def sample_always(view: FaultyDesk) -> None:
    view.handlers = DeskHandlers(replace(view.handlers._parts, sampler=LiveSampler(0)))


async def test_a_broken_book_is_closed_while_another_has_no_mark() -> None:
    view = await two_books()
    view.price(85)
    await view.maintain(seconds=3)
    assert await view.held("a", BTC) == 0
    assert await view.held("b", ETH) == 1
    assert "BOOK_LIQUIDATED" in await view.incidents()
    assert await view.wrongs() == []


async def test_a_book_without_a_mark_of_its_own_waits_for_it() -> None:
    view = await two_books()
    view.price(85)
    view.feed.hidden = {BTC, ETH}
    await view.maintain(seconds=3)
    assert await view.held("a", BTC) == 450
    view.feed.hidden = set()
    await view.maintain(seconds=1)
    assert await view.held("a", BTC) == 0


async def test_only_what_is_known_is_sampled() -> None:
    view = await two_books()
    sample_always(view)
    sampled_before = {row.trader_id for row in await rows_since(view)}
    account: AccountRow = (await view.find(AccountRow))[0]
    view.price(101)
    await view.maintain(seconds=2)
    sampled = {row.trader_id: row.equity for row in await rows_since(view)}
    assert (sampled_before, sampled) == (set(), {"a": Decimal(5450)})
    assert (await view.find(AccountRow))[0].equity == account.equity
    view.feed.hidden = set()
    await view.maintain(seconds=1)
    assert {row.trader_id for row in await rows_since(view)} == {"", "a", "b"}
    assert (await view.find(AccountRow))[0].equity == Decimal(10450)


async def rows_since(view: FaultyDesk) -> Sequence[EquityRow]:
    """Return the samples of this instant."""
    rows: Sequence[Any] = await view.find(EquityRow)
    return [row for row in rows if row.at == view.clock.now()]


async def test_capital_is_dealt_only_when_all_is_marked() -> None:
    view = await two_books()
    before = len(await rebalances(view))
    view.price(101)
    view.pass_time(7200)
    await view.maintain()
    assert len(await rebalances(view)) == before
    view.feed.hidden = set()
    await view.maintain(seconds=1)
    assert len(await rebalances(view)) > before


async def rebalances(view: FaultyDesk) -> Sequence[LedgerRow]:
    rows: Sequence[LedgerRow] = await view.find(LedgerRow)
    return [row for row in rows if row.kind is LedgerKind.REBALANCE]
