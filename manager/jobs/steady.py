"""Keep Procrastinate's workers alive and truthful through hiccups of the database, and take over from dead ones.

As of 3.10 a worker ends on the first failed fetch, loses its heartbeat and its listener for good on their first error
without ending, and keeps a job marked as running for ever when the database could not be told of its end.
"""

from collections.abc import Collection, Iterable

import psycopg
import structlog
import tenacity
from procrastinate import PsycopgConnector, sql
from procrastinate.exceptions import AlreadyEnqueued, ConnectorException, UniqueViolation
from procrastinate.jobs import Job, Status
from procrastinate.manager import JobManager, NotificationCallback

_log = structlog.get_logger(__name__)
_LISTEN_AGAIN_S = 1


def is_gone(error: ConnectorException) -> bool:
    """Tell whether the database refused to end a job because another one already has."""
    return isinstance(error.__cause__, psycopg.errors.RaiseException)


def cause_of(error: ConnectorException) -> str:
    """Return what the database said, in one line."""
    said = str(error.__cause__ or error).strip().splitlines()
    return said[0] if said else type(error.__cause__ or error).__name__


class SteadyJobManager(JobManager):
    """Take errors of the database as "nothing now", and know which jobs this process really holds.

    A job that the database calls running but `held` does not name has no one who runs it: the reply to its fetch or the
    word of its end got lost.
    """

    def __init__(self, connector: PsycopgConnector) -> None:
        super().__init__(connector)
        self.held: set[int] = set()

    async def fetch_job(self, queues: Iterable[str] | None, worker_id: int) -> Job | None:
        """Take the next job, or None; raise only when the worker's registration is gone and it must register again."""
        try:
            job = await super().fetch_job(queues, worker_id)
        except UniqueViolation:
            return None  # another worker took a job of this lock between our look and our grasp
        except ConnectorException as error:
            if isinstance(error.__cause__, psycopg.errors.ForeignKeyViolation):
                raise
            _log.warning("queue_fetch_failed", queues=queues, error=cause_of(error))
            return None
        if job is not None and job.id is not None:
            self.held.add(job.id)
        return job

    async def list_jobs_to_abort_async(self, queue: str | None = None) -> Iterable[int]:
        """Return none: nothing here aborts jobs, and a look that fails would be logged with its traceback."""
        del queue
        return ()

    async def finish_job(self, job: Job, status: Status, delete_job: bool) -> None:
        """End a job; one that was rescued meanwhile, or cannot be ended now, is only let go of."""
        try:
            await super().finish_job(job, status, delete_job)
        except ConnectorException as error:
            if is_gone(error):
                _log.warning("job_taken_over_while_it_ran", job_id=job.id, kind=job.task_name, lock=job.lock)
            else:
                _log.error("job_end_not_recorded", job_id=job.id, kind=job.task_name, error=cause_of(error))
        finally:
            if job.id is not None:
                self.held.discard(job.id)

    @tenacity.retry(
        retry=tenacity.retry_if_exception_type(ConnectorException), wait=tenacity.wait_fixed(_LISTEN_AGAIN_S)
    )
    async def listen_for_jobs(
        self, *, on_notification: NotificationCallback, queues: Iterable[str] | None = None
    ) -> None:
        """Listen until cancelled, again after each loss of the connection."""
        await super().listen_for_jobs(on_notification=on_notification, queues=queues)


class Rescue:
    """Replace jobs that nobody runs any more by fresh ones, in one transaction each; a job id never runs twice.

    The lock of a job passes to its successor in that transaction, and of several rescuers only one succeeds. Whoever
    wakes up and still runs the old job is stopped by the account's fencing token, not by the queue.
    """

    def __init__(self, connector: PsycopgConnector, manager: SteadyJobManager, *, stalled_after_s: float) -> None:
        self._connector = connector
        self._manager = manager
        self._stalled_after_s = stalled_after_s
        self._suspects: set[int] = set()

    async def run_once(self, own_workers: Collection[int]) -> int:
        """Rescue what stalled workers hold and what got lost among this process's own; return how many were replaced.

        Raises ConnectorException when the database cannot be used.
        """
        stalled = list(await self._manager.get_stalled_jobs(seconds_since_heartbeat=self._stalled_after_s))
        lost = await self._lost(own_workers)
        return sum([await self._replace(job) for job in (*stalled, *lost)])

    async def _lost(self, own_workers: Collection[int]) -> list[Job]:
        running = [
            job
            for worker_id in own_workers
            for job in await self._manager.list_jobs_async(worker_id=worker_id, status=Status.DOING.value)
        ]
        orphans = {job.id: job for job in running if job.id is not None and job.id not in self._manager.held}
        # Seen once, it may be a job whose fetch is being answered at this moment.
        lost = [job for job_id, job in orphans.items() if job_id in self._suspects]
        self._suspects = set(orphans)
        return lost

    async def _replace(self, job: Job) -> bool:
        fresh = job.evolve(id=None, status=None, worker_id=None, attempts=0, scheduled_at=None)
        try:
            async with self._connector.pool.connection() as connection, connection.transaction():
                await self._connector.execute_query_one_async_with_connection(
                    connection, sql.queries["finish_job"], job_id=job.id, status=Status.FAILED.value, delete_job=True
                )
                try:
                    async with connection.transaction():
                        await self._manager.defer_job_async(fresh, connection=connection)
                except AlreadyEnqueued:
                    _log.debug("job_rescue_coalesced", job_id=job.id, lock=job.lock)
        except ConnectorException as error:
            if is_gone(error):
                return False
            raise
        _log.warning("job_rescued", job_id=job.id, kind=job.task_name, lock=job.lock, worker_id=job.worker_id)
        return True
