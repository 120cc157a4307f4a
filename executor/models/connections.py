"""How calls reach an endpoint: names looked up apart, no private address dialled, our own headers, bounded answers."""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from errno import EAGAIN
from ipaddress import ip_network
from math import inf
from typing import Any, Final
from urllib.parse import urlsplit
from urllib.request import getproxies

import anyio
import httpcore2
import httpx2

from executor.errors import CallRejected, ExecutorConfigError, ModelUnreachable, UnreadableAnswer
from executor.models.addresses import check_peer, is_address
from executor.models.chat import ModelEndpoint

POOL_WIDTH: Final = 16
MOST_BYTES: Final = 4_000_000
_MOST_ADDRESSES: Final = 4
_HEAD_START_S: Final = 0.25
_KEPT_OPEN_S: Final = 5.0
_NO_KEY: Final = "none"
_READ: Final = ("date", "retry-after", "retry-after-ms")
_POOL_ERRORS: Final = (
    httpcore2.TimeoutException,
    httpcore2.NetworkError,
    httpcore2.ProtocolError,
    httpcore2.ProxyError,
    httpcore2.UnsupportedProtocol,
)


class NameLookup:
    """Look up names in threads of its own, one at a time for each name, whoever waits for it.

    A lookup cannot be stopped: in the threads that the event loop shares among all its lookups, a few that hang would
    keep every other host waiting. Belongs to one event loop.
    """

    def __init__(self) -> None:
        self._under_way: dict[tuple[str, int], asyncio.Future[Sequence[str]]] = {}

    async def addresses(self, host: str, port: int) -> Sequence[str]:
        """Return the addresses of `host` in the order in which to try them; raise OSError if there are none."""
        if is_address(host):
            return (host,)
        key = (host, port)
        found = self._under_way.get(key)
        if found is None:
            found = asyncio.get_running_loop().create_future()
            thread = threading.Thread(
                target=self._look_up, args=(host, port, found), name=f"lookup {host}", daemon=True
            )
            try:
                thread.start()
            except RuntimeError:
                raise OSError(EAGAIN, "the process has no thread left") from None
            self._under_way[key] = found
            # Who waited may be gone by then: an error that nobody takes is no event.
            found.add_done_callback(lambda done: done.cancelled() or done.exception())
            found.add_done_callback(lambda _: self._under_way.pop(key, None))
        return await asyncio.shield(found)

    @staticmethod
    def _look_up(host: str, port: int, found: "asyncio.Future[Sequence[str]]") -> None:
        addresses: Sequence[str] = ()
        failure: Exception | None = None
        try:
            known = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            addresses = tuple(dict.fromkeys(str(entry[4][0]) for entry in known))
            if not addresses:
                raise OSError(0, "no address")
        except Exception as error:  # noqa: BLE001 - whoever waits is told; a lookup without an end would stay under way
            failure = error

        def tell() -> None:
            if found.done():
                return
            if failure is not None:
                found.set_exception(failure)
            else:
                found.set_result(addresses)

        with suppress(RuntimeError):  # the loop has ended before the lookup
            found.get_loop().call_soon_threadsafe(tell)


