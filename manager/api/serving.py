"""Serve the application on a socket that the caller has bound."""

import asyncio
import socket
from collections.abc import Generator
from contextlib import contextmanager

import structlog
import uvicorn

from manager.api.app import create_app
from manager.api.health import Probe
from manager.state.database import DatabasePlace

_LOG = structlog.get_logger(__name__)
_AGAIN_S = 2.0


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


async def serve_web(listener: socket.socket, place: DatabasePlace, stop: asyncio.Event) -> None:
    """Answer on `listener` until `stop` is set; the database is sought meanwhile, for as long as it takes."""
    probe = Probe()
    config = uvicorn.Config(create_app(probe), log_config=None, access_log=False, lifespan="off")
    server = _Server(config)
    async with asyncio.TaskGroup() as group:
        group.create_task(_find_database(probe, place, stop), name="web-database")
        group.create_task(server.serve(sockets=[listener]), name="web-server")
        await stop.wait()
        server.should_exit = True


async def _find_database(probe: Probe, place: DatabasePlace, stop: asyncio.Event) -> None:
    while not stop.is_set():
        try:
            async with place.open(prepare=False) as database:
                probe.dsn = database.queue_dsn
                await stop.wait()
        except Exception as error:  # noqa: BLE001 - whatever keeps the database away, the web goes on and says so
            _LOG.warning("web_has_no_database", error=str(error), again_s=_AGAIN_S)
            try:
                await asyncio.wait_for(stop.wait(), _AGAIN_S)
            except TimeoutError:
                continue
