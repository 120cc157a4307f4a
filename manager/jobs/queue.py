"""Queue jobs with Procrastinate on the Postgres that holds the state."""

from datetime import datetime
from types import TracebackType
from typing import Self

import psycopg
import psycopg_pool
from procrastinate import PsycopgConnector, jobs
from procrastinate.exceptions import AlreadyEnqueued, ConnectorException
from procrastinate.types import JSONDict, JSONValue

from manager.jobs.errors import QueueUnavailable
from manager.jobs.runner import Job, JobKind
from manager.jobs.steady import SteadyJobManager, cause_of
from manager.state.records import TenantId

DECIDE_QUEUE = "decide"
ACCOUNT_QUEUE = "account"
_POOL_TIMEOUT_S = 5
_ALREADY_WAITS = """
SELECT EXISTS (SELECT FROM procrastinate_jobs WHERE queueing_lock = %(key)s AND status = 'todo') AS waits
"""


def queue_of(kind: JobKind) -> str:
    """Return the queue of a kind: decisions wait apart, so that slow models never starve rounds."""
    return DECIDE_QUEUE if kind is JobKind.DECIDE else ACCOUNT_QUEUE


def to_arguments(job: Job) -> JSONDict:
    """Return what the queue stores of a job beside its kind."""
    return {
        "tenant_id": job.tenant_id,
        "account_id": job.account_id,
        "trader_id": job.trader_id,
        "due_at": job.due_at.isoformat() if job.due_at else None,
    }


def from_arguments(kind: JobKind, arguments: dict[str, JSONValue]) -> Job:
    """Return the job that the queue stored; raise KeyError or ValueError for arguments of another version."""
    due_at = arguments["due_at"]
    return Job(
        kind=kind,
        tenant_id=TenantId(str(arguments["tenant_id"])),
        account_id=str(arguments["account_id"]),
        trader_id=str(arguments["trader_id"]),
        due_at=datetime.fromisoformat(str(due_at)) if due_at else None,
    )


async def _configure(connection: psycopg.AsyncConnection) -> None:
    await connection.set_autocommit(True)
    # With the statistics of a mostly empty table each fetch would sort the whole backlog; an index has the order.
    await connection.execute("SET enable_sort = off")


class QueueRunner:
    """Defer jobs, each in its own autocommit call on the queue's own small pool, never in another's transaction.

    Commit what the job is to see before deferring it. Open it with `async with`, or `open` and `close`; the DSN is a
    libpq URI of a role that may use Procrastinate's tables.
    """

    def __init__(self, dsn: str, *, max_connections: int = 4) -> None:
        self.connector = PsycopgConnector(
            conninfo=dsn,
            min_size=1,
            max_size=max_connections,
            timeout=_POOL_TIMEOUT_S,
            name="propdesk-queue",
            configure=_configure,
            kwargs={"application_name": "propdesk-queue"},
        )
        self.manager = SteadyJobManager(self.connector)

    async def open(self) -> None:
        """Connect; raise QueueUnavailable when the database does not answer."""
        try:
            await self.connector.open_async()
        except (psycopg_pool.PoolTimeout, ConnectorException) as error:
            raise QueueUnavailable(
                "the queue's database does not answer; check DATABASE_URL and that it is up"
            ) from error

    async def close(self) -> None:
        """Close the pool; jobs in the queue stay there."""
        await self.connector.close_async()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def defer(self, job: Job) -> bool:
        """Queue a job; False if an equal one already waits, which is success.

        Raises QueueUnavailable; the job is then not queued, and the sweep finds its work again.
        """
        key = job.coalesce_key
        try:
            if key is not None and await self._waits(key):
                return False
            await self.manager.defer_job_async(
                jobs.Job(
                    queue=queue_of(job.kind),
                    task_name=job.kind.value,
                    lock=job.lock,
                    queueing_lock=key,
                    task_kwargs=to_arguments(job),
                )
            )
        except AlreadyEnqueued:
            return False
        except ConnectorException as error:
            raise QueueUnavailable(
                f"{job.kind} of account {job.tenant_id}/{job.account_id} was not queued: {cause_of(error)}"
            ) from error
        return True

    async def _waits(self, key: str) -> bool:
        # Spares the server's log an error for each wake of a busy account. A job seen waiting here starts after this
        # look, so it sees whatever its deferrer has committed.
        row = await self.connector.execute_query_one_async(_ALREADY_WAITS, key=key)
        return bool(row["waits"])
