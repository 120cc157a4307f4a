"""Open the desk's state for one command."""

import asyncio
import getpass
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from exchanges.clock import SystemClock
from manager.cli.guard import Refused
from manager.cli.options import DATA_DEFAULT, DataDirOption, JsonOption, TenantOption, settings_with
from manager.cli.progress import progress, ticking
from manager.state.records import DEFAULT_TENANT, TenantId
from manager.state.store import Store

if TYPE_CHECKING:
    from manager.config import Config
    from manager.manager import Manager
    from manager.state.database import DatabasePlace
    from manager.state.postgres.command_store import CommandStore

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeskOptions:
    """Hold what every command on a desk is given: where it is, whose it is, and how to print."""

    data_dir: DataDirOption = DATA_DEFAULT
    tenant: TenantOption = DEFAULT_TENANT
    as_json: JsonOption = False

    @property
    def owner(self) -> TenantId:
        """Return the tenant whose desk it is."""
        return TenantId(self.tenant)

    def on_store(self, work: Callable[[Store], Awaitable[T]]) -> T:
        """Return what `work` makes of the desk's store; raises as `with_store`, and Refused for an unknown tenant."""

        async def on_known(store: Store) -> T:
            await self.check_tenant(store)
            return await work(store)

        return with_store(self.data_dir, on_known)

    async def check_tenant(self, store: Store) -> None:
        """Raise Refused for a tenant that is not there; the default one is, even before its first start."""
        if self.owner == DEFAULT_TENANT:
            return
        async with store.service() as service:
            known = sorted(await service.tenants())
        if self.owner not in known:
            told = f"it has {', '.join(known)}" if known else "it has none yet: start it with `propdesk run`"
            raise Refused(f"--tenant {self.owner} is no tenant of this desk; {told}")


def with_store(data_dir: Path, work: Callable[[Store], Awaitable[T]]) -> T:
    """Run `work` on the store of an existing desk; the embedded server is started if it is down.

    Nothing is created or upgraded. Raises Refused where there is no desk, StateError where its database cannot be used.
    """
    return asyncio.run(_opened(_existing(data_dir), work))


def with_desk(data_dir: Path, work: Callable[[Store, bool], Awaitable[T]]) -> T:
    """Run `work` as `with_store` does, and tell it whether a worker has given a sign of life in the last seconds."""

    async def on_desk(store: "CommandStore") -> T:
        return await work(store, await _is_worker_alive(store))

    return asyncio.run(_opened(_existing(data_dir), on_desk))


class OpenDesk(NamedTuple):
    """Hold the state of a desk that stays open."""

    store: "CommandStore"

    async def is_worker_alive(self) -> bool:
        """Tell whether a worker has given a sign of life in the last seconds."""
        return await _is_worker_alive(self.store)


@asynccontextmanager
async def opened(data_dir: Path) -> AsyncIterator[OpenDesk]:
    """Keep an existing desk open; raises as `with_store`."""
    from manager.state.postgres.command_store import CommandStore

    async with _existing(data_dir).open(prepare=False) as database:
        store = CommandStore(database.dsn)
        try:
            yield OpenDesk(store)
        finally:
            await store.close()


def watching(data_dir: Path, doing: str, work: Callable[[Store, Callable[[], Awaitable[bool]]], Awaitable[T]]) -> T:
    """Run `work` as `with_store` does, with a question whether a worker is alive; `doing` says what takes its time."""

    async def on_desk(store: "CommandStore") -> T:
        return await work(store, lambda: _is_worker_alive(store))

    return asyncio.run(_opened(_existing(data_dir), on_desk, doing))


def actor() -> str:
    """Return who acts, for the event: the person at this shell."""
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError):
        return "cli"


def manager_of(store: Store, config: "Config | None" = None) -> "Manager":
    """Return a manager; without a config it can register nobody, which moving and removing traders does not need."""
    from manager.manager import Manager
    from manager.roster.registration import RegistrationCheck, registration_check

    if config is not None:
        return Manager(store, SystemClock(), registration_check(config))
    return Manager(store, SystemClock(), RegistrationCheck({}))


async def _is_worker_alive(store: "CommandStore") -> bool:
    from manager.jobs.heartbeat import NEWEST_BEAT, is_recent

    return is_recent(await store.queue_value(NEWEST_BEAT))


def _existing(data_dir: Path) -> "DatabasePlace":
    """Return where the desk is, so that a reading command never creates a database; raise Refused if there is none."""
    place = settings_with(data_dir=data_dir).place()
    if not place.url and data_dir.exists() and not data_dir.is_dir():
        raise Refused(f"{data_dir} is a file, no data directory; pass the directory of a desk with --data-dir DIR")
    if not place.url and not (data_dir / "postgres").is_dir():
        raise Refused(f"there is no desk in {data_dir}; start one with `propdesk run`, or pass --data-dir DIR")
    return place


async def _opened(
    place: "DatabasePlace", work: Callable[["CommandStore"], Awaitable[T]], doing: str = "waiting for the database"
) -> T:
    from manager.state.postgres.command_store import CommandStore

    with progress(doing) as meter:
        async with ticking(meter), place.open(prepare=False) as database:
            store = CommandStore(database.dsn)
            try:
                return await work(store)
            finally:
                await store.close()
