"""Run queued jobs in this process until told to stop."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from dataclasses import dataclass

import structlog
from procrastinate import App
from procrastinate.exceptions import ConnectorException
from procrastinate.jobs import DeleteJobCondition
from procrastinate.types import JSONValue
from procrastinate.worker import Worker

from manager.jobs.errors import JobsError, QueueUnavailable
from manager.jobs.queue import ACCOUNT_QUEUE, DECIDE_QUEUE, QueueRunner, from_arguments, queue_of
from manager.jobs.runner import Handlers, JobKind
from manager.jobs.slots import Slots
from manager.jobs.steady import Rescue, cause_of
from manager.state.errors import CommitUnknown, DatabaseAway, SchemaMoved

_log = structlog.get_logger(__name__)
_RESTART_AFTER_S = 0.5
_OWN_HEARTBEAT_OFF_S = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """Set how many jobs run at once and how soon a dead worker's jobs are taken over.

    Takeover takes at most `stalled_after_s` + `rescue_every_s` + `account_poll_s`; a worker beats three times within
    `stalled_after_s`. At a stop, jobs get `stop_timeout_s` to end; then they are cancelled and queued afresh.
    """

    decision_concurrency: int = 64
    account_concurrency: int = 32
    heartbeat_s: float = 2.0
    stalled_after_s: float = 6.0
    rescue_every_s: float = 2.0
    account_poll_s: float = 0.1
    decide_poll_s: float = 0.25
    stop_timeout_s: float = 10.0


class QueueWorker:
    """Run two Procrastinate workers on one event loop, `decide` and `account`, and rescue the jobs of dead processes.

    Handlers run without a connection or transaction of the queue. A handler's error is logged and ends its job; the
    sweep defers the work again. Jobs are deleted when they end. Where the database has moved on to another version, the
    worker hands its jobs on and ends: `moved` says why.
    """

    def __init__(
        self,
        runner: QueueRunner,
        handlers: Handlers,
        settings: WorkerSettings | None = None,
        slots: Slots | None = None,
    ) -> None:
        self._runner = runner
        self._handlers = handlers
        self._settings = settings or WorkerSettings()
        self._slots = slots
        self._rescue = Rescue(runner.connector, runner.manager, stalled_after_s=self._settings.stalled_after_s)
        self._workers: dict[str, Worker] = {}
        self._stop = asyncio.Event()
        self.moved: SchemaMoved | None = None
        self._app = App(connector=runner.connector)
        self._app.job_manager = runner.manager
        for kind in JobKind:
            self._app.task(name=kind.value, queue=queue_of(kind))(self._task(kind))

    async def run(self, stop: asyncio.Event) -> None:
        """Run jobs until `stop` is set and the running ones have ended; the runner must be open.

        Hiccups of the database are waited out. Cancelling does the same as stopping. Sets `stop` if the schema moved.
        """
        settings, self._stop = self._settings, stop
        keepers = [
            asyncio.create_task(self._every(settings.heartbeat_s, self._beat), name="queue-heartbeat"),
            asyncio.create_task(self._every(settings.rescue_every_s, self._rescue_once), name="queue-rescue"),
        ]
        try:
            async with asyncio.TaskGroup() as group:
                for queue in (ACCOUNT_QUEUE, DECIDE_QUEUE):
                    group.create_task(self._serve(queue, stop), name=f"queue-{queue}")
        finally:
            for keeper in keepers:
                keeper.cancel()
            await asyncio.gather(*keepers, return_exceptions=True)

    async def _serve(self, queue: str, stop: asyncio.Event) -> None:
        while not stop.is_set():
            worker = self._workers[queue] = self._make_worker(queue)
            run = asyncio.create_task(worker.run())  # type: ignore[no-untyped-call]  # Procrastinate leaves it bare
            stopping = asyncio.create_task(stop.wait())
            try:
                await asyncio.wait({run, stopping}, return_when=asyncio.FIRST_COMPLETED)
                if stop.is_set():
                    worker.stop()  # type: ignore[no-untyped-call]  # as above
                await run
            except ConnectorException as error:
                _log.error("queue_worker_failed", queue=queue, error=cause_of(error))
            finally:
                stopping.cancel()
                run.cancel()
                await asyncio.gather(run, stopping, return_exceptions=True)
            if not stop.is_set():
                _log.warning("queue_worker_restarts", queue=queue, after_s=_RESTART_AFTER_S)
                await asyncio.sleep(_RESTART_AFTER_S)

    def _make_worker(self, queue: str) -> Worker:
        settings, decides = self._settings, queue == DECIDE_QUEUE
        return Worker(
            self._app,
            queues=[queue],
            name=queue,
            concurrency=settings.decision_concurrency if decides else settings.account_concurrency,
            # A wake that arrives during a fetch is lost, so even a worker that listens must poll.
            fetch_job_polling_interval=settings.decide_poll_s if decides else settings.account_poll_s,
            shutdown_graceful_timeout=settings.stop_timeout_s,
            delete_jobs=DeleteJobCondition.ALWAYS,
            install_signal_handlers=False,
            # Its own heartbeat stops while it drains and dies with the first error; `_beat` does neither.
            update_heartbeat_interval=_OWN_HEARTBEAT_OFF_S,
            stalled_worker_timeout=settings.stalled_after_s,
        )

    def _task(self, kind: JobKind) -> Callable[..., Awaitable[None]]:
        handle = {
            JobKind.DECIDE: self._handlers.decide,
            JobKind.ROUND: self._handlers.round,
            JobKind.MAINTAIN: self._handlers.maintain,
        }[kind]

        async def run(**arguments: JSONValue) -> None:
            try:
                job = from_arguments(kind, arguments)
                with self._slots.taken(job) if self._slots and kind is JobKind.DECIDE else nullcontext():
                    await handle(job)
            except asyncio.CancelledError:
                await self._hand_on(kind, arguments)
                raise
            except SchemaMoved as error:
                self._end(error)
                await self._hand_on(kind, arguments)
            except (DatabaseAway, CommitUnknown, QueueUnavailable) as error:
                _log.warning("job_lost_its_database", kind=kind, error=str(error), **arguments)
            except Exception as error:  # noqa: BLE001 - a handler may raise anything; it must end its own job only
                _log.error("job_failed", kind=kind, error=repr(error), exc_info=True, **arguments)

        return run

    def _end(self, error: SchemaMoved) -> None:
        if self.moved is None:
            _log.error("schema_moved", error=str(error))
        self.moved = error
        self._stop.set()

    async def _hand_on(self, kind: JobKind, arguments: dict[str, JSONValue]) -> None:
        try:
            await self._runner.defer(from_arguments(kind, arguments))
        except JobsError as error:
            _log.error("job_not_handed_on", kind=kind, error=str(error), **arguments)

    async def _every(self, interval_s: float, act: Callable[[], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(interval_s)
            try:
                await act()
            except ConnectorException as error:
                _log.warning("queue_database_error", act=act.__name__, error=cause_of(error))

    def _worker_ids(self) -> list[int]:
        return [worker.worker_id for worker in self._workers.values() if worker.worker_id is not None]

    async def _beat(self) -> None:
        for worker_id in self._worker_ids():
            await self._runner.manager.update_heartbeat(worker_id)

    async def _rescue_once(self) -> None:
        await self._rescue.run_once(self._worker_ids())
