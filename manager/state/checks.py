"""Refuse values that must never be stored, the same for both stores."""

import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import datetime
from decimal import Decimal
from operator import attrgetter
from typing import Any, Union, get_args, get_origin, get_type_hints

from manager.state.errors import InvalidRow
from manager.state.keys import APPEND_ONLY, FIXED, KEYS, NEVER_DELETED, Row
from manager.state.records import ScheduleRow, TenantId, TraderRow
from traders.spec import TraderSpec

_Check = Callable[[Any], None]
_MONEY_LIMIT = 1000


class _Bad(ValueError):
    """Carry the path of a bad value up to the row."""


def check_row(row: Row, tenant: TenantId) -> None:
    """Raise InvalidRow if a value of `row`, nested ones too, is NaN, infinite, a naive time or holds NUL.

    A row of another tenant is refused, and so is a model key: keys are kept encrypted, not in specs.
    """
    if row.tenant_id != tenant:
        raise InvalidRow(f"{type(row).__name__} belongs to tenant {row.tenant_id!r}; this transaction is in {tenant!r}")
    _run(_ROW_CHECKS[type(row)], row)
    _check_rules(row)


def check_patched(row: Row, names: Iterable[str]) -> None:
    """Raise InvalidRow as `check_row` does for a stored row of which only the fields `names` are new."""
    checks = _FIELD_CHECKS[type(row)]
    _run([checks[name] for name in names if name in checks], row)
    _check_rules(row)


def _run(checks: Iterable[_Check], row: Row) -> None:
    try:
        for check in checks:
            check(row)
    except _Bad as bad:
        raise InvalidRow(f"{type(row).__name__}.{bad}") from None


def _check_rules(row: Row) -> None:
    if type(row) is ScheduleRow and row.interval_s <= 0:
        raise InvalidRow(f"ScheduleRow.interval_s is {row.interval_s}; expected at least 1")
    if type(row) is TraderRow:
        check_spec(row.spec)


def check_spec(spec: TraderSpec) -> None:
    """Raise InvalidRow if a trader's definition carries a model key, which belongs to the config or the secrets."""
    if spec.executor.api_key:
        raise InvalidRow("TraderRow.spec.executor.api_key must not be stored; keep it with the config and store ''")


def check_rewrite(kind: type[Any]) -> None:
    """Raise InvalidRow if rows of this type may only ever be inserted."""
    if kind in APPEND_ONLY:
        raise InvalidRow(f"{kind.__name__} is append-only: insert a correcting row instead")


def check_delete(kind: type[Any]) -> None:
    """Raise InvalidRow if rows of this type stay for good."""
    if kind in NEVER_DELETED:
        raise InvalidRow(f"{kind.__name__} is append-only: it is never deleted")


def check_fixed(kind: type[Any], names: Sequence[str]) -> None:
    """Raise InvalidRow if one of the fields stays as it was inserted."""
    fixed = sorted(set(names) & set(FIXED.get(kind, ())))
    if fixed:
        raise InvalidRow(f"{kind.__name__}.{fixed[0]} is append-only: it stays as it was inserted")


def check_fields(kind: type[Any], names: Sequence[str]) -> None:
    """Raise InvalidRow if `kind` lacks one of these fields."""
    if kind not in KEYS:
        raise InvalidRow(f"{kind.__name__} is not a row; expected one of {', '.join(k.__name__ for k in KEYS)}")
    known = _FIELDS[kind]
    for name in names:
        if name not in known:
            raise InvalidRow(f"{kind.__name__} has no field {name!r}; it has {', '.join(sorted(known))}")


def check_value(kind: Any, value: Any, name: str) -> None:
    """Raise InvalidRow if a Decimal, datetime or float, or a value that holds some, must not be stored; None passes."""
    kind = _without_none(kind)
    check = _leaf(kind) or _nested(kind)
    try:
        if check is not None and value is not None:
            check(value)
    except _Bad as bad:
        raise InvalidRow(f"{name}{bad}") from None


