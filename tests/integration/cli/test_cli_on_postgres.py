"""The reading commands see the same desk on PostgreSQL as in memory."""

import asyncio
import json
from datetime import timedelta

import pytest
from typer.testing import CliRunner

from database_fixtures import Database
from desk_history import AT, ENTRY, INTENT, STOP, desk_with_history, fill_history, incident
from manager.cli.app import app
from manager.state.postgres.store import PostgresStore
from manager.state.records import DEFAULT_TENANT, TenantId
from manager.views.operations import OperationQuery, read_operations
from manager.views.pages import jsonable
from manager.views.status import StatusQuery, read_status
from manager.views.why import read_story
from traders.spec import TraderId

pytestmark = pytest.mark.database


async def test_status_operations_and_why_do_not_depend_on_the_store(postgres_store: PostgresStore) -> None:
    memory = await desk_with_history(incident())
    await fill_history(postgres_store, incident())
    now = AT + timedelta(seconds=5)
    tenant = DEFAULT_TENANT
    status = StatusQuery(now=now)
    assert jsonable(await read_status(postgres_store, tenant, status)) == jsonable(
        await read_status(memory, tenant, status)
    )
    for query in (OperationQuery(), OperationQuery(trader_id=TraderId("bear")), OperationQuery(limit=2)):
        assert await read_operations(postgres_store, tenant, query) == await read_operations(memory, tenant, query)
    for order in (ENTRY, STOP, "v-1", "t-1", INTENT):
        assert jsonable(await read_story(postgres_store, tenant, order)) == jsonable(
            await read_story(memory, tenant, order)
        )


def test_the_commands_read_a_database_that_is_there_and_upgrade_none(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fill() -> None:
        store = PostgresStore.open(database.dsn)
        await fill_history(store)
        await store.close()

    asyncio.run(fill())
    monkeypatch.setenv("DATABASE_URL", database.dsn)
    status = CliRunner().invoke(app, ["status", "--json"])
    assert status.exit_code == 0, status.stderr
    [account] = json.loads(status.stdout)["accounts"]
    assert (account["equity"], account["light"]) == ("10004.55", "stopped")
    assert account["reasons"][0] == "no worker runs; stops are not watched"
    moved = CliRunner().invoke(app, ["traders", "resume", "bear"])
    assert (moved.exit_code, moved.stdout) == (0, "bear is running.\n")


def test_a_database_that_cannot_be_reached_is_a_failure_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody:pw-secret@127.0.0.1:1/none")
    result = CliRunner().invoke(app, ["status"])
    assert result.exit_code == 1
    [line] = result.stderr.splitlines()
    assert line.startswith(
        "propdesk: the database cannot be reached: nothing listens at 127.0.0.1:1 (connection refused); "
    )
    assert "pw-secret" not in line


async def test_another_tenant_reads_nothing(postgres_store: PostgresStore) -> None:
    await fill_history(postgres_store)
    other = TenantId("other")
    assert (await read_status(postgres_store, other, StatusQuery(now=AT))).accounts == ()
    assert await read_story(postgres_store, other, ENTRY) is None
    assert (await read_operations(postgres_store, other, OperationQuery())).operations == ()
