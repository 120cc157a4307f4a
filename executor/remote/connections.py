"""Where an executor elsewhere may be, and the connections to it, which its traders share."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import urlsplit

import anyio

from executor.contract import Context, FullDecision
from executor.errors import ExecutorConfigError, ModelUnreachable
from executor.models.addresses import check_base_url, shown_url

if TYPE_CHECKING:
    import grpc
    import httpx

MAX_BYTES: Final = 4 * 1024 * 1024
CONNECT_TIMEOUT_S: Final = 5.0
_SCHEMES: Final = {"http": "http", "https": "https", "grpc": "http", "grpcs": "https"}
_CLEAR: Final = ("http", "grpc")
_EXPECTED: Final = "expected a URL such as https://executor.example.com or grpc://127.0.0.1:8201"
_IDLE_S: Final = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteEndpoint:
    """Say where an executor is; the key stays out of every printed form. `timeout_s` is for a whole decision.

    `ca_file` holds the certificates that are trusted in place of the system's; a decision costs at most
    `max_usd_per_decision`, None if nobody said.
    """

    url: str
    key: str = field(repr=False)
    timeout_s: float = 30.0
    allow_private: bool = False
    allow_unencrypted: bool = False
    ca_file: str = ""
    max_usd_per_decision: Decimal | None = None

    @property
    def is_grpc(self) -> bool:
        """Tell whether it speaks gRPC."""
        return self.url.startswith("grpc")

    @property
    def shown(self) -> str:
        """Return how messages name it."""
        return f"the executor at {shown_url(self.url)}"

    @property
    def name(self) -> str:
        """Return the name under which its costs are summed."""
        return f"remote {urlsplit(self.url).netloc.rpartition('@')[2]}"


class Asking(Protocol):
    """Ask the executor at one endpoint, within the deadline of whoever calls."""

    async def ask(self, context: Context) -> FullDecision:
        """Return its decision; raise a ModelError, or ValueError for a context that cannot travel."""
        ...

    async def greet(self, trader: str) -> None:
        """Raise a ModelError unless it takes the key and can decide for the trader, "" for any."""
        ...


class RemoteSource(Protocol):
    """Give remote executors what asks: a connection, a recording, or both."""

    def asking(self, endpoint: RemoteEndpoint) -> Asking:
        """Return what asks the endpoint."""
        ...

    async def close(self) -> None:
        """Release what is held."""
        ...


def check_remote_url(url: str, *, allow_private: bool = False, allow_unencrypted: bool = False) -> None:
    """Raise ExecutorConfigError, which never shows a password, unless an executor may be at `url`.

    https and grpcs go anywhere public and to this machine, http and grpc to this machine only; private networks need
    `allow_private`, and `allow_unencrypted` too where the key would be sent in the clear.
    """
    scheme, separator, rest = url.partition("://")
    if scheme not in _SCHEMES or not separator:
        raise ExecutorConfigError(_EXPECTED)
    plain = f"{_SCHEMES[scheme]}://{rest}"
    check_base_url(plain, allow_private=allow_private, where="beside it")
    parts = urlsplit(plain)
    if scheme.startswith("grpc") and (parts.port is None or parts.path.strip("/")):
        raise ExecutorConfigError("a grpc address is a host and a port, such as grpc://127.0.0.1:8201")
    if scheme in _CLEAR and not allow_unencrypted and not _is_this_machine(plain):
        mend = f"write {scheme}s://, or set allow_unencrypted: true beside it if everyone on that network may read them"
        raise ExecutorConfigError(f"sends the key and the contexts unencrypted to {parts.hostname}; {mend}")


def _is_this_machine(plain: str) -> bool:
    """Only to this machine may http go without a word more."""
    try:
        check_base_url(plain)
    except ExecutorConfigError:
        return False
    return True


def check_ca_file(url: str, ca_file: str) -> None:
    """Raise ExecutorConfigError unless `ca_file` is empty, or holds certificates for a URL that is encrypted."""
    if not ca_file:
        return
    if url.partition("://")[0] in _CLEAR:
        raise ExecutorConfigError("is for https and grpcs; nothing is encrypted here, so remove it")
    try:
        ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise ExecutorConfigError(f"cannot be read ({error}); name a file of PEM certificates") from error


def check_grpc() -> None:
    """Raise ExecutorConfigError if gRPC, or the code generated for it, cannot be used here."""
    try:
        import_module("executor.proto.decision_pb2_grpc")
    except Exception as error:  # generated code has errors of its own for a runtime that is too old
        mend = "run `make setup`, or install Propdesk again"
        raise ExecutorConfigError(
            f"the code of executor/proto/decision.proto cannot be used ({error}); {mend}"
        ) from error


@dataclass(slots=True, kw_only=True)
class _Line:
    """A gRPC channel, the calls that are on it, and whether it is to be closed after the last of them."""

    channel: "grpc.aio.Channel"
    calls: int = 0
    retired: bool = False


class RemoteConnections:
    """Keep one set of connections to each executor elsewhere, whoever asks it. Belongs to one event loop.

    Proxies of the environment are not used: the way to an executor is the one that the config names.
    """

    def __init__(self) -> None:
        self._clients: dict[tuple[str, str, str], httpx.AsyncClient] = {}
        self._lines: dict[tuple[str, str, str], _Line] = {}

    def asking(self, endpoint: RemoteEndpoint) -> Asking:
        """Return what asks the endpoint over these connections."""
        from executor.remote.grpc_client import GrpcAsking
        from executor.remote.http_client import HttpAsking

        return (GrpcAsking if endpoint.is_grpc else HttpAsking)(endpoint, self)

    def http(self, endpoint: RemoteEndpoint) -> "httpx.AsyncClient":
        """Return the client for the endpoint's URL and key; it follows no redirect, so the key goes nowhere else."""
        key = _identity(endpoint)
        if key not in self._clients:
            self._clients[key] = _open_http(endpoint)
        return self._clients[key]

    @asynccontextmanager
    async def channel(self, endpoint: RemoteEndpoint) -> AsyncIterator["grpc.aio.Channel"]:
        """Take the channel to the endpoint for one call; a call that is cut off leaves the next ones a fresh channel.

        gRPC stays with a connection whose other end is silent, such as a host that lost its power.
        """
        key = _identity(endpoint)
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = _Line(channel=_open_grpc(endpoint))
        line.calls += 1
        answered = False
        try:
            yield line.channel
            answered = True
        finally:
            line.calls -= 1
            if not answered and self._lines.get(key) is line:
                del self._lines[key]
                line.retired = True
            if line.retired and not line.calls:
                with anyio.CancelScope(shield=True):
                    await line.channel.close()

    async def close(self) -> None:
        """Close every connection; later calls open new ones."""
        clients, self._clients = self._clients, {}
        lines, self._lines = self._lines, {}
        for client in clients.values():
            await client.aclose()
        for line in lines.values():
            await line.channel.close()


