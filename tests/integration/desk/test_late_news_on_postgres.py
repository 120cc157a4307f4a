"""Late news and the checks of the invariants on PostgreSQL: what is read back there is what is split anew."""

from decimal import Decimal

import pytest

from database_fixtures import Database
from exchanges.types import Side
from faulty_desk import SECOND, FaultyDesk, open_long
from late_venue import LateVenue
from manager.monitor.invariants.fills import fills_split_exactly
from manager.state.postgres.store import PostgresStore
from manager.state.records import (
    DEFAULT_TENANT,
    UNALLOCATED,
    AccountRow,
    BookRow,
    FillPartRow,
    FillRow,
    IncidentRow,
    TradingState,
)
from traders.book import EXTERNAL

pytestmark = pytest.mark.database


async def test_what_is_listed_late_is_booked_in_its_place_and_the_books_are_checked(database: Database) -> None:
    desk = await FaultyDesk.of(traders=("a", "b"), store=PostgresStore.open(database.dsn, pool_size=2))
    try:
        late = LateVenue(desk.paper, desk.clock, seed=2)
        desk.venue.inner = late  # type: ignore[assignment]  # it passes everything else on
        late.lateness = lambda item: 9 * SECOND if getattr(item, "client_order_id", "") == "mine" else 0 * SECOND
        await desk.decide("a", open_long())
        await desk.go("b", open_long(usd=700))
        desk.pass_time()
        await desk.by_hand("mine", Side.BUY, 3)
        desk.pass_time()
        await desk.by_hand("mine too", Side.BUY, 2)
        late.move_cash(50)
        await desk.maintain(seconds=2)
        assert await desk.held(EXTERNAL) == 2
        await desk.maintain(seconds=9)
        assert [await desk.held(who) for who in ("a", "b", EXTERNAL)] == [10, 7, 5]
        assert fills_split_exactly(await desk.find(FillRow), await desk.find(FillPartRow)) == []
        [free] = await desk.find(BookRow, trader_id=UNALLOCATED)
        assert free.cash == 50
        await desk.maintain(seconds=57)
        [account] = await desk.find(AccountRow)
        assert account.suspicions == {}
        async with desk.store.transaction(DEFAULT_TENANT) as tx:
            await tx.patch(BookRow, ("paper", "a"), fees=Decimal(2))
        for _ in range(2):
            desk.pass_time(57)
            await desk.maintain()
        [account] = await desk.find(AccountRow)
        assert account.trading_state is TradingState.REDUCING
        [told] = await desk.find(IncidentRow, code="INVARIANT_BROKEN")
        assert told.resolved_at is None
    finally:
        await desk.store.close()
