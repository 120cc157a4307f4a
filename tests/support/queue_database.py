"""A test's database as the queue sees it, with a record of every start of a job."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
from psycopg.conninfo import make_conninfo

from database_fixtures import Database
from manager.state.postgres.roles import OWNER, queue_dsn

_RECORD_STARTS = """
CREATE TABLE job_starts (job_id bigint NOT NULL, worker_id bigint NOT NULL);
CREATE FUNCTION record_start() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN INSERT INTO public.job_starts VALUES (NEW.id, NEW.worker_id); RETURN NEW; END $$;
CREATE TRIGGER record_start AFTER UPDATE OF status ON procrastinate_jobs
    FOR EACH ROW WHEN (NEW.status = 'doing') EXECUTE FUNCTION record_start();
"""
_RECORD_NO_MORE = "DROP FUNCTION record_start CASCADE; DROP TABLE job_starts"


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueDatabase:
    """Hold the DSNs of a database: in the queue's role, in the owner's, and the administrator's."""

    dsn: str
    owner_dsn: str
    admin_dsn: str
    name: str

    def query(self, statement: str) -> list[tuple[object, ...]]:
        """Run a statement as the owner and return its rows."""
        return _run(self.owner_dsn, statement)

    def inspect(self, statement: str) -> list[tuple[object, ...]]:
        """Run a statement as the administrator, who sees and ends the sessions of others, and return its rows."""
        return _run(self.admin_dsn, statement)

    def has_started_no_job_twice(self) -> bool:
        """Tell whether jobs ran, each id once."""
        return self.query("SELECT count(*) > 0 AND count(*) = count(DISTINCT job_id) FROM job_starts") == [(True,)]


def _run(dsn: str, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(dsn) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


@contextmanager
def recorded_queue(database: Database) -> Iterator[QueueDatabase]:
    """Record the starts of jobs in a database until the end of a test."""
    queue = QueueDatabase(
        dsn=queue_dsn(database.dsn),
        owner_dsn=make_conninfo(database.owner_dsn, options=f"-c role={OWNER}"),
        admin_dsn=database.admin_dsn,
        name=database.name,
    )
    queue.query(_RECORD_STARTS)
    try:
        yield queue
    finally:
        queue.query(_RECORD_NO_MORE)
