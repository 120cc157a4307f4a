"""A worker beside which the database is upgraded trades no more, says why, and leaves its jobs to the new version."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from database_fixtures import Database
from job_handlers import eventually
from live_desk import LiveDesk, restless
from manager.state.errors import SchemaMoved
from manager.state.postgres.roles import OWNER
from manager.state.tables import REVISION

pytestmark = [pytest.mark.database, pytest.mark.slow]
LATER = "9999"
_TRADED = "SELECT (SELECT count(*) FROM orders), (SELECT count(*) FROM paper_orders), (SELECT count(*) FROM decisions)"


def _upgrade_by_hand(database: Database, revision: str) -> None:
    with psycopg.connect(database.owner_dsn) as connection:
        connection.execute(f"SET ROLE {OWNER}".encode())
        connection.execute("UPDATE alembic_version SET version_num = %s", (revision,))


def _count(database: Database, statement: str) -> tuple[int, ...]:
    with psycopg.connect(database.admin_dsn) as connection:
        return connection.execute(statement.encode()).fetchone() or ()


@pytest.fixture
def moved(database: Database) -> Iterator[Database]:
    yield database
    _upgrade_by_hand(database, REVISION)


async def test_a_worker_of_the_old_version_stops_trading(
    moved: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    desk = LiveDesk.at(tmp_path, moved.dsn)
    counts: list[tuple[int, ...]] = []

    async def it_trades() -> bool:
        return _count(moved, "SELECT count(*) FROM fills") >= (6,)

    async def it_has_ended() -> bool:
        return _count(moved, "SELECT count(*) FROM procrastinate_workers") == (0,)

    async def it_is_upgraded() -> None:
        async with desk.trading(restless):
            await eventually(it_trades)
            _upgrade_by_hand(moved, LATER)
            counts.append(_count(moved, _TRADED))
            await eventually(it_has_ended)
            await asyncio.sleep(1)

    with pytest.raises(SchemaMoved, match=f"{LATER}.* built for {REVISION}: restart this host with the version"):
        await it_is_upgraded()
    told = capsys.readouterr()
    assert "schema_moved" in told.out + told.err  # where a test before this one has set the logs up, they go to stderr
    orders, at_venue, decisions = counts[0]
    now_orders, now_at_venue, now_decisions = _count(moved, _TRADED)
    assert now_orders <= orders + 1
    assert now_at_venue <= at_venue + 1
    assert now_decisions <= decisions + 8

    _upgrade_by_hand(moved, REVISION)
    async with desk.trading(restless):

        async def it_trades_again() -> bool:
            return _count(moved, "SELECT count(*) FROM orders") > (now_orders,)

        await eventually(it_trades_again)
    (await desk.settled()).assert_sound()
