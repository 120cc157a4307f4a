"""Who may stay connected, and what a request may bring: heads and bodies come in time and within a size.

A connection that sends no request is closed, and gives way when there are many. The server of executors and the web
share this.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

HEADER_TIMEOUT_S: Final = 10.0
BODY_TIMEOUT_S: Final = 10.0


@dataclass(slots=True, kw_only=True)
class Door:
    """Hold how many connections there may be, and those that wait for a request, the longest first."""

    most: int
    header_timeout_s: float
    waiting: dict["GuardedHttp", asyncio.TimerHandle | None] = field(default_factory=dict)


class GuardedHttp(H11Protocol):
    """Speak HTTP as uvicorn does, which by itself waits for the head of a request for ever.

    A head has to be whole a few seconds after the connection, or after its first byte on one that was used before. The
    connection that has waited longest makes room for one too many, so that silent ones keep nobody out.
    """

    def __init__(self, *arguments: Any, door: Door, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._door = door

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # uvicorn's own type
        """Begin to wait for the head of a request."""
        super().connection_made(transport)
        self._wait(timed=True)
        if len(self.connections) > self._door.most:
            next(iter(self._door.waiting)).transport.abort()

    def data_received(self, data: bytes) -> None:
        """Wait no longer once a head is whole."""
        super().data_received(data)
        if self._is_busy():
            self._wait_no_more()
        elif self._door.waiting.get(self) is None and not self.transport.is_closing():
            self._wait(timed=True)

    def on_response_complete(self) -> None:
        """Begin to wait for the next request, as long as uvicorn keeps the connection."""
        super().on_response_complete()
        if not self._is_busy() and not self.transport.is_closing():
            begun, _ = self.conn.trailing_data
            self._wait(timed=bool(begun))

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        self._wait_no_more()
        super().connection_lost(exc)

    def _is_busy(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is not None and not cycle.response_complete

    def _wait(self, *, timed: bool) -> None:
        self._wait_no_more()
        timer = self.loop.call_later(self._door.header_timeout_s, self.transport.abort) if timed else None
        self._door.waiting[self] = timer

    def _wait_no_more(self) -> None:
        timer = self._door.waiting.pop(self, None)
        if timer is not None:
            timer.cancel()


class LimitedBodies:
    """Refuse a body that is too long (413), or not whole in time (408), whatever route reads it."""

    def __init__(self, app: ASGIApp, *, most_bytes: int, within_s: float = BODY_TIMEOUT_S) -> None:
        self._app = app
        self._most_bytes = most_bytes
        self._within_s = within_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        until_s, length, whole = asyncio.get_running_loop().time() + self._within_s, 0, False

        async def limited() -> Message:
            nonlocal length, whole
            if whole:
                return await receive()
            try:
                async with asyncio.timeout_at(until_s):
                    message = await receive()
            except TimeoutError:
                raise _refused(408, f"the body did not arrive within {self._within_s:g} s; send it at once") from None
            whole = not message.get("more_body", False)
            length += len(message.get("body", b""))
            if length > self._most_bytes:
                raise _refused(413, f"the body is longer than {self._most_bytes} bytes")
            return message

        await self._app(scope, limited, send)


def _refused(status: int, told: str) -> HTTPException:
    return HTTPException(status, told, headers={"Connection": "close"})
