"""A worker killed in the middle of a flatten: the next one ends it, nothing is closed twice and nothing is entered."""

from functools import partial
from pathlib import Path

import pytest

from config_files import write_config
from database_fixtures import Database as ScratchDatabase
from ended_worker import killed
from exchanges.clock import SystemClock
from job_handlers import eventually
from live_desk import LIVELY, LiveDesk, restless
from manager.bootstrap.live import build_manager
from manager.roster.acts import FlattenAsked
from manager.state.acts import FlattenRow, FlattenScope
from manager.state.kinds import Afterwards, FlattenState, OrderPurpose, ScopeKind
from manager.state.postgres.store import PostgresStore
from manager.state.records import DEFAULT_TENANT, OrderRow, PositionRow
from manager.state.store import Store

pytestmark = [pytest.mark.database, pytest.mark.processes, pytest.mark.slow]

_PATIENCE_S = 180
_SCOPE = FlattenScope(kind=ScopeKind.ACCOUNT, name="paper")
_TWO = LIVELY[: LIVELY.index("  - {<<: *first, id: t3")] + "monitoring: {update_interval: 1s}\n"


async def holds(store: Store) -> bool:
    """Tell whether both traders hold something."""
    async with store.transaction(DEFAULT_TENANT) as tx:
        return len({row.trader_id for row in await tx.find(PositionRow, {})}) == 2


async def has_ended(store: Store) -> bool:
    """Tell whether the flatten has."""
    async with store.transaction(DEFAULT_TENANT) as tx:
        return all(row.state is not FlattenState.OPEN for row in await tx.find(FlattenRow, {}))


async def flattened(desk: LiveDesk, store: Store) -> FlattenAsked:
    """Ask for the flatten, as a command does."""
    manager = build_manager(store, desk.config, SystemClock())
    return await manager.flatten(DEFAULT_TENANT, _SCOPE, Afterwards.HALT, actor="ann", reason="storm")


@pytest.mark.parametrize("place", ["persisted", "taken", "answered"])
async def test_the_next_worker_ends_a_flatten(database: ScratchDatabase, tmp_path: Path, place: str) -> None:
    config = write_config(tmp_path, _TWO)
    desk = LiveDesk.of(config, database.dsn)
    async with desk.trading(restless) as store:
        await eventually(partial(holds, store), patience_s=_PATIENCE_S)
    store = PostgresStore.open(database.dsn)
    try:
        asked = await flattened(desk, store)
        await killed(config, database.dsn, place, "close")
        assert not await has_ended(store)
        again = await flattened(desk, store)
        assert (again.joined, again.parts) == (True, asked.parts)
        async with desk.trading(restless):
            await eventually(partial(has_ended, store), patience_s=_PATIENCE_S)
        async with store.transaction(DEFAULT_TENANT) as tx:
            [row] = await tx.find(FlattenRow, {})
            orders = await tx.find(OrderRow, {}, limit=None)
            left = await tx.find(PositionRow, {})
    finally:
        await store.close()
    assert (row.state, row.remaining, left) == (FlattenState.FLAT, (), ())
    assert [one for one in orders if one.purpose is OrderPurpose.ENTRY and one.created_at >= asked.parts[0].at] == []
    (await desk.settled()).assert_sound()
