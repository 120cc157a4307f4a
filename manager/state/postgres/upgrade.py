"""Bring a database to this version: our migrations, then the queue's, under one lock; and see where it differs."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psycopg
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from procrastinate.schema import SchemaManager
from psycopg import sql
from sqlalchemy import Column, Connection, Text, create_engine, text
from sqlalchemy.dialects.postgresql import DOMAIN
from sqlalchemy.pool import NullPool

from manager.resources import resource
from manager.state.errors import SchemaMoved, StoreUnavailable
from manager.state.postgres.limits import BoundedSyncConnection, bounded
from manager.state.postgres.roles import OWNER, QUEUE, ensure_memberships, ensure_roles, ensure_schema_access
from manager.state.postgres.translation import translated
from manager.state.postgres.unreachable import unreached
from manager.state.tables import METADATA, REVISION

MINIMUM_SERVER = 150000
_SESSION = "SELECT pg_backend_pid()"
_LOCK = 7309453104981237
_LOCK_TRIES = 240
_LOCK_AGAIN_S = 0.5
_MIGRATION_S = 1800.0
_RECORD = (
    "CREATE TABLE IF NOT EXISTS procrastinate_applied "
    "(name text PRIMARY KEY, version text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
)
_NAMES = "SELECT c.relname, c.relkind = 'S' FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND "
_OBJECTS = _NAMES + "c.relname LIKE 'procrastinate\\_%' AND c.relkind IN ('r', 'S')"


def upgrade(dsn: str) -> None:
    """Create or upgrade everything in the database of `dsn`; safe to run at once on several hosts, and again.

    The login needs to be a superuser, or own the database and either have CREATEROLE or be a member of the roles.
    Raises StoreUnavailable, whose message names the mend.
    """
    with translated(), _locked(dsn) as connection:
        ensure_roles(connection)
        ensure_memberships(connection)
        ensure_schema_access(connection)
        migrate(dsn, "head")
        connection.execute(f"SET ROLE {OWNER}")
        upgrade_queue(connection)


def migrate(dsn: str, revision: str) -> None:
    """Move our tables up to `revision`, or down to `base` or an earlier one; the queue's tables stay as they are.

    Raises SchemaMoved for a database that a later version has upgraded.
    """
    config = Config(str(resource("alembic.ini")))
    config.set_main_option("script_location", str(resource("migrations")).replace("%", "%%"))
    with connect(dsn) as connection:
        connection.execute(text(f"SET ROLE {OWNER}"))
        connection.commit()
        config.attributes["connection"] = connection
        found = MigrationContext.configure(connection).get_current_revision()
        connection.commit()
        if found is not None and found not in {
            one.revision for one in ScriptDirectory.from_config(config).walk_revisions()
        }:
            raise SchemaMoved(found, REVISION)
        driver = connection.connection.driver_connection
        if found != REVISION and isinstance(driver, BoundedSyncConnection):
            driver.answer_s = _MIGRATION_S
        if revision == "head":
            command.upgrade(config, revision)
        else:
            command.downgrade(config, revision)
        connection.commit()


@contextmanager
def connect(dsn: str) -> Iterator[Connection]:
    """Give one synchronous connection to a libpq URI."""
    engine = create_engine("postgresql+psycopg://", creator=partial(_open, dsn), poolclass=NullPool)
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


def _open(dsn: str, *, autocommit: bool = False, **options: Any) -> psycopg.Connection[Any]:
    return BoundedSyncConnection.connect(bounded(dsn), autocommit=autocommit, **options)


@contextmanager
def reached(dsn: str, **options: Any) -> Iterator[psycopg.Connection[Any]]:
    """Give a connection to a server that can hold a desk; raise DatabaseAway if it may come, else StoreUnavailable."""
    try:
        connection = _open(dsn, autocommit=True, **options)
    except psycopg.OperationalError as error:
        raise unreached(str(error)).error from error
    with connection, translated():
        if connection.info.server_version < MINIMUM_SERVER:
            raise StoreUnavailable(
                f"the server is PostgreSQL {connection.info.server_version // 10000}; Propdesk needs 15 or newer"
            )
        _refuse_pooler(connection, partial(_open, dsn, **options))
        yield connection


def _refuse_pooler(connection: psycopg.Connection[Any], again: Callable[[], psycopg.Connection[Any]]) -> None:
    """Refuse a pooler that gives each transaction another session: locks, settings and notices of a session get lost.

    One that stands between says another number of the session than the server does.
    """
    ours = connection.execute(_SESSION).fetchone()
    if ours == (connection.info.backend_pid,):
        return
    with again() as other, other.transaction():
        theirs = other.execute(_SESSION).fetchone()
        if theirs == ours or connection.execute(_SESSION).fetchone() != ours:
            raise StoreUnavailable(
                "a pooler such as pgbouncer stands before the server and gives each transaction another session; point "
                "DATABASE_URL at the server itself, or set pool_mode = session there"
            )


@contextmanager
def _locked(dsn: str) -> Iterator[psycopg.Connection[Any]]:
    with reached(dsn) as connection:
        for _ in range(_LOCK_TRIES):
            if connection.execute("SELECT pg_try_advisory_lock(%s)", (_LOCK,)).fetchone() == (True,):
                break
            time.sleep(_LOCK_AGAIN_S)
        else:
            raise StoreUnavailable(
                f"another upgrade has held the database for {_LOCK_TRIES * _LOCK_AGAIN_S:.0f} s; let it end, then run "
                "`propdesk db upgrade`"
            )
        yield connection


def upgrade_queue(connection: psycopg.Connection[Any]) -> None:
    """Apply what is missing, in one transaction, record it with Procrastinate's version, and let the queue's role in.

    Raises StoreUnavailable if Procrastinate's tables are there without a record of what made them.
    """
    files = sorted(Path(SchemaManager.get_migrations_path()).glob("*.sql"))
    with connection.transaction():
        connection.execute(_RECORD)
        applied = {row[0] for row in connection.execute("SELECT name FROM procrastinate_applied")}
        if not applied:
            _create(connection)
        else:
            for file in files:
                if file.name not in applied:
                    connection.execute(file.read_bytes())
        new = [(file.name, version("procrastinate")) for file in files if file.name not in applied]
        with connection.cursor() as cursor:
            cursor.executemany("INSERT INTO procrastinate_applied (name, version) VALUES (%s, %s)", new)
        _grant(connection)


def _create(connection: psycopg.Connection[Any]) -> None:
    if connection.execute("SELECT to_regclass('public.procrastinate_jobs')").fetchone() != (None,):
        raise StoreUnavailable(
            "the database has tables of Procrastinate that Propdesk did not make; use a database of its own, "
            "or record their migrations in the table procrastinate_applied"
        )
    connection.execute(SchemaManager.get_schema())


def _grant(connection: psycopg.Connection[Any]) -> None:
    role = sql.Identifier(QUEUE)
    connection.execute(sql.SQL("GRANT USAGE ON SCHEMA public TO {}").format(role))
    for name, is_sequence in connection.execute(_OBJECTS).fetchall():
        grant = "GRANT USAGE, SELECT ON SEQUENCE {} TO {}" if is_sequence else "GRANT {} ON {} TO {}"
        if is_sequence:
            connection.execute(sql.SQL(grant).format(sql.Identifier(name), role))
            continue
        rights = sql.SQL("SELECT" if name == "procrastinate_applied" else "SELECT, INSERT, UPDATE, DELETE")
        connection.execute(sql.SQL(grant).format(rights, sql.Identifier(name), role))


def _include_name(name: str | None, kind: str, parents: Any) -> bool:
    return kind != "table" or not (name or "").startswith("procrastinate_")


def _compare_type(
    context: Any, inspected_column: Column[Any], metadata_column: Column[Any], inspected: Any, wanted: Any
) -> bool | None:
    if isinstance(wanted, DOMAIN):
        return not isinstance(inspected, DOMAIN) or _domain(inspected) != _domain(wanted)
    if isinstance(wanted, Text):
        return not isinstance(inspected, Text) or inspected.collation != wanted.collation
    return None


def _domain(domain: DOMAIN) -> tuple[str | None, str, str]:
    check = str(domain.check).replace("(", "").replace(")", "")
    return domain.name, str(domain.data_type), " ".join(check.split())


COMPARISON: dict[str, Any] = {"include_name": _include_name, "compare_type": _compare_type}


def drift(connection: Connection) -> list[Any]:
    """Return the differences between the database and the tables as Alembic's operations; there should be none."""
    context = MigrationContext.configure(connection, opts=COMPARISON)
    return list(compare_metadata(context, METADATA))
