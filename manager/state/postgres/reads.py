"""The reads of views and searches, in plain SQL: columns have the names of the rows' fields, tables those of NAMES.

Whoever only looks needs no more than this; SQLAlchemy, with the tables that it declares, takes half a command's CPU.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final, NamedTuple, get_args, get_type_hints

from manager.state import access, acts, funding, records, spending
from manager.state.journal import ConflictRow, EquityRow
from manager.state.keys import KEYS, SORTED_BY, TRADERS_IN
from manager.state.store import Search

Shape = tuple[tuple[str, type | None], ...]
NAMES: Final[Mapping[type[Any], str]] = MappingProxyType(
    {
        records.AccountRow: "accounts",
        records.TraderRow: "traders",
        records.ScheduleRow: "schedules",
        records.BookRow: "books",
        records.PositionRow: "positions",
        records.DecisionRow: "decisions",
        records.PromptRow: "prompts",
        records.IntentRow: "intents",
        records.RoundRow: "rounds",
        records.OrderRow: "orders",
        records.FillRow: "fills",
        records.FillPartRow: "fill_parts",
        funding.FundingRow: "funding",
        records.LedgerRow: "ledger",
        ConflictRow: "conflicts",
        records.VerdictRow: "verdicts",
        records.IncidentRow: "incidents",
        spending.SpendingRow: "spending",
        spending.HoldRow: "holds",
        spending.BudgetRow: "budgets",
        records.EventRow: "events",
        EquityRow: "equity",
        acts.ActRow: "acts",
        acts.FlattenRow: "flattens",
        access.ApiKeyRow: "api_keys",
        access.TenantKeyRow: "tenant_keys",
        access.SecretRow: "secrets",
    }
)
DESK_KINDS: Final[tuple[type[Any], ...]] = (
    records.AccountRow,
    records.TraderRow,
    records.ScheduleRow,
    records.BookRow,
    records.PositionRow,
    records.IntentRow,
    records.OrderRow,
    records.IncidentRow,
    acts.FlattenRow,
)
_PARAMETER: Final = re.compile(r"%\((\w+)\)s")
_TYPES: Final = {
    bool: "boolean", int: "bigint", float: "float8", Decimal: "numeric", datetime: "timestamptz", str: "text"
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """Hold a statement as the server takes it, the names of its parameters in order, and those that never change.

    With names in the text the driver would look for them at each execution of a long statement.
    """

    sql: bytes
    names: tuple[str, ...] = ()
    fixed: Mapping[str, Any] = field(default_factory=dict)

    @staticmethod
    def named(text: str) -> "Command":
        """Return the command of a text that names its parameters as `%(name)s`."""
        names: dict[str, int] = {}
        numbered = _PARAMETER.sub(lambda found: f"${names.setdefault(found[1], len(names) + 1)}", text)
        return Command(sql=numbered.replace("%%", "%").encode(), names=tuple(names))

    def values(self, parameters: Mapping[str, Any]) -> list[Any]:
        """Return the parameters in order; raise KeyError for one that is not given."""
        given = {**self.fixed, **parameters}
        return [given[name] for name in self.names]


def _switch(where: str) -> str:
    pairs = "'state', trading_state, 'reason', state_reason, 'actor', switched_by, 'at', switched_at"
    return f"(SELECT json_build_object({pairs}) FROM {where})"  # noqa: S608 - both are constants of this file


_OWN: Final = "tenants WHERE tenant_id = current_setting('app.tenant', true)"
# How far the service and the tenant may trade, as the text of a JSON object; null for what is not there.
SWITCHES_TEXT: Final = f"json_build_object('service', {_switch('service')}, 'tenant', {_switch(_OWN)})::text"
SWITCHES: Final = Command.named(f"SELECT {SWITCHES_TEXT}")


class SearchShape(NamedTuple):
    """Hold what the statement of one search depends on; `since`, `until`, `about` tell whether they are given."""

    kind: type[Any]
    where: Shape
    newest_first: str = ""
    each: tuple[str, ...] = ()
    since: bool = False
    until: bool = False
    about: bool = False
    begins: tuple[str, ...] = ()
    omit: tuple[str, ...] = ()


def shape_of(where: Mapping[str, Any]) -> tuple[Shape, dict[str, Any]]:
    """Return what a search's statement depends on, and its parameters."""
    shape: list[tuple[str, type | None]] = []
    parameters: dict[str, Any] = {}
    for name, wanted in where.items():
        if wanted is None:
            shape.append((name, None))
        elif isinstance(wanted, tuple):
            shape.append((name, tuple))
            parameters[f"in_{name}"] = list(wanted)
        else:
            shape.append((name, object))
            parameters[f"is_{name}"] = wanted
    return tuple(shape), parameters


