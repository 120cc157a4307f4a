"""The upgrade that gives codes to states: only what a config stopped is taken for removed from it, in every tenant."""

from datetime import UTC, datetime

import pytest

from database_fixtures import Database
from desk_factory import make_spec
from manager.state.kinds import EventKind
from manager.state.postgres.store import PostgresStore
from manager.state.postgres.upgrade import migrate, upgrade
from manager.state.records import DEFAULT_TENANT, AccountId, EventRow, StateCode, TenantId, TraderRow, TraderState
from state_rows import make_account, make_row
from traders.spec import ManagedBy, TraderId

pytestmark = pytest.mark.database

SAID = "no longer in the config"
BEFORE = "0015"


def stopped(tenant: TenantId, name: str, actor: str, n: int) -> EventRow:
    return EventRow(
        tenant_id=tenant,
        event_id=f"{name}/{n}",
        at=datetime(2026, 1, 1, tzinfo=UTC),
        actor=actor,
        kind=EventKind.TRADER_STATE,
        account_id=AccountId("acco"),
        trader_id=TraderId(name),
        after=TraderState.STOPPED,
        reason=SAID,
    )


def trader(tenant: TenantId, name: str, state: TraderState, reason: str, owner: ManagedBy) -> TraderRow:
    return make_row(
        TraderRow,
        tenant_id=tenant,
        trader_id=TraderId(name),
        account_id="acco",
        spec=make_spec(name, managed_by=owner),
        state=state,
        state_reason=reason,
    )


async def test_an_upgrade_knows_what_a_config_had_stopped(empty_database: Database) -> None:
    upgrade(empty_database.owner_dsn)
    store = PostgresStore.open(empty_database.dsn)
    for tenant in (DEFAULT_TENANT, TenantId("acme")):
        async with store.service() as service:
            await service.ensure_tenant(tenant)
        async with store.transaction(tenant) as tx:
            await tx.insert([make_account(tenant_id=tenant)])
            await tx.insert(
                [
                    trader(tenant, "removed", TraderState.STOPPED, SAID, ManagedBy.CONFIG),
                    trader(tenant, "by hand", TraderState.STOPPED, "enough", ManagedBy.CONFIG),
                    trader(tenant, "same words", TraderState.STOPPED, SAID, ManagedBy.CONFIG),
                    trader(tenant, "of the api", TraderState.STOPPED, SAID, ManagedBy.API),
                    trader(tenant, "paused", TraderState.PAUSED, SAID, ManagedBy.CONFIG),
                ]
            )
            await tx.insert(
                [
                    stopped(tenant, "removed", "cli", 1),
                    stopped(tenant, "removed", "config", 2),
                    stopped(tenant, "same words", "config", 1),
                    stopped(tenant, "same words", "cli", 2),
                ]
            )
    migrate(empty_database.owner_dsn, BEFORE)
    migrate(empty_database.owner_dsn, "head")
    for tenant in (DEFAULT_TENANT, TenantId("acme")):
        async with store.transaction(tenant) as tx:
            codes = {row.trader_id: row.state_code for row in await tx.find(TraderRow, {})}
        assert codes.pop(TraderId("removed")) is StateCode.REMOVED_FROM_CONFIG
        assert set(codes.values()) == {StateCode.NONE}
    await store.close()
