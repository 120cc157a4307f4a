"""An upgrade whose server goes away, refuses or is read-only: an error of the state, in one line."""

import asyncio
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql
from typer.testing import CliRunner

from database_fixtures import Database
from job_handlers import eventually
from manager.cli.app import app
from manager.state.errors import DatabaseAway
from manager.state.postgres import upgrade

pytestmark = pytest.mark.database
_WAITERS = """
SELECT pid FROM pg_stat_activity
WHERE datname = current_database() AND query LIKE '%pg_try_advisory_lock%' AND pid <> pg_backend_pid()
"""


@pytest.fixture
def admin(database: Database) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    with psycopg.connect(database.admin_dsn, autocommit=True) as connection:
        yield connection


async def test_a_server_that_goes_away_while_an_upgrade_waits_for_its_turn(
    database: Database, admin: psycopg.Connection[tuple[object, ...]]
) -> None:
    admin.execute("SELECT pg_advisory_lock(%s)", (upgrade._LOCK,))
    waiting = asyncio.create_task(asyncio.to_thread(upgrade.upgrade, database.owner_dsn))

    async def is_ended() -> bool:
        for (pid,) in admin.execute(_WAITERS.encode()).fetchall():
            admin.execute("SELECT pg_terminate_backend(%s)", (pid,))
        return waiting.done()

    await eventually(is_ended)
    with pytest.raises(DatabaseAway, match="terminating connection due to administrator command"):
        await waiting


def test_an_upgrade_of_a_read_only_database_says_so(
    database: Database, admin: psycopg.Connection[tuple[object, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    alter = sql.SQL("ALTER DATABASE {} ").format(sql.Identifier(database.name))
    admin.execute(alter + sql.SQL("SET default_transaction_read_only = on"))
    try:
        monkeypatch.setenv("DATABASE_URL", f" {database.owner_dsn}\r\n")
        result = CliRunner().invoke(app, ["db", "upgrade"])
    finally:
        admin.execute(alter + sql.SQL("RESET default_transaction_read_only"))
    assert result.exit_code == 1
    [line] = result.stderr.splitlines()
    assert line.startswith("propdesk: the database cannot be used: cannot execute ")
    assert "default_transaction_read_only is on" in line
    assert CliRunner().invoke(app, ["db", "upgrade"]).exit_code == 0
