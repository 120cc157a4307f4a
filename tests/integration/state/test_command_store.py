"""The store of a command does what the store of a worker does: all of a transaction or nothing, whatever is at once."""

import asyncio
from decimal import Decimal

import pytest

from database_fixtures import Database
from manager.jobs.heartbeat import NEWEST_BEAT
from manager.state.errors import DatabaseAway, DuplicateRow, FenceLost, InvalidRow, StoreUnavailable
from manager.state.postgres.command_store import CommandStore
from manager.state.postgres.roles import QUEUE
from manager.state.postgres.store import PostgresStore
from manager.state.records import DEFAULT_TENANT, AccountId, AccountRow, BookRow, TenantId, TraderRow
from manager.state.store import Fence, Search, Store
from state_rows import make_account, make_trader

pytestmark = pytest.mark.database


async def _equity(store: Store) -> Decimal:
    async with store.transaction(DEFAULT_TENANT) as tx:
        found = await tx.get(AccountRow, "acco")
    assert found is not None
    return found.equity


async def _seeded(database: Database) -> CommandStore:
    store = CommandStore(database.dsn)
    async with store.service() as service:
        await service.ensure_tenant(DEFAULT_TENANT)
        assert DEFAULT_TENANT in await service.tenants()
    async with store.transaction(DEFAULT_TENANT) as tx:
        await tx.insert([make_account(equity=Decimal("10.005")), *make_trader("one", capital=Decimal("0.001"))])
    return store


async def test_it_reads_what_it_wrote_and_what_the_other_store_reads(database: Database) -> None:
    store, other = await _seeded(database), PostgresStore.open(database.dsn)
    searches = [Search(kind=kind) for kind in (AccountRow, TraderRow, BookRow)]
    async with store.transaction(DEFAULT_TENANT) as mine, other.transaction(DEFAULT_TENANT) as theirs:
        assert await mine.search(*searches) == await theirs.search(*searches)
        assert await mine.find(BookRow, {"trader_id": ("one",)}) == await theirs.find(BookRow, {})
    async with store.transaction(TenantId("nobody")) as tx:
        assert await tx.find(AccountRow, {}) == ()
    await store.close()
    await other.close()


async def _failing(store: Store) -> None:
    async with store.transaction(DEFAULT_TENANT) as tx:
        await tx.patch(AccountRow, ("acco",), equity=Decimal(1))
        raise ZeroDivisionError


async def _ignoring_a_failure(store: Store) -> None:
    async with store.transaction(DEFAULT_TENANT) as tx:
        await tx.patch(AccountRow, ("acco",), equity=Decimal(2))
        with pytest.raises(DuplicateRow):
            await tx.insert([make_account()])


async def test_a_block_that_fails_writes_nothing_and_the_next_one_works(database: Database) -> None:
    store = await _seeded(database)
    with pytest.raises(ZeroDivisionError):
        await _failing(store)
    with pytest.raises(DuplicateRow):
        await _ignoring_a_failure(store)
    with pytest.raises(InvalidRow, match="is no id of a tenant"):
        async with store.transaction(TenantId("a b")):
            pass
    assert await _equity(store) == Decimal("10.005")
    await store.close()


async def test_transactions_at_once_have_a_connection_each(database: Database) -> None:
    store = await _seeded(database)
    async with store.transaction(DEFAULT_TENANT) as tx:
        await tx.patch(AccountRow, ("acco",), equity=Decimal(3))
        assert await asyncio.gather(*(_equity(store) for _ in range(3))) == [Decimal("10.005")] * 3
    assert await _equity(store) == 3
    await store.close()


async def test_a_fence_that_was_lost_ends_the_block_before_it_begins(database: Database) -> None:
    store = await _seeded(database)
    async with store.transaction(DEFAULT_TENANT) as tx:
        token = await tx.acquire(AccountId("acco"), "me")
    async with store.transaction(DEFAULT_TENANT, fence=Fence(account_id=AccountId("acco"), token=token)) as tx:
        assert await tx.find(AccountRow, {})
    with pytest.raises(FenceLost):
        async with store.transaction(DEFAULT_TENANT, fence=Fence(account_id=AccountId("acco"), token=token - 1)):
            pytest.fail("the block must not run")
    await store.close()


async def test_a_server_that_is_not_there_is_away() -> None:
    store = CommandStore("postgresql://propdesk@127.0.0.1:1/propdesk")
    with pytest.raises(DatabaseAway):
        await _equity(store)
    await store.close()


async def test_what_the_queue_knows_is_asked_as_its_role_on_the_same_connection(database: Database) -> None:
    store = await _seeded(database)
    assert await store.queue_value(NEWEST_BEAT) is None
    with pytest.raises(StoreUnavailable, match="permission denied"):
        await store.queue_value("SELECT count(*) FROM accounts")
    assert await store.queue_value("SELECT current_user::text") == QUEUE
    assert await _equity(store) == Decimal("10.005")
    assert len(store._idle) == 1
    await store.close()
