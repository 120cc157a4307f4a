"""The upgrade that dates traders takes from their events when they came and changed last, in every tenant."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from database_fixtures import Database
from desk_factory import make_spec
from manager.state.kinds import EventKind
from manager.state.postgres.store import PostgresStore
from manager.state.postgres.upgrade import migrate, upgrade
from manager.state.records import DEFAULT_TENANT, EventRow, TenantId, TraderRow
from state_rows import make_account, make_row
from traders.spec import TraderId

pytestmark = pytest.mark.database

AT = datetime(2025, 1, 15, 12, tzinfo=UTC)
DONE = (
    ("one", EventKind.TRADER_STATE, 5),
    ("one", EventKind.TRADER_REGISTERED, 1),
    ("one", EventKind.TRADER_REMOVED, 9),
    ("two", EventKind.TRADER_UPDATED, 3),
)


async def test_traders_are_dated_by_their_events(empty_database: Database) -> None:
    upgrade(empty_database.owner_dsn)
    store = PostgresStore.open(empty_database.dsn)
    tenants = (DEFAULT_TENANT, TenantId("acme"))
    for later, tenant in enumerate(tenants):
        async with store.service() as service:
            await service.ensure_tenant(tenant)
        rows = [
            make_row(TraderRow, tenant_id=tenant, trader_id=name, account_id="acco", spec=make_spec(name))
            for name in ("one", "two", "three")
        ]
        events = [
            replace(
                make_row(EventRow, tenant_id=tenant, event_id=f"{n}", trader_id=TraderId(name)),
                kind=kind,
                at=AT + timedelta(minutes=minute, days=later),
            )
            for n, (name, kind, minute) in enumerate(DONE)
        ]
        async with store.transaction(tenant) as tx:
            await tx.insert([make_account(tenant_id=tenant), *rows, *events])
    migrate(empty_database.owner_dsn, "0021")
    migrate(empty_database.owner_dsn, "head")
    for later, tenant in enumerate(tenants):
        async with store.transaction(tenant) as tx:
            found = {row.trader_id: (row.created_at, row.updated_at) for row in await tx.find(TraderRow, {})}
        day = AT + timedelta(days=later)
        assert found == {
            "one": (day + timedelta(minutes=1), day + timedelta(minutes=5)),
            "two": (None, day + timedelta(minutes=3)),
            "three": (None, None),
        }
    await store.close()
