"""One transaction on the memory store."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from operator import attrgetter
from typing import Any, TypeVar

from executor.contract import OPENS, PASSIVE, Outcome
from manager.state import records
from manager.state.acts import FlattenRow
from manager.state.checks import check_delete, check_fields, check_fixed, check_patched, check_rewrite, check_row
from manager.state.errors import DuplicateRow, InvalidRow, StateError
from manager.state.funding import FundingRow
from manager.state.keys import KEPT, KEYS, PARENTS, RANK, TRADERS_IN, Row
from manager.state.memory.rows import Slot, Table, TenantRows
from manager.state.spending import SpendingRow
from manager.state.store import VERDICTS_SHOWN, AccountRows, Conclusion, EventPlace, Search, TraderRows
from manager.state.switches import Switch, Switches, of_account, of_trader
from traders.spec import TraderId

R = TypeVar("R")
_PARENT_KEYS = {kind: (parent, attrgetter(*names)) for kind, (parent, names) in PARENTS.items()}
_VERDICT_ORDER = attrgetter("at", "round_id", "n")


def _traders_of(row: Row) -> Sequence[str]:
    named = getattr(row, TRADERS_IN.get(type(row), "trader_id"))
    return (named,) if isinstance(named, str) else [getattr(one, "trader_id", one) for one in named]


def _within(at: datetime | None, since: datetime | None, until: datetime | None) -> bool:
    return at is not None and (since is None or at >= since) and (until is None or at <= until)


def _bare(key: tuple[Any, ...]) -> Any:
    return key[0] if len(key) == 1 else key


def _passive(row: records.DecisionRow) -> bool:
    """A reply is kept: what a model gives as its reasons to wait cannot be had again from rules."""
    return (
        not row.reply
        and row.outcome is Outcome.DECIDED
        and all(decision.action in PASSIVE for decision in row.decisions)
    )


@dataclass(slots=True, kw_only=True)
class Retention:
    """Count the decisions of each trader and, without contexts, remember the one passive decision that is kept."""

    keep_contexts: bool
    counts: dict[tuple[records.TenantId, str], int] = field(default_factory=dict)
    _passive: dict[tuple[records.TenantId, str], str] = field(default_factory=dict)
    _undo: list[tuple[tuple[records.TenantId, str], str | None]] = field(default_factory=list)

    def count(self, row: records.DecisionRow) -> str | None:
        """Count a decision, until a rollback; return the id of the passive one that it replaces, if any."""
        trader = (row.tenant_id, row.trader_id)
        held = self._passive.get(trader)
        self.counts[trader] = self.counts.get(trader, 0) + 1
        self._undo.append((trader, held))
        if self.keep_contexts or not _passive(row):
            return None
        self._passive[trader] = row.decision_id
        return held

    def commit(self) -> None:
        """Keep what was counted."""
        self._undo.clear()

    def rollback(self) -> None:
        """Take back what was counted since the last commit, the last first."""
        while self._undo:
            trader, held = self._undo.pop()
            self.counts[trader] -= 1
            if held is None:
                self._passive.pop(trader, None)
            else:
                self._passive[trader] = held


class MemoryTransaction:
    """Read and write rows of one tenant; the block that opened it commits or rolls back.

    After an error everything is rolled back, even if the block catches it: `failure` is raised at its end.
    """

    __slots__ = ("_known", "_retention", "_rows", "_service", "_tenant", "closed", "failure")

    def __init__(
        self, *, tenant: records.TenantId, rows: TenantRows, retention: Retention, service: Slot, known: bool
    ) -> None:
        self._tenant = tenant
        self._rows = rows
        self._retention = retention
        self._service = service
        self._known = known
        self.closed = False
        self.failure: StateError | None = None

    async def insert(self, rows: Sequence[Row]) -> None:
        """Insert rows; raise DuplicateRow if a key exists, InvalidRow for a value or parent that must not be."""
        self._writable()
        if len(rows) > 1:
            rows = sorted(rows, key=lambda row: RANK.get(type(row), 0))
        for row in rows:
            kept = self._kept(row) if type(row) is records.DecisionRow else row
            self._check(kept)
            table = self._rows.tables[type(kept)]
            key = table.key_of(kept)
            if key in table.rows:
                raise self._failed(DuplicateRow(f"{type(row).__name__} {key!r} of tenant {self._tenant!r} exists"))
            if type(kept) is records.DecisionRow:
                self._count(table, kept)
            self._rows.put(table, key, kept)

    async def upsert(self, rows: Sequence[Row]) -> None:
        """Insert rows or replace those with the same key; what KEPT names stays as it is stored."""
        self._writable()
        if len(rows) > 1:
            rows = sorted(rows, key=lambda row: RANK.get(type(row), 0))
        for row in rows:
            kind = type(row)
            self._check(row)
            self._guard(check_rewrite, kind)
            table = self._rows.tables[kind]
            key = table.key_of(row)
            if kind in KEPT and (held := table.rows.get(key)) is not None:
                row = replace(row, **{name: getattr(held, name) for name in KEPT[kind]})  # noqa: PLW2901 - the row to store
            self._rows.put(table, key, row)

    async def patch(self, kind: type[R], key: tuple[Any, ...], /, **values: Any) -> None:
        """Change only these fields of one row; raise KeyError if there is none."""
        self._writable()
        self._guard(check_rewrite, kind)
        self._guard(check_fields, kind, tuple(values))
        self._guard(check_fixed, kind, tuple(values))
        table = self._rows.tables[kind]
        if any(name in KEYS[kind] or name == "tenant_id" for name in values):
            raise self._failed(InvalidRow(f"the key of {kind.__name__} cannot be patched; got {sorted(values)}"))
        found = table.rows.get(_bare(key))
        if found is None:
            raise KeyError(f"{kind.__name__} {key!r} is unknown in tenant {self._tenant!r}")
        row = replace(found, **values)
        self._guard(check_patched, row, values)
        self._check_parent(row)
        self._rows.put(table, _bare(key), row)

    async def patch_each(self, kind: type[R], keys: Sequence[tuple[Any, ...]], /, **values: Any) -> None:
        """Give all these rows the same values in these fields; raise KeyError if one is absent."""
        for key in keys:
            await self.patch(kind, key, **values)

    async def delete(self, kind: type[R], keys: Sequence[tuple[Any, ...]]) -> int:
        """Delete rows by key; a trader takes its schedule along, a parent with children is refused."""
        self._writable()
        self._guard(check_delete, kind)
        self._guard(check_fields, kind, ())
        table, deleted = self._rows.tables[kind], 0
        for key in keys:
            if (row := table.rows.get(_bare(key))) is None:
                continue
            if kind is records.TraderRow:
                self._rows.put(self._rows.tables[records.ScheduleRow], _bare(key), None)
            elif kind in (records.AccountRow, records.BookRow):
                self._refuse_parent(row)
            self._rows.put(table, _bare(key), None)
            deleted += 1
        return deleted

    async def add(self, rows: Sequence[SpendingRow]) -> Sequence[SpendingRow]:
        """Add the numbers of `rows` to what is stored under the same keys, and return the sums in key order."""
        self._writable()
        table = self._rows.tables[SpendingRow]
        for row in rows:
            stored = table.rows.get(table.key_of(row))
            total = row if stored is None else stored.plus(row)
            self._check(total)
            self._rows.put(table, table.key_of(row), total)
        return [table.rows[key] for key in sorted({table.key_of(row) for row in rows})]

    async def conclude(self, end: Conclusion) -> bool:
        """Insert a decision, end what its trader wanted before, and free the trader; False for one that came late."""
        decision, symbols = end.decision, {intent.decision.symbol for intent in end.intents}
        trader_id = decision.trader_id
        schedule = await self.get(records.ScheduleRow, trader_id)
        if schedule is None or schedule.in_flight_due_at != decision.due_at:
            await self.insert([decision, *end.prompts])
            return False
        where = {"account_id": decision.account_id, "trader_id": trader_id, "status": records.IntentStatus.PENDING}
        before = await self.find(records.IntentRow, where | {"asked_by": ""})
        await self.insert([decision, *end.prompts, *end.intents])
        ended = [old for old in before if old.decision.symbol in symbols or old.decision.action in OPENS]
        if ended:
            await self.upsert([replace(old, status=records.IntentStatus.SUPERSEDED) for old in ended])
        failures = 0 if end.failed is False else schedule.failed_decisions + bool(end.failed)
        await self.patch(
            records.ScheduleRow,
            (trader_id,),
            in_flight_due_at=None,
            claimed_at=None,
            last_decision_at=end.at,
            failed_decisions=failures,
            bad_replies=0 if end.bad_reply is False else schedule.bad_replies + bool(end.bad_reply),
            told_at=end.told_at or schedule.told_at,
        )
        return True

    async def get(self, kind: type[R], *key: Any) -> R | None:
        """Return the row with this key, or None."""
        self._guard(check_fields, kind, ())
        found: R | None = self._rows.tables[kind].rows.get(key[0] if len(key) == 1 else key)
        return found

    async def find(
        self, kind: type[R], where: Mapping[str, Any], *, newest_first: str = "", limit: int | None = 1000
    ) -> Sequence[R]:
        """Return rows whose fields equal `where` (a tuple value means any of), in key order or by `newest_first`."""
        self._guard(check_fields, kind, (*where, *((newest_first,) if newest_first else ())))
        return self._rows.tables[kind].find(where, newest_first, limit)

    async def search(self, *searches: Search) -> Sequence[Sequence[Any]]:
        """Return the rows of each search."""
        for one in searches:
            self._guard(check_fields, one.kind, one.fields)
        return [self._searched(one) for one in searches]

    async def events(
        self, after: EventPlace, where: Mapping[str, Any], limit: int
    ) -> Sequence[tuple[EventPlace, records.EventRow]]:
        """Return events after a place, in order; transactions run one after the other, so none comes late."""
        self._guard(check_fields, records.EventRow, tuple(where))
        table = self._rows.tables[records.EventRow]
        places = {key: EventPlace(seq=n) for n, key in enumerate(table.rows, start=1)}
        found = [(places[table.key_of(row)], row) for row in table.find(where, "", None)]
        return [one for one in sorted(found, key=lambda one: one[0]) if one[0] > after][:limit]

    async def acquire(self, account_id: records.AccountId, holder: str) -> int:
        """Take the account: raise its fencing token by one and return it."""
        self._writable()
        account = self._account(account_id)
        taken = replace(account, fencing_token=account.fencing_token + 1, holder=holder)
        self._rows.put(self._rows.tables[records.AccountRow], account_id, taken)
        return taken.fencing_token

    async def account_rows(self, account_id: records.AccountId) -> AccountRows:
        """Return what a round reads."""
        tables = self._rows.tables
        return AccountRows(
            account=self._account(account_id),
            traders=tables[records.TraderRow].indices[0].bucket(account_id).ordered,
            schedules=tables[records.ScheduleRow].indices[0].bucket(account_id).ordered,
            books=tables[records.BookRow].indices[0].bucket(account_id).ordered,
            positions=tables[records.PositionRow].indices[0].bucket(account_id).ordered,
            intents=tables[records.IntentRow].indices[0].bucket(account_id).ordered,
            orders=tables[records.OrderRow].indices[0].bucket(account_id).ordered,
            incidents=tables[records.IncidentRow].indices[0].bucket(account_id).ordered,
            flattens=tables[FlattenRow].indices[0].bucket(account_id).ordered,
            switches=self._switches,
        )

    async def trader(self, trader_id: TraderId) -> TraderRows:
        """Return what a decision reads."""
        tables = self._rows.tables
        trader: records.TraderRow | None = tables[records.TraderRow].rows.get(trader_id)
        schedule: records.ScheduleRow | None = tables[records.ScheduleRow].rows.get(trader_id)
        if trader is None or schedule is None:
            raise KeyError(f"trader {trader_id!r} is unknown in tenant {self._tenant!r}")
        book = tables[records.BookRow].rows.get((trader.account_id, trader_id))
        return TraderRows(
            trader=trader,
            schedule=schedule,
            book=book or records.BookRow(tenant_id=self._tenant, account_id=trader.account_id, trader_id=trader_id),
            positions=tables[records.PositionRow].indices[1].bucket(trader_id).ordered,
            verdicts=self._verdicts(schedule),
            switched=self._switches.over(self._tenant, of_account(self._account(trader.account_id)), of_trader(trader)),
        )

    async def known_trades(self, account_id: records.AccountId, trade_ids: Sequence[str]) -> set[str]:
        """Return which of the venue trade ids are booked."""
        booked = self._rows.tables[records.FillRow].rows
        return {trade_id for trade_id in trade_ids if (account_id, trade_id) in booked}

    async def known_payments(self, account_id: records.AccountId, payments: Sequence[str]) -> set[str]:
        """Return which of the venue's funding payments are booked."""
        booked = self._rows.tables[FundingRow].rows
        return {payment for payment in payments if (account_id, payment) in booked}

    async def switches(self) -> Switches:
        """Return how far the service and the tenant may trade."""
        return self._switches

    async def switch(self, to: Switch) -> None:
        """Say how far the tenant may trade; raise KeyError if it is unknown."""
        self._writable()
        if not self._known:
            raise KeyError(f"tenant {self._tenant!r} is unknown")
        self._rows.put(self._rows.switch, (), to)

    @property
    def _switches(self) -> Switches:
        return Switches(service=self._service.value, tenant=self._rows.switch.value)

    def _searched(self, search: Search) -> list[Any]:
        if not search.each:
            return self._of(search, search.where)
        owners = self._rows.tables[records.TraderRow if "trader_id" in search.each else records.AccountRow]
        narrowed = {name: wanted for name, wanted in search.where.items() if name in search.each}
        return [
            row
            for owner in owners.find(narrowed, "", None)
            for row in self._of(search, {**search.where, **{name: getattr(owner, name) for name in search.each}})
        ]

    def _of(self, search: Search, where: Mapping[str, Any]) -> list[Any]:
        rows = self._rows.tables[search.kind].find(where, search.newest_first, None)
        if search.since is not None or search.until is not None:
            at = attrgetter(search.newest_first)
            rows = [row for row in rows if _within(at(row), search.since, search.until)]
        if search.about:
            rows = [row for row in rows if search.about in _traders_of(row)]
        for name, text in search.begins.items():
            rows = [row for row in rows if getattr(row, name).startswith(text)]
        bare = {item.name: item.default for item in fields(search.kind) if item.name in search.omit}
        return [replace(row, **bare) if bare else row for row in rows[: search.limit]]

    def _verdicts(self, schedule: records.ScheduleRow) -> Sequence[records.VerdictRow]:
        since = schedule.told_at
        found: list[records.VerdictRow] = []
        rows = self._rows.tables[records.VerdictRow].indices[0].bucket(schedule.trader_id).rows
        for verdict in reversed(rows.values()):
            if len(found) >= VERDICTS_SHOWN or (since is not None and verdict.at < since):
                break
            found.append(verdict)
        found.sort(key=_VERDICT_ORDER)
        return found

    def _account(self, account_id: records.AccountId) -> records.AccountRow:
        found: records.AccountRow | None = self._rows.tables[records.AccountRow].rows.get(account_id)
        if found is None:
            raise KeyError(f"account {account_id!r} is unknown in tenant {self._tenant!r}")
        return found

    def _kept(self, row: records.DecisionRow) -> records.DecisionRow:
        return row if self._retention.keep_contexts or row.context is None else replace(row, context=None)

    def _count(self, table: Table, row: records.DecisionRow) -> None:
        replaced = self._retention.count(row)
        if replaced is not None:
            self._rows.put(table, replaced, None)

    def _check(self, row: Row) -> None:
        self._guard(check_row, row, self._tenant)
        self._check_parent(row)

    def _check_parent(self, row: Row) -> None:
        kind = type(row)
        parent = _PARENT_KEYS.get(kind)
        if parent is not None:
            table, key = self._rows.tables[parent[0]], parent[1](row)
            if key not in table.rows:
                raise self._failed(
                    InvalidRow(
                        f"{kind.__name__} names {parent[0].__name__} {key!r}, which tenant {self._tenant!r} lacks"
                    )
                )
        elif not self._known:
            raise self._failed(InvalidRow(f"tenant {self._tenant!r} is unknown; create it with ensure_tenant first"))

    def _refuse_parent(self, row: Any) -> None:
        tables = self._rows.tables
        if type(row) is records.BookRow:
            children = [
                p
                for p in tables[records.PositionRow].index("trader_id").bucket(row.trader_id).rows.values()
                if p.account_id == row.account_id
            ]
        else:
            children = [
                child
                for kind, (parent, _) in PARENTS.items()
                if parent is records.AccountRow
                for child in tables[kind].rows.values()
                if child.account_id == row.account_id
            ]
        if children:
            raise self._failed(InvalidRow(f"{type(row).__name__} still has rows of {type(children[0]).__name__}"))

    def _guard(self, check: Callable[..., None], *arguments: Any) -> None:
        try:
            check(*arguments)
        except InvalidRow as error:
            raise self._failed(error) from None

    def _writable(self) -> None:
        if self.closed:
            raise StateError("the transaction is over; open a new one to write")
        if self.failure is not None:
            raise self.failure

    def _failed(self, error: StateError) -> StateError:
        self.failure = error
        return error
