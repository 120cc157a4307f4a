"""Procrastinate's own tables: its schema on a fresh database, its migrations on an older one."""

from importlib.metadata import version
from pathlib import Path
from typing import Any

import psycopg
from procrastinate.schema import SchemaManager
from psycopg import sql

from manager.state.errors import StoreUnavailable
from manager.state.postgres.roles import QUEUE

_RECORD = (
    "CREATE TABLE IF NOT EXISTS procrastinate_applied "
    "(name text PRIMARY KEY, version text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
)
_NAMES = "SELECT c.relname, c.relkind = 'S' FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND "
_OBJECTS = _NAMES + "c.relname LIKE 'procrastinate\\_%' AND c.relkind IN ('r', 'S')"


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
