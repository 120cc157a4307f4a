"""Trades in pages: newest first, narrowed as asked, each once, whole and with what closed it."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from desk_history import AT, BTC, desk_with_history, round_trip
from manager.errors import UnknownAccount, UnknownCursor, UnknownTrader
from manager.state.memory.store import MemoryStore
from manager.state.records import DEFAULT_TENANT, AccountId
from manager.views.trade_assembly import Direction, HowClosed, Trade
from manager.views.trades import TradeQuery, read_trades
from traders.spec import TraderId

MINUTE = timedelta(minutes=1)
BEAR = TraderId("bear")


async def desk() -> MemoryStore:
    """Return a desk with twelve closed trades, three at each instant, and one that is open."""
    trips = [
        row
        for n in range(12)
        for row in round_trip(f"x{n}", ("bull", "bear", "gone")[n % 3], AT - MINUTE * 2 * (n // 3), made=str(n - 3))
    ]
    return await desk_with_history(*trips)


async def found(store: MemoryStore, **query: Any) -> tuple[Trade, ...]:
    return (await read_trades(store, DEFAULT_TENANT, TradeQuery(**query))).trades


async def test_a_closed_trade_is_told_whole() -> None:
    [trade] = await found(await desk(), trader_id=BEAR, limit=1)
    assert (trade.trader_id, trade.account_id, trade.symbol) == (BEAR, "paper", BTC)
    assert (trade.side, trade.quantity, trade.left) == (Direction.SHORT, Decimal("0.01"), Decimal(0))
    assert (trade.entry_price, trade.exit_price) == (Decimal(100_000), Decimal(100_200))
    assert (trade.pnl, trade.fees, trade.funding) == (Decimal(-2), Decimal("0.9"), Decimal("-0.25"))
    assert (trade.net_pnl, trade.is_won) == (Decimal("-3.15"), False)
    assert (trade.opened_at, trade.closed_at, trade.hold_s, trade.orders) == (AT - MINUTE, AT, 60.0, 2)
    assert (trade.closed_by, trade.order_id) == (HowClosed.DECISION, "x1/out")


async def test_open_trades_are_asked_for_apart() -> None:
    store = await desk()
    page = await read_trades(store, DEFAULT_TENANT, TradeQuery(open_only=True))
    [trade] = page.trades
    assert (trade.side, trade.left, trade.closed_at, trade.closed_by) == (Direction.LONG, Decimal("0.01"), None, None)
    assert (trade.fees, trade.net_pnl, page.total.trades) == (Decimal("0.45"), Decimal("-0.45"), 1)
    assert await found(store, open_only=True, trader_id=BEAR) == ()


async def test_pages_are_all_trades_once_newest_first() -> None:
    store = await desk()
    whole = await read_trades(store, DEFAULT_TENANT, TradeQuery())
    assert len(whole.trades) == whole.total.trades == 12
    assert whole.total.won == sum(trade.pnl > 0 for trade in whole.trades) == 8
    assert whole.total.net_pnl == sum(trade.net_pnl for trade in whole.trades)
    closed = [trade.closed_at for trade in whole.trades]
    assert closed == sorted(closed, key=str, reverse=True)
    for limit in (1, 2, 3, 5):
        query = TradeQuery(limit=limit)
        seen: list[Trade] = []
        while True:
            page = await read_trades(store, DEFAULT_TENANT, query)
            seen += page.trades
            if not page.next:
                break
            query = replace(query, after=page.next)
        assert tuple(seen) == whole.trades


async def test_trades_are_narrowed_by_trader_account_symbol_and_time() -> None:
    store = await desk()
    assert {one.trader_id for one in await found(store, trader_id=BEAR)} == {"bear"}
    assert len(await found(store, trader_id=BEAR, account_id=AccountId("paper"), symbol=BTC)) == 4
    assert await found(store, symbol="ETH/USDT:USDT") == ()
    assert len(await found(store, since=AT - MINUTE * 2)) == 6
    assert len(await found(store, until=AT - MINUTE * 2)) == 9
    assert len(await found(store, since=AT - MINUTE * 2, until=AT - MINUTE)) == 3


async def test_what_nobody_has_is_an_error_and_a_book_without_its_trader_is_not() -> None:
    store = await desk()
    with pytest.raises(UnknownTrader):
        await found(store, trader_id=TraderId("none"))
    with pytest.raises(UnknownAccount):
        await found(store, account_id=AccountId("none"))
    with pytest.raises(UnknownCursor):
        await found(store, after="x")
    assert len(await found(store)) == 12
