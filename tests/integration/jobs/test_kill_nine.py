"""A worker killed between persist, send and outcome: no second order, no lost fill, books that equal the venue's."""

from datetime import timedelta
from functools import partial
from pathlib import Path

import psycopg
import pytest

from config_files import write_config
from database_fixtures import Database as ScratchDatabase
from ended_worker import killed
from job_handlers import eventually
from live_desk import LIVELY, LiveDesk, restless
from manager.state.records import OrderState

pytestmark = [pytest.mark.database, pytest.mark.processes, pytest.mark.slow]

_ONE_TRADER = LIVELY[: LIVELY.index("  - {<<: *first, id: t2")]
_ABSENCE = timedelta(seconds=90)
_PATIENCE_S = 60
_OF_PURPOSE = "SELECT order_id, state FROM orders WHERE purpose = %s ORDER BY created_at LIMIT 1"
_AT_VENUE = "SELECT count(*) FROM paper_orders WHERE client_order_id = %s"
_TOKEN = "SELECT fencing_token FROM accounts"


class Scene:
    """One desk of one trader on a database."""

    def __init__(self, folder: Path, database: ScratchDatabase) -> None:
        self.config = write_config(folder, _ONE_TRADER)
        self.dsn = database.dsn
        self._admin = database.admin_dsn

    def query(self, statement: str, *parameters: str) -> tuple[object, ...]:
        """Return the first row of a query."""
        with psycopg.connect(self._admin) as connection:
            return connection.execute(statement.encode(), parameters).fetchone() or ()

    async def worked(self, since: object) -> bool:
        """Tell whether the account has had several jobs since a fencing token."""
        (token,) = self.query(_TOKEN)
        return int(str(token)) >= int(str(since)) + 4

    async def resolved(self, order_id: str) -> bool:
        """Tell whether the desk knows how an order ended."""
        return self.query(
            "SELECT state IN ('filled', 'accepted', 'canceled') FROM orders WHERE order_id = %s", order_id
        ) == (True,)


@pytest.mark.parametrize("purpose", ["entry", "stop"])
@pytest.mark.parametrize("place", ["persisted", "taken", "answered"])
async def test_a_killed_worker_neither_repeats_nor_loses_an_order(
    database: ScratchDatabase, tmp_path: Path, place: str, purpose: str
) -> None:
    scene = Scene(tmp_path, database)
    await killed(scene.config, scene.dsn, place, purpose)
    order_id, state = scene.query(_OF_PURPOSE, purpose)
    at_venue = 0 if place == "persisted" else 1
    assert (state, scene.query(_AT_VENUE, str(order_id))) == ("pending", (at_venue,))

    (token,) = scene.query(_TOKEN)
    desk = LiveDesk.of(scene.config, scene.dsn)
    async with desk.trading(restless):
        await eventually(partial(scene.worked, token))
        if place != "persisted":
            await eventually(partial(scene.resolved, str(order_id)))

    assert scene.query(_AT_VENUE, str(order_id)) == (at_venue,), "sent a second time, or for the first"
    books = await desk.settled(after=_ABSENCE)
    books.assert_sound()
    found = next(order for order in books.orders if order.order_id == order_id)
    assert (found.state is OrderState.ABSENT) == (place == "persisted")
    assert OrderState.UNKNOWN not in {order.state for order in books.orders}
