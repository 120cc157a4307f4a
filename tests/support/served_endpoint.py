"""Serve a scripted endpoint beside a command, which has an event loop of its own."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from openai_endpoint import Answer, Endpoint, endpoint


@contextmanager
def served(choose: Callable[[dict[str, Any]], Answer]) -> Iterator[Endpoint]:
    """Run an endpoint in a thread; `choose` picks the answer by what is asked."""
    ready, found, loop = threading.Event(), list[Endpoint](), asyncio.new_event_loop()
    stop = asyncio.Event()

    async def serve() -> None:
        async with endpoint() as fake:
            fake.choose = choose
            found.append(fake)
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
