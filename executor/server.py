"""Serve decisions over HTTP and gRPC in one process; loopback unless another address is asked for."""

import asyncio
import socket
from collections.abc import AsyncIterator, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Final

import uvicorn

from executor.errors import ExecutorConfigError
from executor.remote.grpc_server import decision_server
from executor.remote.http_server import decision_app
from executor.remote.service import DecisionService

LOOPBACK: Final = "127.0.0.1"
HTTP_PORT: Final = 8200
GRPC_PORT: Final = 8201
_KEEP_ALIVE_S: Final = 75
_BACKLOG: Final = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Listen:
    """Say where to listen; port 0 takes a free one. `grace_s` is how long decisions under way may take at the end."""

    host: str = LOOPBACK
    http_port: int = HTTP_PORT
    grpc_port: int = GRPC_PORT
    grace_s: int = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """Hold the addresses under which clients reach a server."""

    http: str
    grpc: str


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


@asynccontextmanager
async def serve(service: DecisionService, listen: Listen) -> AsyncIterator[Serving]:
    """Serve for as long as the block runs; raise ExecutorConfigError if a port cannot be had."""
    with _listener(listen) as listener:
        config = uvicorn.Config(
            decision_app(service),
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=listen.grace_s,
        )
        web, calls = _Server(config), decision_server(service)
        host = f"[{listen.host}]" if ":" in listen.host else listen.host
        try:
            grpc_port = calls.add_insecure_port(f"{host}:{listen.grpc_port}")
        except RuntimeError as error:
            raise _taken(listen, "--grpc-port", listen.grpc_port, "") from error
        await calls.start()
        running = asyncio.create_task(web.serve(sockets=[listener]), name="executor-http")
        try:
            yield Serving(http=f"http://{host}:{listener.getsockname()[1]}", grpc=f"grpc://{host}:{grpc_port}")
        finally:
            web.should_exit = True
            await asyncio.gather(running, calls.stop(listen.grace_s))


def _listener(listen: Listen) -> socket.socket:
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    # Without the protocol's number asyncio leaves TCP_NODELAY off, which costs 40 ms an answer.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((listen.host, listen.http_port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise _taken(listen, "--http-port", listen.http_port, f" ({error.strerror})") from error
    return listener


def _taken(listen: Listen, option: str, port: int, why: str) -> ExecutorConfigError:
    mend = f"pass another {option}, or a --host of this machine"
    return ExecutorConfigError(f"port {port} of {listen.host} cannot be listened on{why}; {mend}")
