"""Serve decisions over HTTP and gRPC in one process; loopback unless another address is asked for."""

import asyncio
import resource
import socket
from collections.abc import AsyncIterator, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import uvicorn

from executor.errors import ExecutorConfigError
from executor.remote.grpc_server import decision_server
from executor.remote.http_door import HEADER_TIMEOUT_S, Door, GuardedHttp
from executor.remote.http_server import decision_app
from executor.remote.service import DecisionService

LOOPBACK: Final = "127.0.0.1"
HTTP_PORT: Final = 8200
GRPC_PORT: Final = 8201
_KEEP_ALIVE_S: Final = 75
_BACKLOG: Final = 1024
_GRACE_S: Final = 30
_LAST_WORDS_S: Final = 2
_MOST_FILES: Final = 65_536
_MOST_CONNECTIONS: Final = 8_192


@dataclass(frozen=True, slots=True, kw_only=True)
class Listen:
    """Say where to listen; port 0 takes a free one. `grace_s` is how long decisions under way may take at the end."""

    host: str = LOOPBACK
    http_port: int = HTTP_PORT
    grpc_port: int = GRPC_PORT
    grace_s: int = _GRACE_S

    def listener(self, option: str, port: int) -> socket.socket:
        """Return a socket that listens on `port`; raise ExecutorConfigError, which names its `option`."""
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        # Without the protocol's number asyncio leaves TCP_NODELAY off, which costs 40 ms an answer.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((self.host, port))
            listener.listen(_BACKLOG)
        except OSError as error:
            listener.close()
            raise self.taken(option, port, f" ({error.strerror})") from error
        return listener

    def taken(self, option: str, port: int, why: str = "") -> ExecutorConfigError:
        """Return the error of a port that cannot be had."""
        mend = f"pass another {option}, or a --host of this machine"
        return ExecutorConfigError(f"port {port} of {self.host} cannot be listened on{why}; {mend}")


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
    if listen.http_port == listen.grpc_port != 0:
        given = f"--http-port and --grpc-port are both {listen.http_port}"
        raise ExecutorConfigError(f"{given}; each protocol needs a port of its own")
    with listen.listener("--http-port", listen.http_port) as listener:
        listen.listener("--grpc-port", listen.grpc_port).close()
        most = room()
        guarded: Any = partial(GuardedHttp, door=Door(most=most, header_timeout_s=HEADER_TIMEOUT_S))
        config = uvicorn.Config(
            decision_app(service),
            http=guarded,
            ws="none",
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=_LAST_WORDS_S,
        )
        web, calls = _Server(config), decision_server(service, most)
        host = f"[{listen.host}]" if ":" in listen.host else listen.host
        try:
            grpc_port = calls.add_insecure_port(f"{host}:{listen.grpc_port}")
        except RuntimeError as error:
            raise listen.taken("--grpc-port", listen.grpc_port) from error
        await calls.start()
        running = asyncio.create_task(web.serve(sockets=[listener]), name="executor-http")
        try:
            yield Serving(http=f"http://{host}:{listener.getsockname()[1]}", grpc=f"grpc://{host}:{grpc_port}")
        finally:
            await service.drain(listen.grace_s)
            web.should_exit = True
            await asyncio.gather(running, calls.stop(_LAST_WORDS_S))


def raise_file_limit() -> None:
    """Let this process open as many files, and so hold as many connections, as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def room() -> int:
    """Return how many connections each protocol may hold: a quarter of the files, half being left for models."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MOST_CONNECTIONS if soft == resource.RLIM_INFINITY else max(8, min(soft // 4, _MOST_CONNECTIONS))
