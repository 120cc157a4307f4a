"""The paper ledger in memory: all of a transaction or nothing, one at a time, history by time."""

import asyncio
from decimal import Decimal

import pytest

from exchanges.errors import ExchangeConfigError, OrderRejected
from exchanges.paper.adapter import PaperExchange
from exchanges.paper.ledger import MemoryPaperLedger
from exchanges.paper.state import PaperAccountId
from exchanges.types import ClientOrderId
from paper_market import ACCOUNT, BTC, PaperRun, flat, instant, order


async def test_an_exception_leaves_nothing_behind() -> None:
    ledger = MemoryPaperLedger()
    await ledger.open(ACCOUNT, Decimal(5), instant(0))

    async def fail() -> None:
        async with ledger.transaction(ACCOUNT) as state:
            state.cash += 1
            state.leverage[BTC] = 3
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        await fail()
    async with ledger.transaction(ACCOUNT) as state:
        assert (state.cash, state.leverage) == (Decimal(5), {})


async def test_opening_twice_keeps_the_first() -> None:
    ledger = MemoryPaperLedger()
    await ledger.open(ACCOUNT, Decimal(5), instant(0))
    await ledger.open(ACCOUNT, Decimal(9), instant(3))
    async with ledger.transaction(ACCOUNT) as state:
        assert (state.cash, state.advanced_to) == (Decimal(5), instant(0))


async def test_an_unknown_account_is_an_error() -> None:
    with pytest.raises(ExchangeConfigError, match="never opened"):
        await MemoryPaperLedger().find_order(PaperAccountId("nobody"), ClientOrderId("x"))


async def test_transactions_of_one_account_wait_for_each_other() -> None:
    ledger = MemoryPaperLedger()
    await ledger.open(ACCOUNT, Decimal(0), instant(0))

    async def add() -> None:
        async with ledger.transaction(ACCOUNT) as state:
            seen = state.cash
            await asyncio.sleep(0)
            state.cash = seen + 1

    await asyncio.gather(*(add() for _ in range(20)))
    async with ledger.transaction(ACCOUNT) as state:
        assert state.cash == 20


async def test_books_outlive_the_exchange_that_wrote_them() -> None:
    run = PaperRun({BTC: flat(100.0, 9)})
    run.at(1)
    await run.market("in", "2")
    await run.stop("s", "-2", "90")
    second = PaperExchange(ACCOUNT, run.venue, run.ledger, run.clock)
    assert [one.quantity for one in await second.fetch_positions()] == [Decimal(2)]
    assert [one.client_order_id for one in await second.fetch_open_orders()] == ["s"]
    run.at(3)
    await second.create_order(order("more", "1"))
    assert await run.net() == 3
    assert [fill.trade_id for fill in await run.fills()] == ["T000000001", "T000000002"]


async def test_one_client_order_id_sent_by_many_at_once_fills_once() -> None:
    run = PaperRun({BTC: flat(100.0, 9)})
    run.at(1)
    second = PaperExchange(ACCOUNT, run.venue, run.ledger, run.clock)
    sent = [venue.create_order(order("same", "1")) for venue in (run.exchange, second) for _ in range(10)]
    answers = await asyncio.gather(*sent, return_exceptions=True)
    assert sum(isinstance(answer, OrderRejected) for answer in answers) == 19
    assert await run.net() == 1


async def test_fills_since_includes_the_instant_itself() -> None:
    run = PaperRun({BTC: flat(100.0, 9)})
    for minute in (1, 2, 3):
        run.at(minute)
        await run.market(f"in-{minute}", "1")
    found = await run.exchange.fetch_fills(instant(2))
    assert [fill.client_order_id for fill in found] == ["in-2", "in-3"]
