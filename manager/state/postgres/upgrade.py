"""Bring a database to this version: our migrations, then the queue's, under one lock."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.pool import NullPool

from manager.resources import resource
from manager.state.errors import SchemaMoved, StoreUnavailable
from manager.state.postgres.queue_schema import upgrade_queue
from manager.state.postgres.roles import OWNER, ensure_memberships, ensure_roles, ensure_schema_access
from manager.state.tables import REVISION

MINIMUM_SERVER = 150000
_LOCK = 7309453104981237
_LOCK_TIMEOUT = "120s"


def upgrade(dsn: str) -> None:
    """Create or upgrade everything in the database of `dsn`; safe to run at once on several hosts, and again.

    The login needs to be a superuser, or own the database and either have CREATEROLE or be a member of the roles.
    Raises StoreUnavailable, whose message names the mend.
    """
    with _locked(dsn) as connection:
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
        if revision == "head":
            command.upgrade(config, revision)
        else:
            command.downgrade(config, revision)
        connection.commit()


@contextmanager
def connect(dsn: str) -> Iterator[Connection]:
    """Give one synchronous connection to a libpq URI."""
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(dsn), poolclass=NullPool)
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


@contextmanager
def _locked(dsn: str) -> Iterator[psycopg.Connection[Any]]:
    try:
        connection = psycopg.connect(dsn, autocommit=True, connect_timeout=10)
    except psycopg.OperationalError as error:
        raise StoreUnavailable(f"the database cannot be reached: {error}") from error
    with connection:
        if connection.info.server_version < MINIMUM_SERVER:
            raise StoreUnavailable(
                f"the server is PostgreSQL {connection.info.server_version // 10000}; Propdesk needs 15 or newer"
            )
        connection.execute(f"SET lock_timeout = '{_LOCK_TIMEOUT}'")
        try:
            connection.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))
        except psycopg.errors.LockNotAvailable as error:
            raise StoreUnavailable(
                f"another upgrade has held the database for {_LOCK_TIMEOUT}; let it end, then run `propdesk db upgrade`"
            ) from error
        yield connection
