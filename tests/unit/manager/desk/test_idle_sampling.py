"""Equity is sampled for who runs or holds: an idle trader costs no row, however long it is idle."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

from faulty_desk import BTC, FaultyDesk, close, open_long
from manager.desk.sampling import LiveSampler
from manager.jobs.handlers import DeskHandlers
from manager.state.journal import EquityRow
from manager.state.records import DEFAULT_TENANT, BookRow, TraderRow, TraderState


async def _desk(*traders: str) -> FaultyDesk:
    desk = await FaultyDesk.of(traders=traders)
    desk.handlers = DeskHandlers(replace(desk.handlers._parts, sampler=LiveSampler(0)))
    return desk


async def _stop(desk: FaultyDesk) -> None:
    async with desk.store.transaction(DEFAULT_TENANT) as tx:
        await tx.patch(TraderRow, ("a",), state=TraderState.STOPPED)


async def _sampled(desk: FaultyDesk, trader_id: str) -> list[Decimal]:
    await desk.maintain(seconds=1)
    rows = [row for row in await desk.find(EquityRow) if row.trader_id == trader_id]
    return [row.equity for row in rows if row.at > desk.clock.now() - timedelta(seconds=1)]


async def test_one_that_stopped_flat_is_sampled_until_its_curve_stands_and_no_more() -> None:
    desk = await _desk("a", "b")
    await desk.go("a", open_long(usd=500))
    desk.price(103)
    await desk.go("a", close())
    assert await desk.held("a", BTC) == 0
    await _stop(desk)
    await desk.maintain(seconds=1)
    curve = {row.trader_id: row for row in await desk.find(BookRow)}["a"].performance
    for _ in range(3):
        assert await _sampled(desk, "a") == []
        assert len(await _sampled(desk, "b")) > 0
        desk.pass_time(3600)
    assert {row.trader_id: row for row in await desk.find(BookRow)}["a"].performance == curve


async def test_one_that_stopped_and_holds_is_sampled() -> None:
    desk = await _desk("a")
    await desk.go("a", open_long(usd=500))
    await _stop(desk)
    desk.price(103)
    assert len(await _sampled(desk, "a")) > 0