def shapes_of(searches: Sequence[Search]) -> tuple[tuple[SearchShape, ...], dict[str, Any]]:
    """Return what the statement of some searches depends on, and its parameters."""
    shapes: list[SearchShape] = []
    parameters: dict[str, Any] = {}
    for n, one in enumerate(searches):
        where, values = shape_of(one.where)
        given = {**values, "limit": one.limit, "since": one.since, "until": one.until, "about": one.about}
        given |= {f"begins_{name}": value for name, value in one.begins.items()}
        parameters |= {f"s{n}_{name}": value for name, value in given.items()}
        since, until, about = one.since is not None, one.until is not None, bool(one.about)
        bounds = (since, until, about, tuple(one.begins))
        shapes.append(SearchShape(one.kind, where, one.newest_first, one.each, *bounds, one.omit))
    return tuple(shapes), parameters


@lru_cache(maxsize=256)
def search_command(shapes: tuple[SearchShape, ...]) -> Command:
    """Return one read of several searches, and so one snapshot; parameters: `tenant` and those of `shapes_of`."""
    found = (_Read(shape, f"s{n}_").array(KEYS) for n, shape in enumerate(shapes))
    return Command.named(f"SELECT {', '.join(found)}")


@lru_cache(maxsize=256)
def find_command(shape: SearchShape) -> Command:
    """Return a search by fields; parameters: `tenant`, `limit` and a field's name with `is_` or, for any of, `in_`."""
    return Command.named(f"SELECT {_Read(shape, '').array(SORTED_BY)}")


@lru_cache(maxsize=16)
def events_command(where: Shape) -> Command:
    """Return the read of events after a place: that of each and its row; parameters: `xact`, `seq`, `tenant`, `limit`.

    Transactions end in another order than they begin: what was written beside one under way is left for later.
    """
    read, under_way = _Read(SearchShape(records.EventRow, where), ""), "pg_snapshot_xmin(pg_current_snapshot())"
    place, after = "events.xact, events.seq", "%(xact)s::bigint, %(seq)s::bigint"
    clauses = " AND ".join((*read.clauses(), f"({place}) > ({after})", f"events.xact < {under_way}::text::bigint"))
    ordered = ("WHERE", clauses, "ORDER BY", place, "LIMIT %(limit)s::integer")
    return Command.named(_select(f"{place}, {read.row()}::text", "events", *ordered))


