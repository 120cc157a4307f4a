"""A reader of events that goes on where it stopped misses none, in whatever order transactions end."""

import asyncio
from dataclasses import replace

import pytest

from manager.state.postgres.store import PostgresStore
from manager.state.records import DEFAULT_TENANT, EventRow
from manager.views.events import EventQuery, read_events
from state_rows import AT, make_account, make_row

pytestmark = pytest.mark.database


class _Reader:
    """Read events as the console or a webhook does: again and again, from the cursor of the last page on."""

    def __init__(self, store: PostgresStore) -> None:
        self._store = store
        self._query = EventQuery(limit=2)
        self.seen: list[str] = []

    async def look(self) -> None:
        page = await read_events(self._store, DEFAULT_TENANT, self._query)
        self.seen += [event.event_id for event in page.events]
        self._query = replace(self._query, after=page.next)

    async def until(self, count: int) -> list[str]:
        """Look until so many are seen; other databases of the server may delay them for a moment."""
        for _ in range(200):
            await self.look()
            if len(self.seen) >= count:
                break
            await asyncio.sleep(0.05)
        return self.seen


def _event(name: str) -> EventRow:
    return make_row(EventRow, event_id=name, at=AT)


async def test_an_event_committed_after_a_later_one_is_not_missed(postgres_store: PostgresStore) -> None:
    reader = _Reader(postgres_store)
    async with postgres_store.transaction(DEFAULT_TENANT) as tx:
        await tx.insert([make_account(), _event("before")])
    assert await reader.until(1) == ["before"]
    async with postgres_store.transaction(DEFAULT_TENANT) as early:
        await early.insert([_event("early")])
        async with postgres_store.transaction(DEFAULT_TENANT) as late:
            await late.insert([_event("late")])
        await reader.look()
        assert reader.seen == ["before"]
        await early.insert([_event("early too")])
    assert await reader.until(4) == ["before", "early", "early too", "late"]
    await reader.look()
    assert reader.seen == ["before", "early", "early too", "late"]


async def test_an_event_taken_back_holds_up_no_other(postgres_store: PostgresStore) -> None:
    reader = _Reader(postgres_store)
    with pytest.raises(ValueError, match="crash"):  # noqa: PT012 - the block ends the transaction
        async with postgres_store.transaction(DEFAULT_TENANT) as early:
            await early.insert([make_account(), _event("early")])
            async with postgres_store.transaction(DEFAULT_TENANT) as late:
                await late.insert([_event("late")])
            raise ValueError("crash")
    assert await reader.until(1) == ["late"]


async def test_many_writers_and_one_reader_at_once(postgres_store: PostgresStore) -> None:
    reader, names = _Reader(postgres_store), [f"{n}" for n in range(40)]

    async def write(mine: list[str]) -> None:
        for name in mine:
            async with postgres_store.transaction(DEFAULT_TENANT) as tx:
                await tx.insert([_event(name)])
                await asyncio.sleep(0.001 * (int(name) % 5))

    async def read() -> None:
        while len(reader.seen) < len(names):
            await reader.look()
            await asyncio.sleep(0.002)

    async with asyncio.timeout(60):
        await asyncio.gather(read(), *(write(names[n::3]) for n in range(3)))
    assert sorted(reader.seen) == sorted(names)
