"""A flatten of several accounts: each has its own part, and what has ended on one does not stand in another's way."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from exchanges.types import Side
from faulty_desk import ACCOUNT, BTC, FaultyDesk, open_long
from manager.manager import Manager
from manager.roster.acts import FlattenAsked
from manager.roster.registration import registration_check
from manager.state.acts import ActKey, ActRow, FlattenRow, FlattenScope
from manager.state.keys import Row
from manager.state.kinds import Afterwards, EventKind, FlattenState, OrderPurpose, OrderState, ScopeKind, TradingState
from manager.state.memory.store import MemoryStore
from manager.state.memory.transaction import MemoryTransaction
from manager.state.records import (
    DEFAULT_TENANT,
    AccountId,
    AccountRow,
    EventRow,
    FillPartRow,
    IntentRow,
    OrderRow,
    PositionRow,
    Share,
    TenantId,
)
from manager.state.store import Fence, Store, Transaction
from manager.views.closing import CloseProgress, read_progress
from state_rows import make_row, make_trader
from traders.spec import TraderId

D = Decimal
SECOND = AccountId("second")
ALL = FlattenScope(kind=ScopeKind.TENANT)
X = TraderId("x")


async def two_accounts(*, unserved: bool = False, rows: Sequence[Row] = ()) -> FaultyDesk:
    """Return a desk whose trader a holds something, and beside its account one that nobody looks after any more.

    Trader x, whose `rows` these are, is on that one, which is not `unserved` while its last sample is of late.
    """
    desk = await FaultyDesk.of()
    await desk.go("a", open_long())
    await desk.maintain()
    [account] = await desk.find(AccountRow)
    sampled = desk.clock.now() - (timedelta(minutes=5) if unserved else timedelta())
    async with desk.store.transaction(DEFAULT_TENANT) as tx:
        await tx.insert([replace(account, account_id=SECOND, updated_at=sampled), *make_trader("x", account_id=SECOND)])
        await tx.insert(rows)
    return desk


async def progress(desk: FaultyDesk, asked: FlattenAsked) -> CloseProgress:
    """Return how far it is on the second account."""
    [watch] = [replace(one, now=desk.clock.now()) for one in asked.watches if one.account_id == SECOND]
    return await read_progress(desk.store, DEFAULT_TENANT, [watch])


async def flatten(desk: FaultyDesk, afterwards: Afterwards = Afterwards.STAND_BY, key: str = "") -> FlattenAsked:
    by: dict[str, Any] = {"actor": "ann", "reason": "news", "key": ActKey(key) if key else None}
    manager = Manager(desk.store, desk.clock, registration_check(desk.config))
    return await manager.flatten(DEFAULT_TENANT, ALL, afterwards, **by)


async def run(desk: FaultyDesk, seconds: int) -> None:
    for _ in range(seconds):
        desk.pass_time()
        await desk.maintain()
        await desk.round()


async def test_it_is_asked_for_again_where_one_part_has_ended_and_the_other_has_not() -> None:
    desk = await two_accounts()
    first = await flatten(desk)
    await run(desk, 3)
    await desk.go("a", open_long())
    assert await desk.held("a") == 10
    second = await flatten(desk, Afterwards.HALT)
    assert second.joined
    old, new = ({part.account_id: part.flatten_id for part in asked.parts} for asked in (first, second))
    assert new[SECOND] == old[SECOND]
    assert new[AccountId(ACCOUNT)] != old[AccountId(ACCOUNT)]
    assert {row.trading_state for row in await desk.find(AccountRow)} == {TradingState.HALTED}
    await run(desk, 3)
    assert (await desk.held("a"), await desk.net()) == (D(0), D(0))
    states = [row.state for row in await desk.find(FlattenRow, account_id=ACCOUNT)]
    assert states == [FlattenState.FLAT] * 2


async def test_each_account_is_taken_for_its_own_transaction_only(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = await two_accounts()
    taken: list[list[AccountId]] = []
    enter, acquire = MemoryStore.transaction, MemoryTransaction.acquire

    def counted(store: MemoryStore, tenant: TenantId, **more: Any) -> Any:
        taken.append([])
        return enter(store, tenant, **more)

    async def noted(tx: MemoryTransaction, account_id: AccountId, holder: str) -> int:
        taken[-1].append(account_id)
        return await acquire(tx, account_id, holder)

    monkeypatch.setattr(MemoryStore, "transaction", counted)
    monkeypatch.setattr(MemoryTransaction, "acquire", noted)
    await flatten(desk)
    assert [accounts for accounts in taken if accounts] == [[ACCOUNT], [SECOND]]


async def test_one_that_broke_off_is_carried_on_under_its_key_and_then_done_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    desk = await two_accounts()
    acquire = MemoryTransaction.acquire

    async def broken(tx: MemoryTransaction, account_id: AccountId, holder: str) -> int:
        if account_id == SECOND:
            raise ConnectionError
        return await acquire(tx, account_id, holder)

    monkeypatch.setattr(MemoryTransaction, "acquire", broken)
    with pytest.raises(ConnectionError):
        await flatten(desk, Afterwards.HALT, key="k")
    monkeypatch.setattr(MemoryTransaction, "acquire", acquire)
    [part] = await desk.find(FlattenRow)
    await run(desk, 3)
    await desk.go("a", open_long())
    first = await flatten(desk, Afterwards.HALT, key="k")
    assert [one.flatten_id for one in first.parts] == [part.flatten_id] * 2
    assert (first.joined, first.halted) == (False, (SECOND,))
    assert {row.trading_state for row in await desk.find(AccountRow)} == {TradingState.HALTED}
    again = await flatten(desk, Afterwards.HALT, key="k")
    assert (replace(again, repeated_of=None), again.repeated_of is None, first.repeated_of) == (first, False, None)
    assert len(await desk.find(FlattenRow)) == 2


def held(quantity: int = 3) -> PositionRow:
    row: PositionRow = make_row(PositionRow, account_id=SECOND, trader_id=X, symbol=BTC, quantity=D(quantity))
    return row


def order(purpose: OrderPurpose, state: OrderState) -> OrderRow:
    of = {"account_id": SECOND, "symbol": BTC, "side": Side.SELL, "quantity": D(3), "filled": D(0)}
    shares = (Share(trader_id=X, quantity=D(3)),)
    row: OrderRow = make_row(OrderRow, **of, purpose=purpose, state=state, shares=shares)
    return row


@pytest.mark.parametrize("afterwards", list(Afterwards))
async def test_a_part_of_an_unserved_account_that_has_nothing_ends_at_once(afterwards: Afterwards) -> None:
    desk = await two_accounts(unserved=True, rows=[order(OrderPurpose.STOP, OrderState.CANCELED)])
    asked = await flatten(desk, afterwards)
    [row] = await desk.find(FlattenRow, account_id=SECOND)
    assert (row.state, row.ended_at, row.remaining) == (FlattenState.FLAT, desk.clock.now(), ())
    [served] = await desk.find(FlattenRow, account_id=ACCOUNT)
    assert served.state is FlattenState.OPEN
    [begun, ended] = [one for one in await desk.find(EventRow, account_id=SECOND) if one.kind.startswith("flatten_")]
    assert (begun.kind, ended.kind) == (EventKind.FLATTEN_BEGUN, EventKind.FLATTEN_ENDED)
    assert ended.reason.startswith("flat: it holds nothing and has no order; no worker serves it, last time: 2025-")
    found = await progress(desk, asked)
    assert (found.done, found.left, found.unserved) == (True, (), ())
    [second] = await desk.find(AccountRow, account_id=SECOND)
    assert (second.trading_state is TradingState.HALTED) == (afterwards is Afterwards.HALT)


@pytest.mark.parametrize("state", [OrderState.ACCEPTED, OrderState.UNKNOWN, OrderState.PENDING])
@pytest.mark.parametrize("purpose", list(OrderPurpose))
async def test_an_unserved_account_with_an_order_is_named_with_it(purpose: OrderPurpose, state: OrderState) -> None:
    desk = await two_accounts(unserved=True, rows=[order(purpose, state)])
    asked = await flatten(desk)
    found = await progress(desk, asked)
    assert (found.done, found.left, len(found.waits_for)) == (False, (), 1)
    assert found.waits_for[0].startswith(f"{purpose} of x: sell 3 {BTC} is {state}")
    [unserved] = found.unserved
    assert (unserved.account_id, unserved.since) == (SECOND, desk.clock.now() - timedelta(minutes=5))
    assert found.waits_for[0] in unserved.told


async def test_an_unserved_account_that_holds_something_is_named_until_it_is_canceled() -> None:
    desk = await two_accounts(unserved=True, rows=[held(), order(OrderPurpose.STOP, OrderState.ACCEPTED)])
    asked = await flatten(desk)
    await run(desk, 3)
    found = await progress(desk, asked)
    assert (found.done, [one.symbol for one in found.left], found.waits_for) == (False, [BTC], ())
    [unserved] = found.unserved
    assert unserved.told.startswith("account second: no worker serves it since 2025-")
    assert unserved.told.endswith(
        f"; it holds 3 {BTC} long of x: put it back into the config and start the desk (`propdesk run`), or end "
        "it with `propdesk flatten --all --cancel`"
    )
    again = await flatten(desk)
    assert again.joined
    assert len(await desk.find(IntentRow, account_id=SECOND)) == 1
    manager = Manager(desk.store, desk.clock, registration_check(desk.config))
    await manager.cancel_flatten(DEFAULT_TENANT, ALL, actor="ann", reason="gone")
    assert (await progress(desk, asked)).unserved == ()


async def test_one_under_way_ends_when_it_is_asked_for_again_where_nothing_is_left() -> None:
    desk = await two_accounts()
    first = await flatten(desk)
    desk.pass_time(300)
    await desk.maintain()
    [stale] = (await progress(desk, first)).unserved
    assert stale.told.endswith("; it holds nothing of it now: ask again and it ends there")
    await flatten(desk)
    assert (await progress(desk, first)).done


class Broken(Exception):
    """Stand for the end of the process."""


class BreakingStore(MemoryStore):
    """Break off at the end of one transaction, the `nth`: before it is committed, or right after."""

    def __init__(self, inner: Store, nth: int, *, committed: bool) -> None:
        self._inner = inner
        self._nth = nth
        self._committed = committed
        self.begun = 0

    @asynccontextmanager
    async def transaction(self, tenant: TenantId, *, fence: Fence | None = None) -> AsyncIterator[Transaction]:
        self.begun += 1
        breaks = self.begun == self._nth
        async with self._inner.transaction(tenant, fence=fence) as tx:
            yield tx
            if breaks and not self._committed:
                raise Broken
        if breaks:
            raise Broken


async def three_accounts() -> FaultyDesk:
    """Return a desk with trader a on a served account, x on one that no worker serves, and a third with nothing."""
    desk = await two_accounts(unserved=True, rows=[held()])
    [account] = await desk.find(AccountRow, account_id=SECOND)
    async with desk.store.transaction(DEFAULT_TENANT) as tx:
        await tx.insert([replace(account, account_id=AccountId("third"))])
    return desk


async def end_of(desk: FaultyDesk) -> dict[str, Any]:
    """Return what there is when the served account is flat, without what each run names anew."""
    await run(desk, 3)
    intents = [row for row in await desk.find(IntentRow) if row.asked_by]
    events = [row for row in await desk.find(EventRow) if row.actor in ("ann", "desk")]
    return {
        "parts": [(row.account_id, row.state) for row in await desk.find(FlattenRow)],
        "asked": sorted((row.trader_id, row.decision.symbol) for row in intents),
        "orders": sorted((row.trader_id, row.symbol, row.quantity) for row in await desk.find(FillPartRow)),
        "events": sorted((row.account_id, row.kind, row.before, row.after) for row in events),
        "trading": [(row.account_id, row.trading_state) for row in await desk.find(AccountRow)],
        "held": sorted((row.trader_id, row.symbol, row.quantity) for row in await desk.find(PositionRow)),
        "acts": len(await desk.find(ActRow)),
    }


async def flatten_on(desk: FaultyDesk, store: Store) -> FlattenAsked:
    manager = Manager(store, desk.clock, registration_check(desk.config))
    return await manager.flatten(DEFAULT_TENANT, ALL, Afterwards.HALT, actor="ann", reason="news", key=ActKey("k"))


@pytest.mark.parametrize("trades_on", [False, True], ids=["at_once", "later"])
@pytest.mark.parametrize("committed", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("nth", range(1, 7))
async def test_one_that_breaks_off_anywhere_is_carried_on_and_ends_the_same(
    nth: int, committed: bool, trades_on: bool
) -> None:
    whole = await three_accounts()
    counted = BreakingStore(whole.store, 0, committed=False)
    first = await flatten_on(whole, counted)
    assert counted.begun == 6
    desk = await three_accounts()
    with pytest.raises(Broken):
        await flatten_on(desk, BreakingStore(desk.store, nth, committed=committed))
    if trades_on:
        await run(desk, 3)
    again = await flatten_on(desk, desk.store)
    assert (again.repeated_of is not None) == (committed and nth == 6)
    assert [(part.account_id, part.flatten_id) for part in again.parts] == [
        (part.account_id, part.flatten_id) for part in first.parts
    ]
    assert (again.joined, not any(one.asked_before for one in again.positions)) == (False, True)
    assert await end_of(desk) == await end_of(whole)
    assert (await flatten_on(desk, desk.store)).repeated_of is not None
    assert await end_of(desk) == await end_of(whole)
