"""The reading commands see the same desk on PostgreSQL as in memory."""

from datetime import timedelta

import pytest

from desk_history import AT, ENTRY, STOP, desk_with_history, fill_history, incident
from manager.cli.desk_status import read_status
from manager.cli.operation_log import OperationQuery, read_operations
from manager.cli.order_story import read_story
from manager.cli.render import jsonable
from manager.state.postgres.store import PostgresStore
from manager.state.records import DEFAULT_TENANT, TenantId

pytestmark = pytest.mark.database


async def test_status_operations_and_why_do_not_depend_on_the_store(postgres_store: PostgresStore) -> None:
    memory = await desk_with_history(incident())
    await fill_history(postgres_store, incident())
    now = AT + timedelta(seconds=5)
    tenant = DEFAULT_TENANT
    assert jsonable(await read_status(postgres_store, tenant, now)) == jsonable(await read_status(memory, tenant, now))
    for query in (OperationQuery(), OperationQuery(trader_id="bear"), OperationQuery(limit=2)):
        assert await read_operations(postgres_store, tenant, query) == await read_operations(memory, tenant, query)
    for order in (ENTRY, STOP, "v-1"):
        assert jsonable(await read_story(postgres_store, tenant, order)) == jsonable(
            await read_story(memory, tenant, order)
        )


async def test_another_tenant_reads_nothing(postgres_store: PostgresStore) -> None:
    await fill_history(postgres_store)
    other = TenantId("other")
    assert await read_status(postgres_store, other, AT) == ()
    assert await read_story(postgres_store, other, ENTRY) is None
    assert await read_operations(postgres_store, other, OperationQuery()) == ()
