"""Where a remote executor is, how it is asked, and what both ends agree on."""

import ssl
from dataclasses import dataclass, field
from decimal import Decimal
from importlib import import_module
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import urlsplit

from executor.contract import Context, FullDecision
from executor.errors import ExecutorConfigError, ModelError, ModelUnreachable
from executor.models.addresses import check_base_url, shown_url

MAX_BYTES: Final = 4 * 1024 * 1024
MAX_SYMBOLS: Final = 64
CONNECT_TIMEOUT_S: Final = 5.0
DECISION_PATH: Final = "/api/v1/decision"
PING_PATH: Final = "/api/v1/ping"
TIMEOUT_HEADER: Final = "Decision-Timeout"
STOPPING: Final = "the server is stopping"
_SCHEMES: Final = {"http": "http", "https": "https", "grpc": "http", "grpcs": "https"}
_CLEAR: Final = ("http", "grpc")
_EXPECTED: Final = "expected a URL such as https://executor.example.com or grpc://127.0.0.1:8201"


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteEndpoint:
    """Say where a remote executor is; the key stays out of every printed form. `timeout_s` is for a whole decision.

    `ca_file` holds the certificates that are trusted in place of the system's. A decision costs at most
    `max_usd_per_decision`; None means that the config does not say.
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

    @property
    def identity(self) -> tuple[str, str, str]:
        """Return what must be equal for two endpoints to share a connection."""
        return self.url, self.key, self.ca_file

    def roots(self) -> bytes | None:
        """Return the trusted certificates as PEM, None for those of the system; raise ModelUnreachable."""
        try:
            return Path(self.ca_file).read_bytes() if self.ca_file else None
        except OSError as error:
            raise ModelUnreachable(f"cannot be reached (ca_file: {error})") from error


class Asking(Protocol):
    """Ask the executor at one endpoint, within the deadline of the caller."""

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


def lost(why: str) -> ModelError:
    """Return the error of a connection that broke after the question: what the answer cost is unknown."""
    return ModelUnreachable(f"was lost before it answered ({why})").told(ran=True)


def check_remote_url(url: str, *, allow_private: bool = False, allow_unencrypted: bool = False) -> None:
    """Raise ExecutorConfigError, which never shows a password, unless a remote executor may be at `url`.

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
    if scheme not in _CLEAR or allow_unencrypted:
        return
    try:
        check_base_url(plain)
    except ExecutorConfigError:
        mend = f"write {scheme}s://, or set allow_unencrypted: true beside it if everyone on that network may read them"
        raise ExecutorConfigError(f"sends the key and the contexts unencrypted to {parts.hostname}; {mend}") from None


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
