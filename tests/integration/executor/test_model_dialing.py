"""Names of endpoints: a lookup that hangs is its own endpoint's delay, proxies look up themselves, inside stays out."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import httpcore2
import pytest

from executor.errors import CallRejected, ModelError, ModelUnreachable
from executor.models.chat import Message, ModelEndpoint
from executor.models.connections import Dialer, NameLookup
from executor.models.endpoint_client import EndpointClient
from executor.models.openai_chat import OpenAIChatModel
from openai_endpoint import Endpoint, endpoint, says

ASKED = [Message(role="user", text="hello")]
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
REAL = socket.getaddrinfo


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, list[str] | threading.Event]]:
    """Give names their addresses; one with an event hangs until it is set, and leads nowhere then."""
    known: dict[str, list[str] | threading.Event] = {}

    def resolve(host: Any, port: Any, *rest: Any, **more: Any) -> list[Any]:
        found = known.get(host.decode() if isinstance(host, bytes) else host)
        if isinstance(found, threading.Event):
            found.wait(20)
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        if found is None:
            return REAL(host, port, *rest, **more)
        return [entry for address in found for entry in REAL(address, port, *rest, **more)]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    yield known
    for one in known.values():
        if isinstance(one, threading.Event):
            one.set()


def named(fake: Endpoint, host: str, **more: Any) -> ModelEndpoint:
    return replace(fake.spec(), base_url=fake.base_url.replace("127.0.0.1", host), allow_private=True, **more)


def running(name: str) -> int:
    return sum(thread.name.startswith(name) for thread in threading.enumerate())


async def ask(at: ModelEndpoint) -> str:
    async with aclosing(EndpointClient(at)) as client:
        return (await OpenAIChatModel(client, at).complete(ASKED, {})).text


def test_lookups_that_hang_keep_no_other_name_waiting(names: dict[str, Any]) -> None:
    """More of them than the loop's own pool has threads here."""
    names["here.internal"] = ["127.0.0.1"]
    hanging = [f"h{number}.internal" for number in range(4)]
    names.update({name: threading.Event() for name in hanging})

    async def run() -> None:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(2))
        async with endpoint(says("hi")) as fake:
            stuck = [asyncio.ensure_future(ask(named(fake, name, timeout_s=60.0))) for name in hanging]
            try:
                while running("lookup h") < len(hanging):  # noqa: ASYNC110 - threads set no event of the loop
                    await asyncio.sleep(0.01)
                assert await asyncio.wait_for(ask(named(fake, "here.internal")), 5) == "hi"
                assert not any(task.done() for task in stuck)
            finally:
                for name in hanging:
                    names[name].set()
                ended = await asyncio.gather(*stuck, return_exceptions=True)
            assert [type(one) for one in ended] == [ModelUnreachable] * len(hanging)

    asyncio.run(asyncio.wait_for(run(), 15))


def test_a_name_is_looked_up_once_for_all_who_wait_and_again_later(names: dict[str, Any]) -> None:
    names["slow.internal"] = threading.Event()

    async def run() -> None:
        lookup = NameLookup()
        gone = asyncio.ensure_future(lookup.addresses("slow.internal", 1))
        waiting = [asyncio.ensure_future(lookup.addresses("slow.internal", 1)) for _ in range(5)]
        await asyncio.sleep(0)
        assert running("lookup slow.internal") == 1
        gone.cancel()
        names["slow.internal"].set()
        found = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(one) for one in found] == [socket.gaierror] * 5
        names["slow.internal"] = ["127.0.0.1"]
        assert await lookup.addresses("slow.internal", 1) == ("127.0.0.1",)

    asyncio.run(run())


