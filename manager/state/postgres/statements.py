"""The statements of a transaction, built once; a batch of rows or keys is one JSON parameter."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, DOMAIN, Insert, insert
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.sql.dml import ReturningInsert, ReturningUpdate
from sqlalchemy.sql.selectable import FromClause, ScalarSelect

from executor.contract import OPENS
from manager.state import records
from manager.state.acts import FlattenRow
from manager.state.funding import FundingRow
from manager.state.keys import KEPT, KEYS, SORTED_BY
from manager.state.memory.rows import LIVE
from manager.state.postgres.reads import DESK_KINDS, SWITCHES_TEXT, Command
from manager.state.spending import ADDED, SpendingRow
from manager.state.store import VERDICTS_SHOWN
from manager.state.tables import PAPER_TABLES, TABLES, TENANTS
from manager.state.tables.types import INSTANT

TENANT = sa.bindparam("tenant", type_=sa.Text())
_ACCOUNT = sa.bindparam("account", type_=sa.Text())
_TRADER = sa.bindparam("trader", type_=sa.Text())
_DIALECT: sa.Dialect = PGDialect_psycopg(paramstyle="numeric_dollar")  # type: ignore[no-untyped-call]  # untyped there
_REVISION: sa.ColumnElement[str] = sa.literal_column("(SELECT version_num FROM alembic_version)")
PENDING = sa.text("status = 'pending'")
_OPENING = sa.text(f"decision->>'action' IN ({', '.join(repr(action.value) for action in sorted(OPENS))})")
OPEN_FLATTENS = sa.text("state = 'open'")
LIVE_ORDERS = sa.text(f"state IN ({', '.join(repr(state.value) for state in LIVE)})")


@dataclass(frozen=True, slots=True, kw_only=True)
class TableStatements:
    """Hold the statements on one table; parameters: `rows` (JSON) and `tenant`."""

    insert: Insert
    upsert: Insert
    delete: sa.Delete


def as_json(table: sa.Table, columns: Sequence[str] = ()) -> sa.ColumnElement[Any]:
    """Return a row of `table` as a JSON object, money as strings."""
    pairs: list[sa.ColumnElement[Any]] = []
    for col in table.columns:
        if not columns or col.name in columns:
            pairs += [
                sa.literal_column(f"'{col.name}'"),
                sa.cast(col, sa.Text()) if isinstance(col.type, DOMAIN) else col,
            ]
    return sa.func.json_build_object(*pairs)


def recordset(table: sa.Table, *, one: bool = False) -> FromClause:
    """Return the JSON parameter `rows` as records of the table's row type."""
    populate = sa.func.json_populate_record if one else sa.func.json_populate_recordset
    rows = populate(sa.literal_column(f"NULL::{table.name}"), sa.cast(sa.bindparam("rows", type_=sa.Text()), sa.JSON()))
    return rows.table_valued(*(sa.column(col.name, col.type) for col in table.columns), name="given")


def writes(table: sa.Table, *, kept: Sequence[str] = (), generated: Sequence[str] = ()) -> TableStatements:
    """Build the writing statements; `kept` columns survive an upsert, `generated` ones come from the database."""
    given = recordset(table)
    names = [col.name for col in table.columns if col.name not in generated]
    keys = [col.name for col in table.primary_key]
    plain = insert(table).from_select(names, sa.select(*(given.c[name] for name in names)))
    changed = {name: plain.excluded[name] for name in names if name not in keys and name not in kept}
    matches = [table.c[name] == given.c[name] for name in keys if name != "tenant_id"]
    return TableStatements(
        insert=plain,
        upsert=plain.on_conflict_do_update(index_elements=keys, set_=changed),
        delete=sa.delete(table).where(table.c.tenant_id == TENANT, *matches),
    )


def patch(kind: type[Any], names: Sequence[str], *, each: bool = False) -> sa.Update:
    """Build an update of some columns of one row, or of `each` of several, from the JSON parameter `rows`."""
    table = TABLES[kind]
    given = recordset(table, one=not each)
    matches = (table.c[name] == given.c[name] for name in KEYS[kind])
    return sa.update(table).values({name: given.c[name] for name in names}).where(table.c.tenant_id == TENANT, *matches)


