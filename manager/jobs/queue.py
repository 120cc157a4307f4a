"""Queue jobs with Procrastinate on the Postgres that holds the state."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar
from weakref import WeakKeyDictionary

import psycopg
import psycopg_pool
from procrastinate import PsycopgConnector, jobs
from procrastinate.exceptions import AlreadyEnqueued, ConnectorException, UniqueViolation
from procrastinate.types import JSONDict, JSONValue

from manager.jobs.errors import QueueUnavailable
from manager.jobs.runner import Job, JobKind
from manager.jobs.steady import SteadyJobManager, cause_of
from manager.state.postgres.limits import LIMITS, PROMPT_S, BoundedConnection, bounded
from manager.state.records import AccountId, TenantId
from traders.spec import TraderId

R = TypeVar("R")
DECIDE_QUEUE = "decide"
ACCOUNT_QUEUE = "account"
_POOL_TIMEOUT_S = 5
_RECONNECT_S = 4  # psycopg's pool doubles its pauses for minutes; a job that asks begins anew
_FRESH_S = 0.25
_ALREADY_WAITS = """
SELECT EXISTS (SELECT FROM procrastinate_jobs WHERE queueing_lock = %(key)s AND status = 'todo') AS waits
"""
_WAKE = """
SELECT procrastinate_defer_jobs_v1(array_agg(
    ROW(queue_name, task_name, 0, lock, queueing_lock, args, NULL)::procrastinate_job_to_defer_v1
))
FROM json_to_recordset(%(jobs)s::json)
    AS given (queue_name text, task_name text, lock text, queueing_lock text, args jsonb)
