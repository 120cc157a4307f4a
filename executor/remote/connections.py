"""Where an executor elsewhere may be, and the connections to it, which its traders share."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from executor.errors import ExecutorConfigError
from executor.models.addresses import check_base_url, shown_url

if TYPE_CHECKING:
    import grpc
    import httpx

MAX_BYTES: Final = 4 * 1024 * 1024
_SCHEMES: Final = {"http": "http", "https": "https", "grpc": "http", "grpcs": "https"}
_EXPECTED: Final = "expected a URL such as https://executor.example.com or grpc://127.0.0.1:8201"
_CONNECT_TIMEOUT_S: Final = 5.0
_IDLE_S: Final = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteEndpoint:
    """Say where an executor is; the key stays out of every printed form. `timeout_s` is for a whole decision."""

    url: str
    key: str = field(repr=False)
    timeout_s: float = 30.0
    allow_private: bool = False

    @property
    def is_grpc(self) -> bool:
        """Tell whether it speaks gRPC."""
        return self.url.startswith("grpc")

    @property
    def shown(self) -> str:
        """Return how messages name it."""
        return f"the executor at {shown_url(self.url)}"


def check_remote_url(url: str, *, allow_private: bool = False) -> None:
    """Raise ExecutorConfigError, which never shows a password, unless an executor may be at `url`.

    https and grpcs go anywhere public and to this machine, http and grpc to this machine only; private networks need
    `allow_private`.
    """
    scheme, separator, rest = url.partition("://")
    if scheme not in _SCHEMES or not separator:
        raise ExecutorConfigError(_EXPECTED)
    check_base_url(f"{_SCHEMES[scheme]}://{rest}", allow_private=allow_private, where="beside it")
    parts = urlsplit(f"{_SCHEMES[scheme]}://{rest}")
    if scheme.startswith("grpc") and (parts.port is None or parts.path.strip("/")):
        raise ExecutorConfigError("a grpc address is a host and a port, such as grpc://127.0.0.1:8201")


def check_grpc() -> None:
    """Raise ExecutorConfigError if gRPC, or the code generated for it, cannot be used here."""
    try:
        import_module("executor.proto.decision_pb2_grpc")
    except Exception as error:  # generated code has errors of its own for a runtime that is too old
        mend = "run `make setup`, or install Propdesk again"
        raise ExecutorConfigError(
            f"the code of executor/proto/decision.proto cannot be used ({error}); {mend}"
        ) from error


class RemoteConnections:
    """Keep one set of connections to each executor elsewhere, whoever asks it. Belongs to one event loop.

    Proxies of the environment are not used: the way to an executor is the one that the config names.
    """

    def __init__(self) -> None:
        self._opened: dict[tuple[str, str], tuple[Any, Callable[[], Awaitable[Any]]]] = {}

    def http(self, endpoint: RemoteEndpoint) -> "httpx.AsyncClient":
        """Return the client for the endpoint's URL and key; it follows no redirect, so the key goes nowhere else."""
        client: httpx.AsyncClient = self._shared(endpoint, _open_http, lambda client: client.aclose)
        return client

    def grpc(self, endpoint: RemoteEndpoint) -> "grpc.aio.Channel":
        """Return the channel to the endpoint."""
        channel: grpc.aio.Channel = self._shared(endpoint, _open_grpc, lambda channel: channel.close)
        return channel

    async def close(self) -> None:
        """Close every connection; later calls open new ones."""
        opened, self._opened = self._opened, {}
        for _, close in opened.values():
            await close()

    def _shared(
        self, endpoint: RemoteEndpoint, opener: Callable[[RemoteEndpoint], Any], closer: Callable[[Any], Any]
    ) -> Any:
        key = (endpoint.url, endpoint.key)
        if key not in self._opened:
            one = opener(endpoint)
            self._opened[key] = (one, closer(one))
        return self._opened[key][0]


def _open_http(endpoint: RemoteEndpoint) -> Any:
    import httpx

    return httpx.AsyncClient(
        base_url=endpoint.url,
        headers={"Authorization": f"Bearer {endpoint.key}", "Accept-Encoding": "identity"},
        timeout=httpx.Timeout(None, connect=_CONNECT_TIMEOUT_S),
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=64, keepalive_expiry=_IDLE_S),
        follow_redirects=False,
        trust_env=False,
    )


def _open_grpc(endpoint: RemoteEndpoint) -> Any:
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
        return grpc.aio.secure_channel(target, grpc.ssl_channel_credentials(), options=options)
    return grpc.aio.insecure_channel(target, options=options)
