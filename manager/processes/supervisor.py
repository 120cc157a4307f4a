"""Run the trading worker and the web as two processes, and restart the one that dies.

The children hold a pipe to the supervisor: when it is gone, by kill -9 too, they stop by themselves.
"""

import asyncio
import contextlib
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Final

import structlog

from exchanges.clock import Clock

_LOG = structlog.get_logger(__name__)
BAD_INPUT: Final = 2
FORCED: Final = 1
_LAST_WORDS_S: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildSpec:
    """Name a child, the arguments of `manager.process` that make it, its environment, and what it inherits."""

    name: str
    arguments: Sequence[str]
    environment: Callable[[], Mapping[str, str]]
    descriptors: Sequence[int] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """Set how long to wait, in seconds: before a restart (doubling), for a child to end, until it counts as healthy."""

    first_restart_s: float = 0.5
    last_restart_s: float = 10.0
    stop_s: float = 25.0
    healthy_after_s: float = 10.0


class Supervisor:
    """Keep children alive, each on its own; a child that refuses its input at its first start ends them all.

    `ended` is told the name and the code of one that died, and when it is started again.
    """

    def __init__(
        self,
        children: Sequence[ChildSpec],
        clock: Clock,
        patience: Patience | None = None,
        ended: Callable[[str, int, float], None] | None = None,
    ) -> None:
        self._ended = ended or (lambda child, code, again_s: None)
        self._children = children
        self._clock = clock
        self._patience = patience or Patience()
        self._refused = False

    async def run(self, stop: asyncio.Event) -> int:
        """Supervise until `stop` is set; return 0, or 2 when a child's input was bad."""
        async with asyncio.TaskGroup() as group:
            for child in self._children:
                group.create_task(self._keep(child, stop), name=f"supervise-{child.name}")
        return BAD_INPUT if self._refused else 0

    async def _keep(self, child: ChildSpec, stop: asyncio.Event) -> None:
        pause_s, was_healthy = self._patience.first_restart_s, False
        while not stop.is_set():
            began = self._clock.boot_s()
            code = await self._run_once(child, stop)
            if stop.is_set():
                return
            if self._clock.boot_s() - began >= self._patience.healthy_after_s:
                pause_s, was_healthy = self._patience.first_restart_s, True
            if code == BAD_INPUT and not was_healthy:
                _LOG.error("child_refused_to_start", child=child.name)
                self._refused = True
                stop.set()
                return
            _LOG.error("child_died", child=child.name, code=code, restart_in_s=pause_s)
            self._ended(child.name, code, pause_s)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), pause_s)
            pause_s = min(pause_s * 2, self._patience.last_restart_s)

    async def _run_once(self, child: ChildSpec, stop: asyncio.Event) -> int:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",
            "-m",
            "manager.process",
            *child.arguments,
            stdin=asyncio.subprocess.PIPE,
            pass_fds=tuple(child.descriptors),
            start_new_session=True,
            env=child.environment(),
        )
        _LOG.info("child_started", child=child.name, pid=process.pid)
        ended = asyncio.create_task(process.wait())
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({ended, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            await self._end(child, process, ended)
        return await ended

    async def _end(self, child: ChildSpec, process: asyncio.subprocess.Process, ended: "asyncio.Task[int]") -> None:
        if ended.done():
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await asyncio.wait({ended}, timeout=self._patience.stop_s)
        if not ended.done():
            _LOG.error("child_killed", child=child.name, after_s=self._patience.stop_s)
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await asyncio.wait({ended})


@contextlib.asynccontextmanager
async def stop_on_signals(*, within_s: float | None = None) -> AsyncIterator[asyncio.Event]:
    """Give an event that the first SIGINT or SIGTERM sets; a second one does what it always does.

    With `within_s` the process ends that long after the first, whatever hangs: the event loop, too.
    """
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    ends: list[threading.Timer] = []

    def heard(number: signal.Signals) -> None:
        _LOG.info("stopping", signal=number.name)
        stop.set()
        loop.remove_signal_handler(number)

    def limit(number: int, frame: FrameType | None) -> None:
        del number, frame
        if within_s is not None and not ends:
            # Two, because what is written to may hang, too.
            told = {"after_s": within_s, "why": "what was under way did not end; its jobs are taken over"}
            ends.append(threading.Timer(within_s, _LOG.error, ("ended_by_force",), told))
            ends.append(threading.Timer(within_s + _LAST_WORDS_S, os._exit, (FORCED,)))
            for end in ends:
                end.daemon = True
                end.start()

    numbers = (signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        loop.add_signal_handler(number, heard, number)
        if within_s is not None:
            # The loop hears of a signal by its pipe whoever handles it; a handler runs where the loop is held up, too.
            signal.signal(number, limit)
    try:
        yield stop
    finally:
        for end in ends:
            end.cancel()
        for number in numbers:
            loop.remove_signal_handler(number)
