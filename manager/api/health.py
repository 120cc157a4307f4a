"""Say whether the desk is healthy: the database answers and a worker beats."""

import asyncio
from dataclasses import dataclass, field
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version

import psycopg
from pydantic import BaseModel

from manager.jobs.heartbeat import SILENT_S, heartbeat_age_s

_CACHED_S = 1.0


class Status(StrEnum):
    """Name the states of the desk; `starting` until the database has answered once."""

    OK = "ok"
    STARTING = "starting"
    DATABASE_DOWN = "database_down"
    NO_WORKER = "no_worker"


class Health(BaseModel):
    """Answer /healthz; `worker_heartbeat_age_s` is None while no worker is known."""

    status: Status
    database: bool
    worker_heartbeat_age_s: float | None
    version: str

    @property
    def is_watched(self) -> bool:
        """Tell whether a worker has given a sign of life of late."""
        return self.status is Status.OK


@dataclass(slots=True)
class Probe:
    """Look at the database of the desk; `dsn` is None until it is known, and a look never raises."""

    dsn: str | None = None
    seen: bool = False
    _last: "Health | None" = None
    _until_s: float = 0.0
    _looking: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def look(self) -> Health:
        """Return how the desk is, or was within the last second: any number of askers cost one connection."""
        loop = asyncio.get_running_loop()
        async with self._looking:
            if self._last is None or loop.time() >= self._until_s:
                self._last = await self._look()
                self._until_s = loop.time() + _CACHED_S
            return self._last

    async def _look(self) -> Health:
        age = None
        try:
            reachable = self.dsn is not None
            if self.dsn is not None:
                age = await heartbeat_age_s(self.dsn)
                self.seen = True
        except psycopg.Error:
            reachable = False
        return Health(
            status=self._status(reachable, age),
            database=reachable,
            worker_heartbeat_age_s=age,
            version=installed_version(),
        )

    def _status(self, reachable: bool, age: float | None) -> Status:
        if not reachable:
            return Status.DATABASE_DOWN if self.seen else Status.STARTING
        return Status.OK if age is not None and age < SILENT_S else Status.NO_WORKER


def installed_version() -> str:
    """Return the version of Propdesk, `source` when it runs from a checkout that is not installed."""
    try:
        return version("propdesk")
    except PackageNotFoundError:
        return "source"
