"""What the venue keeps refusing: asked for less and less often, told once, and done soon after it can be."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from exchanges.types import OrderRequest, OrderType
from faulty_desk import (
    ETH,
    FREE_HAND,
    SECOND,
    Fault,
    FaultyDesk,
    Killed,
    Plan,
    close,
    is_type,
    no_faults,
    open_long,
    open_short,
    when,
)
from manager.desk.back_off import FIRST, MOST, BackOff
from manager.desk.plan.values import ConflictStrategy, GlobalLimits
from manager.state.records import IncidentRow, PositionRow

NOW = datetime(2025, 6, 1, tzinfo=UTC)
REFUSE_ALL = when(Fault.REFUSED, "create_order")
LONG = 300


def sent(desk: FaultyDesk, kind: OrderType) -> int:
    return sum(request.type is kind for request in desk.venue.sent)


async def told(desk: FaultyDesk, code: str, **where: Any) -> list[bool]:
    """Return of each incident of a code whether it is open."""
    rows: Sequence[IncidentRow] = await desk.find(IncidentRow, code=code, **where)
    return [row.resolved_at is None for row in rows]


async def a_broken_book(traders: tuple[str, ...] = ("a",)) -> FaultyDesk:
    """Let `a` hold a book below its maintenance margin, which nobody has looked at yet, and others a little."""
    limits = replace(
        FREE_HAND, stop_loss_enabled=False, max_margin_usage_pct=Decimal(100), max_position_size_usd=Decimal(10**6)
    )
    wide = GlobalLimits(max_symbol_exposure_pct=Decimal(1000), max_margin_usage_pct=Decimal(100))
    desk = await FaultyDesk.of(traders=traders, limits=limits, account_limits=wide)
    for trader_id in traders[1:]:
        await desk.go(trader_id, replace(open_long(usd=100), stop_loss=None))
    await desk.go("a", replace(open_long(usd=90000 // len(traders), take_profit=150), stop_loss=None, leverage=10))
    desk.pass_time()
    desk.price(85)
    return desk


async def test_a_close_that_is_refused_for_long_is_told_once_and_asked_for_now_and_then() -> None:
    desk = await FaultyDesk.of()
    desk.venue.plan = when(Fault.REFUSED, "create_order", is_type(OrderType.STOP))
    await desk.go("a", open_long())
    desk.venue.plan = REFUSE_ALL
    await desk.maintain(LONG)
    assert await told(desk, "STOP_FAILED") == [False]
    assert await told(desk, "NAKED_POSITION") == await told(desk, "PROTECTION_REFUSED") == [True]
    most = LONG / MOST.total_seconds() + 10
    assert sent(desk, OrderType.MARKET) <= most
    assert sent(desk, OrderType.STOP) <= most
    desk.venue.plan = no_faults
    await desk.maintain(6)
    assert [row.unprotected_since for row in await desk.find(PositionRow)] in ([], [None])
    await desk.maintain(1)
    assert await desk.open_incidents() == set()


async def test_a_close_without_an_outcome_for_long_is_told_once() -> None:
    desk = await FaultyDesk.of()
    desk.venue.plan = when(Fault.REFUSED, "create_order", is_type(OrderType.STOP))
    await desk.go("a", open_long())
    stops = desk.venue.plan
    desk.venue.plan = lambda call, given: stops(call, given) or (Fault.LOST if call == "create_order" else None)
    await desk.maintain(LONG)
    assert await told(desk, "STOP_FAILED") == [False]
    assert await told(desk, "NAKED_POSITION") == [True]


@pytest.mark.parametrize("fault", [Fault.REFUSED, Fault.LOST])
async def test_a_liquidation_that_fails_for_long_is_told_once_until_it_is_done(fault: Fault) -> None:
    desk = await a_broken_book()
    desk.venue.plan = when(fault, "create_order")
    await desk.maintain(LONG)
    assert await told(desk, "BOOK_LIQUIDATED") == [False]
    assert await told(desk, "LIQUIDATION_FAILED") == [True]
    assert sent(desk, OrderType.MARKET) <= LONG / MOST.total_seconds() + 10
    desk.venue.plan = no_faults
    await desk.maintain(40)
    assert await desk.held("a") == 0
    assert await told(desk, "BOOK_LIQUIDATED") == [False, False]
    assert await desk.open_incidents() == set()


async def test_a_liquidation_that_failed_stays_told_while_there_is_no_price_and_ends_with_recovery() -> None:
    desk = await a_broken_book()
    desk.venue.plan = REFUSE_ALL
    await desk.maintain(3)
    desk.feed.down = True
    await desk.maintain(3)
    assert await told(desk, "LIQUIDATION_FAILED") == [True]
    desk.feed.down = False
    desk.price(100)
    await desk.maintain(2)
    assert await told(desk, "LIQUIDATION_FAILED") == [False]


async def test_a_liquidation_behind_a_take_profit_that_may_stand_is_told() -> None:
    desk = await a_broken_book(("a", "b"))
    desk.venue.plan = when(Fault.LOST, "cancel_order")
    await desk.maintain(3)
    assert await told(desk, "LIQUIDATION_FAILED") == await told(desk, "CANCEL_UNKNOWN") == [True]
    assert await desk.held("a") > 0
    desk.venue.plan = no_faults
    await desk.maintain(2)
    assert await desk.held("a") == 0
    assert await desk.open_incidents() == set()


async def test_another_process_asks_at_once() -> None:
    desk = await a_broken_book()
    desk.venue.plan = REFUSE_ALL
    await desk.maintain(20)
    desk.new_process()
    desk.venue.plan = no_faults
    await desk.maintain(1)
    assert await desk.held("a") == 0


async def test_a_refused_stop_and_a_refused_take_profit_are_two_incidents() -> None:
    desk = await FaultyDesk.of()
    desk.venue.plan = when(Fault.REFUSED, "create_order", lambda request: request.type is not OrderType.MARKET)
    await desk.go("a", open_long(take_profit=150))
    assert len(await told(desk, "PROTECTION_REFUSED")) == 2
    desk.venue.plan = when(Fault.REFUSED, "create_order", is_type(OrderType.TAKE_PROFIT))
    await desk.maintain(4)
    rows: Sequence[IncidentRow] = await desk.find(IncidentRow, code="PROTECTION_REFUSED")
    assert {row.incident_id.rsplit("/")[-1]: row.resolved_at is None for row in rows} == {
        "stop": False,
        "take_profit": True,
    }


@pytest.mark.parametrize(
    ("plan", "code"),
    [
        (when(Fault.REFUSED, "create_order", is_type(OrderType.TAKE_PROFIT)), "PROTECTION_REFUSED"),
        (when(Fault.LOST, "cancel_order"), "CANCEL_UNKNOWN"),
    ],
)
async def test_a_take_profit_that_cannot_be_fired_is_told_once_over_all_jobs(plan: Plan, code: str) -> None:
    desk = await FaultyDesk.of(traders=("a", "z"), strategy=ConflictStrategy.NET)
    await desk.go("a", open_long(take_profit=110))
    desk.pass_time()
    await desk.go("z", open_short(usd=400, stop=140))
    desk.price(112)
    desk.venue.plan = plan
    for _ in range(60):
        await desk.maintain(1)
        await desk.round()
    assert await told(desk, code) == [True]
    assert sent(desk, OrderType.TAKE_PROFIT) <= 60 / MOST.total_seconds() + 10
    desk.venue.plan = no_faults
    await desk.maintain(8)
    assert await desk.held("a") == 0
    assert await desk.open_incidents() == set()


async def test_an_unconfirmed_cancel_stays_told_between_the_tries_of_a_close() -> None:
    desk = await FaultyDesk.of()
    await desk.go("a", open_long(take_profit=150))
    [stop] = await desk.resting()
    await desk.paper.cancel_order(stop.client_order_id, stop.symbol)

    def plan(call: str, given: Any) -> Fault | None:
        refused: Plan = REFUSE_ALL
        return refused(call, given) or (Fault.LOST if call == "cancel_order" else None)

    desk.venue.plan = plan
    await desk.maintain(60)
    assert await told(desk, "CANCEL_UNKNOWN") == [True]


async def test_a_close_is_told_before_it_leaves() -> None:
    def die_at_market(call: str, given: OrderRequest) -> Fault | None:
        if call == "create_order" and given.type is OrderType.MARKET:
            raise Killed
        return None

    desk = await FaultyDesk.of()
    desk.venue.plan = when(Fault.REFUSED, "create_order", is_type(OrderType.STOP))
    await desk.go("a", open_long())
    stops = desk.venue.plan
    desk.venue.plan = lambda call, given: stops(call, given) or die_at_market(call, given)
    with pytest.raises(Killed):
        await desk.maintain(10)
    assert await told(desk, "STOP_FAILED") == [False]


async def test_a_close_of_another_size_is_asked_for_at_once() -> None:
    desk = await FaultyDesk.of()
    await desk.go("a", open_long(ETH))
    desk.venue.plan = REFUSE_ALL
    await desk.go("a", close(ETH))
    assert sent(desk, OrderType.MARKET) == 2


def test_waits_double_up_to_a_bound_and_start_anew_with_a_success_or_a_minute() -> None:
    back_off, now, waits = BackOff(), NOW, []
    for _ in range(7):
        back_off.note("x", now, refused=True)
        begun = now
        while back_off.waits("x", now):
            now += FIRST / 2
        waits.append(now - begun)
    assert waits == [FIRST, 2 * FIRST, 4 * FIRST, 8 * FIRST, MOST, MOST, MOST]
    assert not back_off.waits("y", now)
    back_off.note("x", now, refused=False)
    assert not back_off.recent("x", now)
    for passed in (timedelta(0), timedelta(minutes=2)):
        back_off.note("x", now + passed, refused=True)
        assert not back_off.waits("x", now + passed + FIRST)
    assert back_off.recent("x", now + passed + SECOND)
    assert not back_off.recent("x", now + passed + timedelta(minutes=2))
