"""Tell on the terminal what a desk does, read from its database; it can neither delay trading nor end it.

The reader waits while the database is away, and a terminal that takes no more lines holds up a thread of its own.
"""

import asyncio
import queue
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from datetime import datetime
from typing import Final, TextIO

from exchanges.clock import Clock
from manager.processes import plain
from manager.processes.printable import broken
from manager.state.embedded.process import EmbeddedPostgresError
from manager.state.errors import StateError
from manager.state.kinds import EventKind
from manager.state.records import TenantId
from manager.state.store import Store
from manager.views.activity import Activity, ActivityReader, Standing, read_standing

_PAUSE_S: Final = 1.0
_SHARE: Final = 10
_AWAY_PAUSE_S: Final = 2.0
_WATCH_S: Final = 0.25
_PATIENCE_S: Final = 2.0
_MOST_WAITING: Final = 1_000
_LAST_WORDS_S: Final = 2.0


class Speaker:
    """Write lines from a thread of its own, with the time in UTC before each; a thousand wait at most, others are lost.

    On a terminal they are broken where they would be wider than it is.
    """

    def __init__(self, clock: Clock, stream: TextIO | None = None) -> None:
        self._clock = clock
        self._stream = stream or sys.stderr
        self._lines: queue.Queue[str | None] = queue.Queue(_MOST_WAITING)
        self._thread = threading.Thread(target=self._write, name="speaker", daemon=True)
        self._thread.start()

    def say(self, text: str, at: datetime | None = None) -> None:
        """Write a line of what happened at an instant, by default now."""
        self._put(f"{at or self._clock.now():%H:%M:%S}  {text}")

    def close(self) -> None:
        """Write what waits, within two seconds."""
        self._put(None)
        self._thread.join(_LAST_WORDS_S)

    def _put(self, line: str | None) -> None:
        with suppress(queue.Full):
            self._lines.put_nowait(line)

    def _write(self) -> None:
        while (line := self._lines.get()) is not None:
            with suppress(OSError, ValueError):
                self._stream.write(f"{broken(line, self._stream)}\n")
                self._stream.flush()


class Teller:
    """Tell what is new in the tenants of a desk, each row once, and at the end the sum of it."""

    def __init__(self, tenants: Sequence[TenantId], clock: Clock, speaker: Speaker) -> None:
        self._tenants = tenants
        self._clock = clock
        self._speaker = speaker
        self._began, self._began_s = clock.now(), clock.boot_s()
        self._readers: dict[TenantId, ActivityReader] = {}
        self._fold = plain.Fold()
        self._counts = plain.Counts()
        self._due_s = self._began_s + _PATIENCE_S
        self._is_away = False
        self._seen = False

    async def run(self, opened: Callable[[], AbstractAsyncContextManager[Store]], ended: asyncio.Event) -> None:
        """Tell until `ended` is set, then sum up; the store is opened anew where it cannot be used."""
        watching = asyncio.create_task(self._watch(), name="telling-watch")
        try:
            await self._until(ended, opened)
        finally:
            watching.cancel()

    async def _until(self, ended: asyncio.Event, opened: Callable[[], AbstractAsyncContextManager[Store]]) -> None:
        while not ended.is_set():
            try:
                async with opened() as store:
                    while not ended.is_set():
                        began_s = self._clock.boot_s()
                        await self.look(store)
                        pause_s = max(_PAUSE_S, _SHARE * (self._clock.boot_s() - began_s))
                        self._due_s = self._clock.boot_s() + pause_s + _PATIENCE_S
                        await _pass(ended, pause_s)
                    await self.finish(store)
                    return
            except (StateError, EmbeddedPostgresError, OSError):
                await _pass(ended, _PAUSE_S if not self._is_away else _AWAY_PAUSE_S)
        await self.finish(None)

    async def look(self, store: Store) -> None:
        """Tell what is new now."""
        for tenant in self._tenants:
            reader = self._readers.get(tenant)
            if reader is None:
                reader = self._readers[tenant] = ActivityReader(tenant, self._began)
            news = await reader.read(store)
            self._tell(tenant, news)
            if any(row.kind == EventKind.DESK_STARTED for row in news.events):
                line = plain.ready_line(await read_standing(store, tenant), self._clock.now())
                self._speaker.say(f"{self._of(tenant)}{line}")
        self._found()

    async def finish(self, store: Store | None) -> None:
        """Sum up the run: what is still new, what was folded, how the accounts stand."""
        standing: Mapping[str, Sequence[Standing]] = {}
        if store is not None:
            with suppress(StateError, OSError):
                await self.look(store)
                standing = {tenant: await read_standing(store, tenant) for tenant in self._tenants}
        for line in self._fold.rest():
            self._speaker.say(line)
        for line in plain.summary_lines(self._clock.boot_s() - self._began_s, self._counts, standing):
            self._speaker.say(line)
        if not standing:
            self._speaker.say("The database is away, so how the accounts stand is not known.")

    def _tell(self, tenant: TenantId, news: Activity) -> None:
        said: list[tuple[datetime, str]] = [(row.at, plain.fill_line(row)) for row in news.fills]
        said += [(row.at, plain.incident_line(row)) for row in news.raised]
        said += [(row.resolved_at or row.at, plain.resolved_line(row)) for row in news.resolved if plain.lasted(row)]
        said += [(row.at, plain.event_line(row)) for row in news.events]
        now_s = self._clock.boot_s()
        for row in news.decisions:
            if line := plain.failure_line(row):
                said.append((row.decided_at, self._fold.told(plain.failure_of(row), line, now_s)))
        for at, line in sorted(said):
            if line:
                self._speaker.say(f"{self._of(tenant)}{line}", at)
        self._counts.count(news.decisions)
        self._counts.orders += len(news.orders)
        self._counts.fills += len(news.fills)

    def _of(self, tenant: TenantId) -> str:
        return f"{tenant}: " if len(self._tenants) > 1 else ""

    async def _watch(self) -> None:
        """Say once that the database is away, when a look takes two seconds longer than it may."""
        while True:
            await asyncio.sleep(_WATCH_S)
            if self._is_away or self._clock.boot_s() < self._due_s:
                continue
            self._is_away = True
            if self._seen:
                self._speaker.say("The database is away; what happens meanwhile is told when it is back.")
            else:
                self._speaker.say("Waiting for the database.")

    def _found(self) -> None:
        if self._is_away:
            lasted_s = self._clock.boot_s() - self._due_s + _PATIENCE_S
            self._speaker.say(f"The database is {'back' if self._seen else 'there'} after {plain.lasting(lasted_s)}.")
        self._is_away, self._seen = False, True


async def _pass(ended: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(ended.wait(), seconds)
