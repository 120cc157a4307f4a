"""An upgrade finds out which position each part of a fill was of, and with what each book began."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from database_fixtures import Database
from desk_history import AT, fill_history, round_trip
from manager.state.kinds import LedgerKind
from manager.state.postgres.store import PostgresStore
from manager.state.postgres.upgrade import migrate, upgrade
from manager.state.records import DEFAULT_TENANT, BookRow, FillPartRow, LedgerRow
from manager.views.trades import TradeQuery, read_trades
from traders.spec import TraderId

pytestmark = pytest.mark.database

MINUTE = timedelta(minutes=1)


def capital(ref: str, amount: int, minutes: int) -> LedgerRow:
    row: dict[str, Any] = {"account_id": "paper", "trader_id": "bear", "kind": LedgerKind.REBALANCE}
    return LedgerRow(tenant_id=DEFAULT_TENANT, ref=ref, amount=Decimal(amount), at=AT + MINUTE * minutes, **row)


async def test_trades_are_the_same_before_and_after_an_upgrade(empty_database: Database) -> None:
    upgrade(empty_database.owner_dsn)
    store = PostgresStore.open(empty_database.dsn)
    flips = [row for n in range(3) for row in round_trip(f"x{n}", "bear", AT + MINUTE * n)]
    await fill_history(store, *flips, capital("rebalance/1", 4000, 1), capital("rebalance/2", 500, 2))
    before = [await read_trades(store, DEFAULT_TENANT, TradeQuery(open_only=only)) for only in (False, True)]
    migrate(empty_database.owner_dsn, "0027")
    upgrade(empty_database.owner_dsn)
    after = [await read_trades(store, DEFAULT_TENANT, TradeQuery(open_only=only)) for only in (False, True)]
    assert after == before
    assert [len(page.trades) for page in after] == [3, 1]
    async with store.transaction(DEFAULT_TENANT) as tx:
        book = await tx.get(BookRow, "paper", TraderId("bear"))
        parts = await tx.find(FillPartRow, {})
    assert book is not None
    assert (book.started_usd, book.started_at) == (Decimal(4000), AT + MINUTE)
    assert all(part.opened_at is not None for part in parts)
    await store.close()
