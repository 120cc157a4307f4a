"""Connections to an endpoint, kept open and spread over several clients."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import cache
from ssl import SSLContext
from typing import Any, Final
from urllib.parse import urlsplit

import httpx2
from openai import AsyncOpenAI, DefaultAsyncHttpxClient, OpenAIError

from executor.errors import ExecutorConfigError, UnreadableAnswer
from executor.models.addresses import check_base_url, is_address, shown_url
from executor.models.chat import ModelEndpoint
from executor.models.dialing import Dialer, NameLookup

LANE_WIDTH: Final = 16
MOST_BYTES: Final = 4_000_000
_NO_KEY: Final = "none"


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
    check_key(endpoint.api_key)
    certificates, lookup = cache(httpx2.create_ssl_context), NameLookup()
    return Lanes(lambda: _open_client(endpoint, certificates(), lookup))


def check_key(key: str) -> None:
    """Raise ExecutorConfigError, which does not show it, unless a header can carry `key`."""
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ExecutorConfigError(
            "the key holds a blank, a line break or a character that is not ASCII; "
            "correct the environment variable that api_key names"
        )


def _open_client(endpoint: ModelEndpoint, certificates: SSLContext, lookup: NameLookup) -> AsyncOpenAI:
    """Open a client that neither retries on its own nor follows a redirect to where the key must not go.

    Its certificates are shared: to load them takes a client as long as twenty calls.
    """
    http = DefaultAsyncHttpxClient(
        base_url=endpoint.base_url,
        verify=certificates,
        follow_redirects=False,
        event_hooks={"request": [_own_headers(endpoint)], "response": [_limit]},
    )
    host = urlsplit(endpoint.base_url).hostname or ""
    inside = endpoint.allow_private or host == "localhost" or is_address(host)
    # A client that is given a transport ignores the proxies of the environment. Those look names up themselves, and
    # have transports of their own.
    pool = http._transport._pool  # type: ignore[attr-defined]  # only its own transport has one
    pool._network_backend = Dialer(pool._network_backend, lookup, allow_inside=inside)
    try:
        return AsyncOpenAI(
            base_url=endpoint.base_url, api_key=endpoint.api_key or _NO_KEY, max_retries=0, http_client=http
        )
    except (OpenAIError, ValueError) as error:
        shown = shown_url(endpoint.base_url)
        raise ExecutorConfigError(f"base_url {shown!r} is not usable: {error}; correct it") from error


def _own_headers(endpoint: ModelEndpoint) -> Callable[[httpx2.Request], Awaitable[None]]:
    """Send these headers and no others: the client adds some of its own, and what OPENAI_... variables tell it to."""
    fixed = {
        "Authorization": f"Bearer {endpoint.api_key or _NO_KEY}",
        "Accept": "application/json",
        "Accept-Encoding": "identity",
        "User-Agent": "propdesk",
    }

    async def hook(request: httpx2.Request) -> None:
        length = request.headers.get("Content-Length")
        body = {} if length is None else {"Content-Type": "application/json", "Content-Length": length}
        request.headers = httpx2.Headers({"Host": request.url.netloc.decode(), **fixed, **body})

    return hook


async def _limit(response: httpx2.Response) -> None:
    """Refuse what would grow in memory: an answer that is packed, or longer than any completion."""
    encoding = response.headers.get("Content-Encoding", "identity")
    if encoding != "identity":
        raise UnreadableAnswer(f"the answer came packed ({encoding[:20]!r}), which was not asked for; it is not read")
    length = response.headers.get("Content-Length")
    if length is None:
        response.stream = _Limited(response.stream)
    elif int(length) > MOST_BYTES:
        raise _too_long()


class _Limited(httpx2.AsyncByteStream):
    def __init__(self, stream: Any) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        left = MOST_BYTES
        async for chunk in self._stream:
            left -= len(chunk)
            if left < 0:
                raise _too_long()
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()


def _too_long() -> UnreadableAnswer:
    return UnreadableAnswer(f"the answer is longer than {MOST_BYTES} bytes; that is no chat completion")
