"""The HTTP application, on a socket that the supervisor has bound."""

import asyncio
import socket
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from http import HTTPStatus
from typing import Any, Final

import uvicorn
from fastapi import APIRouter, FastAPI, Response, status
from fastapi.responses import RedirectResponse

from exchanges.clock import SystemClock
from executor.remote.http_door import HEADER_TIMEOUT_S, Door, GuardedHttp, LimitedBodies
from manager.api import problems
from manager.api.desk import Desk
from manager.api.gate import Gate
from manager.api.headers import Headers
from manager.api.health import Health, Status, installed_version
from manager.api.problems import Problem, documented
from manager.api.routes import desk as desk_routes
from manager.api.routes import events, keys, records, risk, traders
from manager.config.values import Config
from manager.processes.logs import configure_logging
from manager.processes.supervisor import stop_on_signals
from manager.settings import Settings
from manager.state.secrets import service_key

_MOST_CONNECTIONS: Final = 256
_MOST_HEAD_BYTES: Final = 16_384
_MOST_BODY_BYTES: Final = 1_000_000
_LAST_WORDS_S: Final = 2
_EVERYWHERE: Final = documented(
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.UNPROCESSABLE_ENTITY,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.SERVICE_UNAVAILABLE,
)
_DESCRIPTION: Final = """\
Every answer is the JSON that the same command prints with `--json`; decimals are strings, times are UTC. Each call
needs a key (`propdesk keys create`). An error is `application/problem+json` with field, value and mend. A POST with an
`Idempotency-Key` is done once; a change names with `If-Match` the version that it was made from.
"""


def create_app(desk: Desk, stop: asyncio.Event | None = None) -> FastAPI:
    """Return the application; /healthz answers at once, also while the database still comes up."""
    app = FastAPI(
        title="Propdesk", version=installed_version(), description=_DESCRIPTION, docs_url=None, redoc_url=None
    )
    app.state.desk, app.state.gate, app.state.under_way = desk, Gate(desk), set()
    app.state.stop = stop or asyncio.Event()
    problems.install(app)
    app.add_middleware(LimitedBodies, most_bytes=_MOST_BODY_BYTES)
    app.add_middleware(Headers)

    @app.get("/", include_in_schema=False)
    async def start() -> RedirectResponse:
        """Lead to /healthz, until there is a console."""
        return RedirectResponse("/healthz")

    @app.get("/healthz", tags=["health"], responses={503: {"model": Health}})
    async def healthz(response: Response) -> Health:
        """Tell whether database and worker are well: 200, or 503 with what is wrong."""
        health = await desk.probe.look()
        if health.status is not Status.OK:
            response.status_code = status.HTTP_503_SERVICE_UNAVAILABLE
        return health

    @app.get("/readyz", tags=["health"], responses={503: {"model": Health}})
    async def readyz(response: Response) -> Health:
        """Tell whether requests are answered: 200 with a database, with or without a worker, else 503."""
        health = await desk.probe.look()
        if not (health.database and desk.is_open):
            response.status_code = status.HTTP_503_SERVICE_UNAVAILABLE
        return health

    version_1 = APIRouter(prefix="/api/v1", responses=_EVERYWHERE)
    for routes in (desk_routes, traders, records, risk, events, keys):
        version_1.include_router(routes.router)
    app.include_router(version_1)
    _describe(app)
    return app


def _describe(app: FastAPI) -> None:
    """Let the schema name the problems that answers may be."""
    made = app.openapi

    def openapi() -> dict[str, Any]:
        schema = made()
        known = schema.setdefault("components", {}).setdefault("schemas", {})
        if "Problem" not in known:
            own = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
            known |= {**own.pop("$defs", {}), "Problem": own}
        return schema

    app.openapi = openapi  # type: ignore[method-assign] # as FastAPI documents it


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
        proxy_headers=False,
        h11_max_incomplete_event_size=_MOST_HEAD_BYTES,
        timeout_graceful_shutdown=_LAST_WORDS_S,
    )


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


async def run_web(descriptor: int, config: Config, settings: Settings) -> int:
    """Answer on the inherited socket until SIGINT or SIGTERM and return 0; the database is sought meanwhile.

    Raises SecretKeyRefused.
    """
    configure_logging(settings, process="web")
    secrets = service_key(settings.secret_key.get_secret_value(), settings.data_dir)
    desk = Desk(config=config, clock=SystemClock(), secrets=secrets)
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, fileno=descriptor) as listener:
        async with stop_on_signals() as stop, asyncio.TaskGroup() as group:
            door = Door(most=_MOST_CONNECTIONS, header_timeout_s=HEADER_TIMEOUT_S)
            server = _Server(served(create_app(desk, stop), door))
            group.create_task(desk.hold(settings.place(), stop), name="web-database")
            group.create_task(server.serve(sockets=[listener]), name="web-server")
            await stop.wait()
            server.should_exit = True
    return 0