def listed(kind: type[Any], *where: Any, order: Sequence[Any] = (), limit: Any = None) -> ScalarSelect[Any]:
    """Return matching rows as the text of one JSON array, in their own order unless `order` says otherwise."""
    table = TABLES[kind]
    ordering = (*order, *(table.c[name] for name in SORTED_BY[kind]))
    return array(
        sa.select(as_json(table).label("row")).where(table.c.tenant_id == TENANT, *where).order_by(*ordering), limit
    )


def array(rows: sa.Select[Any], limit: Any = None) -> ScalarSelect[Any]:
    """Return the column `row` of some rows as the text of one JSON array."""
    inner = rows.limit(limit).subquery("found")
    return sa.select(
        sa.cast(sa.func.coalesce(sa.func.json_agg(inner.c.row), sa.literal_column("'[]'::json")), sa.Text())
    ).scalar_subquery()


def stamp(table: sa.Table, *where: Any) -> ScalarSelect[Any]:
    """Return a text that differs whenever matching rows were written: how many, and the sum of who wrote them.

    A transaction's number is higher than all before it, so that no exchange of rows leaves both as they were.
    """
    writer: sa.ColumnElement[int] = sa.literal_column(f"{table.name}.xmin::text::bigint")
    text = sa.func.concat(sa.func.count(), sa.literal_column("'/'"), sa.func.sum(writer), type_=sa.Text())
    return sa.select(text).where(table.c.tenant_id == TENANT, *where).scalar_subquery()


def desk() -> sa.Select[Any]:
    """Build the read of a round: one statement and so one snapshot; parameters: `tenant`, `account`, `seen_0` and on.

    For each of DESK_KINDS come its stamp and its rows, which are null where the stamp is the one `seen`; at the end the
    revision of the paper venue of that name.
    """
    columns: list[Any] = []
    narrowed: dict[type[Any], tuple[Any, ...]] = {
        records.IntentRow: (PENDING,),
        records.OrderRow: (LIVE_ORDERS,),
        records.IncidentRow: (TABLES[records.IncidentRow].c.resolved_at.is_(None),),
        FlattenRow: (OPEN_FLATTENS,),
    }
    where: dict[type[Any], Any] = {
        kind: (TABLES[kind].c.account_id == _ACCOUNT, *narrowed.get(kind, ())) for kind in DESK_KINDS
    }
    stamps = sa.select(
        *(stamp(TABLES[kind], *where[kind]).label(f"stamp_{n}") for n, kind in enumerate(DESK_KINDS))
    ).cte("stamps")
    for number, kind in enumerate(DESK_KINDS):
        now, seen = stamps.c[f"stamp_{number}"], sa.bindparam(f"seen_{number}", type_=sa.Text())
        columns += [now, sa.case((now == seen, sa.null()), else_=listed(kind, *where[kind]))]
    paper = PAPER_TABLES[0]
    revision = sa.select(paper.c.revision).where(paper.c.tenant_id == TENANT, paper.c.account == _ACCOUNT)
    return sa.select(*columns, sa.literal_column(SWITCHES_TEXT), revision.scalar_subquery()).select_from(stamps)


def switch() -> sa.Update:
    """Build the change of how far a tenant may trade; parameters: `tenant`, `state`, `reason`, `actor`, `at`."""
    given = {name: sa.bindparam(name, type_=sa.Text()) for name in ("state", "reason", "actor")}
    return (
        sa.update(TENANTS)
        .where(TENANTS.c.tenant_id == TENANT)
        .values(
            trading_state=given["state"],
            state_reason=given["reason"],
            switched_by=given["actor"],
            switched_at=sa.bindparam("at", type_=INSTANT),
        )
    )


