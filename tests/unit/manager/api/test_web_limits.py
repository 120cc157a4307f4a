"""Nobody holds the web: heads and bodies have limits of time and size, and health costs one connection a second."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import psycopg
import pytest
import uvicorn
from fastapi import Body, Request

from api_desk import SECRETS
from exchanges.clock import SystemClock
from executor.remote.http_door import Door, LimitedBodies
from manager.api import app as web
from manager.api import health
from manager.api.desk import Desk
from manager.api.health import Probe, Status

_PATIENCE_S = 60
_UNUSED: Any = None


@asynccontextmanager
async def _serving() -> AsyncIterator[int]:
    app = web.create_app(Desk(config=_UNUSED, clock=SystemClock(), secrets=SECRETS))
    app.user_middleware.clear()
    app.add_middleware(LimitedBodies, most_bytes=1_000, within_s=0.3)

    @app.post("/raw")
    async def raw(request: Request) -> int:
        return len(await request.body())

    @app.post("/json")
    async def parsed(given: dict[str, str] = Body()) -> int:  # noqa: B008 - how FastAPI names a body
        return len(given)

    server = uvicorn.Server(web.served(app, Door(most=4, header_timeout_s=0.3)))
    server.config.port = 0
    running = asyncio.create_task(server._serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn sets no event
        await asyncio.sleep(0.01)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await running


async def _answer(port: int, sent: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    try:
        return await asyncio.wait_for(reader.read(), _PATIENCE_S)
    except ConnectionError:
        return b""
    finally:
        writer.close()


@pytest.mark.parametrize("sent", [b"", b"GET /healthz HTTP/1.1\r\nHost: x\r\n"])
async def test_a_head_that_does_not_come_is_not_waited_for(sent: bytes) -> None:
    async with _serving() as port:
        assert await _answer(port, sent) == b""


async def test_a_head_that_does_not_end_is_refused() -> None:
    async with _serving() as port:
        assert b"400 Bad Request" in await _answer(port, b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 100_000)


@pytest.mark.parametrize("path", [b"/raw", b"/json"])
async def test_a_body_that_is_too_long_or_too_slow_is_refused(path: bytes) -> None:
    head = b"POST " + path + b" HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: "
    async with _serving() as port:
        assert b" 413 " in await _answer(port, head + b"5000\r\n\r\n" + b"a" * 5_000)
        assert b" 408 " in await _answer(port, head + b"500\r\n\r\n" + b"a" * 100)
        assert b" 200 " in await _answer(port, head + b"9\r\nConnection: close\r\n\r\n" + b'{"a":"b"}')


async def test_silent_connections_do_not_keep_the_web_from_its_end() -> None:
    async with _serving() as port:
        open_ones = [await asyncio.open_connection("127.0.0.1", port) for _ in range(8)]
        async with httpx.AsyncClient() as client:
            assert (await client.get(f"http://127.0.0.1:{port}/healthz")).status_code == 503
    for _, writer in open_ones:
        writer.close()


async def test_health_asks_the_database_once_a_second_for_any_number(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, at_once = 0, 0

    async def age(dsn: str) -> float:
        nonlocal asked, at_once
        asked, at_once = asked + 1, at_once + 1
        assert (dsn, at_once) == ("dsn", 1)
        await asyncio.sleep(0.01)
        at_once -= 1
        if asked > 1:
            raise psycopg.OperationalError("gone")
        return 0.5

    monkeypatch.setattr(health, "heartbeat_age_s", age)
    monkeypatch.setattr(health, "_CACHED_S", 3600.0)
    probe = Probe(dsn="dsn")
    found = await asyncio.gather(*(probe.look() for _ in range(50)))
    assert ({one.status for one in found}, asked) == ({Status.OK}, 1)
    probe._until_s = 0.0
    found = await asyncio.gather(*(probe.look() for _ in range(50)))
    assert ({one.status for one in found}, asked) == ({Status.DATABASE_DOWN}, 2)
