"""Look at a desk again and again until Ctrl-C, also while its database goes away for a while."""

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Generic, TypeVar

from exchanges.clock import Clock
from manager.cli import connect, terminal
from manager.cli.render import instant, say
from manager.state.embedded.process import EmbeddedPostgresError
from manager.state.errors import StateError
from manager.state.store import Store

T = TypeVar("T")
PATIENCE_S = 15.0


class Watch(Generic[T]):
    """Read every `every_s` and show what was found, in place on a terminal; the width of the window is followed.

    A database that cannot be read at first is an error as for any command; later it is waited for.
    """

    def __init__(
        self, clock: Clock, every_s: float, read: Callable[[Store, bool], Awaitable[T]], show: Callable[[T], None]
    ) -> None:
        self._clock = clock
        self._every_s = every_s
        self._read = read
        self._show = show
        self._resized = asyncio.Event()
        self._last: T | None = None

    def run(self, data_dir: Path) -> None:
        """Watch until Ctrl-C, which is its proper end; raise Refused where there is no desk, StateError as at first."""
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(self._watch(data_dir))

    async def _watch(self, data_dir: Path) -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGWINCH, self._resized.set)
        since = None
        while True:
            try:
                async with connect.opened(data_dir) as desk:
                    while True:
                        async with asyncio.timeout(max(PATIENCE_S, self._every_s)):
                            self._last = await self._read(desk.store, await desk.is_worker_alive())
                        since = None
                        terminal.redraw(self._draw)
                        await self._pause()
            except (StateError, EmbeddedPostgresError, TimeoutError) as error:
                if self._last is None:
                    raise
                since = since or self._clock.now()
                self._tell_lost(str(error) or "it does not answer", f"{instant(since)} UTC")
                await self._pause()

    def _draw(self) -> None:
        if self._last is not None:
            self._show(self._last)

    def _tell_lost(self, why: str, since: str) -> None:
        def draw() -> None:
            say(f"The database has been away since {since}; looking again every {self._every_s:g} s: {why}", "bold red")
            if terminal.redraws():
                self._draw()

        terminal.redraw(draw)

    async def _pause(self) -> None:
        self._resized.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._resized.wait(), self._every_s)
