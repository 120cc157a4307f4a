"""The upgrade that names the intent of each recent entry keeps the instants, in every tenant, as does its way back."""

from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from database_fixtures import Database
from manager.state.postgres.roles import OWNER
from manager.state.postgres.store import PostgresStore
from manager.state.postgres.upgrade import migrate, upgrade
from manager.state.records import DEFAULT_TENANT, BookRow, IntentId, RecentEntry, TenantId
from state_rows import make_account, make_row
from traders.spec import TraderId

pytestmark = pytest.mark.database

AT = datetime(2025, 1, 15, 12, tzinfo=UTC)
MADE = tuple(RecentEntry(at=AT + timedelta(minutes=n // 2), intent_id=IntentId(f"i{n}")) for n in range(3))


async def test_entries_keep_their_instants_down_and_up(empty_database: Database) -> None:
    upgrade(empty_database.owner_dsn)
    store = PostgresStore.open(empty_database.dsn)
    tenants = (DEFAULT_TENANT, TenantId("acme"))
    for tenant in tenants:
        async with store.service() as service:
            await service.ensure_tenant(tenant)
        async with store.transaction(tenant) as tx:
            account = make_account(tenant_id=tenant)
            named = {"tenant_id": tenant, "account_id": account.account_id}
            books = [
                make_row(BookRow, **named, trader_id=name, recent_entries=made)
                for name, made in (("none", ()), ("three", MADE))
            ]
            await tx.insert([account, *books])
    migrate(empty_database.owner_dsn, "0019")
    with psycopg.connect(empty_database.owner_dsn) as connection:
        connection.execute(f"SET ROLE {OWNER}".encode())
        connection.execute(b"ALTER TABLE books NO FORCE ROW LEVEL SECURITY")
        told = connection.execute(b"SELECT recent_entries FROM books ORDER BY tenant_id, trader_id").fetchall()
        connection.rollback()
    instants = [made.at.isoformat().replace("+00:00", "Z") for made in MADE]
    assert [row[0] for row in told] == [[], instants] * 2
    migrate(empty_database.owner_dsn, "head")
    for tenant in tenants:
        async with store.transaction(tenant) as tx:
            found = {row.trader_id: row.recent_entries for row in await tx.find(BookRow, {})}
        assert [entry.at for entry in found[TraderId("three")]] == [entry.at for entry in MADE]
        assert {entry.intent_id for entry in found[TraderId("three")]} == {""}
        assert found[TraderId("none")] == ()
    await store.close()
