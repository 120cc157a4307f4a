"""What the wall between tenants stops, what it does not, and that a dump and a restore keep it."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo
from sqlalchemy.exc import ProgrammingError

from database_fixtures import Database, DatabaseServer
from manager.state.embedded.cluster import Account
from manager.state.errors import InvalidRow
from manager.state.postgres.connection import Scope
from manager.state.postgres.roles import APP, OWNER, QUEUE, SERVICE
from manager.state.postgres.store import PostgresStore
from manager.state.records import DEFAULT_TENANT, RoundRow, TenantId
from state_rows import make_account, make_row

pytestmark = pytest.mark.database
OTHER = TenantId("other")
_MOVE = "SELECT account_id FROM accounts, set_config('app.tenant', 'other', true)"


@pytest.fixture(autouse=True)
def _ours(database_server: DatabaseServer) -> None:
    if database_server.external:
        pytest.skip("the wall is closed where the server is ours")


async def _fill(store: PostgresStore) -> None:
    async with store.service() as service:
        await service.ensure_tenant(OTHER)
    for tenant in (DEFAULT_TENANT, OTHER):
        async with store.transaction(tenant) as transaction:
            await transaction.insert([make_account(tenant_id=tenant), make_row(RoundRow, tenant_id=tenant)])


@pytest.mark.parametrize("role", [APP, SERVICE, QUEUE])
def test_no_expression_moves_to_another_tenant(database: Database, role: str) -> None:
    with psycopg.connect(database.dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role)))
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="set_config"):
            connection.execute("SELECT set_config('app.tenant', 'other', false)")


async def test_what_slips_into_a_statement_stays_in_its_tenant(postgres_store: PostgresStore) -> None:
    await _fill(postgres_store)
    with pytest.raises(ProgrammingError, match="set_config"):
        async with Scope(postgres_store.engine, tenant=DEFAULT_TENANT) as connection:
            await connection.exec_driver_sql(_MOVE)
    async with Scope(postgres_store.engine, tenant=DEFAULT_TENANT) as connection:
        found = await connection.exec_driver_sql(
            "SELECT DISTINCT tenant_id FROM accounts WHERE true OR account_id = ''"
        )
        assert found.scalars().all() == [DEFAULT_TENANT]


async def test_who_sends_statements_of_his_own_is_not_stopped(
    postgres_store: PostgresStore, database: Database
) -> None:
    await _fill(postgres_store)
    with psycopg.connect(database.dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("SET ROLE {}; SET app.tenant = 'other'").format(sql.Identifier(APP)))
        assert connection.execute("SELECT tenant_id FROM accounts").fetchall() == [(OTHER,)]


@pytest.mark.parametrize("tenant", ["", "a b", "a'; SET ROLE propdesk_service; --", "é", "x" * 65, "-a", "a\n"])
async def test_a_tenant_is_checked_before_it_is_set(postgres_store: PostgresStore, tenant: str) -> None:
    with pytest.raises(InvalidRow, match="is no id of a tenant"):
        async with postgres_store.transaction(TenantId(tenant)):
            raise AssertionError("opened")


@pytest.fixture
def restored(database: Database) -> Iterator[Database]:
    """Give the name of a database that a dump is restored into."""
    name = f"test_{uuid4().hex}"
    with psycopg.connect(make_conninfo(database.admin_dsn, dbname="postgres"), autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            yield Database(
                dsn=make_conninfo(database.dsn, dbname=name),
                owner_dsn=make_conninfo(database.owner_dsn, dbname=name),
                admin_dsn=make_conninfo(database.admin_dsn, dbname=name),
                name=name,
            )
        finally:
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def _run(program: str, *arguments: str) -> str:
    binaries = Account(uid=0, gid=0, switch=False).binaries()
    done = subprocess.run([str(binaries / program), *arguments], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


async def test_a_dump_and_its_restore_keep_the_rows_and_the_wall(
    postgres_store: PostgresStore, database: Database, restored: Database, tmp_path: Path
) -> None:
    await _fill(postgres_store)
    dump = str(tmp_path / "desk.dump")
    _run("pg_dump", "--format=custom", f"--file={dump}", f"--dbname={database.admin_dsn}")
    _run("pg_restore", "--exit-on-error", f"--dbname={restored.admin_dsn}", dump)
    store = PostgresStore.open(restored.dsn)
    async with store.transaction(OTHER) as transaction:
        assert len(await transaction.find(RoundRow, {})) == 1
    await store.close()
    test_no_expression_moves_to_another_tenant(restored, APP)


def test_the_migrator_dumps_the_tables(database: Database) -> None:
    text = _run("pg_dump", "--schema-only", f"--role={OWNER}", f"--dbname={database.owner_dsn}")
    assert "CREATE TABLE public.orders" in text
