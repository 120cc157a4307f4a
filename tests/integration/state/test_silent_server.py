"""A server that falls silent: no wait is without an end, and the dead connections are thrown away."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import psycopg
import pytest

from database_fixtures import Database, DatabaseServer
from job_handlers import RecordingHandlers, eventually, round_of
from manager.jobs.errors import QueueUnavailable
from manager.jobs.heartbeat import is_worker_alive
from manager.jobs.queue import QueueRunner
from manager.jobs.worker import QueueWorker, WorkerSettings
from manager.state.errors import CommitUnknown, DatabaseAway
from manager.state.postgres import limits, upgrade
from manager.state.postgres.limits import BoundedConnection, BoundedSyncConnection, bounded
from manager.state.postgres.roles import queue_dsn
from manager.state.postgres.store import PostgresStore
from manager.state.records import DEFAULT_TENANT, RoundRow
from silent_proxy import SilentProxy, silent_proxy
from state_rows import make_account, make_row

pytestmark = pytest.mark.database


@pytest.fixture
async def proxy(
    database: Database, database_server: DatabaseServer, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[SilentProxy]:
    if database_server.external:
        pytest.skip("the proxy needs the embedded server's unix socket")
    monkeypatch.setattr(BoundedConnection, "answer_s", 1.0)
    monkeypatch.setattr(BoundedSyncConnection, "answer_s", 1.0)
    monkeypatch.setattr(limits, "PROMPT_S", 1.0)
    async with silent_proxy(database.dsn) as proxy:
        yield proxy


@pytest.fixture
async def store(proxy: SilentProxy, database: Database) -> AsyncIterator[PostgresStore]:
    store = PostgresStore.open(proxy.dsn(database.dsn), pool_size=3)
    async with store.service() as service:
        await service.ensure_tenant(DEFAULT_TENANT)
    async with store.transaction(DEFAULT_TENANT) as transaction:
        await transaction.insert([make_account()])
    yield store
    await store.close()


async def _rounds(store: PostgresStore) -> int:
    async with store.transaction(DEFAULT_TENANT) as transaction:
        return len(await transaction.find(RoundRow, {}))


async def test_every_transaction_of_a_silent_server_ends_and_the_next_ones_work(
    proxy: SilentProxy, store: PostgresStore
) -> None:
    await asyncio.gather(*(_rounds(store) for _ in range(3)))
    proxy.silence()
    ended = await asyncio.gather(*(_rounds(store) for _ in range(3)), return_exceptions=True)
    assert [type(one) for one in ended] == [DatabaseAway] * 3
    assert "the server said nothing for 1 s" in str(ended[0])
    proxy.speak()
    assert await asyncio.gather(*(_rounds(store) for _ in range(3))) == [0, 0, 0]


async def test_a_commit_that_is_not_answered_may_have_been_made(proxy: SilentProxy, store: PostgresStore) -> None:
    with pytest.raises(CommitUnknown):  # noqa: PT012 - the block ends the transaction
        async with store.transaction(DEFAULT_TENANT) as transaction:
            await transaction.insert([make_row(RoundRow)])
            proxy.silence()
    proxy.speak(lose=False)

    async def is_there() -> bool:
        return await _rounds(store) == 1

    await eventually(is_there)


async def test_a_cancelled_wait_on_a_silent_server_ends(proxy: SilentProxy, store: PostgresStore) -> None:
    proxy.silence()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(_rounds(store), 0.2)
    proxy.speak()
    assert await _rounds(store) == 0


async def test_a_worker_goes_on_when_its_server_speaks_again(proxy: SilentProxy, database: Database) -> None:
    handlers, stop = RecordingHandlers(), asyncio.Event()

    async def has_run(count: int) -> bool:
        try:
            await runner.defer(round_of())
        except QueueUnavailable:
            return False
        return len(handlers.ran) >= count

    async def refuses() -> bool:
        try:
            await runner.defer(round_of())
        except QueueUnavailable:
            return True
        return False

    settings = WorkerSettings(heartbeat_s=0.1, rescue_every_s=0.1)
    async with QueueRunner(proxy.dsn(queue_dsn(database.dsn))) as runner, asyncio.TaskGroup() as group:
        worker = group.create_task(QueueWorker(runner, handlers, settings).run(stop))
        for _ in range(2):
            await eventually(lambda: has_run(len(handlers.ran) + 1))
            proxy.silence()
            await eventually(refuses)
            proxy.speak()
            await eventually(lambda: has_run(len(handlers.ran) + 1))
        assert not worker.done()
        stop.set()


async def test_who_listens_only_is_not_cut_off(proxy: SilentProxy, database: Database) -> None:
    dsn = bounded(proxy.dsn(database.dsn))
    async with await BoundedConnection.connect(dsn, autocommit=True) as listener:
        await listener.execute("LISTEN word")
        async with aclosing(listener.notifies()) as words:
            heard = asyncio.create_task(anext(words))
            await asyncio.sleep(2.5 * listener.answer_s)
            async with await psycopg.AsyncConnection.connect(database.dsn, autocommit=True) as speaker:
                await speaker.execute("NOTIFY word, 'said'")
            assert (await heard).payload == "said"


async def test_an_upgrade_and_a_look_at_the_workers_end_too(proxy: SilentProxy, database: Database) -> None:
    dsn = proxy.dsn(database.owner_dsn)
    locked = await psycopg.AsyncConnection.connect(database.owner_dsn, autocommit=True)
    await locked.execute("SELECT pg_advisory_lock(%s)", (upgrade._LOCK,))
    waiting = asyncio.create_task(asyncio.to_thread(upgrade.upgrade, dsn))
    await asyncio.sleep(0.5)
    proxy.silence()
    with pytest.raises(DatabaseAway, match="said nothing"):
        await waiting
    await locked.close()
    with pytest.raises(psycopg.OperationalError):
        await is_worker_alive(f"{dsn} connect_timeout=2")


def test_the_desk_is_back_within_30_s_of_a_server_that_speaks_again() -> None:
    longest_start_pause_s = 10
    assert limits.ANSWER_S > limits.STATEMENT_S > limits.LOCK_S
    assert limits.ANSWER_S + limits.PROMPT_S < 30
    assert limits.CONNECT_S + longest_start_pause_s < 30


def test_a_dsn_gets_the_limits_that_it_lacks() -> None:
    given = bounded("postgresql://u:p%40@h:1/d?connect_timeout=3&keepalives_count=9")
    assert psycopg.conninfo.conninfo_to_dict(given) == {
        "user": "u",
        "password": "p@",
        "host": "h",
        "port": "1",
        "dbname": "d",
        "connect_timeout": "3",
        "keepalives_count": "9",
        "keepalives_idle": "10",
        "keepalives_interval": "5",
        "tcp_user_timeout": "20000",
    }
    assert bounded(given) == given
