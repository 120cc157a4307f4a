"""Keep Procrastinate's workers alive and truthful through hiccups of the database.

As of 3.10 a worker ends on the first failed fetch, loses its heartbeat and its listener for good on their first error
without ending, and keeps a job marked as running for ever when the database could not be told of its end.
"""

from collections.abc import Iterable

import psycopg
import structlog
import tenacity
from procrastinate import PsycopgConnector
from procrastinate.exceptions import ConnectorException, UniqueViolation
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