class _Read:
    """Write one search: what belongs to each owner through the index of its newest rows, or all of one order.

    Names are fields of the row, or a KeyError is raised; what is given is a parameter.
    """

    def __init__(self, shape: SearchShape, prefix: str) -> None:
        self._shape = shape
        self._prefix = prefix
        self._table = NAMES[shape.kind]
        self._hints = get_type_hints(shape.kind)
        for name in filter(None, (shape.newest_first, *shape.each, *shape.begins)):
            self._hints[name]

    def array(self, sorted_by: Mapping[type[Any], tuple[str, ...]]) -> str:
        """Return the rows that are found as the text of one JSON array; those that are equal stand by `sorted_by`."""
        shape, table = self._shape, self._table
        order = ", ".join((*self._newest(), *(f"{table}.{name}" for name in sorted_by[shape.kind])))
        clauses, ordered = " AND ".join(self.clauses()), ("ORDER BY", order, "LIMIT", self._given("limit", "integer"))
        if not shape.each:
            return _array(_select(f"{self.row()} AS row", table, "WHERE", clauses, *ordered))
        owner = records.TraderRow if "trader_id" in shape.each else records.AccountRow
        mine = " AND ".join(f"{table}.{name} = owners.{name}" for name in shape.each)
        place = f"row_number() OVER (ORDER BY {order}) AS place"
        lateral = _select(f"{self.row()} AS row, {place}", table, "WHERE", clauses, "AND", mine, *ordered)
        owned = " AND ".join(self._equal("owners", lambda name: name in shape.each))
        keys = ", ".join(f"owners.{name}" for name in ("tenant_id", *KEYS[owner]))
        joined = f"{NAMES[owner]} AS owners JOIN LATERAL ({lateral}) AS mine ON true"
        return _array(_select("mine.row", joined, "WHERE", owned, "ORDER BY", keys, ", mine.place"))

    def row(self) -> str:
        """Return a row as a JSON object, money as text."""
        pairs = (
            f"'{name}', {self._table}.{name}{'::text' if _plain(hint) is Decimal else ''}"
            for name, hint in self._hints.items()
            if name not in self._shape.omit
        )
        return f"json_build_object({', '.join(pairs)})"

    def clauses(self) -> Iterator[str]:
        """Yield the conditions on the rows themselves."""
        shape, table = self._shape, self._table
        yield from self._equal(table, lambda name: name not in shape.each)
        for given, sign in ((shape.since, ">="), (shape.until, "<=")):
            if given:
                name = "since" if sign == ">=" else "until"
                yield f"{table}.{shape.newest_first} {sign} {self._given(name, 'timestamptz')}"
        if shape.about:
            yield self._concerns(self._given("about", "text"))
        for name in shape.begins:
            yield f"starts_with({table}.{name}, {self._given(f'begins_{name}', 'text')})"

    def _equal(self, table: str, is_asked: Callable[[str], bool]) -> Iterator[str]:
        yield f"{table}.tenant_id = %(tenant)s::text"
        for name, wanted in self._shape.where:
            if not is_asked(name):
                continue
            column, kind = f"{table}.{name}", _type(_plain(self._hints[name]))
            if wanted is None:
                yield f"{column} IS NULL"
            elif wanted is tuple:
                yield f"{column} = any({self._given(f'in_{name}', f'{kind}[]')})"
            else:
                yield f"{column} = {self._given(f'is_{name}', kind)}"

    def _concerns(self, trader: str) -> str:
        kind = self._shape.kind
        if kind not in TRADERS_IN:
            return f"{self._table}.trader_id = {trader}"
        one = f"jsonb_build_object('trader_id', {trader})" if kind is records.OrderRow else trader
        return f"{self._table}.{TRADERS_IN[kind]} @> jsonb_build_array({one})"

    def _newest(self) -> Iterator[str]:
        """Yield the order by a field, the newest first, of which a bounded search finds none that is empty."""
        shape = self._shape
        if shape.newest_first:
            # NULLS LAST where there are none would keep an index from giving the order.
            may_lack = type(None) in get_args(self._hints[shape.newest_first]) and not (shape.since or shape.until)
            yield f"{self._table}.{shape.newest_first} DESC{' NULLS LAST' if may_lack else ''}"

    def _given(self, name: str, kind: str) -> str:
        return f"%({self._prefix}{name})s::{kind}"


def _array(rows: str) -> str:
    found = _select("coalesce(json_agg(found.row), '[]'::json)::text", f"({rows}) AS found")
    return f"({found})"


def _select(what: str, source: str, *rest: str) -> str:
    return " ".join(("SELECT", what, "FROM", source, *rest))


def _plain(hint: Any) -> Any:
    """Return the type of a field without the None of one that may be empty."""
    some = [one for one in get_args(hint) if one is not type(None)]
    bare = some[0] if type(None) in get_args(hint) and len(some) == 1 else hint
    return getattr(bare, "__supertype__", bare)


def _type(hint: Any) -> str:
    """Return the type of a column that a search compares; enums are text."""
    return _TYPES.get(str if isinstance(hint, type) and issubclass(hint, Enum) else hint, "text")
