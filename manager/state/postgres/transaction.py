"""One transaction in a tenant on PostgreSQL."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg
from pydantic import TypeAdapter

from manager.state import records
from manager.state.acts import ActRow, FlattenRow
from manager.state.checks import check_delete, check_fields, check_fixed, check_rewrite, check_row, check_spec
from manager.state.errors import InvalidRow, SchemaMoved, StateError
from manager.state.keys import KEYS, RANK, Row
from manager.state.kinds import SwitchScope
from manager.state.postgres.codec import Codec
from manager.state.postgres.reads import (
    DESK_KINDS,
    SWITCHES,
    Command,
    SearchShape,
    events_command,
    find_command,
    search_command,
    shape_of,
    shapes_of,
)
from manager.state.postgres.translation import translated
from manager.state.spending import SpendingRow
from manager.state.store import AccountRows, Conclusion, EventPlace, Fence, Search, TraderRows, fence_lost
from manager.state.switches import Switch, Switched, Switches, of_trader
from traders.spec import TraderId

if TYPE_CHECKING:
    from manager.state.postgres.statements import Statements

R = TypeVar("R")
_SWITCH: TypeAdapter[Switch] = TypeAdapter(Switch)
Desks = dict[tuple[records.TenantId, records.AccountId], dict[type[Any], tuple[str, Sequence[Any]]]]


class PostgresTransaction:
    """Read and write rows of one tenant; rows of one type travel in one statement, parents first.

    `statements` gives those that need SQLAlchemy: who only searches never asks for them.
    """

    __slots__ = ("_codecs", "_connection", "_desks", "_given", "_tenant", "_wrote", "failure")

    def __init__(
        self,
        connection: psycopg.AsyncConnection[Any],
        tenant: records.TenantId,
        *,
        codecs: Mapping[type[Any], Codec],
        statements: "Callable[[], Statements]",
        desks: Desks,
    ) -> None:
        self._connection = connection
        self._tenant = tenant
        self._codecs = codecs
        self._given = statements
        self._desks = desks
        self._wrote = False
        self.failure: StateError | None = None

    @property
    def _statements(self) -> "Statements":
        return self._given()

    async def check_fence(self, fence: Fence) -> None:
        """Lock the account's row to the end of the transaction; raise FenceLost if its token has moved on.

        Raises SchemaMoved if the database has.
        """
        found = await self._row(self._statements.fence, {"tenant": self._tenant, "account": fence.account_id})
        if found is None or found[0] != fence.token:
            raise fence_lost(fence, *(found[:2] if found else (None, "")))
        self._check_revision(found[2])

    async def insert(self, rows: Sequence[Row]) -> None:
        """Insert rows; raise DuplicateRow if a key exists, InvalidRow for a value or parent that must not be."""
        for kind, batch in self._grouped(rows):
            text = self._dump(kind, batch)
            await self._execute(self._statements.tables[kind].insert, {"rows": text})

    async def upsert(self, rows: Sequence[Row]) -> None:
        """Insert rows or replace those with the same key; what KEPT names stays as it is stored."""
        for kind, batch in self._grouped(rows):
            self._guard(check_rewrite, kind)
            names = KEYS[kind]
            latest = {tuple(getattr(row, name) for name in names): row for row in batch}
            text = self._dump(kind, tuple(latest.values()))
            await self._execute(self._statements.tables[kind].upsert, {"rows": text})

    async def patch(self, kind: type[R], key: tuple[Any, ...], /, **values: Any) -> None:
        """Change only these fields of one row; raise KeyError if there is none."""
        [changed], names = self._patches(kind, [key], values)
        parameters = {"rows": json.dumps(changed), "tenant": self._tenant}
        if (await self._execute(self._statements.patch(kind, names), parameters)).rowcount == 0:
            raise KeyError(f"{kind.__name__} {key!r} is unknown in tenant {self._tenant!r}")

    async def patch_each(self, kind: type[R], keys: Sequence[tuple[Any, ...]], /, **values: Any) -> None:
        """Give all these rows the same values in these fields; raise KeyError if one is absent."""
        changes, names = self._patches(kind, list(dict.fromkeys(keys)), values)
        if not changes:
            return
        parameters = {"rows": json.dumps(changes), "tenant": self._tenant}
        if (await self._execute(self._statements.patch(kind, names, each=True), parameters)).rowcount < len(changes):
            raise KeyError(f"one {kind.__name__} of {keys!r} is unknown in tenant {self._tenant!r}")

    def _patches(
        self, kind: type[Any], keys: Sequence[tuple[Any, ...]], values: Mapping[str, Any]
    ) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
        """Return the changed fields of each row beside its key, and the names of those that change."""
        self._wrote |= kind is not ActRow
        self._guard(check_rewrite, kind)
        self._guard(check_fields, kind, tuple(values))
        self._guard(check_fixed, kind, tuple(values))
        if any(name in KEYS[kind] or name == "tenant_id" for name in values):
            self._fail(InvalidRow(f"the key of {kind.__name__} cannot be patched; got {sorted(values)}"))
        if kind is records.TraderRow and "spec" in values:
            self._guard(check_spec, values["spec"])
        codec = self._codecs[kind]
        changed = self._guard(codec.dump_fields, values)
        keyed = [self._guard(codec.dump_fields, dict(zip(KEYS[kind], key, strict=True))) for key in keys]
        return [changed | one for one in keyed], tuple(changed)

    async def delete(self, kind: type[R], keys: Sequence[tuple[Any, ...]]) -> int:
        """Delete rows by key; a trader takes its schedule along, a parent with children is refused."""
        self._wrote = True
        self._guard(check_delete, kind)
        self._guard(check_fields, kind, ())
        codec = self._codecs[kind]
        names = KEYS[kind]
        given = [self._guard(codec.dump_fields, dict(zip(names, key, strict=True))) for key in keys]
        if not given:
            return 0
        statement = self._statements.tables[kind].delete
        return (await self._execute(statement, {"rows": json.dumps(given), "tenant": self._tenant})).rowcount

    async def add(self, rows: Sequence[SpendingRow]) -> Sequence[SpendingRow]:
        """Add the numbers of `rows` to what is stored under the same keys, and return the sums in key order."""
        sums: dict[tuple[Any, ...], SpendingRow] = {}
        for row in rows:
            self._guard(check_row, row, self._tenant)
            key = (row.day, row.scope, row.name)
            sums[key] = sums[key].plus(row) if key in sums else row
        if not sums:
            return ()
        text = self._dump(SpendingRow, [sums[key] for key in sorted(sums)])
        stored = await (await self._execute(self._statements.add, {"rows": text})).fetchall()
        found = self._codecs[SpendingRow].load(f"[{','.join(row[0] for row in stored)}]")
        return sorted(found, key=lambda row: (row.day, row.scope, row.name))

    async def conclude(self, end: Conclusion) -> bool:
        """Insert a decision, end what its trader wanted before, and free the trader; False for one that came late."""
        decision = end.decision
        self._guard(check_row, decision, self._tenant)
        parameters = {
            "rows": self._dump(records.DecisionRow, [decision]),
            "tenant": self._tenant,
            "account": decision.account_id,
            "trader": decision.trader_id,
            "due": decision.due_at,
            "at": end.at,
            "told": end.told_at,
            "symbols": sorted({intent.decision.symbol for intent in end.intents}),
            "kept": int(end.failed is not False),
            "failed": int(bool(end.failed)),
            "bad_kept": int(end.bad_reply is not False),
            "bad": int(bool(end.bad_reply)),
        }
        in_time = (await self._execute(self._statements.conclude, parameters)).rowcount == 1
        await self.insert([*end.prompts, *(end.intents if in_time else ())])
        return in_time

    async def get(self, kind: type[R], *key: Any) -> R | None:
        """Return the row with this key, or None."""
        found = await self.find(kind, dict(zip(KEYS[kind], key, strict=True)), limit=1)
        return found[0] if found else None

    async def find(
        self, kind: type[R], where: Mapping[str, Any], *, newest_first: str = "", limit: int | None = 1000
    ) -> Sequence[R]:
        """Return rows whose fields equal `where` (a tuple value means any of), in key order or by `newest_first`."""
        self._guard(check_fields, kind, (*where, *((newest_first,) if newest_first else ())))
        shape, parameters = shape_of(where)
        row = await self._row(
            find_command(SearchShape(kind, shape, newest_first)), parameters | {"tenant": self._tenant, "limit": limit}
        )
        return self._codecs[kind].load(row[0])

    async def search(self, *searches: Search) -> Sequence[Sequence[Any]]:
        """Return the rows of each search, all from one statement and so one snapshot."""
        for one in searches:
            self._guard(check_fields, one.kind, one.fields)
        shapes, parameters = shapes_of(searches)
        row = await self._row(search_command(shapes), parameters | {"tenant": self._tenant})
        return [self._codecs[one.kind].load(text) for one, text in zip(searches, row, strict=True)]

    async def events(
        self, after: EventPlace, where: Mapping[str, Any], limit: int
    ) -> Sequence[tuple[EventPlace, records.EventRow]]:
        """Return events after a place, in order, as far as all transactions have ended that may add to them."""
        self._guard(check_fields, records.EventRow, tuple(where))
        shape, values = shape_of(where)
        parameters = {**values, **after._asdict(), "tenant": self._tenant, "limit": limit}
        found = await (await self._execute(events_command(shape), parameters)).fetchall()
        rows = self._codecs[records.EventRow].load(f"[{','.join(text for _, _, text in found)}]")
        return [(EventPlace(xact, seq), row) for (xact, seq, _), row in zip(found, rows, strict=True)]

    async def acquire(self, account_id: records.AccountId, holder: str) -> int:
        """Take the account: raise its fencing token by one and return it."""
        parameters = {"tenant": self._tenant, "account": account_id, "by": holder}
        row = await self._row(self._statements.acquire, parameters)
        if row is None:
            raise KeyError(f"account {account_id!r} is unknown in tenant {self._tenant!r}")
        self._check_revision(row[1])
        token: int = row[0]
        return token

    async def account_rows(self, account_id: records.AccountId) -> AccountRows:
        """Return what a round reads; what nobody has written since this process read it last is not read again.

        A row that this transaction wrote, and may write again, bears the same stamp before and after: the account's own
        is always read, and nothing is kept where anything else but an act's row was written before.
        """
        key = (self._tenant, account_id)
        seen = {} if self._wrote else self._desks.get(key, {})
        stamps = {f"seen_{n}": seen[kind][0] if kind in seen else None for n, kind in enumerate(DESK_KINDS)}
        parameters = {"tenant": self._tenant, "account": account_id, **stamps}
        *row, switched, paper_revision = await self._row(self._statements.desk, parameters)
        found: dict[type[Any], tuple[str, Sequence[Any]]] = {
            kind: seen[kind] if text is None else (stamp, self._codecs[kind].load(text))
            for kind, stamp, text in zip(DESK_KINDS, row[::2], row[1::2], strict=True)
        }
        if not self._wrote:
            self._desks[key] = {kind: rows for kind, rows in found.items() if kind is not records.AccountRow}
        if not found[records.AccountRow][1]:
            raise KeyError(f"account {account_id!r} is unknown in tenant {self._tenant!r}")
        return AccountRows(
            account=found[records.AccountRow][1][0],
            traders=found[records.TraderRow][1],
            schedules=found[records.ScheduleRow][1],
            books=found[records.BookRow][1],
            positions=found[records.PositionRow][1],
            intents=found[records.IntentRow][1],
            orders=found[records.OrderRow][1],
            incidents=found[records.IncidentRow][1],
            flattens=found[FlattenRow][1],
            switches=_switches(switched),
            paper_revision=paper_revision,
        )

    async def trader(self, trader_id: TraderId) -> TraderRows:
        """Return what a decision reads."""
        *row, state, reason, switched, revision = await self._row(
            self._statements.trader, {"tenant": self._tenant, "trader": trader_id}
        )
        self._check_revision(revision)
        kinds = (records.TraderRow, records.ScheduleRow, records.BookRow, records.PositionRow, records.VerdictRow)
        found = [self._codecs[kind].load(text) for kind, text in zip(kinds, row, strict=True)]
        traders, schedules, books, positions, verdicts = found
        if not traders or not schedules:
            raise KeyError(f"trader {trader_id!r} is unknown in tenant {self._tenant!r}")
        account_id = traders[0].account_id
        account = Switched(scope=SwitchScope.ACCOUNT, name=account_id, state=records.TradingState(state), reason=reason)
        empty = records.BookRow(tenant_id=self._tenant, account_id=account_id, trader_id=trader_id)
        return TraderRows(
            trader=traders[0],
            schedule=schedules[0],
            book=books[0] if books else empty,
            positions=positions,
            verdicts=sorted(verdicts, key=lambda verdict: (verdict.at, verdict.round_id, verdict.n)),
            switched=_switches(switched).over(self._tenant, account, of_trader(traders[0])),
        )

    async def known_trades(self, account_id: records.AccountId, trade_ids: Sequence[str]) -> set[str]:
        """Return which of the venue trade ids are booked."""
        if not trade_ids:
            return set()
        parameters = {"tenant": self._tenant, "account": account_id, "trades": list(trade_ids)}
        return {row[0] for row in await (await self._execute(self._statements.known_trades, parameters)).fetchall()}

    async def known_payments(self, account_id: records.AccountId, payments: Sequence[str]) -> set[str]:
        """Return which of the venue's funding payments are booked."""
        if not payments:
            return set()
        parameters = {"tenant": self._tenant, "account": account_id, "payments": list(payments)}
        return {row[0] for row in await (await self._execute(self._statements.known_payments, parameters)).fetchall()}

    async def switches(self) -> Switches:
        """Return how far the service and the tenant may trade."""
        return _switches((await self._row(SWITCHES, {}))[0])

    async def switch(self, to: Switch) -> None:
        """Say how far the tenant may trade; raise KeyError if it is unknown."""
        self._wrote = True
        if (await self._execute(self._statements.switch, {**asdict(to), "tenant": self._tenant})).rowcount == 0:
            raise KeyError(f"tenant {self._tenant!r} is unknown")

    def _grouped(self, rows: Sequence[Row]) -> Sequence[tuple[type[Any], list[Any]]]:
        groups: dict[type[Any], list[Any]] = {}
        for row in rows:
            self._guard(check_row, row, self._tenant)
            groups.setdefault(type(row), []).append(row)
        return sorted(groups.items(), key=lambda group: RANK[group[0]])

    def _dump(self, kind: type[Any], rows: Sequence[Any]) -> str:
        self._wrote |= kind is not ActRow
        dumped: str = self._guard(self._codecs[kind].dump, rows)
        return dumped

    def _guard(self, check: Any, *arguments: Any) -> Any:
        if self.failure is not None:
            raise self.failure
        try:
            return check(*arguments)
        except StateError as error:
            self.failure = error
            raise

    def _check_revision(self, found: str | None) -> None:
        from manager.state.tables import REVISION  # with the tables, which who only looks does not need

        if found != REVISION:
            self._fail(SchemaMoved(found, REVISION))

    def _fail(self, error: StateError) -> None:
        self.failure = error
        raise error

    async def _row(self, command: Command, parameters: Mapping[str, Any]) -> Any:
        return await (await self._execute(command, parameters)).fetchone()

    async def _execute(self, command: Command, parameters: Mapping[str, Any]) -> psycopg.AsyncCursor[Any]:
        if self.failure is not None:
            raise self.failure
        try:
            with translated():
                cursor = psycopg.AsyncRawCursor(self._connection)
                return await cursor.execute(command.sql, command.values(parameters))
        except StateError as error:
            self.failure = error
            raise


def _switches(text: str) -> Switches:
    given: dict[str, dict[str, Any] | None] = json.loads(text)
    return Switches(**{name: _SWITCH.validate_python(one) for name, one in given.items() if one is not None})