def trader() -> sa.Select[Any]:
    """Build the read of a decision: one statement and so one snapshot; parameters: `tenant`, `trader`.

    The last columns are of the account how far it may trade and why, the switches above it, the database's revision.
    """
    accounts = TABLES[records.AccountRow]
    traders, schedules, books = TABLES[records.TraderRow], TABLES[records.ScheduleRow], TABLES[records.BookRow]
    positions, verdicts = TABLES[records.PositionRow], TABLES[records.VerdictRow]
    account = (
        sa.select(traders.c.account_id)
        .where(traders.c.tenant_id == TENANT, traders.c.trader_id == _TRADER)
        .scalar_subquery()
    )
    state, reason = (
        sa.select(column).where(accounts.c.tenant_id == TENANT, accounts.c.account_id == account).scalar_subquery()
        for column in (accounts.c.trading_state, accounts.c.state_reason)
    )
    since = (
        sa.select(sa.func.coalesce(schedules.c.told_at, sa.literal_column("'-infinity'::timestamptz")))
        .where(schedules.c.tenant_id == TENANT, schedules.c.trader_id == _TRADER)
        .scalar_subquery()
    )
    return sa.select(
        listed(records.TraderRow, traders.c.trader_id == _TRADER),
        listed(records.ScheduleRow, schedules.c.trader_id == _TRADER),
        listed(records.BookRow, books.c.account_id == account, books.c.trader_id == _TRADER),
        listed(records.PositionRow, positions.c.account_id == account, positions.c.trader_id == _TRADER),
        listed(
            records.VerdictRow,
            verdicts.c.trader_id == _TRADER,
            verdicts.c.at >= since,
            order=(verdicts.c.at.desc(), verdicts.c.round_id.desc(), verdicts.c.n.desc()),
            limit=VERDICTS_SHOWN,
        ),
        state,
        reason,
        sa.literal_column(SWITCHES_TEXT),
        _REVISION,
    )


def known_trades() -> sa.Select[Any]:
    """Build the search for booked trades; parameters: `tenant`, `account`, `trades`."""
    fills = TABLES[records.FillRow]
    return sa.select(fills.c.trade_id).where(
        fills.c.tenant_id == TENANT,
        fills.c.account_id == _ACCOUNT,
        fills.c.trade_id == sa.func.any(sa.bindparam("trades", type_=ARRAY(sa.Text()))),
    )


def known_payments() -> sa.Select[Any]:
    """Build the search for booked funding payments; parameters: `tenant`, `account`, `payments`."""
    funding = TABLES[FundingRow]
    return sa.select(funding.c.payment).where(
        funding.c.tenant_id == TENANT,
        funding.c.account_id == _ACCOUNT,
        funding.c.payment == sa.func.any(sa.bindparam("payments", type_=ARRAY(sa.Text()))),
    )


def acquire() -> ReturningUpdate[Any]:
    """Build the raise of a fencing token, which also tells the revision; parameters: `tenant`, `account`, `by`."""
    accounts = TABLES[records.AccountRow]
    return (
        sa.update(accounts)
        .where(accounts.c.tenant_id == TENANT, accounts.c.account_id == _ACCOUNT)
        .values(fencing_token=accounts.c.fencing_token + 1, holder=sa.bindparam("by", type_=sa.Text()))
        .returning(accounts.c.fencing_token, _REVISION)
    )


def fence() -> sa.Select[Any]:
    """Build the locking read of a fencing token and the revision; it blocks `acquire` until the transaction ends."""
    accounts = TABLES[records.AccountRow]
    return (
        sa.select(accounts.c.fencing_token, accounts.c.holder, _REVISION)
        .where(accounts.c.tenant_id == TENANT, accounts.c.account_id == _ACCOUNT)
        .with_for_update(key_share=True)
    )


