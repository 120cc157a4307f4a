"""The HTTP application, on a socket that the supervisor has bound."""

import asyncio
import socket
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

import uvicorn
from fastapi import FastAPI, Response, status
from fastapi.responses import RedirectResponse

from executor.remote.http_door import HEADER_TIMEOUT_S, Door, GuardedHttp, LimitedBodies
from manager.api.health import Health, Probe, Status
from manager.processes.logs import configure_logging
from manager.processes.supervisor import stop_on_signals
from manager.settings import Settings

_MOST_CONNECTIONS: Final = 256
_MOST_HEAD_BYTES: Final = 16_384
_MOST_BODY_BYTES: Final = 1_000_000
_LAST_WORDS_S: Final = 2


def create_app(probe: Probe) -> FastAPI:
    """Return the application; /healthz answers at once, also while the database still comes up."""
    app = FastAPI(title="Propdesk", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(LimitedBodies, most_bytes=_MOST_BODY_BYTES)

    @app.get("/")
    async def start() -> RedirectResponse:
        """Lead to /healthz, until there is a console."""
        return RedirectResponse("/healthz")

    @app.get("/healthz")
    async def healthz(response: Response) -> Health:
        """Tell whether database and worker are well: 200, or 503 with what is wrong."""
        health = await probe.look()
        if health.status is not Status.OK:
            response.status_code = status.HTTP_503_SERVICE_UNAVAILABLE
        return health

    return app


def served(app: FastAPI, door: Door) -> uvicorn.Config:
    """Return how the application is served: nobody holds a connection, a head or the end of the process."""
    guarded: Any = partial(GuardedHttp, door=door)
    return uvicorn.Config(
        app,
        http=guarded,
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        h11_max_incomplete_event_size=_MOST_HEAD_BYTES,
        timeout_graceful_shutdown=_LAST_WORDS_S,
    )


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


async def run_web(descriptor: int, settings: Settings) -> int:
    """Answer on the inherited socket until SIGINT or SIGTERM and return 0; the database is sought meanwhile."""
    configure_logging(settings, process="web")
    place, probe = settings.place(), Probe()
    server = _Server(served(create_app(probe), Door(most=_MOST_CONNECTIONS, header_timeout_s=HEADER_TIMEOUT_S)))
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, fileno=descriptor) as listener:
        async with stop_on_signals() as stop, asyncio.TaskGroup() as group:
            group.create_task(probe.find(place, stop), name="web-database")
            group.create_task(server.serve(sockets=[listener]), name="web-server")
            await stop.wait()
            server.should_exit = True
    return 0
