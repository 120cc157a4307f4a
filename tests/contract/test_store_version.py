"""A store gives the right to trade only on a database of its own version, and says what to do about another."""

from collections.abc import Awaitable, Callable
from typing import Any

import psycopg
import pytest

from database_fixtures import Database
from manager.state.errors import SchemaMoved, StoreUnavailable
from manager.state.postgres.roles import OWNER
from manager.state.postgres.store import PostgresStore
from manager.state.postgres.upgrade import upgrade
from manager.state.records import DEFAULT_TENANT, AccountId, AccountRow, RoundRow
from manager.state.store import Fence, Store, Transaction
from manager.state.tables import REVISION
from state_rows import make_account, make_row, make_trader
from traders.spec import TraderId

LATER = "9999"
EARLIER = "0015"
RIGHTS: dict[str, Callable[[Transaction], Awaitable[Any]]] = {
    "round": lambda transaction: transaction.acquire(AccountId("acco"), "me"),
    "decision": lambda transaction: transaction.trader(TraderId("a")),
}


def _call_it(database: Database, revision: str) -> None:
    with psycopg.connect(database.owner_dsn) as connection:
        connection.execute(f"SET ROLE {OWNER}".encode())
        connection.execute("UPDATE alembic_version SET version_num = %s", (revision,))


@pytest.fixture
async def seeded(store: Store) -> Store:
    async with store.transaction(DEFAULT_TENANT) as transaction:
        await transaction.insert([make_account(), *make_trader("a")])
    return store


@pytest.mark.parametrize("right", RIGHTS.values(), ids=RIGHTS)
async def test_01_a_store_of_the_same_version_gives_it(
    seeded: Store, right: Callable[[Transaction], Awaitable[Any]]
) -> None:
    async with seeded.transaction(DEFAULT_TENANT) as transaction:
        assert await right(transaction)


@pytest.mark.database
@pytest.mark.parametrize(
    ("revision", "mend"), [(LATER, "restart this host with the version that"), (EARLIER, "run `propdesk db upgrade`")]
)
@pytest.mark.parametrize("right", RIGHTS.values(), ids=RIGHTS)
async def test_02_a_store_of_another_version_refuses_and_writes_nothing(
    postgres_store: PostgresStore,
    database: Database,
    right: Callable[[Transaction], Awaitable[Any]],
    revision: str,
    mend: str,
) -> None:
    async with postgres_store.transaction(DEFAULT_TENANT) as transaction:
        await transaction.insert([make_account(), *make_trader("a")])
    _call_it(database, revision)
    try:
        with pytest.raises(SchemaMoved, match=f"{revision}.*{REVISION}.*{mend}"):
            async with postgres_store.transaction(DEFAULT_TENANT) as transaction:
                await right(transaction)
        async with postgres_store.transaction(DEFAULT_TENANT) as transaction:
            assert await transaction.get(AccountRow, "acco") == make_account()
    finally:
        _call_it(database, REVISION)


@pytest.mark.database
async def test_03_a_round_under_way_writes_nothing_more(postgres_store: PostgresStore, database: Database) -> None:
    async with postgres_store.transaction(DEFAULT_TENANT) as transaction:
        await transaction.insert([make_account()])
    async with postgres_store.transaction(DEFAULT_TENANT) as transaction:
        token = await transaction.acquire(AccountId("acco"), "me")
    _call_it(database, LATER)
    try:
        with pytest.raises(SchemaMoved, match=LATER):
            async with postgres_store.transaction(
                DEFAULT_TENANT, fence=Fence(account_id=AccountId("acco"), token=token)
            ) as transaction:
                await transaction.insert([make_row(RoundRow)])
    finally:
        _call_it(database, REVISION)
    async with postgres_store.transaction(DEFAULT_TENANT) as transaction:
        assert await transaction.find(RoundRow, {}) == ()


@pytest.mark.database
def test_04_an_upgrade_by_an_earlier_version_is_refused(database: Database) -> None:
    _call_it(database, LATER)
    try:
        with pytest.raises(SchemaMoved, match=f"revision {LATER}, this Propdesk was built for {REVISION}"):
            upgrade(database.owner_dsn)
    finally:
        _call_it(database, REVISION)
    assert issubclass(SchemaMoved, StoreUnavailable)
