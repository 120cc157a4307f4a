"""PostgreSQL itself keeps tenants apart, whatever SQL is run in a tenant's role; the hot queries use their indexes."""

from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from psycopg import sql
from sqlalchemy.ext.asyncio import AsyncConnection

from database_fixtures import Database
from exchanges.clock import EPOCH
from manager.state.acts import ActRow, FlattenRow
from manager.state.journal import EquityRow
from manager.state.keys import FIXED, KEYS, Row
from manager.state.postgres import reads, statements
from manager.state.postgres.connection import Scope
from manager.state.postgres.roles import APP, OWNER, QUEUE, SERVICE, queue_dsn
from manager.state.postgres.store import PostgresStore
from manager.state.records import (
    DEFAULT_TENANT,
    AccountRow,
    DecisionId,
    DecisionRow,
    EventRow,
    FillPartRow,
    FillRow,
    IntentId,
    IntentRow,
    IntentStatus,
    OrderId,
    OrderRow,
    OrderState,
    RoundId,
    RoundRow,
    TenantId,
    VerdictRow,
)
from manager.state.store import Search
from manager.state.tables import TABLES
from state_rows import AT, make_account, make_row, make_trader

pytestmark = pytest.mark.database

OTHER = TenantId("other")
SECOND = timedelta(seconds=1)
_TENANT_TABLES = """
SELECT c.relname, c.relrowsecurity, c.relforcerowsecurity FROM pg_class c
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped
WHERE c.relkind IN ('r', 'p') AND c.relnamespace = 'public'::regnamespace
"""
_KEYS = """
SELECT k.conrelid::regclass::text, k.conname, a.attname FROM pg_constraint k
JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = k.conkey[1]
WHERE k.contype IN ('p', 'u', 'f') AND k.connamespace = 'public'::regnamespace AND EXISTS (
    SELECT 1 FROM pg_attribute t WHERE t.attrelid = k.conrelid AND t.attname = 'tenant_id')
"""


@pytest.fixture
def connection(database: Database) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database.dsn, autocommit=True) as opened:
        yield opened


def _become(connection: psycopg.Connection[Any], role: str, tenant: str = "") -> None:
    connection.execute(
        sql.SQL("SET ROLE {}; SET app.tenant = {}").format(sql.Identifier(role), sql.Literal(tenant)), prepare=False
    )


async def _fill(store: PostgresStore) -> None:
    async with store.service() as service:
        await service.ensure_tenant(OTHER)
        await service.key_mark("of the service key")
    for tenant in (DEFAULT_TENANT, OTHER):
        async with store.transaction(tenant) as transaction:
            await transaction.insert([make_account(tenant_id=tenant), make_row(RoundRow, tenant_id=tenant)])


def test_every_tenant_table_forces_its_policies(connection: psycopg.Connection[Any]) -> None:
    found = {row[0]: row[1:] for row in connection.execute(_TENANT_TABLES)}
    assert len(found) >= 22
    assert {name for name, flags in found.items() if flags != (True, True)} == set()
    policies: dict[str, list[tuple[Any, ...]]] = {}
    for name, *policy in connection.execute("SELECT tablename, roles::text[], cmd, qual, with_check FROM pg_policies"):
        policies.setdefault(name, []).append(tuple(policy))
    for name in found:
        (app,) = [policy for policy in policies[name] if policy[0] == [APP]]
        assert app[1] == "ALL"
        assert all("app.tenant" in (clause or "") for clause in app[2:]), name
        assert any(policy[0] == [SERVICE] for policy in policies[name])


def test_every_key_starts_with_the_tenant(connection: psycopg.Connection[Any]) -> None:
    keys = connection.execute(_KEYS).fetchall()
    assert len(keys) > 40
    assert [key for key in keys if key[2] != "tenant_id"] == []


def test_no_role_bypasses_or_logs_in_and_views_are_invokers(connection: psycopg.Connection[Any]) -> None:
    roles = connection.execute(
        "SELECT rolname, rolsuper, rolbypassrls, rolcanlogin FROM pg_roles WHERE rolname IN (%s, %s, %s, %s)",
        (OWNER, APP, SERVICE, QUEUE),
    ).fetchall()
    assert sorted(roles) == sorted((name, False, False, False) for name in (OWNER, APP, SERVICE, QUEUE))
    views = connection.execute(
        "SELECT relname FROM pg_class WHERE relkind = 'v' AND relnamespace = 'public'::regnamespace "
        "AND NOT coalesce('security_invoker=true' = ANY(reloptions), false)"
    ).fetchall()
    assert views == []


