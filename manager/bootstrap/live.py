"""Assemble the live desk: the one place that knows which store, runner, clock, venues and models are used."""

import asyncio
import os
import shlex
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Final

import structlog

from exchanges.clock import Clock, SystemClock
from exchanges.errors import VenueUnavailable
from executor.errors import PromptError
from executor.prompts.library import PromptLibrary
from executor.registry import ExecutorParts, ExecutorType, ModelClients
from manager.bootstrap.assemble import Outside, account_runtimes, assemble
from manager.bootstrap.executors import gates_of, is_one_gate, longest_decision_s
from manager.bootstrap.first_key import give_first_key
from manager.bootstrap.telling import told
from manager.config.values import Config, ManagerSettings
from manager.desk.sampling import LiveSampler
from manager.errors import PortTaken
from manager.jobs.errors import QueueUnavailable
from manager.jobs.heartbeat import is_worker_alive
from manager.jobs.queue import QueueRunner
from manager.jobs.retention import Keep
from manager.jobs.worker import WorkerSettings
from manager.manager import Manager
from manager.orchestrator import Pace
from manager.processes.environment import web_environment, worker_environment
from manager.processes.handover import handed_over
from manager.processes.logs import configure_logging, is_plain, log_file
from manager.processes.plain import named
from manager.processes.supervisor import ChildSpec, Supervisor, stop_on_signals
from manager.processes.worker import WorkerParts, serve
from manager.roster.desk_log import DeskLog
from manager.roster.registration import registration_check
from manager.settings import DATA_DIR_DEFAULT, Settings
from manager.state.database import Database, DatabasePlace
from manager.state.embedded.server import EmbeddedPostgresError
from manager.state.errors import CommitUnknown, DatabaseAway, StateError
from manager.state.postgres.paper_ledger import PostgresPaperLedger
from manager.state.postgres.store import PostgresStore
from manager.state.postgres.translation import translated
from manager.state.store import Store

_LOG = structlog.get_logger(__name__)
_LOOPBACK = "127.0.0.1"
END_S: Final = 20.0
_FIRST_PAUSE_S: Final = 0.5
_ACCOUNTS_NAMED: Final = 3
_LAST_PAUSE_S: Final = 10.0


@asynccontextmanager
async def open_store(place: DatabasePlace) -> AsyncIterator[Store]:
    """Open the desk's state, created or upgraded first, for as long as the block runs.

    Raises EmbeddedPostgresError or StoreUnavailable, whose messages name the mend.
    """
    async with place.open() as database:
        store = PostgresStore.open(database.dsn)
        try:
            yield store
        finally:
            await store.close()


def build_manager(store: Store, config: Config, clock: Clock | None = None, *, check_prompts: bool = True) -> Manager:
    """Return the manager of a store, which registers what fits beside `config`."""
    return Manager(store, clock or SystemClock(), registration_check(config, check_prompts=check_prompts))


def try_prompts(config: Config, prompts: PromptLibrary) -> None:
    """Read the templates of all models, so that each has a good state to go on with; tell of those that are broken.

    A broken one keeps no worker from starting, which watches the stops of all: its traders make no decision.
    """
    specs = [spec for tenant in config.tenants.values() for spec in tenant.traders]
    asking = [one for one in specs if one.executor.type is ExecutorType.LLM]
    alike = {(one.executor.prompt_template, one.symbols, one.limits): one for one in reversed(asking)}
    for spec in alike.values():
        try:
            prompts.check(spec.executor.prompt_template, spec.symbols, spec.limits)
        except PromptError as error:
            _LOG.error("prompt_not_usable", trader=spec.id, template=spec.executor.prompt_template, reason=str(error))


