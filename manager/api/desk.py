"""What the routes read and act through: the desk's store and manager, as soon as its database is found."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

import structlog

from exchanges.clock import Clock
from manager.access.keys import Keys
from manager.access.lockout import Patience, Rate
from manager.api.confirmations import Confirmations
from manager.api.health import Probe
from manager.api.problems import HttpProblem
from manager.bootstrap.live import build_manager
from manager.config.values import Config
from manager.manager import Manager
from manager.state.database import DatabasePlace
from manager.state.postgres.store import PostgresStore
from manager.state.secrets import Purpose, ServiceKey
from manager.state.store import Store

_LOG = structlog.get_logger(__name__)
_AGAIN_S: Final = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Hold what a request needs of the desk."""

    store: Store
    manager: Manager
    keys: Keys
    confirmations: Confirmations


@dataclass(slots=True, kw_only=True)
class Desk:
    """Hold a desk that may not be there yet, with the config that its definitions are checked against."""

    config: Config
    clock: Clock
    secrets: ServiceKey
    probe: Probe = field(default_factory=Probe)
    patience: Patience = field(default_factory=Patience)
    rate: Rate = field(default_factory=Rate)
    _parts: Parts | None = field(default=None)

    @property
    def is_open(self) -> bool:
        """Tell whether the database is there."""
        return self._parts is not None

    @property
    def parts(self) -> Parts:
        """Return what a request needs; raise HttpProblem (503) while the database is away."""
        if self._parts is None:
            raise HttpProblem(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "starting",
                "the database is not there yet; /readyz says when it is",
                headers={"Retry-After": f"{_AGAIN_S:.0f}"},
            )
        return self._parts

    def assemble(self, store: Store) -> None:
        """Answer from this store from now on."""
        self._parts = Parts(
            store=store,
            manager=build_manager(store, self.config, self.clock),
            keys=Keys(store, self.secrets, self.clock),
            confirmations=Confirmations(self.secrets.subkey(Purpose.TOKENS), self.clock),
        )

    async def hold(self, place: DatabasePlace, stop: asyncio.Event) -> None:
        """Seek the database for as long as it takes, and hold it until `stop` is set."""
        while not stop.is_set():
            try:
                async with place.open(prepare=False) as database:
                    self.probe.dsn = database.queue_dsn
                    store = PostgresStore.open(database.dsn)
                    try:
                        self.assemble(store)
                        await stop.wait()
                    finally:
                        self._parts = None
                        await store.close()
            except Exception as error:  # noqa: BLE001 - whatever keeps the database away, the web goes on and says so
                _LOG.warning("web_has_no_database", error=str(error), again_s=_AGAIN_S)
                with suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), _AGAIN_S)
