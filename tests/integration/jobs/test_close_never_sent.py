"""A worker killed or frozen between storing a close and sending it: the position is covered again, nothing is sent."""

import signal
from datetime import timedelta
from functools import partial
from pathlib import Path

import psycopg
import pytest

from config_files import write_config
from database_fixtures import Database as ScratchDatabase
from ended_worker import ended
from job_handlers import eventually
from live_desk import LIVELY, LiveDesk

pytestmark = [pytest.mark.database, pytest.mark.processes, pytest.mark.slow]

_PATIENCE_S = 120
_ONE = LIVELY[: LIVELY.index("  - {<<: *first, id: t2")].replace("decision_interval: 1s", "decision_interval: 3s")
_QUIET = "monitoring: {update_interval: 1s}\n"
_ALONE = _ONE + _QUIET
_SHARED = _ONE + "  - {<<: *first, id: t2, executor: {type: baseline, style: breakout}}\n" + _QUIET
_CLOSE = "SELECT order_id, state FROM orders WHERE purpose = 'reduce' ORDER BY created_at LIMIT 1"
_AT_VENUE = "SELECT count(*) FROM paper_orders WHERE client_order_id = %s"
_PENDING = "SELECT count(*) FROM orders WHERE purpose = 'reduce' AND state = 'pending'"
_HELD = "SELECT count(*) FROM positions WHERE trader_id IN ('t1', 't2')"
_BARE = """
SELECT count(*) FROM positions p WHERE trader_id IN ('t1', 't2') AND NOT dust AND abs(quantity) > coalesce((
    SELECT sum(o.quantity - o.filled) FROM orders o JOIN paper_orders v ON v.client_order_id = o.order_id
    WHERE o.purpose = 'stop' AND o.state = 'accepted' AND v.status = 'open' AND o.symbol = p.symbol
    AND o.shares->0->>'trader_id' = p.trader_id), 0)
"""
_TOLD = "SELECT count(*) FROM incidents WHERE code IN ('NAKED_POSITION', 'STOP_FAILED')"
_TOKEN = "SELECT fencing_token FROM accounts"


class Scene:
    """One desk on a database."""

    def __init__(self, folder: Path, database: ScratchDatabase, text: str) -> None:
        self.config = write_config(folder, text)
        self.dsn, self._admin = database.dsn, database.admin_dsn

    def query(self, statement: str, *parameters: str) -> tuple[object, ...]:
        """Return the first row of a query."""
        with psycopg.connect(self._admin) as connection:
            return connection.execute(statement.encode(), parameters).fetchone() or ()

    def count(self, statement: str, *parameters: str) -> int:
        """Return the number that a query counts."""
        return int(str(self.query(statement, *parameters)[0]))

    async def is_covered(self, since: int) -> bool:
        """Tell whether another worker has been at it, the close is settled and every position has its stop."""
        return self.count(_TOKEN) > since + 1 and not self.count(_PENDING) and not self.count(_BARE)

    async def has_worked(self, since: int) -> bool:
        """Tell whether the account has had a few jobs since a token."""
        return self.count(_TOKEN) > since + 4


@pytest.mark.parametrize("text", [_ALONE, _SHARED], ids=["alone", "shared"])
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "frozen"])
async def test_a_close_that_was_stored_and_never_sent_leaves_no_position_without_a_stop(
    database: ScratchDatabase, tmp_path: Path, how: signal.Signals, text: str
) -> None:
    scene = Scene(tmp_path, database, text)
    async with ended(scene.config, scene.dsn, "persisted", "close", how) as process:
        order_id, state = scene.query(_CLOSE)
        assert (state, scene.count(_AT_VENUE, str(order_id))) == ("pending", 0)
        assert scene.count(_HELD)
        token = scene.count(_TOKEN)
        async with LiveDesk.of(scene.config, scene.dsn).trading():
            await eventually(partial(scene.is_covered, token), patience_s=_PATIENCE_S)
            assert scene.query("SELECT state FROM orders WHERE order_id = %s", str(order_id)) == ("absent",)
            assert scene.count(_TOLD) == 0, "the grace counts from the takeover"
            if how is signal.SIGSTOP:
                process.send_signal(signal.SIGCONT)
                await eventually(partial(scene.has_worked, scene.count(_TOKEN)), patience_s=_PATIENCE_S)
    assert scene.count(_AT_VENUE, str(order_id)) == 0, "sent after all"
    books = await LiveDesk.of(scene.config, scene.dsn).settled(after=timedelta(seconds=90))
    books.assert_sound()