@asynccontextmanager
async def open_parts(config: Config, database: Database, clock: Clock) -> AsyncIterator[WorkerParts]:
    """Build everything one worker needs from a config and a database, and release it at the end."""
    async with AsyncExitStack() as stack:
        store = PostgresStore.open(database.dsn)
        stack.push_async_callback(store.close)
        runner = await stack.enter_async_context(QueueRunner(database.queue_dsn))
        clients = ModelClients()
        stack.push_async_callback(clients.close)
        deciding = ExecutorParts(prompts=config.prompt_library(), clients=clients, monotonic=clock.boot_s)
        try_prompts(config, deciding.prompts)
        stack.push_async_callback(deciding.remotes.close)
        accounts = await account_runtimes(config, clock, lambda tenant: PostgresPaperLedger(store.engine, tenant))
        for runtime in accounts.values():
            stack.push_async_callback(runtime.exchange.close)
        for market in {runtime.market for runtime in accounts.values()}:
            stack.push_async_callback(market.close)
        outside = Outside(
            store=store,
            clock=clock,
            runner=runner,
            accounts=accounts,
            sampler=LiveSampler(config.monitoring.update_interval_s),
            deciding=deciding,
        )
        holder, keep_prompts = f"{socket.gethostname()}:{os.getpid()}", config.manager.prompt_retention_s > 0
        yield WorkerParts(
            desk=assemble(config, outside, holder=holder, keep_prompts=keep_prompts),
            runner=runner,
            # A job waits for its venue in a slot: with one for each account, none waits for another's venue.
            settings=WorkerSettings(
                decision_concurrency=config.manager.decision_concurrency,
                account_concurrency=max(WorkerSettings().account_concurrency, len(accounts)),
            ),
            pace=Pace.of(longest_decision_s(config), _keep(config.manager)),
            gates=gates_of(config),
            one_gate=is_one_gate(config),
        )


def _keep(settings: ManagerSettings) -> Keep:
    return Keep(
        prompts_s=settings.prompt_retention_s,
        contexts_s=settings.context_retention_s,
        equity_s=settings.equity_retention_s,
    )


async def run_worker(config: Config, settings: Settings, *, alone: bool = False) -> int:
    """Trade until SIGINT or SIGTERM and return 0; raise RegistrationError or an error of the database.

    A database that is away at the start is waited for. A stop takes at most END_S seconds.
    """
    place = settings.place()
    place.check()
    configure_logging(settings, config.secrets.values(), process="worker")
    pause_s = _FIRST_PAUSE_S
    async with AsyncExitStack() as stack:
        stop = await stack.enter_async_context(stop_on_signals(within_s=END_S))
        if alone:
            opening = _opening(config, settings, "worker")
            await stack.enter_async_context(told(config, settings, opening, stop))
        while not stop.is_set():
            try:
                await _work(config, place, stop)
                break
            except (DatabaseAway, CommitUnknown, QueueUnavailable, VenueUnavailable) as error:
                _LOG.warning("start_tried_again", error=str(error), again_in_s=pause_s)
                with suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), pause_s)
                pause_s = min(pause_s * 2, _LAST_PAUSE_S)
    _LOG.info("worker_stopped")
    return 0


async def _work(config: Config, place: DatabasePlace, stop: asyncio.Event) -> None:
    clock = SystemClock()
    async with place.open() as database, open_parts(config, database, clock) as parts:
        with translated():
            rivals = await is_worker_alive(database.queue_dsn)
        manager = build_manager(parts.desk.store, config, clock, check_prompts=False)
        report = await manager.sync(config, rivals=rivals)
        _LOG.info(
            "worker_ready",
            accounts=len(parts.desk.accounts),
            new=report.registered,
            changed=report.updated,
            stopped=report.stopped,
            returned=report.returned,
        )
        log = DeskLog(parts.desk.store, clock, actor=f"worker {parts.desk.holder}")
        await log.started(config)
        why = "told to stop"
        try:
            await serve(parts, stop)
        except BaseException as error:
            why = str(error) or type(error).__name__
            raise
        finally:
            with suppress(StateError):
                await log.stopped(tuple(config.tenants), why)


async def run_supervised(config: Config, settings: Settings) -> int:
    """Run a trading worker and the web on 127.0.0.1 until SIGINT or SIGTERM; return 0, 2 for bad input.

    Raises DatabaseUrlRefused, SecretKeyRefused, DataDirRefused, PortTaken, and StoreUnavailable for a database that
    says no for good.
    """
    settings.place().check()
    configure_logging(settings, config.secrets.values(), process="run")
    await asyncio.to_thread(settings.place().knock)
    with _listen(settings.port) as listener:
        key = settings.service_key()
        web = f"http://{_LOOPBACK}:{listener.getsockname()[1]}"
        if not is_plain(settings):
            sys.stderr.write(f"{_welcome(config, settings.data_dir)}\n")
        opening = _opening(config, settings, "run", web)
        async with stop_on_signals() as stop, told(config, settings, opening, stop):
            _LOG.info("desk_starts", web=web, config=str(config.path))
            ends = _Ends(config, settings.place())
            beside = {
                asyncio.create_task(ends.tell(), name="supervisor-events"),
                asyncio.create_task(give_first_key(settings, key), name="first-key"),
            }
            try:
                children = _children(config, settings.data_dir, listener)
                return await Supervisor(children, SystemClock(), ended=ends).run(stop)
            finally:
                for task in beside:
                    task.cancel()
                await asyncio.wait(beside)


