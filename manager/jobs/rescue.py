"""Give the jobs of dead workers to living ones."""

from collections.abc import Collection

import structlog
from procrastinate import PsycopgConnector, sql
from procrastinate.exceptions import AlreadyEnqueued, ConnectorException
from procrastinate.jobs import Job, Status

from manager.jobs.steady import SteadyJobManager, is_gone

_log = structlog.get_logger(__name__)


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
