"""Show progress on stderr once a command has taken two seconds."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Final, TextIO

from exchanges.clock import Clock, SystemClock

if TYPE_CHECKING:
    from rich.progress import Progress

QUIET_S: Final = 2.0
LINE_EVERY_S: Final = 10.0
TICK_S: Final = 0.5


class Meter:
    """Take fractions from 0 to 1, or None where the end is not known: a bar on a terminal, lines in a pipe."""

    def __init__(self, label: str, clock: Clock, stream: TextIO) -> None:
        self._label = label
        self._clock = clock
        self._stream = stream
        self._started = clock.boot_s()
        self._printed = self._started + QUIET_S - LINE_EVERY_S
        self._bar: Progress | None = None

    def __call__(self, fraction: float | None, done: str = "") -> None:
        """Show `fraction` and what is done, such as "3 decisions", unless the command is still quick."""
        now = self._clock.boot_s()
        if now - self._started < QUIET_S:
            return
        if self._stream.isatty():
            self._draw(fraction, done)
        elif now - self._printed >= LINE_EVERY_S:
            self._printed = now
            share = "" if fraction is None else f" {fraction:.0%}"
            told = f", {done}" if done else ""
            self._stream.write(f"{self._label}:{share} after {now - self._started:.0f} s{told}\n")
            self._stream.flush()

    def stop(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()

    def _draw(self, fraction: float | None, done: str) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

        if self._bar is None:
            columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
            self._bar = Progress(*columns, console=Console(file=self._stream), transient=True)
            self._bar.add_task(self._label, total=None if fraction is None else 1.0)
            self._bar.start()
        shown = f"{self._label}, {done}" if done else self._label
        self._bar.update(self._bar.task_ids[0], completed=fraction, description=shown)


@contextmanager
def progress(label: str) -> Iterator[Meter]:
    """Give a meter that writes to stderr, so that stdout stays the result."""
    meter = Meter(label, SystemClock(), sys.stderr)
    try:
        yield meter
    finally:
        meter.stop()


@asynccontextmanager
async def ticking(meter: Callable[[float | None], None]) -> AsyncIterator[None]:
    """Tell a meter now and then that the work inside goes on, how far nobody knows."""

    async def tick() -> None:
        while True:
            await asyncio.sleep(TICK_S)
            meter(None)

    task = asyncio.create_task(tick())
    try:
        yield
    finally:
        task.cancel()
