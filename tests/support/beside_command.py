"""Run a server of a test beside a command, which has an event loop of its own."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import TypeVar

Server = TypeVar("Server")


@contextmanager
def beside(server: AbstractAsyncContextManager[Server]) -> Iterator[Server]:
    """Enter `server` in a thread with a loop of its own, and leave it there at the end."""
    ready, found, loop = threading.Event(), list[Server](), asyncio.new_event_loop()
    stop = asyncio.Event()

    async def serve() -> None:
        async with server as running:
            found.append(running)
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        assert ready.wait(10)
        yield found[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()
