"""Open the desk's state for one command."""

import asyncio
import getpass
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from exchanges.clock import SystemClock
from manager.cli.options import existing_desk
from manager.cli.progress import progress
from manager.config import Config
from manager.manager import Manager
from manager.roster.registration import RegistrationCheck, registration_check
from manager.state.errors import StoreUnavailable
from manager.state.store import Store

if TYPE_CHECKING:
    from manager.state.database import Database, DatabasePlace

T = TypeVar("T")
_TICK_S = 0.5


def with_store(data_dir: Path, work: Callable[[Store], Awaitable[T]]) -> T:
    """Run `work` on the store of an existing desk; the embedded server is started if it is down.

    Nothing is created or upgraded. Raises Refused where there is no desk, StateError where its database cannot be used.
    """

    async def on_store(store: Store, database: "Database") -> T:
        del database
        return await work(store)

    return asyncio.run(_opened(existing_desk(data_dir), on_store))


def with_desk(data_dir: Path, work: Callable[[Store, bool], Awaitable[T]]) -> T:
    """Run `work` as `with_store` does, and tell it whether a worker has given a sign of life in the last seconds."""

    async def on_desk(store: Store, database: "Database") -> T:
        return await work(store, await _is_worker_alive(database))

    return asyncio.run(_opened(existing_desk(data_dir), on_desk))


def actor() -> str:
    """Return who acts, for the event: the person at this shell."""
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError):
        return "cli"


def manager_of(store: Store, config: Config | None = None) -> Manager:
    """Return a manager; without a config it can register nobody, which moving and removing traders does not need."""
    if config is not None:
        return Manager(store, SystemClock(), registration_check(config))
    return Manager(store, SystemClock(), RegistrationCheck({}))


async def _is_worker_alive(database: "Database") -> bool:
    import psycopg

    from manager.jobs.heartbeat import is_worker_alive

    try:
        return await is_worker_alive(database.queue_dsn)
    except psycopg.Error as error:
        raise StoreUnavailable(f"the database cannot be used: {' '.join(str(error).split())}") from error


async def _opened(place: "DatabasePlace", work: Callable[[Store, "Database"], Awaitable[T]]) -> T:
    from manager.state.postgres.store import PostgresStore

    with progress("waiting for the database") as meter:

        async def tick() -> None:
            while True:
                await asyncio.sleep(_TICK_S)
                meter(None)

        ticking = asyncio.create_task(tick())
        try:
            async with place.open(prepare=False) as database:
                store = PostgresStore.open(database.dsn)
                try:
                    return await work(store, database)
                finally:
                    await store.close()
        finally:
            ticking.cancel()