class Dialer(httpcore2.AsyncNetworkBackend):
    """Open the connections of a pool over `backend`; addresses inside need `allow_inside`."""

    def __init__(self, backend: httpcore2.AsyncNetworkBackend, lookup: NameLookup, *, allow_inside: bool) -> None:
        self._backend = backend
        self._lookup = lookup
        self._allow_inside = allow_inside

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the name is the pool's
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Return a stream to the first address of `host` that answers.

        Raises CallRejected for a public name that leads inside, ModelUnreachable for one that leads nowhere.
        """
        limit_s = inf if timeout is None else timeout
        deadline = anyio.current_time() + limit_s

        async def dial(address: str) -> httpcore2.AsyncNetworkStream:
            left_s = None if timeout is None else max(0.0, deadline - anyio.current_time())
            return await self._backend.connect_tcp(address, port, left_s, local_address, socket_options)

        return await self._first(await self._found(host, port, limit_s), dial)

    async def _first(self, addresses: Sequence[str], dial: Callable[[str], Any]) -> httpcore2.AsyncNetworkStream:
        """Dial one after the other without waiting long for each; whatever keeps one from answering, another may."""
        streams, failures = list[httpcore2.AsyncNetworkStream](), list[Exception]()

        async def tried(address: str, ended: anyio.Event) -> None:
            try:
                stream = await dial(address)
            except Exception as error:  # noqa: BLE001 - told if none of them answers
                failures.append(error)
            else:
                streams.append(stream)
                group.cancel_scope.cancel()
            ended.set()

        async with anyio.create_task_group() as group:
            for address in addresses:
                ended = anyio.Event()
                group.start_soon(tried, address, ended)
                with anyio.move_on_after(_HEAD_START_S):
                    await ended.wait()
        if not streams:
            raise failures[-1]
        stream, *late = streams
        for other in late:
            await other.aclose()
        return stream

    async def _found(self, host: str, port: int, limit_s: float) -> Sequence[str]:
        try:
            with anyio.fail_after(limit_s):
                addresses = (await self._lookup.addresses(host, port))[:_MOST_ADDRESSES]
        except TimeoutError:
            raise ModelUnreachable(f"the name {host} was not looked up within {limit_s:g} s; check the DNS") from None
        except (OSError, UnicodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "no host can have it"
            raise ModelUnreachable(f"the name {host} leads nowhere ({why}); check base_url and the DNS") from None
        if not self._allow_inside:
            try:
                for address in addresses:
                    check_peer(address, host=host)
            except ExecutorConfigError as error:
                raise CallRejected(str(error)) from None
        return addresses


class Connections(httpx2.AsyncBaseTransport):
    """Carry the calls of one endpoint and key over pools that `open_pool` opens, at most `width` calls in each.

    Of a request only the method, the URL, the body and its time limits are sent: every header is written here, whatever
    a client or the environment wants to add. Of an answer only what is read comes back: no cookie and no address of a
    redirect. The first pool with room is taken, so that connections stay warm; a pool looks through all its connections
    at the begin and end of every call, which at 1,000 calls in one pool costs more than the rest of the call.
    """

    def __init__(
        self, open_pool: Callable[[], httpcore2.AsyncConnectionPool], api_key: str, width: int = POOL_WIDTH
    ) -> None:
        self._open_pool = open_pool
        self._width = width
        self._calls: dict[httpcore2.AsyncConnectionPool, int] = {}
        self._own = (
            (b"Authorization", f"Bearer {api_key or _NO_KEY}".encode()),
            (b"Accept", b"application/json"),
            (b"Accept-Encoding", b"identity"),
            (b"Connection", b"keep-alive"),
            (b"User-Agent", b"propdesk"),
        )

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Return the answer, its body still to be read; raise UnreadableAnswer for one that is packed."""
        pool = next((pool for pool, calls in self._calls.items() if calls < self._width), None) or self._open_pool()
        self._calls[pool] = self._calls.get(pool, 0) + 1
        try:
            with _errors_of_httpx2():
                answer = await pool.handle_async_request(self._sent(request))
            body = _Bounded(answer, lambda: self._ended(pool))
        except BaseException:
            self._ended(pool)
            raise
        headers = httpx2.Headers(answer.headers)
        packed = headers.get("content-encoding", "identity")
        if packed != "identity":
            await body.aclose()
            raise UnreadableAnswer(f"the answer came packed ({packed[:20]!r}), which was not asked for; it is not read")
        read = {name: headers[name] for name in _READ if name in headers}
        return httpx2.Response(answer.status, headers=read, stream=body)

    async def aclose(self) -> None:
        """Close every connection; later calls open new ones."""
        pools, self._calls = list(self._calls), {}
        for pool in pools:
            await pool.aclose()

    def _sent(self, request: httpx2.Request) -> httpcore2.Request:
        url, content = request.url, request.content
        headers = [(b"Host", url.netloc), *self._own]
        if content:
            headers += [(b"Content-Type", b"application/json"), (b"Content-Length", b"%d" % len(content))]
        address = httpcore2.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
        return httpcore2.Request(
            request.method, address, headers=headers, content=content, extensions=request.extensions
        )

    def _ended(self, pool: httpcore2.AsyncConnectionPool) -> None:
        if pool in self._calls:
            self._calls[pool] -= 1


