"""Orders that rest or have no outcome under the speaking ids of earlier versions go on after an upgrade."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pytest

from database_fixtures import Database
from exchanges.paper.account import OTHER_LEG
from faulty_desk import BTC, FaultyDesk, Scene, adjust, close, open_long
from manager.state.postgres.paper_ledger import PostgresPaperLedger
from manager.state.postgres.store import PostgresStore
from manager.state.postgres.upgrade import migrate, upgrade
from manager.state.records import DEFAULT_TENANT, IntentRow, OrderPurpose, OrderRow, OrderState

pytestmark = pytest.mark.database

SCENE = Scene(traders=("a", "b", "c", "d"))
STOPS = {"a": 90, "b": 80, "c": 70, "d": 85}
_OLD_NAMES = """
CREATE TEMP TABLE names AS SELECT order_id AS now, CASE WHEN bracket IS NULL
    THEN round_id || '.' || lpad(n::text, 3, '0') || '.' || purpose || '.' || symbol
    ELSE bracket || '~' || replace(purpose, 'take_profit', 'target') || '.' || round_id || '.' || lpad(n::text, 3, '0')
END AS old FROM orders;
UPDATE orders SET order_id = old FROM names WHERE order_id = now;
UPDATE fills SET order_id = old FROM names WHERE order_id = now;
UPDATE fill_parts SET order_id = old FROM names WHERE order_id = now;
UPDATE paper_orders SET client_order_id = old FROM names WHERE client_order_id = now;
UPDATE paper_fills SET client_order_id = old FROM names WHERE client_order_id = now;
"""
_UNSETTLED = """
UPDATE orders SET state = 'unknown', venue_order_id = '' WHERE order_id LIKE 'b.%~stop.%';
UPDATE orders SET state = 'pending', venue_order_id = '' WHERE order_id LIKE 'c.%~stop.%';
UPDATE orders SET state = 'pending', venue_order_id = '' WHERE order_id LIKE 'd.%~stop.%';
DELETE FROM paper_orders WHERE client_order_id LIKE 'c.%~stop.%';
UPDATE orders SET reason = 'fired' WHERE order_id LIKE 'a.%~target.%';
"""
_FORCED = (
    "SELECT relname FROM pg_class WHERE relname IN ('orders', 'intents', 'paper_orders') AND relforcerowsecurity "
    "ORDER BY 1"
)


def _run(database: Database, statements: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(database.admin_dsn) as connection:
        cursor = connection.execute(statements.encode())
        return cursor.fetchall() if cursor.description else []


@asynccontextmanager
async def _store(database: Database) -> AsyncIterator[PostgresStore]:
    store = PostgresStore.open(database.dsn, pool_size=4)
    yield store
    await store.close()


async def _written_before(database: Database) -> FaultyDesk:
    """Leave four longs with their stops, one with a take-profit, as the version of revision 0014 wrote them."""
    upgrade(database.owner_dsn)
    async with _store(database) as store:
        desk = await FaultyDesk.of(SCENE, store=store, ledger=PostgresPaperLedger(store.engine, DEFAULT_TENANT))
        for trader_id, stop in STOPS.items():
            await desk.go(trader_id, open_long(stop=stop, take_profit=120 if trader_id == "a" else None))
            desk.pass_time()
        await desk.go("b", adjust(stop=STOPS["b"]), adjust(stop=STOPS["b"]))
        assert await desk.guarded() == list(STOPS)
    _run(database, _OLD_NAMES)
    migrate(database.owner_dsn, "0014")
    _run(database, _UNSETTLED)
    assert ("a.BTC/USDT:USDT~target.0000000002.003",) in _run(database, "SELECT client_order_id FROM paper_orders")
    return desk


@pytest.fixture
async def desk(empty_database: Database) -> AsyncIterator[FaultyDesk]:
    """Give the desk of earlier times, upgraded, in a new process."""
    before = await _written_before(empty_database)
    upgrade(empty_database.owner_dsn)
    async with _store(empty_database) as store:
        after = FaultyDesk(SCENE, store, PostgresPaperLedger(store.engine, DEFAULT_TENANT))
        after.clock.set(before.clock.now())
        yield after


async def _stops_of(desk: FaultyDesk, trader_id: str, *states: OrderState) -> list[OrderRow]:
    orders = await desk.find(OrderRow, bracket=f"{trader_id}.{BTC}", purpose=OrderPurpose.STOP)
    return [order for order in orders if order.state in states]


async def test_columns_say_what_the_ids_said_and_the_tables_stay_closed(
    desk: FaultyDesk, empty_database: Database
) -> None:
    orders = await desk.find(OrderRow)
    assert [order.n for order in orders if order.round_id == "0000000002"] == [1, 2, 3]
    for order in orders:
        protects = order.purpose in (OrderPurpose.STOP, OrderPurpose.TAKE_PROFIT)
        assert order.bracket == (f"{order.shares[0].trader_id}.{BTC}" if protects else None)
        assert order.fired is (order.purpose is OrderPurpose.TAKE_PROFIT)
    assert {intent.n for intent in await desk.find(IntentRow)} == {0, 1}
    at_venue = _run(empty_database, "SELECT client_order_id, bracket FROM paper_orders ORDER BY 1")
    assert [bracket for name, bracket in at_venue if "~" not in name] == [None] * 4
    assert [bracket for name, bracket in at_venue if "~" in name] == [f"{t}.{BTC}" for t in ("a", "a", "b", "d")]
    assert _run(empty_database, _FORCED) == [("intents",), ("orders",), ("paper_orders",)]


async def test_orders_without_an_outcome_are_looked_up_under_their_old_ids(desk: FaultyDesk) -> None:
    await desk.maintain(1)
    for trader_id in "bd":
        [stop] = await _stops_of(desk, trader_id, *OrderState)
        assert (stop.state, "~stop." in stop.order_id) == (OrderState.ACCEPTED, True)
    await desk.maintain(60)
    [absent], [new] = await _stops_of(desk, "c", OrderState.ABSENT), await _stops_of(desk, "c", OrderState.ACCEPTED)
    assert "~stop." in absent.order_id
    assert len(new.order_id) == 32
    assert await desk.guarded() == list(STOPS)
    assert await desk.wrongs() == []


async def test_an_old_stop_that_fills_cancels_its_old_take_profit_and_no_stop_of_others(desk: FaultyDesk) -> None:
    await desk.maintain(60)
    desk.price(89)
    await desk.maintain(3)
    assert await desk.held("a") == 0
    stop, taking = await desk.find(OrderRow, bracket=f"a.{BTC}")
    assert (stop.state, taking.state, taking.reason) == (OrderState.FILLED, OrderState.CANCELED, OTHER_LEG)
    assert await desk.guarded() == ["b", "c", "d"]
    assert await desk.wrongs() == []


async def test_an_old_stop_that_fills_cancels_a_take_profit_placed_since(desk: FaultyDesk) -> None:
    await desk.maintain(60)
    await desk.go("d", adjust(take_profit=130))
    [taking] = await desk.find(OrderRow, bracket=f"d.{BTC}", purpose=OrderPurpose.TAKE_PROFIT)
    assert (taking.state, len(taking.order_id)) == (OrderState.ACCEPTED, 32)
    desk.price(84)
    await desk.maintain(3)
    assert await desk.held("d") == 0
    [taking] = await desk.find(OrderRow, bracket=f"d.{BTC}", purpose=OrderPurpose.TAKE_PROFIT)
    assert (taking.state, taking.reason) == (OrderState.CANCELED, OTHER_LEG)
    assert await desk.guarded() == ["b", "c"]
    assert await desk.wrongs() == []


async def test_a_close_cancels_the_old_stop_of_its_position(desk: FaultyDesk) -> None:
    await desk.go("b", close())
    await desk.maintain(1)
    assert await desk.held("b") == 0
    [stop] = await _stops_of(desk, "b", *OrderState)
    assert (stop.state, "~stop." in stop.order_id) == (OrderState.CANCELED, True)
    await desk.maintain(60)
    assert await desk.guarded() == ["a", "c", "d"]
    assert await desk.wrongs() == []
