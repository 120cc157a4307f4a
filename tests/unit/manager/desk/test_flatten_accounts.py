"""A flatten of several accounts: each has its own part, and what has ended on one does not stand in another's way."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from faulty_desk import ACCOUNT, FaultyDesk, open_long
from manager.manager import Manager
from manager.roster.acts import FlattenAsked
from manager.roster.registration import registration_check
from manager.state.acts import ActKey, FlattenRow, FlattenScope
from manager.state.kinds import Afterwards, FlattenState, ScopeKind, TradingState
from manager.state.memory.store import MemoryStore
from manager.state.memory.transaction import MemoryTransaction
from manager.state.records import DEFAULT_TENANT, AccountId, AccountRow, TenantId

D = Decimal
SECOND = AccountId("second")
ALL = FlattenScope(kind=ScopeKind.TENANT)


async def two_accounts() -> FaultyDesk:
    """Return a desk whose trader a holds something, and beside its account one that nobody looks after."""
    desk = await FaultyDesk.of()
    await desk.go("a", open_long())
    [account] = await desk.find(AccountRow)
    async with desk.store.transaction(DEFAULT_TENANT) as tx:
        await tx.insert([replace(account, account_id=SECOND)])
    return desk


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
    assert await flatten(desk, Afterwards.HALT, key="k") == first
    assert len(await desk.find(FlattenRow)) == 2
