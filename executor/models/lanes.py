"""Connections to an endpoint, kept open and spread over several clients."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import cache
from ipaddress import ip_address
from ssl import SSLContext
from typing import Any, Final
from urllib.parse import urlsplit
from urllib.request import getproxies

from httpx import create_ssl_context
from openai import AsyncOpenAI, DefaultAsyncHttpxClient, OpenAIError

from executor.errors import CallRejected, ExecutorConfigError
from executor.models.addresses import check_base_url, check_peer, shown_url
from executor.models.chat import ModelEndpoint

LANE_WIDTH: Final = 16
_NO_KEY: Final = "none"
_CONNECTED: Final = "connection.connect_tcp.complete"


@dataclass(slots=True, kw_only=True)
class _Lane:
    client: AsyncOpenAI
    calls: int = 0


class Lanes:
    """Give each call a client that has fewer than LANE_WIDTH calls, the first such one, so that connections stay warm.

    A client looks through all its connections at the begin and end of every call: at 1,000 calls in flight over one
    client that costs more than the rest of the call. Belongs to one event loop.
    """

    def __init__(self, opener: Callable[[], AsyncOpenAI], width: int = LANE_WIDTH) -> None:
        self._opener = opener
        self._width = width
        self._lanes: list[_Lane] = []

    @property
    def count(self) -> int:
        """Return how many clients were opened."""
        return len(self._lanes)

    @contextmanager
    def lane(self) -> Iterator[AsyncOpenAI]:
        """Take a client for one call."""
        lane = next((lane for lane in self._lanes if lane.calls < self._width), None)
        if lane is None:
            lane = _Lane(client=self._opener())
            self._lanes.append(lane)
        lane.calls += 1
        try:
            yield lane.client
        finally:
            lane.calls -= 1

    async def close(self) -> None:
        """Close every client; later calls open new ones."""
        lanes, self._lanes = self._lanes, []
        for lane in lanes:
            await lane.client.close()


@asynccontextmanager
async def open_lanes(endpoint: ModelEndpoint) -> AsyncIterator[Lanes]:
    """Open the connections to one endpoint for as long as the block runs."""
    lanes = lanes_to(endpoint)
    try:
        yield lanes
    finally:
        await lanes.close()


def lanes_to(endpoint: ModelEndpoint) -> Lanes:
    """Return lanes to `endpoint`; raise ExecutorConfigError at once if it may not or cannot be called."""
    try:
        check_base_url(endpoint.base_url, allow_private=endpoint.allow_private)
    except ExecutorConfigError as error:
        raise ExecutorConfigError(f"base_url {shown_url(endpoint.base_url)!r}: {error}") from None
    certificates = cache(create_ssl_context)
    return Lanes(lambda: _open_client(endpoint, certificates()))


def _open_client(endpoint: ModelEndpoint, certificates: SSLContext) -> AsyncOpenAI:
    """Open a client that neither retries on its own nor follows a redirect to where the key must not go.

    Its certificates are shared: to load them takes a client as long as twenty calls.
    """
    http = DefaultAsyncHttpxClient(
        base_url=endpoint.base_url,
        verify=certificates,
        follow_redirects=False,
        event_hooks={"request": _hooks(endpoint)},
    )
    try:
        return AsyncOpenAI(
            base_url=endpoint.base_url, api_key=endpoint.api_key or _NO_KEY, max_retries=0, http_client=http
        )
    except (OpenAIError, ValueError) as error:
        shown = shown_url(endpoint.base_url)
        raise ExecutorConfigError(f"base_url {shown!r} is not usable: {error}; correct it") from error


def _hooks(endpoint: ModelEndpoint) -> list[Callable[[Any], Any]]:
    """Watch where a public name leads; a proxy looks the name up itself."""
    host = urlsplit(endpoint.base_url).hostname or ""
    if endpoint.allow_private or host == "localhost" or _is_address(host) or getproxies():
        return []

    async def connected(event: str, info: dict[str, Any]) -> None:
        if event != _CONNECTED:
            return
        stream = info["return_value"]
        try:
            check_peer(str(stream.get_extra_info("server_addr")[0]), host=host)
        except ExecutorConfigError as error:
            await stream.aclose()
            raise CallRejected(str(error)) from None

    async def watch(request: Any) -> None:
        request.extensions["trace"] = connected

    return [watch]


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
