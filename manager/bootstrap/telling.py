"""Tell the person at the terminal what a desk does, for as long as it runs: only where logs are `plain`."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

import structlog

from exchanges.clock import SystemClock
from manager.config.values import Config
from manager.processes.logs import is_plain
from manager.processes.telling import Speaker, Teller
from manager.settings import Settings
from manager.state.database import DatabasePlace
from manager.state.postgres.store import PostgresStore
from manager.state.store import Store

_LOG = structlog.get_logger(__name__)
_END_S: Final = 4.0


@asynccontextmanager
async def told(config: Config, settings: Settings, opening: Iterable[str], stop: asyncio.Event) -> AsyncIterator[None]:
    """Say the `opening`, then what the desk does until the block ends, then the sum of it; the block never waits."""
    if not is_plain(settings):
        yield
        return
    clock = SystemClock()
    speaker, ended = Speaker(clock), asyncio.Event()
    for line in opening:
        speaker.say(line)
    trading = tuple(name for name, tenant in config.tenants.items() if tenant.accounts)
    teller = Teller(trading or tuple(config.tenants), clock, speaker)
    reading = asyncio.create_task(teller.run(partial(_reading, settings.place()), ended), name="telling")
    stopping = asyncio.create_task(_say_goodbye(stop, speaker), name="telling-stop")
    try:
        yield
    finally:
        ended.set()
        await asyncio.wait({reading}, timeout=_END_S)
        reading.cancel()
        stopping.cancel()
        await asyncio.wait({reading, stopping}, timeout=_END_S)
        if reading.done() and not reading.cancelled() and (error := reading.exception()) is not None:
            _LOG.error("telling_failed", error=str(error), exc_info=error)
        speaker.close()


async def _say_goodbye(stop: asyncio.Event, speaker: Speaker) -> None:
    await stop.wait()
    speaker.say("Stopping; what is under way ends first.")


@asynccontextmanager
async def _reading(place: DatabasePlace) -> AsyncIterator[Store]:
    async with place.open(prepare=False) as database:
        store = PostgresStore.open(database.dsn, pool_size=1)
        try:
            yield store
        finally:
            await store.close()