class _Bounded(httpx2.AsyncByteStream):
    """The body of an answer up to MOST_BYTES; `ended` is called once, when it is closed."""

    def __init__(self, answer: httpcore2.Response, ended: Callable[[], None]) -> None:
        self._answer = answer
        self._ended: Callable[[], None] | None = ended

    async def __aiter__(self) -> AsyncIterator[bytes]:
        left = MOST_BYTES
        with _errors_of_httpx2():
            async for chunk in self._answer.aiter_stream():
                left -= len(chunk)
                if left < 0:
                    raise UnreadableAnswer(f"the answer is longer than {MOST_BYTES} bytes; that is no chat completion")
                yield chunk

    async def aclose(self) -> None:
        try:
            await self._answer.aclose()
        finally:
            if self._ended is not None:
                self._ended()
            self._ended = None


@contextmanager
def _errors_of_httpx2() -> Iterator[None]:
    """Raise what a pool raises as the error of the same name that a client of httpx2 knows."""
    try:
        yield
    except _POOL_ERRORS as error:
        raise getattr(httpx2, type(error).__name__)(str(error)) from error


def http_client(endpoint: ModelEndpoint) -> httpx2.AsyncClient:
    """Return a client of HTTPX whose calls go over Connections, through the proxies that the environment names.

    Certificates are loaded once, which takes as long as twenty calls; a proxy looks the endpoint's name up itself.
    """
    certificates = httpx2.create_ssl_context()
    host = urlsplit(endpoint.base_url).hostname or ""
    inside = endpoint.allow_private or host == "localhost" or is_address(host)
    dialer = Dialer(httpcore2.AnyIOBackend(), NameLookup(), allow_inside=inside)

    def over(proxy: httpx2.Proxy | None) -> Connections:
        return Connections(
            lambda: httpcore2.AsyncConnectionPool(
                ssl_context=certificates,
                proxy=None if proxy is None else httpcore2.Proxy(str(proxy.url), auth=proxy.raw_auth),
                max_connections=None,
                max_keepalive_connections=POOL_WIDTH,
                keepalive_expiry=_KEPT_OPEN_S,
                network_backend=dialer if proxy is None else None,
            ),
            endpoint.api_key,
        )

    mounts = {pattern: over(httpx2.Proxy(url)) if url else None for pattern, url in environment_proxies().items()}
    return httpx2.AsyncClient(transport=over(None), mounts=mounts, trust_env=False)


def environment_proxies() -> dict[str, str]:
    """Return the proxy of each pattern of URLs, "" for none, as HTTPX reads HTTP_PROXY, NO_PROXY and their like."""
    named = getproxies()
    given = {f"{scheme}://": named[scheme] for scheme in ("http", "https", "all") if named.get(scheme)}
    found = {pattern: proxy if "://" in proxy else f"http://{proxy}" for pattern, proxy in given.items()}
    for host in filter(None, map(str.strip, named.get("no", "").split(","))):
        pattern = f"all://{host}"
        if host == "*":
            return {}
        try:
            if ip_network(host, strict=False).version == 6:
                address, slash, bits = host.partition("/")
                pattern = f"all://[{address}]{slash}{bits}"
        except ValueError:
            if "://" in host:
                pattern = host
            elif "/" in host:
                continue
            elif host.lower() != "localhost" and not host.startswith(("[", "*.")):
                pattern = f"all://*{host}"
        with suppress(httpx2.InvalidURL):
            httpx2.URL(pattern)
            found[pattern] = ""
    return found
