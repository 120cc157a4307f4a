"""A database is what its migrations and its tables both say, and an upgrade can be run by anyone, again and at once."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from procrastinate.schema import SchemaManager
from psycopg import sql
from psycopg.conninfo import make_conninfo

from database_fixtures import Database
from manager.resources import resource
from manager.state.errors import StoreUnavailable
from manager.state.postgres.roles import MIGRATOR, OWNER, QUEUE, ROLES, queue_dsn
from manager.state.postgres.store import PostgresStore
from manager.state.postgres.upgrade import connect, drift, migrate, upgrade
from manager.state.records import DEFAULT_TENANT, AccountId, AccountRow
from manager.state.tables import METADATA, REVISION, TABLES

pytestmark = pytest.mark.database

_OURS = (
    "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' "
    "AND relname NOT LIKE 'procrastinate\\_%' AND relname <> 'alembic_version' ORDER BY 1"
)


def _names(dsn: str, query: str = _OURS) -> list[str]:
    with psycopg.connect(dsn) as connection:
        return [row[0] for row in connection.execute(query.encode()).fetchall()]


def _as_owner(database: Database, *statements: str) -> None:
    with psycopg.connect(database.owner_dsn) as connection:
        connection.execute(f"SET ROLE {OWNER}".encode())
        for statement in statements:
            connection.execute(statement.encode())


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE orders ADD COLUMN extra text",
        "ALTER TABLE orders DROP COLUMN reason",
        "ALTER TABLE orders ALTER COLUMN quantity TYPE numeric",
        "ALTER TABLE orders ALTER COLUMN reason DROP NOT NULL",
        'ALTER TABLE orders ALTER COLUMN symbol TYPE text COLLATE "POSIX"',
        "DROP INDEX orders_live",
        "ALTER TABLE fills DROP CONSTRAINT fills_account",
        "CREATE TABLE other (id int PRIMARY KEY)",
        "ALTER DOMAIN money_value DROP CONSTRAINT money_value_check",
    ],
)
def test_the_migrations_make_what_the_tables_say_and_drift_is_seen(empty_database: Database, change: str) -> None:
    upgrade(empty_database.owner_dsn)
    with connect(empty_database.owner_dsn) as connection:
        assert drift(connection) == []
    _as_owner(empty_database, change)
    with connect(empty_database.owner_dsn) as connection:
        assert drift(connection) != []


def test_down_takes_everything_of_ours_away_and_up_brings_it_back(empty_database: Database) -> None:
    upgrade(empty_database.owner_dsn)
    assert set(_names(empty_database.owner_dsn)) == set(METADATA.tables)
    migrate(empty_database.owner_dsn, "base")
    assert _names(empty_database.owner_dsn) == []
    assert _names(empty_database.owner_dsn, "SELECT typname FROM pg_type WHERE typname = 'money_value'") == []
    assert "procrastinate_jobs" in _names(empty_database.owner_dsn, "SELECT relname FROM pg_class WHERE relkind = 'r'")
    migrate(empty_database.owner_dsn, "head")
    with connect(empty_database.owner_dsn) as connection:
        assert drift(connection) == []


@pytest.mark.parametrize(
    "revision",
    [
        "0001",
        "0002",
        "0003",
        "0004",
        "0005",
        "0006",
        "0007",
        "0011",
        "0015",
        "0016",
        "0019",
        "0020",
        "0021",
        "0022",
        "0023",
        "0024",
        "0025",
        "0026",
        "0027",
        "0028",
        "0029",
    ],
)
def test_each_step_goes_down_and_up_again(empty_database: Database, revision: str) -> None:
    upgrade(empty_database.owner_dsn)
    migrate(empty_database.owner_dsn, revision)
    upgrade(empty_database.owner_dsn)
    with connect(empty_database.owner_dsn) as connection:
        assert drift(connection) == []


def test_upgrades_at_once_and_again_do_it_once(empty_database: Database) -> None:
    with ThreadPoolExecutor(3) as pool:
        for done in [pool.submit(upgrade, empty_database.owner_dsn) for _ in range(3)]:
            done.result()
    upgrade(empty_database.owner_dsn)
    with connect(empty_database.owner_dsn) as connection:
        assert drift(connection) == []


async def test_an_upgrade_keeps_the_rows(empty_database: Database) -> None:
    upgrade(empty_database.owner_dsn)
    store = PostgresStore.open(empty_database.dsn)
    row = AccountRow(tenant_id=DEFAULT_TENANT, account_id=AccountId("a"), venue="paper")
    async with store.service() as service:
        await service.ensure_tenant(DEFAULT_TENANT)
    async with store.transaction(DEFAULT_TENANT) as transaction:
        await transaction.insert([row])
    upgrade(empty_database.owner_dsn)
    async with store.transaction(DEFAULT_TENANT) as transaction:
        assert await transaction.get(AccountRow, "a") == row
    await store.close()


def test_the_queue_schema_is_recorded_and_older_ones_are_brought_forward(
    empty_database: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    upgrade(empty_database.owner_dsn)
    files = sorted(path.name for path in Path(SchemaManager.get_migrations_path()).glob("*.sql"))
    recorded = 'SELECT name FROM procrastinate_applied ORDER BY name COLLATE "C"'
    assert _names(empty_database.owner_dsn, recorded) == files
    for name in files:
        (tmp_path / name).write_bytes((Path(SchemaManager.get_migrations_path()) / name).read_bytes())
    (tmp_path / "99.00.00_01_pre_new.sql").write_text("ALTER TABLE procrastinate_jobs ADD COLUMN note text;")
    monkeypatch.setattr(SchemaManager, "get_migrations_path", staticmethod(lambda: str(tmp_path)))
    upgrade(empty_database.owner_dsn)
    upgrade(empty_database.owner_dsn)
    assert _names(empty_database.owner_dsn, recorded) == [*files, "99.00.00_01_pre_new.sql"]
    with psycopg.connect(queue_dsn(empty_database.dsn)) as connection:
        assert connection.execute(
            "SELECT note, current_user FROM procrastinate_jobs RIGHT JOIN (SELECT 1) one ON true"
        ).fetchone() == (None, QUEUE)


def test_the_queue_of_others_is_refused(empty_database: Database) -> None:
    upgrade(empty_database.owner_dsn)
    _as_owner(empty_database, "DROP TABLE procrastinate_applied")
    with pytest.raises(StoreUnavailable, match="did not make"):
        upgrade(empty_database.owner_dsn)


def test_the_migrations_form_one_line_that_ends_at_the_revision_of_the_code() -> None:
    config = Config()
    config.set_main_option("script_location", str(resource("migrations")))
    assert ScriptDirectory.from_config(config).get_heads() == [REVISION]


def test_every_row_type_has_exactly_its_columns() -> None:
    extra = {"books": {"sharpe"}, "events": {"xact", "seq"}}
    for kind, table in TABLES.items():
        assert {column.name for column in table.columns} - extra.get(table.name, set()) == {
            item.name for item in fields(kind)
        }, table.name


def test_an_unreachable_server_is_a_clear_error() -> None:
    with pytest.raises(StoreUnavailable, match="cannot be reached"):
        upgrade("postgresql://nobody@127.0.0.1:1/none")


async def test_a_store_on_an_old_database_says_what_to_run(empty_database: Database) -> None:
    store = PostgresStore.open(empty_database.dsn)
    with pytest.raises(StoreUnavailable, match="db upgrade"):
        async with store.service() as service:
            await service.tenants()
    await store.close()


@pytest.fixture
def new_login(empty_database: Database) -> Iterator[Callable[[str], str]]:
    """Create logins with some attributes and give their DSNs, on servers where we may."""
    made: list[sql.Identifier] = []
    with psycopg.connect(empty_database.admin_dsn, autocommit=True) as admin:

        def create(attributes: str) -> str:
            if admin.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user").fetchone() != (True,):
                pytest.skip("only a superuser may create logins of every kind")
            name = f"login_{uuid4().hex}"
            made.append(sql.Identifier(name))
            admin.execute(sql.SQL("CREATE ROLE {} LOGIN " + attributes).format(made[-1]))
            return make_conninfo(empty_database.admin_dsn, user=name)

        yield create
        for login in made:
            admin.execute(sql.SQL("REASSIGN OWNED BY {} TO CURRENT_USER").format(login))
            admin.execute(sql.SQL("DROP OWNED BY {}").format(login))
            admin.execute(sql.SQL("DROP ROLE {}").format(login))


def test_a_login_without_rights_is_told_what_an_administrator_must_run(
    empty_database: Database, new_login: Callable[[str], str]
) -> None:
    dsn = new_login("NOCREATEROLE")
    with pytest.raises(StoreUnavailable, match=f"GRANT {', '.join(ROLES)} TO login_"):
        upgrade(dsn)


def test_an_owner_that_is_no_superuser_upgrades(empty_database: Database, new_login: Callable[[str], str]) -> None:
    dsn = new_login("NOSUPERUSER")
    name = psycopg.conninfo.conninfo_to_dict(dsn)["user"]
    with psycopg.connect(empty_database.admin_dsn, autocommit=True) as admin:
        login, owned = sql.Identifier(str(name)), sql.Identifier(empty_database.name)
        admin.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(OWNER), login))
        admin.execute(sql.SQL("ALTER DATABASE {} OWNER TO {}").format(owned, login))
    upgrade(dsn)
    with connect(dsn) as connection:
        assert drift(connection) == []
    assert name != MIGRATOR
