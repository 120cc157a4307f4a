"""Scratch databases with Procrastinate's tables and a record of every start of a job."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import psycopg
from procrastinate.schema import SchemaManager
from psycopg import sql
from psycopg.conninfo import make_conninfo

from manager.state.embedded import attach

_RECORD_STARTS = """
CREATE TABLE job_starts (job_id bigint NOT NULL, worker_id bigint NOT NULL);
CREATE FUNCTION record_start() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN INSERT INTO job_starts VALUES (NEW.id, NEW.worker_id); RETURN NEW; END $$;
CREATE TRIGGER record_start AFTER UPDATE OF status ON procrastinate_jobs
    FOR EACH ROW WHEN (NEW.status = 'doing') EXECUTE FUNCTION record_start();
"""


@contextmanager
def queue_server(data_dir: Path) -> Iterator[str]:
    """Give the DSN of a server's administrator: DATABASE_URL's, else of an embedded server."""
    if url := os.environ.get("DATABASE_URL"):
        yield url.replace("+psycopg", "")
        return
    with attach(data_dir) as server:
        yield server.dsn(user="postgres", database="postgres")


@contextmanager
def queue_database(admin_dsn: str) -> Iterator[str]:
    """Create a database for one test and drop it afterwards, whoever is still connected."""
    name = f"queue_{uuid4().hex}"
    with psycopg.connect(admin_dsn, autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        dsn = make_conninfo(admin_dsn, dbname=name)
        try:
            with psycopg.connect(dsn, autocommit=True) as connection:
                connection.execute(SchemaManager.get_schema())
                connection.execute(_RECORD_STARTS)
            yield dsn
        finally:
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