def conclude() -> sa.Update:
    """Build the end of a decision: it is stored and, while its claim stands, older intents end and its trader is free.

    Parameters: `rows` (JSON, the decision), `tenant`, `account`, `trader`, `due`, `at`, `symbols`, and for the count of
    failures `kept` (0 or 1) and `failed` (what is added), so `bad_kept` and `bad` for that of bad replies; `told` may
    be null, which leaves it. The claim is locked first, so that it cannot move on.
    """
    intents, schedules = TABLES[records.IntentRow], TABLES[records.ScheduleRow]
    wanted = sa.bindparam("symbols", type_=ARRAY(sa.Text()))
    stored = writes(TABLES[records.DecisionRow]).insert.cte("stored")
    claimed = (
        sa.select(schedules.c.trader_id)
        .where(schedules.c.tenant_id == TENANT, schedules.c.trader_id == _TRADER)
        .where(schedules.c.in_flight_due_at == sa.bindparam("due", type_=INSTANT))
        .with_for_update()
        .cte("claimed")
    )
    ended = (
        sa.update(intents)
        .where(intents.c.tenant_id == TENANT, intents.c.account_id == _ACCOUNT, intents.c.trader_id == _TRADER, PENDING)
        .where(sa.or_(intents.c.decision["symbol"].astext == sa.func.any(wanted), _OPENING))
        .where(intents.c.trader_id.in_(sa.select(claimed.c.trader_id)), intents.c.asked_by == sa.literal_column("''"))
        .values(status=records.IntentStatus.SUPERSEDED.value)
        .returning(intents.c.intent_id)
        .cte("ended")
    )
    names = ("kept", "failed", "bad_kept", "bad")
    kept, failed, bad_kept, bad = (sa.bindparam(name, type_=sa.BigInteger()) for name in names)
    return (
        sa.update(schedules)
        .where(schedules.c.tenant_id == TENANT, schedules.c.trader_id == _TRADER)
        .where(schedules.c.trader_id.in_(sa.select(claimed.c.trader_id)))
        .where(sa.select(sa.func.count()).select_from(ended).scalar_subquery() >= 0)
        .values(
            in_flight_due_at=sa.null(),
            claimed_at=sa.null(),
            last_decision_at=sa.bindparam("at", type_=INSTANT),
            failed_decisions=schedules.c.failed_decisions * kept + failed,
            bad_replies=schedules.c.bad_replies * bad_kept + bad,
            told_at=sa.func.coalesce(sa.bindparam("told", type_=INSTANT), schedules.c.told_at),
        )
        .add_cte(stored)
    )


def add() -> ReturningInsert[Any]:
    """Build the addition of rows to the sums of their keys, locked in the order given; parameter: `rows` (JSON)."""
    table = TABLES[SpendingRow]
    given = recordset(table)
    names = [col.name for col in table.columns]
    plain = insert(table).from_select(names, sa.select(*(given.c[name] for name in names)))
    return plain.on_conflict_do_update(
        index_elements=[col.name for col in table.primary_key],
        set_={name: table.c[name] + plain.excluded[name] for name in ADDED},
    ).returning(sa.cast(as_json(table), sa.Text()))


def compiled(statement: sa.ClauseElement) -> Command:
    """Compile a statement, once for all its executions."""
    made = statement.compile(dialect=_DIALECT)
    fixed = {name: value for name, value in made.params.items() if value is not None}
    return Command(sql=str(made).encode(), names=tuple(getattr(made, "positiontup", None) or ()), fixed=fixed)


@dataclass(frozen=True, slots=True, kw_only=True)
class TableCommands:
    """Hold the writes of one table; parameters: `rows` (JSON) and `tenant`."""

    insert: Command
    upsert: Command
    delete: Command

    @staticmethod
    def of(table: TableStatements) -> "TableCommands":
        """Compile the statements on a table."""
        return TableCommands(
            insert=compiled(table.insert), upsert=compiled(table.upsert), delete=compiled(table.delete)
        )


class _Tables(dict[type[Any], TableCommands]):
    """Hold the writes of each table, compiled when the table is first written to."""

    def __missing__(self, kind: type[Any]) -> TableCommands:
        generated = ("xact", "seq") if kind is records.EventRow else ()
        made = self[kind] = TableCommands.of(writes(TABLES[kind], kept=KEPT.get(kind, ()), generated=generated))
        return made


class Statements:
    """Hold the statements of a store, each compiled when it is first used; most commands use a few."""

    desk = cached_property(lambda _: compiled(desk()))
    trader = cached_property(lambda _: compiled(trader()))
    known_trades = cached_property(lambda _: compiled(known_trades()))
    known_payments = cached_property(lambda _: compiled(known_payments()))
    acquire = cached_property(lambda _: compiled(acquire()))
    fence = cached_property(lambda _: compiled(fence()))
    add = cached_property(lambda _: compiled(add()))
    conclude = cached_property(lambda _: compiled(conclude()))
    switch = cached_property(lambda _: compiled(switch()))

    def __init__(self) -> None:
        self.tables = _Tables()
        self._patches: dict[tuple[type[Any], tuple[str, ...], bool], Command] = {}

    def patch(self, kind: type[Any], names: tuple[str, ...], *, each: bool = False) -> Command:
        """Return the update of some columns, of one row or of each of several."""
        command = self._patches.get((kind, names, each))
        if command is None:
            command = self._patches[kind, names, each] = compiled(patch(kind, names, each=each))
        return command
