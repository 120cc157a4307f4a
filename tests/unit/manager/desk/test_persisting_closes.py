"""Closes and target positions persist until done, whatever the venue answers, and none is carried out twice."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from exchanges.errors import OutcomeUnknown
from exchanges.types import ClientOrderId, OrderReport, OrderRequest, OrderStatus, OrderType, Symbol
from executor.contract import Action, Decision
from faulty_desk import BTC, Fault, FaultyDesk, close, is_type, no_faults, open_long, when
from manager.state.records import IntentRow

ABSENT_AFTER_S = 60


def target_position(quantity: int, stop: int) -> Decision:
    return Decision(
        symbol=BTC, action=Action.TARGET, target_quantity=Decimal(quantity), stop_loss=Decimal(stop), leverage=2
    )


async def statuses(desk: FaultyDesk) -> list[str]:
    return [intent.status.value for intent in await desk.find(IntentRow)]


def reduces(request: OrderRequest) -> bool:
    return request.type is OrderType.MARKET and request.reduce_only


@pytest.mark.parametrize("fault", [Fault.LOST, Fault.ANSWER_LOST, Fault.REFUSED])
async def test_a_target_position_through_zero_is_reached_after_its_close_failed(fault: Fault) -> None:
    desk = await FaultyDesk.of()
    await desk.go("a", open_long())
    desk.pass_time()
    desk.venue.plan = when(fault, "create_order", is_type(OrderType.MARKET))
    await desk.go("a", target_position(-5, 110))
    assert await statuses(desk) == ["consumed", "pending"]
    desk.venue.plan = no_faults
    for _ in range(ABSENT_AFTER_S):
        await desk.maintain(seconds=1)
        await desk.round()
    assert await desk.held("a") == await desk.net() == -5
    assert await statuses(desk) == ["consumed", "consumed"]
    assert await desk.wrongs() == []


async def test_a_target_position_through_zero_is_reached_once_in_a_quiet_round() -> None:
    desk = await FaultyDesk.of()
    await desk.go("a", open_long())
    desk.pass_time()
    await desk.go("a", target_position(-5, 110))
    sent = len(desk.venue.sent)
    desk.pass_time()
    await desk.round()
    assert await desk.held("a") == -5
    assert await statuses(desk) == ["consumed", "consumed"]
    assert len(desk.venue.sent) == sent


async def test_a_target_position_below_what_is_held_is_reached_and_done() -> None:
    desk = await FaultyDesk.of()
    await desk.go("a", open_long())
    desk.pass_time()
    await desk.go("a", target_position(4, 90))
    assert await desk.held("a") == 4
    assert await statuses(desk) == ["consumed", "done"]


async def test_a_target_position_beside_a_close_that_never_arrived_is_reached_all_the_same() -> None:
    desk = await FaultyDesk.of()
    await desk.go("a", open_long())
    desk.pass_time()
    desk.venue.plan = when(Fault.LOST, "create_order", is_type(OrderType.MARKET))
    await desk.go("a", close(fraction="0.5"))
    desk.venue.plan = no_faults
    desk.pass_time()
    await desk.go("a", target_position(0, 90))
    assert await desk.held("a") == 5
    assert (await statuses(desk))[-1] == "pending"
    for _ in range(ABSENT_AFTER_S):
        await desk.maintain(seconds=1)
        await desk.round()
    assert await desk.held("a") == await desk.net() == 0
    assert (await statuses(desk))[-1] == "done"
    assert await desk.wrongs() == []


def cut_short(desk: FaultyDesk, filled: int) -> Callable[[], None]:
    """Let the venue fill only `filled` of the next close and lose its answer; return what lets it be found, ended."""
    inner: Any = desk.paper
    send, look = inner.create_order, inner.lookup_order
    cut: dict[str, Decimal] = {}
    found = False

    async def create(request: OrderRequest) -> OrderReport:
        if cut or not reduces(request):
            report: OrderReport = await send(request)
            return report
        cut[str(request.client_order_id)] = request.quantity
        await send(replace(request, quantity=Decimal(filled)))
        raise OutcomeUnknown("timed out")

    async def lookup(order_id: ClientOrderId, symbol: Symbol) -> OrderReport | None:
        report: OrderReport | None = await look(order_id, symbol)
        if report is None or str(order_id) not in cut:
            return report
        status = OrderStatus.CANCELED if found else OrderStatus.OPEN
        return replace(report, quantity=cut[str(order_id)], status=status)

    def end() -> None:
        nonlocal found
        found = True

    inner.create_order, inner.lookup_order = create, lookup
    return end


@pytest.mark.parametrize(
    ("decision", "left", "status"),
    [(close(fraction="0.5"), 6, "done"), (close(), 0, "done"), (target_position(5, 90), 5, "done")],
)
async def test_what_ended_part_filled_is_done_if_partial_and_goes_on_if_not(
    decision: Decision, left: int, status: str
) -> None:
    desk = await FaultyDesk.of()
    await desk.go("a", open_long())
    desk.pass_time()
    end = cut_short(desk, 4)
    await desk.go("a", decision)
    end()
    for _ in range(3):
        desk.pass_time()
        await desk.round()
    assert await desk.held("a") == await desk.net() == left
    assert await statuses(desk) == ["consumed", status]
