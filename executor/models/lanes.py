"""Connections to an endpoint, kept open and spread over several clients."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from ssl import SSLContext
from typing import Any, Final
from urllib.parse import urlsplit

import httpx2

from executor.errors import ExecutorConfigError, UnreadableAnswer
from executor.models.addresses import check_base_url, is_address, shown_url
from executor.models.chat import ModelEndpoint
from executor.models.dialing import Dialer, NameLookup
from executor.models.keys import check_key

LANE_WIDTH: Final = 16
MOST_BYTES: Final = 4_000_000
_NO_KEY: Final = "none"


@dataclass(slots=True, kw_only=True)
class _Lane:
    client: httpx2.AsyncClient
    calls: int = 0


class Lanes:
    """Give each call a client that has fewer than LANE_WIDTH calls, the first such one, so that connections stay warm.

    A client looks through all its connections at the begin and end of every call: at 1,000 calls in flight over one
    client that costs more than the rest of the call. Belongs to one event loop.
    """

    def __init__(self, opener: Callable[[], httpx2.AsyncClient], width: int = LANE_WIDTH) -> None:
        self._opener = opener
        self._width = width
        self._lanes: list[_Lane] = []

    @property
    def count(self) -> int:
        """Return how many clients were opened."""
        return len(self._lanes)

    @contextmanager
    def lane(self) -> Iterator[httpx2.AsyncClient]:
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
            await lane.client.aclose()


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
    check_key(endpoint.api_key, "the environment variable that api_key names")
    certificates, lookup = cache(httpx2.create_ssl_context), NameLookup()
    return Lanes(lambda: _open_client(endpoint, certificates(), lookup))


def _open_client(endpoint: ModelEndpoint, certificates: SSLContext, lookup: NameLookup) -> httpx2.AsyncClient:
    """Open a client that follows no redirect to where the key must not go, and keeps no cookies.

    Its certificates are shared: to load them takes a client as long as twenty calls.
    """
    try:
        client = httpx2.AsyncClient(
            base_url=endpoint.base_url,
            headers={
                "Authorization": f"Bearer {endpoint.api_key or _NO_KEY}",
                "Accept": "application/json",
                "Accept-Encoding": "identity",
                "User-Agent": "propdesk",
            },
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
            verify=certificates,
            follow_redirects=False,
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=LANE_WIDTH),
            event_hooks={"response": [_limit]},
        )
    except (httpx2.InvalidURL, ValueError) as error:
        shown = shown_url(endpoint.base_url)
        raise ExecutorConfigError(f"base_url {shown!r} is not usable: {error}; correct it") from error
    host = urlsplit(endpoint.base_url).hostname or ""
    inside = endpoint.allow_private or host == "localhost" or is_address(host)
    # No argument of a client sets this, and one that is given a transport ignores the proxies of the environment. Those
    # look names up themselves, and have transports of their own.
    pool = client._transport._pool  # type: ignore[attr-defined]  # only its own transport has one
    pool._network_backend = Dialer(pool._network_backend, lookup, allow_inside=inside)
    return client


async def _limit(response: httpx2.Response) -> None:
    """Refuse what would grow in memory: an answer that is packed, or longer than any completion."""
    encoding = response.headers.get("Content-Encoding", "identity")
    if encoding != "identity":
        raise UnreadableAnswer(f"the answer came packed ({encoding[:20]!r}), which was not asked for; it is not read")
    response.stream = _Limited(response.stream)


class _Limited(httpx2.AsyncByteStream):
    def __init__(self, stream: Any) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        left = MOST_BYTES
        async for chunk in self._stream:
            left -= len(chunk)
            if left < 0:
                raise UnreadableAnswer(f"the answer is longer than {MOST_BYTES} bytes; that is no chat completion")
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()
