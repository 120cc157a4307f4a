"""An incident that lasts, on PostgreSQL and over restarts: one row for each appearance, with both its times."""

import pytest

from database_fixtures import Database
from faulty_desk import AT, BTC, SECOND, Fault, FaultyDesk, no_faults, open_long, when
from manager.state.postgres.store import PostgresStore
from manager.state.records import IncidentRow

pytestmark = pytest.mark.database


async def restart(desk: FaultyDesk, database: Database) -> None:
    """Go on as another process on another connection."""
    await desk.store.close()
    desk.store = PostgresStore.open(database.dsn, pool_size=2)
    desk.new_process("next")


async def test_incidents_end_and_come_again_across_restarts(database: Database) -> None:
    desk = await FaultyDesk.of(store=PostgresStore.open(database.dsn, pool_size=2))
    try:
        for _ in range(2):
            desk.venue.plan = when(Fault.DOWN, "fetch_positions")
            await desk.maintain(2)
            await restart(desk, database)
            await desk.maintain(2)
            desk.venue.plan = no_faults
            await restart(desk, database)
            await desk.maintain(2)
        rows = sorted(await desk.find(IncidentRow), key=lambda row: row.at)
        seconds = [(row.at - AT, row.resolved_at and row.resolved_at - AT) for row in rows]
        assert seconds == [(1 * SECOND, 5 * SECOND), (7 * SECOND, 11 * SECOND)]
        assert {(row.code, row.severity) for row in rows} == {("VENUE_UNAVAILABLE", "high")}
    finally:
        await desk.store.close()


async def test_an_unknown_order_stands_over_a_restart_until_its_absence_is_proven(database: Database) -> None:
    desk = await FaultyDesk.of(store=PostgresStore.open(database.dsn, pool_size=2))
    try:
        desk.venue.plan = when(Fault.LOST, "create_order")
        await desk.go("a", open_long())
        await restart(desk, database)
        desk.venue.plan = no_faults
        await desk.maintain(5)
        [row] = await desk.find(IncidentRow)
        assert (row.code, row.symbol, row.at, row.resolved_at) == ("ORDER_UNKNOWN", BTC, AT, None)
        await restart(desk, database)
        await desk.maintain(45)
        [row] = await desk.find(IncidentRow)
        assert row.at == AT
        assert row.resolved_at is not None
    finally:
        await desk.store.close()
