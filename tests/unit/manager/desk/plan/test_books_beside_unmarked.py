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
from manager.state.records import AccountRow, EquityRow, LedgerKind, LedgerRow

LIMITS = replace(
    FREE_HAND, stop_loss_enabled=False, max_margin_usage_pct=Decimal(100), max_position_size_usd=Decimal(10**6)
)


def without_stop(decision: Decision, leverage: int) -> Decision:
    return replace(decision, stop_loss=None, leverage=leverage)


async def two_books() -> FaultyDesk:
    """Return a desk where `a` is 45,000 USD long BTC with 5,000, and `b` holds ETH that has no mark any more."""
    wide = GlobalLimits(max_symbol_exposure_pct=Decimal(1000), max_margin_usage_pct=Decimal(100))
    desk = await FaultyDesk.of(traders=("a", "b"), limits=LIMITS, account_limits=wide)
    await desk.go("a", without_stop(open_long(usd=45000), 10))
    await desk.go("b", without_stop(open_long(ETH, usd=100), 1))
    desk.pass_time()
    desk.feed.hidden = {ETH}
    return desk


def sample_always(desk: FaultyDesk) -> None:
    desk.handlers = DeskHandlers(replace(desk.handlers._parts, sampler=LiveSampler(0)))


async def test_a_broken_book_is_closed_while_another_has_no_mark() -> None:
    desk = await two_books()
    desk.price(85)
    await desk.maintain(seconds=3)
    assert await desk.held("a", BTC) == 0
    assert await desk.held("b", ETH) == 1
    assert "BOOK_LIQUIDATED" in await desk.incidents()
    assert await desk.wrongs() == []


async def test_a_book_without_a_mark_of_its_own_waits_for_it() -> None:
    desk = await two_books()
    desk.price(85)
    desk.feed.hidden = {BTC, ETH}
    await desk.maintain(seconds=3)
    assert await desk.held("a", BTC) == 450
    desk.feed.hidden = set()
    await desk.maintain(seconds=1)
    assert await desk.held("a", BTC) == 0


async def test_only_what_is_known_is_sampled() -> None:
    desk = await two_books()
    sample_always(desk)
    sampled_before = {row.trader_id for row in await rows_since(desk)}
    account: AccountRow = (await desk.find(AccountRow))[0]
    desk.price(101)
    await desk.maintain(seconds=2)
    sampled = {row.trader_id: row.equity for row in await rows_since(desk)}
    assert (sampled_before, sampled) == (set(), {"a": Decimal(5450)})
    assert (await desk.find(AccountRow))[0].equity == account.equity
    desk.feed.hidden = set()
    await desk.maintain(seconds=1)
    assert {row.trader_id for row in await rows_since(desk)} == {"", "a", "b"}
    assert (await desk.find(AccountRow))[0].equity == Decimal(10450)


async def rows_since(desk: FaultyDesk) -> Sequence[EquityRow]:
    """Return the samples of this instant."""
    rows: Sequence[Any] = await desk.find(EquityRow)
    return [row for row in rows if row.at == desk.clock.now()]


async def test_capital_is_dealt_only_when_all_is_marked() -> None:
    desk = await two_books()
    before = len(await rebalances(desk))
    desk.price(101)
    desk.pass_time(7200)
    await desk.maintain()
    assert len(await rebalances(desk)) == before
    desk.feed.hidden = set()
    await desk.maintain(seconds=1)
    assert len(await rebalances(desk)) > before


async def rebalances(desk: FaultyDesk) -> Sequence[LedgerRow]:
    rows: Sequence[LedgerRow] = await desk.find(LedgerRow)
    return [row for row in rows if row.kind is LedgerKind.REBALANCE]
