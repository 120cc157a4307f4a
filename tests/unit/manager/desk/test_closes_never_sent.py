"""A close that was stored and never reached the venue: its position is covered again, or told as unprotected."""

from datetime import timedelta
from typing import Any

import pytest

from exchanges.types import OrderType, TimeInForce
from faulty_desk import BTC, ETH, SECOND, Fault, FaultyDesk, Killed, close, open_long
from late_venue import LateVenue
from manager.state.records import OrderRow

SURE = {"enforces_expiry": True, "lookup_authoritative": True}
UNSURE = {"enforces_expiry": False, "lookup_authoritative": True}


async def desk_on(capabilities: dict[str, bool], *traders: str) -> tuple[FaultyDesk, LateVenue]:
    """Return a desk whose traders hold a long, on a venue that can do this."""
    desk = await FaultyDesk.of(traders=traders)
    late = LateVenue(desk.paper, desk.clock)
    late.changes = dict(capabilities)
    desk.venue.inner = late  # type: ignore[assignment]  # it passes everything else on
    for trader in traders:
        await desk.go(trader, open_long())
    return desk, late


def is_close(request: Any) -> bool:
    return request.type is OrderType.MARKET and request.time_in_force is TimeInForce.GTC


def fail(desk: FaultyDesk, fault: Fault | None) -> None:
    """Let the first close get lost, or with None the process die before it is sent."""
    state = {"done": False}

    def plan(call: str, argument: Any) -> Fault | None:
        if call != "create_order" or state["done"] or not is_close(argument):
            return None
        state["done"] = True
        if fault is None:
            raise Killed
        return fault

    desk.venue.plan = plan


async def lose_close(desk: FaultyDesk, fault: Fault | None) -> OrderRow:
    fail(desk, fault)
    if fault is None:
        with pytest.raises(Killed):
            await desk.go("a", close())
        desk.new_process("another")
    else:
        await desk.go("a", close())
    [row] = await desk.find(OrderRow, purpose="reduce")
    return row  # type: ignore[no-any-return]  # find is untyped


@pytest.mark.parametrize("fault", [Fault.LOST, None])
@pytest.mark.parametrize("traders", [("a",), ("a", "b")])
async def test_where_absence_is_soon_proven_the_position_is_covered_within_the_grace(
    fault: Fault | None, traders: tuple[str, ...]
) -> None:
    desk, _ = await desk_on(SURE, *traders)
    row = await lose_close(desk, fault)
    assert row.send_before is not None
    assert row.send_before - row.created_at <= timedelta(seconds=2)
    await desk.maintain(seconds=4)
    assert await desk.guarded() == list(traders)
    assert [order.state for order in await desk.find(OrderRow, order_id=row.order_id)] == ["absent"]
    assert not {"NAKED_POSITION", "STOP_FAILED"} & await desk.incidents()
    await desk.round()
    assert await desk.held("a") == 0
    assert await desk.wrongs() == []


async def test_absence_waits_for_what_the_clocks_differ() -> None:
    desk, late = await desk_on(SURE, "a", "b")
    behind = 3 * SECOND
    late.inner = Skewed(late.inner, behind)
    row = await lose_close(desk, Fault.LOST)
    await desk.maintain(seconds=5)
    [row] = await desk.find(OrderRow, order_id=row.order_id)
    assert row.state == "unknown"
    await desk.maintain(seconds=2)
    [row] = await desk.find(OrderRow, order_id=row.order_id)
    assert row.state == "absent"


class Skewed:
    """Show a clock that is behind ours."""

    def __init__(self, inner: Any, behind: timedelta) -> None:
        self._inner, self._behind = inner, behind

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def fetch_time(self) -> Any:
        return await self._inner.fetch_time() - self._behind


@pytest.mark.parametrize("fault", [Fault.LOST, None])
async def test_alone_on_its_symbol_a_second_stop_stands_where_absence_takes_long(fault: Fault | None) -> None:
    desk, _ = await desk_on(UNSURE, "a")
    await lose_close(desk, fault)
    await desk.maintain(seconds=5)
    assert await desk.guarded() == ["a"]
    assert [order.purpose for order in await desk.unresolved()] == ["reduce"]
    assert not {"NAKED_POSITION", "STOP_FAILED"} & await desk.incidents()


@pytest.mark.parametrize("fault", [Fault.LOST, None])
async def test_on_a_shared_symbol_the_incident_stands_until_the_stop_does(fault: Fault | None) -> None:
    desk, _ = await desk_on(UNSURE, "a", "b")
    await lose_close(desk, fault)
    await desk.maintain(seconds=8)
    assert await desk.guarded() == ["b"]
    assert "NAKED_POSITION" in await desk.open_incidents()
    await desk.maintain(seconds=20)
    assert "NAKED_POSITION" in await desk.open_incidents()
    await desk.maintain(seconds=8)
    assert await desk.guarded() == ["a", "b"]
    assert "NAKED_POSITION" not in await desk.open_incidents()


async def test_without_reduce_only_no_second_stop_stands_beside_a_close() -> None:
    desk, _ = await desk_on({**UNSURE, "reduce_only": False}, "a")
    desk.venue.plan = lambda call, argument: Fault.LOST if call == "create_order" and is_close(argument) else None
    await desk.go("a", close())
    for stop in await desk.resting():
        await desk.paper.cancel_order(stop.client_order_id, BTC)
    await desk.maintain(seconds=8)
    assert await desk.guarded() == []
    assert "NAKED_POSITION" in await desk.open_incidents()


async def test_a_close_that_waited_for_another_is_stored_with_a_new_expiry_before_it_is_sent() -> None:
    desk, _ = await desk_on(SURE, "a", "b")
    stored: list[tuple[Any, Any]] = []

    def plan(call: str, argument: Any) -> None:
        if call == "create_order" and is_close(argument):
            stored.append((argument.send_before, desk.clock.now()))
            desk.pass_time(5)

    await desk.go("a", open_long(symbol=ETH))
    await desk.go("b", open_long(symbol=ETH))
    desk.venue.plan = plan
    await desk.go("a", close(), close(symbol=ETH))
    assert len(stored) == 2
    assert all(timedelta(seconds=1) <= before - now <= timedelta(seconds=2) for before, now in stored)
    rows = await desk.find(OrderRow, purpose="reduce")
    assert sorted(row.send_before for row in rows) == sorted(before for before, _ in stored)