def _checks_of(kind: type[Any]) -> tuple[_Check, ...]:
    plain: dict[_Check, list[str]] = {}
    checks: list[_Check] = []
    for name, leaf, check in _fields_of(kind):
        if leaf:
            plain.setdefault(check, []).append(name)
        else:
            checks.append(_on_field(name, check))
    return (*(_on_leaves(leaf, names) for leaf, names in plain.items()), *checks)


def _fields_of(kind: type[Any]) -> Iterator[tuple[str, bool, _Check]]:
    """Yield each field that has a check: its name, whether it is a plain value, and the check of its value."""
    hints = get_type_hints(kind)
    for item in fields(kind):
        hint = _without_none(hints[item.name])
        leaf = _leaf(hint)
        check = leaf or _nested(hint)
        if check is not None:
            yield item.name, leaf is not None, check


def _without_none(hint: Any) -> Any:
    if get_origin(hint) in (Union, types.UnionType):
        return next(part for part in get_args(hint) if part is not types.NoneType)
    return hint


def _leaf(hint: Any) -> _Check | None:
    hint = getattr(hint, "__supertype__", hint)
    return {Decimal: _decimal, datetime: _instant, float: _number, str: _string}.get(hint)


def _nested(hint: Any) -> _Check | None:
    if is_dataclass(hint) and isinstance(hint, type):
        checks = _checks_of(hint)

        def each_field(value: Any) -> None:
            for check in checks:
                check(value)

        return each_field if checks else None
    if get_origin(hint) is tuple:
        inner = get_args(hint)[0]
        item = _leaf(inner) or _nested(inner)
        return _each_item(item) if item is not None else None
    return None


def _each_item(item: _Check) -> _Check:
    def check(values: Any) -> None:
        for place, value in enumerate(values):
            try:
                item(value)
            except _Bad as bad:
                raise _Bad(f"{place}.{bad}") from None

    return check


def _on_field(name: str, nested: _Check) -> _Check:
    read = attrgetter(name)

    def check(owner: Any) -> None:
        value = read(owner)
        if value is not None:
            try:
                nested(value)
            except _Bad as bad:
                raise _Bad(f"{name}.{bad}") from None

    return check


def _on_leaves(leaf: _Check, names: list[str]) -> _Check:
    read = attrgetter(*names)
    if len(names) == 1:
        return _on_field(names[0], leaf)

    def check(owner: Any) -> None:
        try:
            for value in read(owner):
                if value is not None:
                    leaf(value)
        except _Bad:
            for name in names:
                _on_field(name, leaf)(owner)

    return check


def _decimal(value: Any) -> None:
    if value.__class__ is not Decimal or not value.is_finite():
        raise _Bad(f" is {value!r}; expected a finite Decimal")
    if not -_MONEY_LIMIT < value.adjusted() < _MONEY_LIMIT:
        raise _Bad(f" is {value!r}; expected fewer than {_MONEY_LIMIT} digits on either side of the point")


def _instant(value: Any) -> None:
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise _Bad(f" is {value!r}; expected a datetime with a time zone")


def _string(value: Any) -> None:
    if "\0" in value:
        raise _Bad(" holds the character NUL, which PostgreSQL cannot store; replace it")


def _number(value: Any) -> None:
    if value - value != 0:
        raise _Bad(f" is {value!r}; expected a finite number")


_ROW_CHECKS: Mapping[type[Any], tuple[_Check, ...]] = {kind: _checks_of(kind) for kind in KEYS}
_FIELD_CHECKS: Mapping[type[Any], Mapping[str, _Check]] = {
    kind: {name: _on_field(name, check) for name, _, check in _fields_of(kind)} for kind in KEYS
}
_FIELDS = {kind: frozenset(item.name for item in fields(kind)) for kind in KEYS}