async def test_plain_sql_in_a_tenant_sees_and_changes_only_its_rows(
    postgres_store: PostgresStore, connection: psycopg.Connection[Any]
) -> None:
    await _fill(postgres_store)
    _become(connection, APP, OTHER)
    for table in ("accounts", "rounds", "tenants"):
        rows = connection.execute(f"SELECT tenant_id FROM {table}".encode()).fetchall()
        assert rows == [("other",)], table
    assert connection.execute("UPDATE accounts SET venue = 'stolen'").rowcount == 1
    assert connection.execute("DELETE FROM rounds").rowcount == 1
    for refused in (
        "UPDATE accounts SET tenant_id = 'default' WHERE account_id = 'acco'",
        "INSERT INTO rounds SELECT 'default', 'acco', 'x', now(), 1, '{}'",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
            connection.execute(refused.encode())
    async with postgres_store.transaction(DEFAULT_TENANT) as transaction:
        account = await transaction.get(AccountRow, "acco")
        assert account is not None
        assert account.venue == "paper"
        assert len(await transaction.find(RoundRow, {})) == 1


async def test_without_a_tenant_there_is_nothing(
    postgres_store: PostgresStore, database: Database, connection: psycopg.Connection[Any]
) -> None:
    await _fill(postgres_store)
    connection.execute(f"SET ROLE {APP}".encode())
    assert connection.execute("SELECT count(*) FROM accounts").fetchone() == (0,)
    assert connection.execute("SELECT count(trading_state) FROM service").fetchone() == (0,)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("INSERT INTO rounds SELECT 'default', 'acco', 'x', now(), 1, '{}'")
    with psycopg.connect(database.owner_dsn) as owner:
        owner.execute(f"SET ROLE {OWNER}".encode())
        assert owner.execute("SELECT count(*) FROM accounts").fetchone() == (0,)


async def test_role_and_tenant_do_not_leak_to_the_next_user_of_a_connection(postgres_store: PostgresStore) -> None:
    async with Scope(postgres_store.engine, tenant=DEFAULT_TENANT) as connection:
        inside = (await connection.exec_driver_sql("SELECT current_user, current_setting('app.tenant', true)")).one()
    assert tuple(inside) == (APP, DEFAULT_TENANT)
    async with postgres_store.engine.connect() as connection:
        after = await connection.exec_driver_sql(
            "SELECT current_user = session_user, coalesce(current_setting('app.tenant', true), '')"
        )
        assert tuple(after.one()) == (True, "")


@pytest.mark.parametrize(
    ("role", "refused"),
    [
        (APP, "UPDATE ledger SET amount = 0"),
        (APP, "DELETE FROM fills"),
        (APP, "DELETE FROM orders"),
        (APP, "DELETE FROM decisions"),
        (APP, "DELETE FROM verdicts"),
        (APP, "UPDATE decisions SET outcome = 'decided'"),
        (APP, "UPDATE verdicts SET code = ''"),
        (APP, "UPDATE orders SET quantity = 0"),
        (APP, "UPDATE orders SET state = 'filled', shares = '[]'"),
        (APP, "INSERT INTO tenants VALUES ('new')"),
        (APP, "UPDATE tenants SET tenant_id = 'mine'"),
        (APP, "DELETE FROM api_keys"),
        (APP, "UPDATE api_keys SET role = 'service_admin'"),
        (APP, "UPDATE api_keys SET expires_at = NULL"),
        (APP, "DELETE FROM tenant_keys"),
        (APP, "UPDATE service SET trading_state = 'active'"),
        (APP, "SELECT key_mark FROM service"),
        (SERVICE, "UPDATE api_keys SET revoked_at = NULL"),
        (SERVICE, "INSERT INTO api_keys SELECT * FROM api_keys"),
        (SERVICE, "SELECT wrapped FROM tenant_keys"),
        (SERVICE, "SELECT 1 FROM secrets"),
        (SERVICE, "UPDATE tenants SET trading_state = 'active'"),
        (
            SERVICE,
            "INSERT INTO events SELECT 'default', 'x', now(), '', 'key_issued', '', '', '', '', ''",
        ),
        (QUEUE, "SELECT 1 FROM api_keys"),
        (APP, "SELECT 1 FROM procrastinate_jobs"),
        (APP, "CREATE TABLE mine (id int)"),
        (SERVICE, "UPDATE accounts SET equity = 0"),
        (SERVICE, "DELETE FROM schedules"),
        (SERVICE, "INSERT INTO rounds SELECT 'default', 'acco', 'x', now(), 1, '{}'"),
        (QUEUE, "SELECT 1 FROM accounts"),
        (QUEUE, "DELETE FROM procrastinate_applied"),
    ],
)
def test_each_role_may_do_its_own_and_no_more(connection: psycopg.Connection[Any], role: str, refused: str) -> None:
    _become(connection, role, DEFAULT_TENANT)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(refused.encode())


_COLUMNS = """
SELECT attname, has_column_privilege('propdesk_app', attrelid, attnum, 'UPDATE') FROM pg_attribute
WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped
"""


@pytest.mark.parametrize("kind", list(FIXED), ids=lambda kind: kind.__name__)
def test_each_column_is_fixed_or_may_be_changed(connection: psycopg.Connection[Any], kind: type[Any]) -> None:
    fixed, table = {*FIXED[kind], *KEYS[kind], "tenant_id"}, TABLES[kind]
    assert {(name, changes) for name, changes in connection.execute(_COLUMNS, (table.name,))} == {
        (column.name, column.name not in fixed) for column in table.columns
    }


def test_what_was_done_under_a_key_and_a_flatten_are_fixed() -> None:
    assert {ActRow, FlattenRow} <= set(FIXED)
    changing = {kind: {item.name for item in fields(kind)} - {*FIXED[kind], *KEYS[kind], "tenant_id"} for kind in FIXED}
    assert changing[ActRow] == {"result"}
    assert changing[FlattenRow] == {"state", "ended_at", "remaining"}


def test_the_queue_may_use_its_tables(database: Database) -> None:
    with psycopg.connect(queue_dsn(database.dsn)) as connection:
        connection.execute("INSERT INTO procrastinate_jobs (queue_name, task_name) VALUES ('q', 't')")
        assert connection.execute("UPDATE procrastinate_jobs SET priority = 1").rowcount == 1
        assert connection.execute("SELECT count(*) FROM procrastinate_events").fetchone() == (1,)
        assert connection.execute("DELETE FROM procrastinate_jobs").rowcount == 1


def _load() -> list[Row]:
    rows: list[Row] = [make_account(f"a{n}") for n in range(20)]
    trader, schedule, book = make_trader("t")
    for n in range(400):
        given: dict[str, Any] = {"trader_id": f"t{n}", "account_id": f"a{n % 20}"}
        busy = AT if n % 40 == 0 else None
        due = replace(schedule, **given, next_due_at=AT + n * SECOND, in_flight_due_at=busy, claimed_at=AT)
        rows += [replace(trader, **given), due, replace(book, **given)]
    intent, order, fill, verdict = (make_row(IntentRow), make_row(OrderRow), make_row(FillRow), make_row(VerdictRow))
    decision, sample, part = make_row(DecisionRow), make_row(EquityRow), make_row(FillPartRow)
    for n in range(3000):
        account: dict[str, Any] = {"account_id": f"a{n % 20}"}
        mine: dict[str, Any] = {"trader_id": f"t{n % 400}"}
        at, rare = AT + n * SECOND, n % 500 == 0
        status = IntentStatus.PENDING if rare else IntentStatus.DONE
        state = OrderState.ACCEPTED if rare else OrderState.FILLED
        rows += [
            replace(
                intent, **account, **mine, intent_id=IntentId(f"i{n}"), decision_id=DecisionId(f"d{n}"), status=status
            ),
            replace(order, **account, order_id=OrderId(f"o{n}"), round_id=RoundId(f"r{n // 4}"), state=state),
            replace(fill, **account, trade_id=f"f{n}", order_id=OrderId(f"o{n}"), at=at),
            replace(verdict, **account, **mine, round_id=RoundId(f"r{n}"), at=at),
            replace(decision, **account, **mine, decision_id=DecisionId(f"d{n}"), decided_at=at),
            replace(sample, **account, **mine, at=at),
            replace(part, **account, **mine, trade_id=f"f{n}", at=at, opened_at=at, closed_at=at),
        ]
    return rows


@pytest.fixture
async def loaded(postgres_store: PostgresStore, database: Database) -> PostgresStore:
    """Give a store with enough rows that a plan matters."""
    async with postgres_store.transaction(DEFAULT_TENANT) as transaction:
        await transaction.insert(_load())
    with psycopg.connect(database.owner_dsn, autocommit=True) as owner:
        owner.execute(f"SET ROLE {OWNER}".encode())
        owner.execute("ANALYZE")
    return postgres_store


async def plan_of(connection: AsyncConnection, command: reads.Command, given: Mapping[str, Any]) -> str:
    """Return how the server would carry out a statement."""
    raw = await connection.get_raw_connection()
    driver: Any = raw.driver_connection
    cursor = await psycopg.AsyncRawCursor(driver).execute(b"EXPLAIN " + command.sql, command.values(given))
    return "\n".join(row[0] for row in await cursor.fetchall())


SEEN = {f"seen_{n}": None for n in range(len(reads.DESK_KINDS))}
HOT: tuple[tuple[Any, dict[str, Any], set[str]], ...] = (
    (statements.desk(), {}, {"traders_by_account", "schedules_by_account", "intents_pending", "orders_live"}),
    (statements.trader(), {}, {"traders_pkey", "schedules_pkey", "books_pkey", "verdicts_by_trader"}),
    (statements.known_trades(), {}, {"fills_pkey"}),
    (DecisionRow, {"trader_id": "t1"}, {"decisions_by_trader"}),
    (FillRow, {"account_id": "a1", "order_id": "o20"}, {"fills_by_order"}),
    (FillRow, {"account_id": "a1"}, {"fills_by_time"}),
    (FillPartRow, {"account_id": "a1", "trader_id": "t1"}, {"fill_parts_by_trader"}),
    (EquityRow, {"account_id": "a1", "trader_id": "t1"}, {"equity_pkey"}),
)
NEWEST = {DecisionRow: "decided_at", FillRow: "at", FillPartRow: "at", EquityRow: "at"}


async def test_hot_queries_use_their_indexes_as_the_app(loaded: PostgresStore) -> None:
    given = {"tenant": "default", "account": "a1", "trader": "t1", "trades": ["f20"], "limit": 10}
    async with Scope(loaded.engine, tenant=DEFAULT_TENANT) as connection:
        for asked, where, indexes in HOT:
            shape, parameters = reads.shape_of(where)
            is_kind = isinstance(asked, type)
            found = reads.SearchShape(asked, shape, NEWEST.get(asked, ""))
            command = reads.find_command(found) if is_kind else statements.compiled(asked)
            plan = await plan_of(connection, command, {**SEEN, **given, **parameters})
            assert {name for name in indexes if name not in plan} == set(), plan


EACH_TRADER, EACH_ACCOUNT = ("trader_id",), ("account_id",)
MOST = tuple(f"t{n}" for n in range(300))
SEARCHES: tuple[tuple[Search, str], ...] = (
    (Search(kind=DecisionRow, newest_first="decided_at", each=EACH_TRADER, limit=1), "decisions_by_trader"),
    (Search(kind=VerdictRow, newest_first="at", each=EACH_TRADER, limit=3), "verdicts_by_trader"),
    (
        Search(kind=VerdictRow, where={"trader_id": MOST}, newest_first="at", each=EACH_TRADER, limit=3),
        "verdicts_by_tr",
    ),
    (Search(kind=EquityRow, newest_first="at", each=(*EACH_ACCOUNT, *EACH_TRADER), limit=1), "equity_pkey"),
    (Search(kind=OrderRow, newest_first="created_at", each=EACH_ACCOUNT, limit=9, until=AT), "orders_by_time"),
    (Search(kind=FillPartRow, newest_first="closed_at", each=EACH_ACCOUNT, limit=9, since=EPOCH), "fill_parts_closing"),
    (Search(kind=FillPartRow, where={"trader_id": ("t1", "t2"), "opened_at": (AT,)}), "fill_parts_by_position"),
    (Search(kind=OrderRow, where={"order_id": "o7"}, each=EACH_ACCOUNT, limit=1), "orders_pkey"),
)


@pytest.mark.parametrize(("search", "index"), SEARCHES, ids=lambda given: getattr(given, "kind", type).__name__)
async def test_the_newest_of_each_owner_are_read_by_their_index_and_no_further(
    loaded: PostgresStore, search: Search, index: str
) -> None:
    shapes, parameters = reads.shapes_of([search])
    async with Scope(loaded.engine, tenant=DEFAULT_TENANT) as connection:
        plan = await plan_of(connection, reads.search_command(shapes), {**parameters, "tenant": "default"})
    assert index in plan, plan
    assert f"Seq Scan on {TABLES[search.kind].name}" not in plan, plan


async def test_events_are_read_on_from_a_place_by_their_index(postgres_store: PostgresStore) -> None:
    rows = [make_row(EventRow, event_id=f"{n}") for n in range(3000)]
    async with postgres_store.transaction(DEFAULT_TENANT) as transaction:
        await transaction.insert(rows)
    values = {"tenant": "default", "xact": 1, "seq": 1, "limit": 10}
    async with Scope(postgres_store.engine, tenant=DEFAULT_TENANT) as connection:
        plan = await plan_of(connection, reads.events_command(()), values)
    assert "using events_by_place" in plan, plan


async def test_the_scheduler_finds_the_due_by_their_index(loaded: PostgresStore) -> None:
    due = f"SELECT * FROM schedules WHERE next_due_at <= '{AT + 9 * SECOND}' AND in_flight_due_at IS NULL"
    waiting = "SELECT DISTINCT tenant_id, account_id FROM intents WHERE status = 'pending'"
    stale = f"SELECT * FROM schedules WHERE in_flight_due_at IS NOT NULL AND claimed_at < '{AT}'"
    async with Scope(loaded.engine, tenant=None) as connection:
        for query, index in ((due, "schedules_due"), (waiting, "intents_pending"), (stale, "schedules_in_flight")):
            plan = "\n".join((await connection.exec_driver_sql(f"EXPLAIN {query}")).scalars())
            assert index in plan, plan
