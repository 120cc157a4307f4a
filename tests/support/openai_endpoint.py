"""An OpenAI-compatible endpoint on loopback that plays scripted behaviours on the wire."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import executor.models.openai_client  # noqa: F401 - takes over a second, which is no part of any deadline in a test
from executor.models.chat import ModelEndpoint, Structured

Answer = Callable[[asyncio.StreamWriter], Any]


@dataclass
class Endpoint:
    """Serve the next scripted answer for each completion, the last one for ever; keep what was asked.

    `choose` takes the place of the script and picks the answer by what is asked; `most_at_once` counts calls in flight.
    """

    base_url: str = ""
    answers: list[Answer] = field(default_factory=list)
    requests: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    models_status: int = 200
    choose: Callable[[dict[str, Any]], Answer] | None = None
    connections: int = 0
    in_flight: int = 0
    most_at_once: int = 0

    def spec(self, timeout_s: float = 5.0, structured: Structured = Structured.JSON_SCHEMA) -> ModelEndpoint:
        """Return how to reach this endpoint."""
        return ModelEndpoint(
            base_url=self.base_url, model="tiny", api_key="key-1", timeout_s=timeout_s, structured=structured
        )

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        self.connections += 1
        try:
            while line := await reader.readline():
                headers = await _headers(reader)
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                self.keys.append(headers.get("authorization", ""))
                self.headers.append(headers)
                if b"/models" in line:
                    _send(writer, self.models_status, json.dumps({"object": "list", "data": []}).encode())
                else:
                    await self._answer(json.loads(body), writer)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async def _answer(self, request: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        self.requests.append(request)
        self.in_flight += 1
        self.most_at_once = max(self.most_at_once, self.in_flight)
        try:
            if self.choose is not None:
                answer = self.choose(request)
            else:
                answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            await answer(writer)
        finally:
            self.in_flight -= 1


@asynccontextmanager
async def endpoint(*answers: Answer) -> AsyncIterator[Endpoint]:
    """Run an endpoint that plays `answers`."""
    fake = Endpoint(answers=list(answers))
    tasks: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(fake.serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    fake.base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    try:
        yield fake
    finally:
        server.close()
        for _ in range(5):  # a connection accepted just now still has its task to come
            await asyncio.sleep(0)
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


def says(text: str | None, *, finish: str = "stop", refusal: str | None = None) -> Answer:
    """Answer with a completion of 100 tokens in, 40 of them cached, and 10 out."""
    usage = {"prompt_tokens": 100, "completion_tokens": 10, "prompt_tokens_details": {"cached_tokens": 40}}
    message = {"role": "assistant", "content": text, "refusal": refusal}
    choice = {"index": 0, "message": message, "finish_reason": finish}
    body = {"id": "c", "object": "chat.completion", "model": "tiny-2025", "choices": [choice], "usage": usage}
    return sends(200, json.dumps(body))


def sends(status: int, body: str, headers: Mapping[str, str] | None = None) -> Answer:
    """Answer with a status, a body and more headers."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        _send(writer, status, body.encode(), headers or {})

    return answer


def fails(status: int, message: str, **headers: str) -> Answer:
    """Answer with an error as OpenAI words it; `retry_after="2"` is the header Retry-After."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return sends(status, json.dumps({"error": {"message": message}}), named)


def after(event: asyncio.Event, then: Answer) -> Answer:
    """Answer once `event` is set."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        await event.wait()
        await then(writer)

    return answer


async def hangs(writer: asyncio.StreamWriter) -> None:
    """Never answer."""
    del writer
    await asyncio.Event().wait()


async def trickles(writer: asyncio.StreamWriter) -> None:
    """Send a byte now and then, so that no read ever times out."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.02)


async def cuts(writer: asyncio.StreamWriter) -> None:
    """Promise a body and close the connection within it."""
    writer.write(b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 5000\r\n\r\n{"choices": [')
    await writer.drain()
    writer.close()


async def _headers(reader: asyncio.StreamReader) -> dict[str, str]:
    headers = {}
    while line := (await reader.readline()).decode().strip():
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    return headers


def _send(
    writer: asyncio.StreamWriter, status: int, body: bytes, headers: Mapping[str, str] = MappingProxyType({})
) -> None:
    more = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n{more}\r\n"
    writer.write(head.encode() + body)
