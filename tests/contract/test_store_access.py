"""What every store keeps of access: keys found by id across tenants, one service key, and how far scopes may trade."""

from dataclasses import replace

import pytest

from manager.state.access import ApiKeyRow, KeyId, TenantKeyRow
from manager.state.errors import InvalidRow, StateError
from manager.state.kinds import EventKind, SwitchScope, TradingState
from manager.state.records import DEFAULT_TENANT, AccountId, AccountRow, EventRow, TenantId, TraderRow
from manager.state.store import Store
from manager.state.switches import Switch, Switches
from state_rows import AT, make_account, make_row, make_trader
from traders.spec import TraderId

OTHER = TenantId("other")
HALTED = Switch(state=TradingState.HALTED, reason="news", actor="ann", at=AT)
REDUCING = Switch(state=TradingState.REDUCING, reason="calmer", actor="bob", at=AT)
EVENT = replace(make_row(EventRow), kind=EventKind.SERVICE_STATE, after="halted")


async def _two_tenants(store: Store) -> None:
    async with store.service() as service:
        await service.ensure_tenant(OTHER)
    for tenant in (DEFAULT_TENANT, OTHER):
        async with store.transaction(tenant) as tx:
            await tx.insert([make_account(tenant_id=tenant), *make_trader("t", tenant_id=tenant)])


async def test_01_a_key_is_found_by_its_id_in_whatever_tenant(store: Store) -> None:
    await _two_tenants(store)
    row = make_row(ApiKeyRow, tenant_id=OTHER, key_id="abc", hash="h", expires_at=AT)
    async with store.transaction(OTHER) as tx:
        await tx.insert([row])
    async with store.service() as service:
        assert await service.api_keys(KeyId("abc")) == [row]
        assert await service.api_keys(KeyId("abd")) == []


@pytest.mark.parametrize("kind", [ApiKeyRow, TenantKeyRow])
async def test_02_no_tenant_sees_the_keys_of_another_and_none_is_deleted(
    store: Store, kind: type[ApiKeyRow | TenantKeyRow]
) -> None:
    await _two_tenants(store)
    row = make_row(kind, tenant_id=OTHER, key_id="abc")
    async with store.transaction(OTHER) as tx:
        await tx.insert([row])
    async with store.transaction(DEFAULT_TENANT) as tx:
        assert not await tx.find(kind, {})
    with pytest.raises(InvalidRow, match="never deleted"):
        async with store.transaction(OTHER) as tx:
            await tx.delete(kind, [("abc",)])


async def test_03_the_first_service_key_is_the_one_of_the_installation(store: Store) -> None:
    async with store.service() as service:
        assert await service.key_mark("one") == "one"
    async with store.service() as service:
        assert await service.key_mark("two") == "one"
        assert await service.key_mark("two", instead_of="three") == "one"
        assert await service.key_mark("two", instead_of="one") == "two"
    async with store.service() as service:
        assert await service.key_mark("one") == "two"


async def test_04_a_tenants_switch_is_its_own_and_is_read_with_its_accounts(store: Store) -> None:
    await _two_tenants(store)
    async with store.transaction(OTHER) as tx:
        await tx.switch(HALTED)
    for tenant, expected in ((DEFAULT_TENANT, Switches()), (OTHER, Switches(tenant=HALTED))):
        async with store.transaction(tenant) as tx:
            assert await tx.switches() == expected
            assert (await tx.account_rows(AccountId("acco"))).switches == expected
    with pytest.raises(KeyError, match="unknown"):
        async with store.transaction(TenantId("nobody")) as tx:
            await tx.switch(HALTED)


async def test_05_the_switch_of_the_service_holds_in_every_tenant_with_one_event(store: Store) -> None:
    await _two_tenants(store)
    async with store.service() as service:
        assert await service.switch(HALTED, EVENT) == Switch()
        assert await service.switch(HALTED, EVENT) is None
    for tenant in (DEFAULT_TENANT, OTHER):
        async with store.transaction(tenant) as tx:
            assert (await tx.account_rows(AccountId("acco"))).switches.service == HALTED
            events = await tx.find(EventRow, {})
        assert [(event.before, event.after) for event in events] == [("active", "halted")] * (tenant == DEFAULT_TENANT)


async def test_06_what_is_rolled_back_was_never_switched(store: Store) -> None:
    await _two_tenants(store)
    with pytest.raises(StateError, match="stop"):  # noqa: PT012 - the block ends the transaction
        async with store.service() as service:
            await service.key_mark("one")
            await service.switch(HALTED, EVENT)
            raise StateError("stop")
    with pytest.raises(StateError, match="stop"):  # noqa: PT012 - the block ends the transaction
        async with store.transaction(DEFAULT_TENANT) as tx:
            await tx.switch(HALTED)
            raise StateError("stop")
    async with store.transaction(DEFAULT_TENANT) as tx:
        assert await tx.switches() == Switches()
        assert not await tx.find(EventRow, {})
    async with store.service() as service:
        assert await service.key_mark("two") == "two"


async def test_07_a_decision_reads_how_far_each_of_its_scopes_may_trade(store: Store) -> None:
    await _two_tenants(store)
    async with store.transaction(DEFAULT_TENANT) as tx:
        await tx.switch(HALTED)
        await tx.patch(AccountRow, ("acco",), trading_state=TradingState.REDUCING, state_reason="drift")
        await tx.patch(TraderRow, ("t",), trading_state=TradingState.HALTED, trading_reason="odd")
    async with store.service() as service:
        await service.switch(REDUCING, EVENT)
    async with store.transaction(DEFAULT_TENANT) as tx:
        found = (await tx.trader(TraderId("t"))).switched
    assert [(one.scope, one.name, one.state, one.reason) for one in found] == [
        (SwitchScope.SERVICE, "", TradingState.REDUCING, "calmer"),
        (SwitchScope.TENANT, DEFAULT_TENANT, TradingState.HALTED, "news"),
        (SwitchScope.ACCOUNT, "acco", TradingState.REDUCING, "drift"),
        (SwitchScope.TRADER, "t", TradingState.HALTED, "odd"),
    ]
