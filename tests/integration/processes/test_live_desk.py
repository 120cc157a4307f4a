"""A worker trades live on Postgres and paper, and its books equal the venue's to the last digit."""

from collections import Counter
from pathlib import Path

import pytest

from database_fixtures import Database as ScratchDatabase
from job_handlers import eventually
from live_desk import LiveDesk, restless
from manager.state.records import DEFAULT_TENANT, OrderPurpose, OrderRow, OrderState
from manager.state.store import Store

pytestmark = [pytest.mark.database, pytest.mark.slow]


async def _count(store: Store, purpose: OrderPurpose) -> int:
    async with store.transaction(DEFAULT_TENANT) as tx:
        return len(await tx.find(OrderRow, {"purpose": purpose, "state": OrderState.FILLED}))


async def test_traders_of_opposite_temper_trade_one_account_and_all_invariants_hold(
    database: ScratchDatabase, tmp_path: Path
) -> None:
    desk = LiveDesk.at(tmp_path, database.dsn)

    async with desk.trading() as store:

        async def enough() -> bool:
            return await _count(store, OrderPurpose.ENTRY) >= 6

        await eventually(enough)
    books = await desk.settled()
    books.assert_sound()
    assert len({(row.trader_id, row.due_at) for row in books.decisions}) == len(books.decisions)
    assert {order.state for order in books.orders if order.purpose is OrderPurpose.STOP} >= {OrderState.ACCEPTED}


async def test_entries_and_closes_go_round_and_a_second_worker_life_goes_on_with_the_same_books(
    database: ScratchDatabase, tmp_path: Path
) -> None:
    desk = LiveDesk.at(tmp_path, database.dsn)
    seen = 0
    for _ in range(2):
        async with desk.trading(restless) as store:

            async def enough(store: Store = store, more: int = seen + 2) -> bool:
                return await _count(store, OrderPurpose.REDUCE) >= more

            await eventually(enough)
        books = await desk.settled()
        books.assert_sound()
        done = Counter(order.purpose for order in books.orders if order.state is OrderState.FILLED)
        assert done[OrderPurpose.REDUCE] > seen
        seen = done[OrderPurpose.REDUCE]
    deposits = [book.capital for book in books.rows.books]
    assert sum(deposits) == desk.config.manager.total_equity_usd
