"""One fetch for all who ask at once, whatever becomes of the caller that asked first."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime

import pytest

from exchanges.clock import ManualClock
from exchanges.errors import VenueUnavailable
from exchanges.market import SharedMarket, Snapshot
from exchanges.types import Instrument, Symbol

NOW = datetime(2025, 5, 20, tzinfo=UTC)
SYMBOLS = frozenset({Symbol("BTC/USDT:USDT")})


class SlowFeed:
    """Answer when told to; count the questions."""

    def __init__(self, *, fails: bool = False) -> None:
        self.asked = 0
        self.answer = asyncio.Event()
        self._fails = fails

    async def instruments(self) -> Mapping[Symbol, Instrument]:
        return {}

    async def snapshot(self, symbols: frozenset[Symbol]) -> Snapshot:
        del symbols
        self.asked += 1
        await self.answer.wait()
        if self._fails:
            raise VenueUnavailable("the feed is down; try again")
        return Snapshot(NOW, {})

    async def close(self) -> None:
        pass


def ask(market: SharedMarket, count: int) -> list[asyncio.Task[Snapshot]]:
    return [asyncio.create_task(market.snapshot(SYMBOLS)) for _ in range(count)]


async def test_all_who_ask_at_once_share_one_fetch() -> None:
    feed = SlowFeed()
    waiting = ask(SharedMarket(feed, ManualClock(NOW)), 3)
    await asyncio.sleep(0)
    feed.answer.set()
    found = await asyncio.gather(*waiting)
    assert feed.asked == 1
    assert all(one is found[0] for one in found)


async def test_another_takes_over_when_the_first_is_canceled() -> None:
    feed = SlowFeed()
    first, second, third = ask(SharedMarket(feed, ManualClock(NOW)), 3)
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    feed.answer.set()
    assert await second is await third
    assert first.cancelled()
    assert feed.asked == 2


async def test_a_failure_reaches_all_who_wait_and_is_forgotten() -> None:
    feed = SlowFeed(fails=True)
    market = SharedMarket(feed, ManualClock(NOW))
    waiting = ask(market, 2)
    await asyncio.sleep(0)
    feed.answer.set()
    for task in waiting:
        with pytest.raises(VenueUnavailable):
            await task
    with pytest.raises(VenueUnavailable):
        await market.snapshot(SYMBOLS)
    assert feed.asked == 2