WHERE NOT EXISTS (
    SELECT FROM procrastinate_jobs AS waiting
    WHERE waiting.queueing_lock = given.queueing_lock AND waiting.status = 'todo'
)
"""
_DECISIONS = "SELECT args FROM procrastinate_jobs WHERE queue_name = %(queue)s AND status = ANY(%(states)s)"


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
        "gate": job.gate,
    }


def from_arguments(kind: JobKind, arguments: dict[str, JSONValue]) -> Job:
    """Return the job that the queue stored; raise KeyError or ValueError for arguments of another version."""
    due_at = arguments["due_at"]
    return Job(
        kind=kind,
        tenant_id=TenantId(str(arguments["tenant_id"])),
        account_id=AccountId(str(arguments["account_id"])),
        trader_id=TraderId(str(arguments["trader_id"])),
        due_at=datetime.fromisoformat(str(due_at)) if due_at else None,
        gate=str(arguments.get("gate", "")),
    )


async def _configure(connection: psycopg.AsyncConnection) -> None:
    await connection.set_autocommit(True)
    # With the statistics of a mostly empty table each fetch would sort the whole backlog; an index has the order.
    await connection.execute(b"SET enable_sort = off; " + LIMITS, prepare=False)


def _queued(job: Job) -> jobs.Job:
    return jobs.Job(
        queue=queue_of(job.kind),
        task_name=job.kind.value,
        lock=job.lock,
        queueing_lock=job.coalesce_key,
        task_kwargs=to_arguments(job),
    )


def _row(job: Job) -> JSONDict:
    return {
        "queue_name": queue_of(job.kind),
        "task_name": job.kind.value,
        "lock": job.lock,
        "queueing_lock": job.coalesce_key,
        "args": to_arguments(job),
    }


class _Check:
    """Ask a connection whether it lives only after it has been idle: asking costs as much as a query."""

    def __init__(self) -> None:
        self._asked: WeakKeyDictionary[BoundedConnection, float] = WeakKeyDictionary()

    async def __call__(self, connection: BoundedConnection) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._asked.get(connection, 0.0) >= _FRESH_S:
            with connection.promptly(PROMPT_S):
                await psycopg_pool.AsyncConnectionPool.check_connection(connection)
        self._asked[connection] = now

    def distrust(self) -> None:
        """Ask every connection at its next use."""
        self._asked.clear()

    def pool(self, **given: Any) -> psycopg_pool.AsyncConnectionPool[Any]:
        """Return a pool that checks its connections so."""
        return psycopg_pool.AsyncConnectionPool(**{**given, "check": self})


def _is_lost(error: ConnectorException) -> bool:
    cause = error.__cause__
    return isinstance(cause, psycopg.OperationalError) and not isinstance(cause, psycopg_pool.PoolTimeout)


class QueueRunner:
    """Defer jobs, each in its own autocommit call on the queue's own small pool, never in another's transaction.

    Commit what the job is to see before deferring it. Open it with `async with`, or `open` and `close`; the DSN is a
    libpq URI of a role that may use Procrastinate's tables.
    """

    def __init__(self, dsn: str, *, max_connections: int = 4) -> None:
        self._check = _Check()
        self.connector = PsycopgConnector(
            pool_factory=self._check.pool,
            connection_class=BoundedConnection,
            conninfo=bounded(dsn),
            min_size=1,
            max_size=max_connections,
            timeout=_POOL_TIMEOUT_S,
            reconnect_timeout=_RECONNECT_S,
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
            await self.close()
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
        try:
            return await self._surely(partial(self._defer, job))
        except AlreadyEnqueued:
            return False
        except ConnectorException as error:
            raise QueueUnavailable(
                f"{job.kind} of account {job.tenant_id}/{job.account_id} was not queued: {cause_of(error)}"
            ) from error

    async def wake(self, given: Sequence[Job]) -> None:
        """Queue those of which no equal one waits yet, in one statement however many; raise QueueUnavailable."""
        if not given:
            return
        rows = json.dumps([_row(job) for job in given])
        try:
            await self._surely(partial(self.connector.execute_query_async, _WAKE, jobs=rows))
        except UniqueViolation:
            # Somebody was quicker with one of them, which refused them all.
            for job in given:
                await self.defer(job)
        except ConnectorException as error:
            raise QueueUnavailable(f"{len(given)} jobs of accounts were not queued: {cause_of(error)}") from error

    async def defer_decisions(self, given: Sequence[Job]) -> None:
        """Queue decisions in one statement; raise QueueUnavailable, and ValueError for jobs that coalesce."""
        if any(job.coalesce_key is not None for job in given):
            raise ValueError("only decisions are queued together: one job that already waits would refuse them all")
        if not given:
            return
        try:
            await self._surely(partial(self.manager.batch_defer_jobs_async, [_queued(job) for job in given]))
        except ConnectorException as error:
            raise QueueUnavailable(f"{len(given)} decisions were not queued: {cause_of(error)}") from error

    async def decisions(self, *, waiting: bool = False) -> Sequence[Job]:
        """Return the decisions that wait or run anywhere, only those that wait when asked so.

        Raises QueueUnavailable.
        """
        states = ["todo"] if waiting else ["todo", "doing"]
        ask = partial(self.connector.execute_query_all_async, _DECISIONS, queue=DECIDE_QUEUE, states=states)
        try:
            return [from_arguments(JobKind.DECIDE, row["args"]) for row in await self._surely(ask)]
        except ConnectorException as error:
            raise QueueUnavailable(f"the decisions in the queue were not told: {cause_of(error)}") from error

    async def _defer(self, job: Job) -> bool:
        key = job.coalesce_key
        if key is not None and await self._waits(key):
            return False
        await self.manager.defer_job_async(_queued(job))
        return True

    async def _surely(self, act: Callable[[], Awaitable[R]]) -> R:
        try:
            return await act()
        except ConnectorException as error:
            if not _is_lost(error):
                raise
        # Twice in the queue is once done: a waiting round refuses the second, a decided slot ignores it.
        self._check.distrust()
        return await act()

    async def _waits(self, key: str) -> bool:
        # Spares the server's log an error for each wake of a busy account. A job seen waiting here starts after this
        # look, so it sees whatever its deferrer has committed.
        row = await self.connector.execute_query_one_async(_ALREADY_WAITS, key=key)
        return bool(row["waits"])
