"""The rows of one tenant in memory, with the indices that a desk reads by."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from manager.state import records
from manager.state.acts import FlattenRow
from manager.state.funding import FundingRow
from manager.state.journal import EquityRow
from manager.state.keys import KEYS, SORTED_BY
from manager.state.kinds import FlattenState
from manager.state.switches import Switch

KEY_OF: Mapping[type[Any], Callable[[Any], Any]] = {kind: attrgetter(*names) for kind, names in KEYS.items()}
PLACE_OF: Mapping[type[Any], Callable[[Any], Any]] = {kind: attrgetter(*names) for kind, names in SORTED_BY.items()}
LIVE = tuple(state for state in records.OrderState if state.live)
PENDING = (records.IntentStatus.PENDING,)


class Bucket:
    """Hold the rows of one group; `ordered` is their tuple in the order of their type, kept until something changes."""

    __slots__ = ("_place_of", "_view", "rows")

    def __init__(self, place_of: Callable[[Any], Any]) -> None:
        self._place_of = place_of
        self.rows: dict[Any, Any] = {}
        self._view: tuple[Any, ...] | None = ()

    def set(self, key: Any, row: Any) -> None:
        """Add or replace a row."""
        self.rows[key] = row
        self._view = None

    def remove(self, key: Any) -> None:
        """Remove a row if it is there."""
        if self.rows.pop(key, None) is not None:
            self._view = None

    @property
    def ordered(self) -> tuple[Any, ...]:
        """Return the rows in order."""
        if self._view is None:
            self._view = tuple(sorted(self.rows.values(), key=self._place_of))
        return self._view


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexSpec:
    """Group the rows of a type by one field, only those whose `only` field has one of `values` if that is set."""

    by: str
    only: str = ""
    values: tuple[Any, ...] = ()


_INDICES: Mapping[type[Any], tuple[IndexSpec, ...]] = {
    records.TraderRow: (IndexSpec(by="account_id"),),
    records.ScheduleRow: (IndexSpec(by="account_id"),),
    records.BookRow: (IndexSpec(by="account_id"), IndexSpec(by="trader_id")),
    records.PositionRow: (IndexSpec(by="account_id"), IndexSpec(by="trader_id")),
    records.IntentRow: (
        IndexSpec(by="account_id", only="status", values=PENDING),
        IndexSpec(by="trader_id", only="status", values=PENDING),
        IndexSpec(by="decision_id"),
    ),
    records.OrderRow: (IndexSpec(by="account_id", only="state", values=LIVE), IndexSpec(by="round_id")),
    records.VerdictRow: (IndexSpec(by="trader_id"), IndexSpec(by="round_id")),
    records.DecisionRow: (IndexSpec(by="trader_id"),),
    records.FillRow: (IndexSpec(by="order_id"),),
    records.FillPartRow: (IndexSpec(by="trader_id"), IndexSpec(by="order_id")),
    FundingRow: (IndexSpec(by="symbol"),),
    records.IncidentRow: (IndexSpec(by="account_id", only="resolved_at", values=(None,)),),
    EquityRow: (IndexSpec(by="trader_id"),),
    FlattenRow: (IndexSpec(by="account_id", only="state", values=(FlattenState.OPEN,)),),
}
_EMPTY = Bucket(repr)


class Index:
    """Keep the buckets of one IndexSpec."""

    __slots__ = ("_buckets", "_group", "_only", "_place_of", "_values", "spec")

    def __init__(self, spec: IndexSpec, place_of: Callable[[Any], Any]) -> None:
        self.spec = spec
        self._place_of = place_of
        self._group = attrgetter(spec.by)
        self._only = attrgetter(spec.only) if spec.only else None
        self._values = spec.values
        self._buckets: dict[Any, Bucket] = {}

    def bucket(self, group: Any) -> Bucket:
        """Return the rows of a group, an empty bucket if there are none."""
        return self._buckets.get(group, _EMPTY)

    def groups(self) -> Iterable[Any]:
        """Return the groups that have rows."""
        return (group for group, bucket in self._buckets.items() if bucket.rows)

    def change(self, key: Any, old: Any, new: Any) -> None:
        """Move a row from its old bucket to its new one; None stands for no row."""
        if old is not None and (bucket := self._buckets.get(self._group(old))) is not None:
            bucket.remove(key) if new is None or not self._stays(old, new) else None
        if new is not None and (self._only is None or self._only(new) in self._values):
            group = self._group(new)
            bucket = self._buckets.get(group)
            if bucket is None:
                bucket = self._buckets[group] = Bucket(self._place_of)
            bucket.set(key, new)

    def covers(self, where: Mapping[str, Any]) -> bool:
        """Tell whether the bucket of `where` holds every row that can match it."""
        if isinstance(where.get(self.spec.by, ()), tuple):
            return False
        if not self.spec.only:
            return True
        wanted = where.get(self.spec.only, ())
        wanted = wanted if isinstance(wanted, tuple) else (wanted,)
        return bool(wanted) and self.spec.only in where and set(wanted) <= set(self._values)

    def _stays(self, old: Any, new: Any) -> bool:
        return self._group(old) == self._group(new) and (self._only is None or self._only(new) in self._values)


class Table:
    """Hold the rows of one type by key, with its indices."""

    __slots__ = ("indices", "key_of", "kind", "place_of", "rows")

    def __init__(self, kind: type[Any]) -> None:
        self.kind = kind
        self.rows: dict[Any, Any] = {}
        self.key_of, self.place_of = KEY_OF[kind], PLACE_OF[kind]
        self.indices = tuple(Index(spec, self.place_of) for spec in _INDICES.get(kind, ()))

    def index(self, by: str) -> Index:
        """Return the first index that groups by a field."""
        return next(index for index in self.indices if index.spec.by == by)

    def put(self, key: Any, row: Any) -> Any:
        """Set or, with None, remove the row of a key; return what was there."""
        rows = self.rows
        old = rows.get(key)
        if row is None:
            rows.pop(key, None)
        else:
            rows[key] = row
        for index in self.indices:
            index.change(key, old, row)
        return old

    def find(self, where: Mapping[str, Any], newest_first: str, limit: int | None) -> list[Any]:
        """Return up to `limit` rows that match, all for None, in their own order or by a field, the newest first."""
        found = sorted((row for row in self._candidates(where) if _matches(row, where)), key=self.place_of)
        if newest_first:
            when = attrgetter(newest_first)
            found.sort(key=lambda row: (when(row) is not None, when(row)), reverse=True)
        return found[:limit]

    def _candidates(self, where: Mapping[str, Any]) -> Iterable[Any]:
        names = KEYS[self.kind]
        if all(name in where and not isinstance(where[name], tuple) for name in names):
            key = tuple(where[name] for name in names)
            row = self.rows.get(key[0] if len(key) == 1 else key)
            return () if row is None else (row,)
        smallest = self.rows
        for index in self.indices:
            if index.covers(where):
                covered = index.bucket(where[index.spec.by]).rows
                if not covered:
                    return ()
                smallest = min(smallest, covered, key=len)
        return smallest.values()


def _matches(row: Any, where: Mapping[str, Any]) -> bool:
    for name, wanted in where.items():
        value = getattr(row, name)
        if value not in wanted if isinstance(wanted, tuple) else value != wanted:
            return False
    return True


class Slot:
    """Hold the one value of its kind; it is put as the rows of a table are."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def put(self, key: Any, value: Any) -> Any:
        """Set the value and return what was there."""
        del key
        old, self.value = self.value, value
        return old


class TenantRows:
    """Hold all tables of one tenant, and its Switch, and undo what a transaction did to them."""

    __slots__ = ("_undo", "switch", "tables")

    def __init__(self) -> None:
        self.tables: dict[type[Any], Table] = {kind: Table(kind) for kind in KEYS}
        self.switch = Slot(Switch())
        self._undo: list[tuple[Table | Slot, Any, Any]] = []

    def put(self, table: Table | Slot, key: Any, row: Any) -> None:
        """Change a table so that `rollback` can take it back."""
        self._undo.append((table, key, table.put(key, row)))

    def commit(self) -> None:
        """Keep what was done since the last commit."""
        self._undo.clear()

    def rollback(self) -> None:
        """Take back what was done since the last commit, the last first."""
        while self._undo:
            table, key, old = self._undo.pop()
            table.put(key, old)