def _identity(endpoint: RemoteEndpoint) -> tuple[str, str, str]:
    return endpoint.url, endpoint.key, endpoint.ca_file


def _roots(endpoint: RemoteEndpoint) -> bytes:
    try:
        return Path(endpoint.ca_file).read_bytes()
    except OSError as error:
        raise ModelUnreachable(f"cannot be reached (ca_file: {error})") from error


def _open_http(endpoint: RemoteEndpoint) -> "httpx.AsyncClient":
    import httpx

    return httpx.AsyncClient(
        base_url=endpoint.url,
        headers={"Authorization": f"Bearer {endpoint.key}", "Accept-Encoding": "identity"},
        timeout=httpx.Timeout(None, connect=CONNECT_TIMEOUT_S),
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=64, keepalive_expiry=_IDLE_S),
        follow_redirects=False,
        trust_env=False,
        verify=ssl.create_default_context(cadata=_roots(endpoint).decode()) if endpoint.ca_file else True,
    )


def _open_grpc(endpoint: RemoteEndpoint) -> "grpc.aio.Channel":
    import grpc

    target = urlsplit(endpoint.url).netloc
    options = (
        ("grpc.enable_http_proxy", 0),
        ("grpc.max_receive_message_length", MAX_BYTES),
        ("grpc.max_send_message_length", MAX_BYTES),
        ("grpc.max_reconnect_backoff_ms", 5_000),
        ("grpc.use_local_subchannel_pool", 1),
    )
    if endpoint.url.startswith("grpcs"):
        roots = _roots(endpoint) if endpoint.ca_file else None
        return grpc.aio.secure_channel(target, grpc.ssl_channel_credentials(roots), options=options)
    return grpc.aio.insecure_channel(target, options=options)
