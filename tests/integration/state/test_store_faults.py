"""What callers see when PostgreSQL refuses, hangs or goes away: an error of the state, and nothing half-written."""

import asyncio

import psycopg
import pytest
from sqlalchemy.exc import ProgrammingError

from database_fixtures import Database
from manager.state.errors import CommitUnknown, StoreUnavailable
from manager.state.postgres.connection import Scope
from manager.state.postgres.store import PostgresStore
from manager.state.records import DEFAULT_TENANT, RoundRow
from state_rows import make_account, make_row

pytestmark = pytest.mark.database

_END_SESSIONS = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


@pytest.fixture
async def seeded(postgres_store: PostgresStore) -> PostgresStore:
    async with postgres_store.transaction(DEFAULT_TENANT) as transaction:
        await transaction.insert([make_account()])
    return postgres_store


def _end_sessions(database: Database) -> None:
    with psycopg.connect(database.admin_dsn, autocommit=True) as connection:
        connection.execute(_END_SESSIONS.encode())


async def _rounds(store: PostgresStore) -> int:
    async with store.transaction(DEFAULT_TENANT) as transaction:
        return len(await transaction.find(RoundRow, {}))


async def test_a_lost_connection_loses_the_transaction_and_the_next_one_works(
    seeded: PostgresStore, database: Database
) -> None:
    with pytest.raises(StoreUnavailable) as lost:  # noqa: PT012 - the block ends the transaction
        async with seeded.transaction(DEFAULT_TENANT) as transaction:
            await transaction.insert([make_row(RoundRow)])
            _end_sessions(database)
            await transaction.get(RoundRow, "acco", "roun")
    assert not isinstance(lost.value, CommitUnknown)
    assert await _rounds(seeded) == 0


async def test_a_connection_lost_before_the_commit_may_have_written(seeded: PostgresStore, database: Database) -> None:
    with pytest.raises(StoreUnavailable):  # noqa: PT012 - the block ends the transaction
        async with seeded.transaction(DEFAULT_TENANT) as transaction:
            await transaction.insert([make_row(RoundRow)])
            _end_sessions(database)
    assert await _rounds(seeded) == 0


async def test_stale_connections_cost_one_failure_at_most(seeded: PostgresStore, database: Database) -> None:
    await asyncio.gather(*(_rounds(seeded) for _ in range(4)))
    _end_sessions(database)
    failures = 0
    for _ in range(6):
        try:
            assert await _rounds(seeded) == 0
        except StoreUnavailable:
            failures += 1
    assert failures <= 1


async def test_a_cancelled_transaction_is_rolled_back_and_its_connection_freed(seeded: PostgresStore) -> None:
    started = asyncio.Event()

    async def work() -> None:
        async with seeded.transaction(DEFAULT_TENANT) as transaction:
            await transaction.insert([make_row(RoundRow)])
            started.set()
            await asyncio.sleep(60)

    for _ in range(6):
        started.clear()
        task = asyncio.create_task(work())
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert await _rounds(seeded) == 0


async def test_a_query_is_cancelled_with_its_task(seeded: PostgresStore) -> None:
    async def hang() -> None:
        async with Scope(seeded.engine, tenant=DEFAULT_TENANT) as connection:
            await connection.exec_driver_sql("SELECT pg_sleep(30)")

    for _ in range(5):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(hang(), 0.1)
    assert await _rounds(seeded) == 0


async def test_a_transaction_frozen_inside_loses_its_locks(seeded: PostgresStore) -> None:
    async with Scope(seeded.engine, tenant=DEFAULT_TENANT) as connection:
        limits = await connection.exec_driver_sql(
            "SELECT current_setting('idle_in_transaction_session_timeout'), current_setting('lock_timeout')"
        )
        assert tuple(limits.one()) == ("5s", "10s")


async def test_a_fault_of_ours_stays_what_it_is(seeded: PostgresStore) -> None:
    with pytest.raises(ProgrammingError):
        async with Scope(seeded.engine, tenant=DEFAULT_TENANT) as connection:
            await connection.exec_driver_sql("SELECT nonsense syntax error here FROM")


async def test_no_server_is_unavailable() -> None:
    store = PostgresStore.open("postgresql://nobody@127.0.0.1:1/none")
    with pytest.raises(StoreUnavailable):
        await _rounds(store)
    await store.close()