def test_a_lookup_ends_with_the_time_to_connect(names: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    names["slow.internal"] = threading.Event()

    async def run() -> None:
        async with endpoint(says("hi")) as fake:
            with pytest.raises(
                ModelUnreachable, match=r"slow\.internal was not looked up within 0\.2 s; check the DNS"
            ):
                await ask(named(fake, "slow.internal", timeout_s=0.2))

    asyncio.run(run())


def test_the_next_address_is_tried_when_one_does_not_answer(names: dict[str, Any]) -> None:
    names["two.internal"] = ["127.0.0.2", "127.0.0.1"]

    async def run() -> None:
        async with endpoint(says("hi")) as fake:
            assert await ask(named(fake, "two.internal")) == "hi"

    asyncio.run(run())


class Silent(httpcore2.AsyncNetworkBackend):
    """Connect to nothing but the addresses that answer; the others keep silent until they are given up."""

    def __init__(self, *answering: str) -> None:
        self.answering = answering
        self.dialled: list[str] = []
        self.given_up: list[str] = []

    async def connect_tcp(self, host: str, *_: Any, **__: Any) -> Any:
        """Return the address as the stream."""
        self.dialled.append(host)
        if host in self.answering:
            return host
        try:
            await asyncio.sleep(60)
        finally:
            self.given_up.append(host)
        raise TimeoutError


def test_an_address_that_keeps_silent_has_a_short_head_start(names: dict[str, Any]) -> None:
    """A network without a way for IPv6 is silent on the first addresses; nobody waits out the time to connect."""
    names["two.internal"] = ["127.0.0.2", "127.0.0.3", "127.0.0.1"]

    async def run() -> None:
        backend = Silent("127.0.0.1")
        dialer = Dialer(backend, NameLookup(), allow_inside=True)
        stream: Any = await asyncio.wait_for(dialer.connect_tcp("two.internal", 1, timeout=40.0), 5)
        assert stream == "127.0.0.1"
        assert backend.dialled == names["two.internal"]
        assert sorted(backend.given_up) == ["127.0.0.2", "127.0.0.3"]

    asyncio.run(run())


def test_a_lookup_that_cannot_begin_is_tried_again_by_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async def run() -> None:
        lookup = NameLookup()
        with monkeypatch.context() as scarce:
            scarce.setattr(threading.Thread, "start", refuse)
            with pytest.raises(OSError, match="no thread left"):
                await lookup.addresses("localhost", 1)
        assert "127.0.0.1" in await asyncio.wait_for(lookup.addresses("localhost", 1), 5)

    asyncio.run(run())


def test_a_lookup_that_breaks_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> list[Any]:
        raise ValueError("nobody foresaw this")

    async def run() -> None:
        lookup = NameLookup()
        monkeypatch.setattr(socket, "getaddrinfo", broken)
        with pytest.raises(ValueError, match="nobody foresaw"):
            await asyncio.wait_for(lookup.addresses("here.internal", 1), 5)

    asyncio.run(run())


@pytest.mark.parametrize("variables", [{}, {"NO_PROXY": "localhost"}, {"HTTP_PROXY": "http://127.0.0.1:9"}])
@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.1", "::ffff:10.0.0.1"])
def test_a_public_name_that_leads_inside_is_not_dialled(
    names: dict[str, Any], monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], address: str
) -> None:
    names["llm.example.com"] = [address]
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    async def run() -> None:
        async with endpoint(says("hi")) as fake:
            at = replace(fake.spec(), base_url=fake.base_url.replace("http://127.0.0.1", "https://llm.example.com"))
            with pytest.raises(CallRejected, match=r"llm\.example\.com resolves to the private address"):
                await ask(at)
            assert fake.connections == 0

    asyncio.run(run())


def test_a_proxy_looks_the_name_up_itself(names: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    names["llm.example.com"] = ["10.0.0.1"]
    seen = []

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readline())
        writer.close()
        await writer.wait_closed()

    async def run() -> None:
        server = await asyncio.start_server(proxy, "127.0.0.1", 0)
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        at = ModelEndpoint(base_url="https://llm.example.com/v1", model="m", api_key="k")
        with pytest.raises(ModelError):
            await ask(at)
        server.close()
        await server.wait_closed()

    asyncio.run(run())
    assert seen == [b"CONNECT llm.example.com:443 HTTP/1.1\r\n"]


def test_a_call_over_a_proxy_carries_our_own_headers_and_no_proxy_is_used_where_none_is_wanted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def run() -> None:
        async with endpoint(says("hi")) as proxy:
            monkeypatch.setenv("HTTP_PROXY", proxy.base_url.removesuffix("/v1").replace("//", "//user:pw@"))
            monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Gate: private")
            at = replace(proxy.spec(), base_url="http://localhost:9/v1")
            assert await ask(at) == "hi"
            [headers] = proxy.headers
            assert headers.pop("proxy-authorization").startswith("Basic ")
            assert (headers["host"], headers["authorization"]) == ("localhost:9", "Bearer key-1")
            assert set(headers) == {
                *("host", "authorization", "accept", "accept-encoding", "user-agent", "connection"),
                *("content-type", "content-length"),
            }
            monkeypatch.setenv("NO_PROXY", "127.0.0.1, localhost")
            with pytest.raises(ModelUnreachable):
                await ask(at)
            assert proxy.connections == 1

    asyncio.run(run())
