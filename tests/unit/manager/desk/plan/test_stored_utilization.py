"""The use of an account's capital is stored with the equity that it was reckoned with, and after each rebalance."""

from datetime import timedelta
from decimal import Decimal

from exchanges.clock import EPOCH
from faulty_desk import ACCOUNT, BTC, FaultyDesk, open_long
from manager.state.records import DEFAULT_TENANT, AccountRow, BookRow, SampledMark, UtilizationReport

D = Decimal
DEALT = UtilizationReport(
    total=D(10000), allocated=D(10000), utilized=D(0), reserve=D(0), utilization_pct=D(0), over_allocated=()
)


async def stored(view: FaultyDesk) -> UtilizationReport | None:
    [account] = await view.find(AccountRow)
    found: UtilizationReport | None = account.utilization
    return found


async def let_sample(view: FaultyDesk) -> None:
    async with view.store.transaction(DEFAULT_TENANT) as tx:
        await tx.patch(AccountRow, (ACCOUNT,), updated_at=EPOCH)


async def test_what_a_rebalance_deals_is_stored_with_it() -> None:
    assert await stored(await FaultyDesk.of()) == DEALT


async def test_a_sample_stores_margin_in_use_and_who_is_over_its_allocation() -> None:
    view = await FaultyDesk.of(traders=("a", "b"))
    await view.go("a", open_long(usd=1000))
    async with view.store.transaction(DEFAULT_TENANT) as tx:
        await tx.patch(BookRow, (ACCOUNT, "a"), allocated=D(400))
    await let_sample(view)
    await view.maintain(1)
    report = await stored(view)
    assert report is not None
    assert (report.total, report.allocated, report.utilized) == (D(10000), D(5400), D(500))
    assert report.over_allocated == ("a",)


async def test_without_a_mark_the_last_report_stays() -> None:
    view = await FaultyDesk.of()
    await view.go("a", open_long(usd=1000))
    view.feed.hidden.add(BTC)
    await let_sample(view)
    await view.maintain(1)
    [account] = await view.find(AccountRow)
    assert account.updated_at == view.clock.now()
    assert account.utilization == DEALT


async def test_a_sample_stores_the_marks_that_it_used_and_their_time() -> None:
    view = await FaultyDesk.of()
    await view.go("a", open_long(usd=1000))
    await let_sample(view)
    view.feed.age_s = 2.5
    await view.maintain(1)
    [account] = await view.find(AccountRow)
    assert account.updated_at is not None
    assert account.marks[BTC] == SampledMark(price=D(100), at=account.updated_at - timedelta(seconds=2.5))
    view.feed.hidden.add(BTC)
    await let_sample(view)
    await view.maintain(1)
    [account] = await view.find(AccountRow)
    assert BTC not in account.marks