class _Ends:
    """Keep which processes of the desk ended, and write it to the database as soon as that takes it."""

    def __init__(self, config: Config, place: DatabasePlace) -> None:
        self._tenants = tuple(config.tenants)
        self._place = place
        self._queue: asyncio.Queue[tuple[str, int, float]] = asyncio.Queue()

    def __call__(self, child: str, code: int, again_s: float) -> None:
        """Note the end of a process."""
        self._queue.put_nowait((child, code, again_s))

    async def tell(self) -> None:
        """Write what was noted, for as long as it takes, until cancelled."""
        while True:
            ended = await self._queue.get()
            if not await self._is_written(ended):
                self._queue.put_nowait(ended)
                await asyncio.sleep(_LAST_PAUSE_S)

    async def _is_written(self, ended: tuple[str, int, float]) -> bool:
        try:
            async with self._place.open(prepare=False) as database:
                store = PostgresStore.open(database.dsn, pool_size=1)
                try:
                    actor = f"supervisor {socket.gethostname()}:{os.getpid()}"
                    await DeskLog(store, SystemClock(), actor=actor).ended(self._tenants, *ended)
                finally:
                    await store.close()
        except (StateError, EmbeddedPostgresError) as error:
            _LOG.warning("end_not_written", child=ended[0], error=str(error), again_in_s=_LAST_PAUSE_S)
            return False
        return True


def _opening(config: Config, settings: Settings, process: str, web: str = "") -> Iterator[str]:
    """Say what starts, where to look at it and where its log is."""
    accounts = [(tenant, account) for tenant, own in config.tenants.items() for account in own.accounts.values()]
    several = _of_several(config)
    kinds = ", ".join(f"{named(whose, one.name, several)} ({one.type})" for whose, one in accounts[:_ACCOUNTS_NAMED])
    more = f" and {len(accounts) - _ACCOUNTS_NAMED} more" if len(accounts) > _ACCOUNTS_NAMED else ""
    yield f"{_welcome(config, settings.data_dir)}."
    yield f"Accounts: {kinds}{more}. {f'Web: {web}. ' if web else ''}Times are UTC."
    yield f"The whole log is in {log_file(settings, process).parent}."


def _of_several(config: Config) -> bool:
    return sum(bool(tenant.accounts) for tenant in config.tenants.values()) > 1


def _welcome(config: Config, data_dir: Path) -> str:
    """Say what runs and how to look at it: the one line of `run` that is for people only."""
    count = sum(len(tenant.traders) for tenant in config.tenants.values())
    given = Path(sys.argv[0])
    named = given.name == "propdesk" and given.exists()
    program = min(os.path.relpath(given), str(given.resolve()), key=len) if named else "propdesk"
    command = [program, "status", *(["--data-dir", str(data_dir)] if data_dir != DATA_DIR_DEFAULT else [])]
    command += ["--all-tenants"] * _of_several(config)
    who = "1 trader trades" if count == 1 else f"{count} traders trade"
    return f"{who} on paper; in a second shell: {shlex.join(command)}; Ctrl-C ends"


def _children(config: Config, data_dir: Path, listener: socket.socket) -> tuple[ChildSpec, ...]:
    data, descriptor, handed = str(data_dir.resolve()), listener.fileno(), handed_over(config)
    worker = ChildSpec(
        name="worker",
        arguments=("worker", str(handed), data),
        environment=partial(worker_environment, config.path.resolve()),
        descriptors=(handed,),
    )
    web = ChildSpec(
        name="web",
        arguments=("web", str(handed), data, str(descriptor)),
        environment=partial(web_environment, config.path.resolve()),
        descriptors=(handed, descriptor),
    )
    return worker, web


def _listen(port: int) -> socket.socket:
    # Where the protocol is not named, asyncio leaves Nagle's algorithm on, which costs 40 ms an answer.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((_LOOPBACK, port))
    except OSError as error:
        listener.close()
        raise PortTaken(f"port {port} of {_LOOPBACK} is not free ({error.strerror}); pass another --port") from error
    listener.listen(128)
    return listener
