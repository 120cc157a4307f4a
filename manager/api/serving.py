"""Serve the application on a socket that the supervisor has bound."""

import asyncio
import socket
from collections.abc import Generator
from contextlib import contextmanager

import uvicorn

from manager.api.app import create_app
from manager.api.health import Probe
from manager.processes.logs import configure_logging
from manager.processes.supervisor import stop_on_signals
from manager.settings import Settings


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


async def run_web(descriptor: int, settings: Settings) -> int:
    """Answer on the inherited socket until SIGINT or SIGTERM and return 0; the database is sought meanwhile."""
    configure_logging(settings)
    place, probe = settings.place(), Probe()
    server = _Server(uvicorn.Config(create_app(probe), log_config=None, access_log=False, lifespan="off"))
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, fileno=descriptor) as listener:
        async with stop_on_signals() as stop, asyncio.TaskGroup() as group:
            group.create_task(probe.find(place, stop), name="web-database")
            group.create_task(server.serve(sockets=[listener]), name="web-server")
            await stop.wait()
            server.should_exit = True
    return 0
