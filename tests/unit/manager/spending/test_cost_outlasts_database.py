"""What a call cost is booked once, whatever becomes of the database while it is written."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import pytest

from exchanges.clock import ManualClock
from manager.spending.meter import Spending
from manager.state.errors import CommitUnknown, DatabaseAway
from manager.state.memory.store import MemoryStore
from manager.state.records import DEFAULT_TENANT
from manager.state.spending import HoldRow, SpendingRow
from spending_scene import budget_config, costs, quote, trader
from state_rows import AT


class Failing(MemoryStore):
    """Fail the next transactions of a tenant: before they begin, or after (`committed`) or instead of their commit."""

    def __init__(self) -> None:
        super().__init__()
        self.away = 0
        self.unknown: list[bool] = []

    @asynccontextmanager
    async def transaction(self, *arguments: Any, **options: Any) -> AsyncIterator[Any]:
        if self.away:
            self.away -= 1
            raise DatabaseAway("the database does not answer")
        committed = self.unknown.pop() if self.unknown else None
        lost = CommitUnknown("the connection broke during the commit")
        async with super().transaction(*arguments, **options) as tx:
            yield tx
            if committed is False:
                raise lost
        if committed:
            raise lost


async def _spent(store: Failing) -> tuple[list[Decimal], list[Decimal], int]:
    async with store.transaction(DEFAULT_TENANT) as tx:
        sums = await tx.find(SpendingRow, {})
        holds = await tx.find(HoldRow, {})
    return [row.spent_usd for row in sums], [row.reserved_usd for row in sums], len(holds)


@pytest.mark.parametrize(
    ("away", "unknown"), [(3, []), (0, [True]), (0, [False]), (2, [True, False])], ids=["away", "made", "lost", "all"]
)
async def test_a_budgeted_call_is_booked_once(away: int, unknown: list[bool]) -> None:
    store, clock = Failing(), ManualClock(AT)
    async with store.service() as service:
        await service.ensure_tenant(DEFAULT_TENANT)
    meter = Spending(store, clock, budget_config(Decimal(10))).meter(DEFAULT_TENANT, trader("t", None))
    held = await meter.reserve(quote(4))
    store.away, store.unknown = away, unknown
    await meter.settle(held, costs(1))
    spent, reserved, holds = await _spent(store)
    assert spent == [1, 1, 1]
    assert not any(reserved)
    assert not holds


@pytest.mark.parametrize(("unknown", "booked"), [([], [1, 1, 1]), ([True], [1, 1, 1]), ([False], [])])
async def test_without_a_hold_an_absence_is_waited_for_and_an_unknown_commit_is_told(
    unknown: list[bool], booked: list[int]
) -> None:
    store, clock = Failing(), ManualClock(AT)
    async with store.service() as service:
        await service.ensure_tenant(DEFAULT_TENANT)
    meter = Spending(store, clock, budget_config(None)).meter(DEFAULT_TENANT, trader("t", None))
    held = await meter.reserve(quote(4))
    store.away, store.unknown = 3, unknown
    await meter.settle(held, costs(1))
    assert (await _spent(store))[0] == booked


async def test_a_database_that_stays_away_ends_the_booking() -> None:
    store, clock = Failing(), ManualClock(AT)
    async with store.service() as service:
        await service.ensure_tenant(DEFAULT_TENANT)
    meter = Spending(store, clock, budget_config(Decimal(10))).meter(DEFAULT_TENANT, trader("t", None))
    held = await meter.reserve(quote(4))
    store.away = 1_000
    await meter.settle(held, costs(1))
    store.away = 0
    assert await _spent(store) == ([Decimal(0)] * 3, [Decimal(4)] * 3, 1), (
        "its worst case stays set aside until it is counted"
    )
