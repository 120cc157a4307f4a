"""An operator's acts on PostgreSQL: once for a key however many ask at once, and before whatever a round does."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from database_fixtures import Database
from exchanges.types import OrderReport, OrderRequest, OrderType
from executor.contract import Limits
from faulty_desk import ACCOUNT, BTC, ETH, FREE_HAND, FaultyDesk, open_long
from manager.desk.plan.values import GlobalLimits
from manager.errors import ActKeyRefused
from manager.manager import Manager
from manager.roster.registration import registration_check
from manager.state.acts import ActKey, FlattenRow, FlattenScope
from manager.state.kinds import Afterwards, EventKind, FlattenState, ScopeKind
from manager.state.memory.store import MemoryStore
from manager.state.postgres.store import PostgresStore
from manager.state.postgres.transaction import PostgresTransaction
from manager.state.records import (
    DEFAULT_TENANT,
    UNALLOCATED,
    AccountId,
    AccountRow,
    BookRow,
    EventRow,
    IncidentRow,
    IntentRow,
    LedgerKind,
    LedgerRow,
    OrderRow,
    ScheduleRow,
    StateCode,
    TraderRow,
    TraderState,
    TradingState,
)
from manager.state.store import Store
from state_rows import make_row
from traders.spec import TraderId

pytestmark = pytest.mark.database

D = Decimal
A = TraderId("a")
KEY = ActKey("k-1")
ANN: dict[str, Any] = {"actor": "ann", "reason": "news"}
OF_ACCOUNT = FlattenScope(kind=ScopeKind.ACCOUNT, name=ACCOUNT)
WIDE = GlobalLimits(max_symbol_exposure_pct=D(5000), max_margin_usage_pct=D(100), max_unrealized_loss_pct=D(100))
RECKLESS = replace(FREE_HAND, stop_loss_enabled=False, max_margin_usage_pct=D(100), max_position_size_usd=D(10**6))


@pytest.fixture(params=["postgres", "memory"])
async def kept(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    """Give each store in turn; PostgreSQL with connections for many callers at once."""
    if request.param == "memory":
        yield MemoryStore()
        return
    database: Database = request.getfixturevalue("database")
    store = PostgresStore.open(database.dsn, pool_size=4)
    try:
        yield store
    finally:
        await store.close()


def manager_of(desk: FaultyDesk) -> Manager:
    return Manager(desk.store, desk.clock, registration_check(desk.config))


async def holding(store: Store, limits: Limits = FREE_HAND) -> FaultyDesk:
    desk = await FaultyDesk.of(store=store, traders=("a", "b"), limits=limits, account_limits=WIDE)
    await desk.go("a", open_long(), open_long(ETH, 500))
    return desk


async def bankrupt(store: Store) -> FaultyDesk:
    """Return a desk whose trader a is bankrupt, with 3000 USD that are free."""
    desk = await FaultyDesk.of(store=store, traders=("a", "b"), limits=RECKLESS, account_limits=WIDE)
    await desk.go("a", replace(open_long(usd=20_000), stop_loss=None, leverage=10))
    desk.pass_time()
    desk.price(70)
    await desk.maintain(3)
    async with store.transaction(DEFAULT_TENANT) as tx:
        [common] = await tx.find(BookRow, {"trader_id": UNALLOCATED})
        await tx.patch(BookRow, (ACCOUNT, UNALLOCATED), capital=common.capital + 3000)
    return desk


async def at_once(*calls: Callable[[], Awaitable[Any]]) -> list[Any]:
    return list(await asyncio.gather(*(call() for call in calls)))


def done_once(results: Sequence[Any]) -> Any:
    """Return what the one call led to that acted; the others got the same and say when and by whom."""
    [first] = [result for result in results if result.repeated_of is None]
    again = [result for result in results if result is not first]
    assert all(replace(result, repeated_of=None) == first for result in again)
    assert {result.repeated_of.actor for result in again} == {"ann"}
    return first


async def test_many_callers_with_one_key_close_once(kept: Store) -> None:
    desk = await holding(kept)
    managers = [manager_of(desk) for _ in range(4)]
    results = await at_once(*(lambda m=m: m.close(DEFAULT_TENANT, A, BTC, **ANN, key=KEY) for m in managers))
    first = done_once(results)
    assert len([row for row in await desk.find(IntentRow) if row.asked_by]) == 1
    assert len([row for row in await desk.find(EventRow) if row.kind == EventKind.CLOSE_ASKED]) == 1
    await desk.round()
    assert (await desk.held("a"), await desk.held("a", ETH)) == (D(0), D(5))
    by_bob = await managers[0].close(DEFAULT_TENANT, A, BTC, **ANN | {"actor": "bob"}, key=KEY)
    assert done_once([first, by_bob]) == first
    with pytest.raises(ActKeyRefused):
        await managers[0].close(DEFAULT_TENANT, A, ETH, **ANN, key=KEY)
    assert await desk.held("a", ETH) == 5


async def test_many_callers_with_one_key_isolate_once(kept: Store) -> None:
    desk = await holding(kept)
    results = await at_once(*(lambda: manager_of(desk).isolate(DEFAULT_TENANT, A, **ANN, key=KEY) for _ in range(4)))
    first = done_once(results)
    assert (first.state, first.state_code) == (TraderState.ISOLATED, StateCode.OPERATOR)
    moved = [row for row in await desk.find(EventRow) if row.kind == EventKind.TRADER_STATE and row.actor == "ann"]
    assert len(moved) == 1
    await desk.maintain(1)
    assert await desk.held("a") == 10


async def test_many_callers_with_one_key_fund_once(kept: Store) -> None:
    desk = await bankrupt(kept)
    fund = manager_of(desk).fund
    results = await at_once(*(lambda: fund(DEFAULT_TENANT, A, D("1500.50"), **ANN, key=KEY) for _ in range(4)))
    first = done_once(results)
    assert (first.state, first.amount_usd) == (TraderState.STOPPED, D("1500.50"))
    moved = [row.amount for row in await desk.find(LedgerRow) if row.kind is LedgerKind.RECAPITALISE]
    assert sorted(moved) == [D("-1500.50"), D("1500.50")]
    assert done_once([first, await fund(DEFAULT_TENANT, A, D("1500.5"), **ANN, key=KEY)]) == first
    with pytest.raises(ActKeyRefused):
        await fund(DEFAULT_TENANT, A, D(1501), **ANN, key=KEY)


async def test_flattens_at_once_of_one_scope_are_one(kept: Store) -> None:
    desk = await holding(kept)

    async def flatten(name: str) -> Any:
        by: dict[str, Any] = {"actor": name, "reason": "news", "key": ActKey(name)}
        return await manager_of(desk).flatten(DEFAULT_TENANT, OF_ACCOUNT, Afterwards.HALT, **by)

    results = await at_once(*(lambda n=n: flatten(f"op-{n}") for n in range(4)))
    assert len({result.parts for result in results}) == 1
    assert sorted(result.joined for result in results) == [False, True, True, True]
    for _ in range(3):
        desk.pass_time()
        await desk.maintain()
        await desk.round()
    assert (await desk.net(), await desk.net(ETH)) == (D(0), D(0))
    [row] = await desk.find(FlattenRow)
    assert (row.state, row.remaining) == (FlattenState.FLAT, ())
    assert len(await desk.find(OrderRow, purpose="reduce")) == 2
    [account] = await desk.find(AccountRow)
    assert account.trading_state is TradingState.HALTED


async def test_a_round_under_way_sends_no_further_entry(kept: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = await FaultyDesk.of(store=kept)
    await desk.decide("a", open_long(), open_long(ETH, 500))
    create = desk.paper.create_order

    async def flattened_meanwhile(request: OrderRequest) -> OrderReport:
        monkeypatch.setattr(desk.paper, "create_order", create)
        await manager_of(desk).flatten(DEFAULT_TENANT, OF_ACCOUNT, Afterwards.STAND_BY, **ANN)
        return await create(request)

    monkeypatch.setattr(desk.paper, "create_order", flattened_meanwhile)
    await desk.round()
    for _ in range(3):
        desk.pass_time()
        await desk.maintain()
        await desk.round()
    assert [one.symbol for one in desk.venue.sent if one.type is OrderType.MARKET and not one.reduce_only] == [BTC]
    assert (await desk.net(), await desk.net(ETH)) == (D(0), D(0))


async def test_callers_at_once_flatten_a_tenant_once(kept: Store) -> None:
    desk = await holding(kept)
    [account] = await desk.find(AccountRow)
    others = [AccountId(name) for name in ("p2", "p3")]
    old = desk.clock.now() - timedelta(minutes=5)
    async with kept.transaction(DEFAULT_TENANT) as tx:
        await tx.insert([replace(account, account_id=name, updated_at=old) for name in others])
    scope = FlattenScope(kind=ScopeKind.TENANT)

    async def flatten() -> Any:
        return await manager_of(desk).flatten(DEFAULT_TENANT, scope, Afterwards.HALT, **ANN, key=KEY)

    results = await at_once(*(flatten for _ in range(4)))
    assert len({tuple((part.account_id, part.flatten_id) for part in result.parts) for result in results}) == 1
    assert {result.joined for result in results} == {False}
    last = await flatten()
    assert last.repeated_of is not None
    assert replace(last, repeated_of=None) in [replace(result, repeated_of=None) for result in results]
    rows = {row.account_id: row.state for row in await desk.find(FlattenRow)}
    assert rows == {ACCOUNT: FlattenState.OPEN, "p2": FlattenState.FLAT, "p3": FlattenState.FLAT}
    assert len([row for row in await desk.find(IntentRow) if row.asked_by]) == 2
    events = [row for row in await desk.find(EventRow) if row.actor == "ann"]
    told = sorted((row.account_id, row.kind) for row in events)
    ended = [(name, EventKind.FLATTEN_ENDED) for name in others]
    begun = [(name, kind) for name in (ACCOUNT, *others) for kind in (EventKind.FLATTEN_BEGUN, EventKind.TRADING_STATE)]
    assert told == sorted([*ended, *begun])
    for _ in range(3):
        desk.pass_time()
        await desk.maintain()
        await desk.round()
    assert (await desk.net(), await desk.net(ETH)) == (D(0), D(0))
    assert len(await desk.find(OrderRow, purpose="reduce")) == 2


async def each_holds_in_safe_mode(desk: FaultyDesk, traders: str) -> None:
    """Let these traders hold something each and fail, and no other run."""
    async with desk.store.transaction(DEFAULT_TENANT) as tx:
        for row in await tx.find(TraderRow, {}):
            state = TraderState.RUNNING if row.trader_id in traders else TraderState.STOPPED
            await tx.patch(TraderRow, (row.trader_id,), state=state)
            await tx.patch(ScheduleRow, (row.trader_id,), failed_decisions=0)
    for name in traders:
        await desk.go(name, open_long(usd=100), open_long(ETH, 100))
    of: dict[str, Any] = {"account_id": AccountId(ACCOUNT), "code": "SAFE_MODE", "resolved_at": None}
    async with desk.store.transaction(DEFAULT_TENANT) as tx:
        for name in traders:
            incident: IncidentRow = make_row(
                IncidentRow, incident_id=f"{traders}/{name}", trader_id=TraderId(name), **of
            )
            await tx.insert([incident])
            await tx.patch(ScheduleRow, (name,), failed_decisions=3)


@pytest.mark.parametrize("scope", [OF_ACCOUNT, FlattenScope(kind=ScopeKind.TENANT)], ids=lambda scope: scope.kind)
async def test_a_flatten_takes_no_more_statements_for_more_traders(
    database: Database, monkeypatch: pytest.MonkeyPatch, scope: FlattenScope
) -> None:
    store = PostgresStore.open(database.dsn, pool_size=2)
    execute, statements = PostgresTransaction._execute, 0

    async def counted(tx: PostgresTransaction, *given: Any) -> Any:
        nonlocal statements
        statements += 1
        return await execute(tx, *given)

    try:
        desk = await FaultyDesk.of(store=store, traders=tuple("abcdef"), limits=FREE_HAND, account_limits=WIDE)
        monkeypatch.setattr(PostgresTransaction, "_execute", counted)
        counts = []
        for traders in ("ab", "abcdef"):
            await each_holds_in_safe_mode(desk, traders)
            statements = 0
            asked = await manager_of(desk).flatten(DEFAULT_TENANT, scope, Afterwards.STOP, **ANN)
            counts.append(statements)
            assert (asked.stopped, len(asked.positions) >= len(traders)) == (tuple(traders), True)
            assert [
                row for row in await desk.find(IncidentRow) if row.code == "SAFE_MODE" and not row.resolved_at
            ] == []
            for _ in range(3):
                desk.pass_time()
                await desk.maintain()
                await desk.round()
        assert counts[0] == counts[1] > 0
    finally:
        await store.close()
