"""What is new is read once: late rows too, more rows than a page, incidents raised and ended."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

from manager.state.memory.store import MemoryStore
from manager.state.records import DEFAULT_TENANT, FillPartRow, IncidentRow, OrderRow, PositionRow
from manager.views.activity import Activity, ActivityReader, read_standing
from manager.views.status import StatusQuery, read_status
from state_rows import AT, make_account, make_row, make_trader

SECOND = timedelta(seconds=1)


async def store_with(*rows: Any) -> MemoryStore:
    store = MemoryStore()
    async with store.service() as service:
        await service.ensure_tenant(DEFAULT_TENANT)
    async with store.transaction(DEFAULT_TENANT) as tx:
        await tx.insert([make_account(equity=Decimal(90)), *make_trader("trad", capital=Decimal(40)), *rows])
    return store


def fill(n: int, seconds: float) -> FillPartRow:
    return make_row(FillPartRow, account_id="acco", trader_id="trad", trade_id=f"T{n}", at=AT + seconds * SECOND)


async def test_each_fill_is_new_once_and_what_was_before_the_start_never() -> None:
    store = await store_with(fill(1, -60), fill(2, 1))
    reader = ActivityReader(DEFAULT_TENANT, AT)

    async def told(*rows: FillPartRow) -> list[str]:
        async with store.transaction(DEFAULT_TENANT) as tx:
            await tx.insert(rows)
        return [row.trade_id for row in (await reader.read(store)).fills]

    assert await told() == ["T2"]
    assert await told() == []
    assert await told(fill(4, 3), fill(3, 2)) == ["T3", "T4"]
    assert await told(fill(5, -30)) == ["T5"], "it is older than others, and came later"
    many = [fill(n, n) for n in range(100, 450)]
    assert await told(*many) == [row.trade_id for row in many]
    assert await told() == []


async def test_orders_are_counted_when_they_are_written_late() -> None:
    store = await store_with()
    reader = ActivityReader(DEFAULT_TENANT, AT)
    seen = 0
    for n in (5, 1, 90):
        async with store.transaction(DEFAULT_TENANT) as tx:
            await tx.insert([make_row(OrderRow, account_id="acco", order_id=f"o{n}", created_at=AT + n * SECOND)])
        seen += len((await reader.read(store)).orders)
    assert seen == 3


async def test_an_incident_is_raised_once_and_resolved_once() -> None:
    store = await store_with()
    reader = ActivityReader(DEFAULT_TENANT, AT)
    open_one = make_row(IncidentRow, incident_id="i", account_id="acco", at=AT, code="POSITION_MISMATCH")

    async def told(row: IncidentRow) -> tuple[int, int]:
        async with store.transaction(DEFAULT_TENANT) as tx:
            await tx.upsert([row])
        news: Activity = await reader.read(store)
        return len(news.raised), len(news.resolved)

    assert await told(open_one) == (1, 0)
    assert await told(open_one) == (0, 0)
    assert await told(replace(open_one, resolved_at=AT + SECOND)) == (0, 1)
    assert await told(replace(open_one, incident_id="j", at=AT + SECOND, resolved_at=AT + SECOND)) == (1, 1)
    assert await told(replace(open_one, incident_id="old", at=AT - SECOND, resolved_at=AT - SECOND)) == (0, 0)


async def test_an_account_stands_as_its_books_do_and_not_as_it_was_sampled_last() -> None:
    held = make_row(PositionRow, account_id="acco", trader_id="trad", quantity=Decimal(2))
    store = await store_with(*make_trader("idle", capital=Decimal(60), realized=Decimal(-3)), held)
    [found] = await read_standing(store, DEFAULT_TENANT)
    [shown] = (await read_status(store, DEFAULT_TENANT, StatusQuery(now=AT))).accounts
    assert found.totals == shown.totals
    totals = found.totals
    assert [totals.equity, totals.moved_usd, totals.pnl_usd] == [Decimal(97), Decimal(100), Decimal(-3)]
    assert (list(found.states), [name for _, name in found.next_decisions]) == ([("running", 2)], ["idle", "trad"])
    assert list(found.positions) == [held]
