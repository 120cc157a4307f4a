"""Two worker processes on one database: one round an account at a time, one decision a slot."""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from database_fixtures import Database as ScratchDatabase
from job_handlers import eventually
from live_desk import LIVELY, LiveDesk

pytestmark = [pytest.mark.database, pytest.mark.processes, pytest.mark.slow]

_ROOT = Path(__file__).parents[3]
_SECOND = "  paper2: {type: paper, market: {type: synthetic, seed: 5}}\ntraders:"
_THIRD = "  - {<<: *first, id: u1, exchange: paper2}\nmonitoring:"
_TWO_ACCOUNTS = LIVELY.replace("traders:", _SECOND, 1).replace("monitoring:", _THIRD, 1)
_RECORD = """
CREATE TABLE job_log (
    n bigserial PRIMARY KEY, event text, job_id bigint, worker_id bigint, lock text, task text, args jsonb
);
CREATE FUNCTION record_job() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        INSERT INTO job_log (event, job_id, worker_id, lock, task, args)
        VALUES ('end', OLD.id, OLD.worker_id, OLD.lock, OLD.task_name, OLD.args);
    ELSE
        INSERT INTO job_log (event, job_id, worker_id, lock, task, args)
        VALUES ('start', NEW.id, NEW.worker_id, NEW.lock, NEW.task_name, NEW.args);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER record_start AFTER UPDATE OF status ON procrastinate_jobs
    FOR EACH ROW WHEN (NEW.status = 'doing') EXECUTE FUNCTION record_job();
CREATE TRIGGER record_end AFTER DELETE ON procrastinate_jobs FOR EACH ROW EXECUTE FUNCTION record_job();
"""
_FORGET = """
DROP TRIGGER record_start ON procrastinate_jobs;
DROP TRIGGER record_end ON procrastinate_jobs;
DROP FUNCTION record_job;
DROP TABLE job_log;
"""
_SHARE = """
SELECT count(*) FROM (
    SELECT worker_id FROM job_log WHERE event = 'end' AND lock IS NOT NULL GROUP BY worker_id HAVING count(*) >= 8
) busy
"""


class Site:
    """A database that logs the start and the end of each job."""

    def __init__(self, folder: Path, database: ScratchDatabase) -> None:
        self.desk = LiveDesk.at(folder, database.dsn, _TWO_ACCOUNTS)
        self.folder = folder
        self.url = database.admin_dsn

    def rows(self, statement: str) -> list[tuple[object, ...]]:
        """Return the rows of a query."""
        with psycopg.connect(self.url) as connection:
            return connection.execute(statement.encode()).fetchall()

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Log jobs for as long as the block runs; the table is read inside it."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(_RECORD)
            try:
                yield
            finally:
                connection.execute(_FORGET)

    @contextmanager
    def workers(self, count: int) -> Iterator[list["subprocess.Popen[str]"]]:
        """Run worker processes as `propdesk worker` does, and stop them at the end."""
        program = (
            "import asyncio, sys; from pathlib import Path; from manager.bootstrap.live import run_worker; "
            "from manager.config import load_config; from manager.settings import read_settings; "
            "config, settings = load_config(Path(sys.argv[1])), read_settings(data_dir=Path(sys.argv[2])); "
            "sys.exit(asyncio.run(run_worker(config, settings)))"
        )
        command = [sys.executable, "-c", program, str(self.desk.config.path), str(self.folder / "data")]
        environment = {**os.environ, "PYTHONPATH": str(_ROOT), "DATABASE_URL": self.url, "PROPDESK_LOG": "json"}
        started = [subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) for _ in range(count)]
        try:
            yield started
        finally:
            for process in started:
                process.terminate()

    async def both_have_worked(self) -> bool:
        """Tell whether both account workers have ended several jobs, and something was traded."""
        return self.rows(_SHARE) == [(2,)] and self.rows("SELECT count(*) >= 3 FROM fills") == [(True,)]


@pytest.fixture
def site(database: ScratchDatabase, tmp_path: Path) -> Site:
    return Site(tmp_path, database)


async def test_no_account_has_two_rounds_at_once_and_no_decision_is_made_twice(site: Site) -> None:
    with site.recording():
        with site.workers(2) as processes:
            await eventually(site.both_have_worked, patience_s=90)
        said = [process.communicate(timeout=60)[1] for process in processes]
        log = site.rows("SELECT event, job_id, lock FROM job_log WHERE lock IS NOT NULL ORDER BY n")
        decided = site.rows(
            "SELECT args->>'trader_id', args->>'due_at' FROM job_log WHERE task = 'decide' AND event = 'start'"
        )

    assert [process.returncode for process in processes] == [0, 0], said
    running: dict[object, object] = {}
    for event, job, lock in log:
        if event == "start":
            assert lock not in running, f"{lock}: job {job} starts while {running[lock]} runs"
            running[lock] = job
        else:
            assert running.pop(lock, job) == job
    assert {lock for _, _, lock in log} == {"default/paper", "default/paper2"}
    assert max(Counter(decided).values()) == 1
    made = site.rows("SELECT trader_id, due_at FROM decisions")
    assert len(set(made)) == len(made)
    assert not any(word in text for text in said for word in ("FenceLost", "decision_already_made", "job_failed"))
    (await site.desk.settled()).assert_sound()
