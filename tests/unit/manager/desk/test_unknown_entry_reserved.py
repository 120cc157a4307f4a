"""An entry of unknown outcome reserves its worst case: without a mark too, and with the leverage it would bring."""

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from exchanges.types import OrderRequest, OrderType, Symbol
from faulty_desk import BTC, ETH, FREE_HAND, Fault, FaultyDesk, open_long
from manager.desk.plan.values import GlobalLimits
from manager.state.records import PositionRow, VerdictRow

HALF = Decimal(5000)
LIMITS = replace(FREE_HAND, max_margin_usage_pct=Decimal(50), max_position_size_usd=Decimal(9000))


async def one_trader() -> FaultyDesk:
    everything = GlobalLimits(max_symbol_exposure_pct=Decimal(500), max_margin_usage_pct=Decimal(100))
    return await FaultyDesk.of(limits=LIMITS, account_limits=everything)


def keep_unknown(desk: FaultyDesk, monkeypatch: pytest.MonkeyPatch) -> list[Symbol]:
    """Lose the answers to entries on BTC and hide what became of them until the list returned is cleared."""
    lost, fills = [BTC], desk.paper.fetch_fills

    def plan(call: str, argument: Any) -> Fault | None:
        if not lost:
            return None
        if call == "lookup_order":
            return Fault.DOWN
        entry = isinstance(argument, OrderRequest) and argument.type is OrderType.MARKET and argument.symbol in lost
        return Fault.ANSWER_LOST if call == "create_order" and entry else None

    async def late_fills(since: Any) -> Sequence[Any]:
        return () if lost else await fills(since)

    desk.venue.plan = plan
    monkeypatch.setattr(desk.paper, "fetch_fills", late_fills)
    return lost


async def margin(desk: FaultyDesk) -> Decimal:
    rows: Sequence[PositionRow] = await desk.find(PositionRow, trader_id="a")
    return sum((abs(row.cost) / row.leverage for row in rows), Decimal(0))


@pytest.mark.parametrize("hidden", [False, True])
async def test_it_reserves_with_and_without_a_mark(hidden: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = await one_trader()
    lost = keep_unknown(desk, monkeypatch)
    await desk.go("a", open_long(usd=9000))
    desk.pass_time()
    desk.feed.hidden = {BTC} if hidden else set()
    await desk.go("a", open_long(ETH, usd=9000))
    cut: list[VerdictRow] = list(await desk.find(VerdictRow, code="MARGIN_USAGE_TRADER"))
    assert [verdict.numbers["after"] for verdict in cut] == ["1000.00000000"]
    lost.clear()
    desk.feed.hidden = set()
    await desk.maintain(seconds=2)
    assert await margin(desk) == HALF
    assert await desk.wrongs() == []


async def test_it_reserves_what_a_lower_leverage_makes_of_the_position(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = await one_trader()
    await desk.go("a", replace(open_long(usd=4000, stop=95), leverage=10))
    desk.pass_time()
    lost = keep_unknown(desk, monkeypatch)
    await desk.go("a", replace(open_long(usd=100), leverage=1))
    desk.pass_time()
    await desk.go("a", open_long(ETH, usd=9000))
    lost.clear()
    await desk.maintain(seconds=2)
    assert await desk.held("a") == 41
    assert HALF * Decimal("0.99") < await margin(desk) <= HALF


async def test_two_entries_in_one_unknown_order_are_reserved_together(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = await one_trader()
    await desk.go("a", replace(open_long(usd=2000, stop=95), leverage=10))
    desk.pass_time()
    lost = keep_unknown(desk, monkeypatch)
    await desk.go("a", replace(open_long(usd=1000), leverage=2), replace(open_long(usd=1000), leverage=1))
    desk.pass_time()
    await desk.go("a", open_long(ETH, usd=9000))
    lost.clear()
    await desk.maintain(seconds=2)
    assert await desk.held("a") == 40
    assert await margin(desk) <= HALF
