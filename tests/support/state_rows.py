"""Build rows for tests: one valid row of every type, and hypothesis strategies for any value a row may hold."""

import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from exchanges.types import Symbol
from executor.contract import Action, Context, Decision
from executor.prompts.values import SeenMarket
from executor.registry import ExecutorSpec
from manager.state.keys import KEYS, PARENTS, Row
from manager.state.records import (
    DEFAULT_TENANT,
    AccountRow,
    BookRow,
    IntentRow,
    ScheduleRow,
    TraderRow,
    TraderState,
)
from traders.performance import Performance
from traders.spec import TraderId, TraderSpec

AT = datetime(2025, 1, 1, 12, tzinfo=UTC)
BTC = Symbol("BTC/USDT:USDT")
R = TypeVar("R")

_TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
_LEAVES: Mapping[Any, Callable[[], st.SearchStrategy[Any]]] = {
    str: lambda: _TEXT,
    bool: st.booleans,
    int: lambda: st.integers(-(2**31), 2**31),
    float: lambda: st.floats(allow_nan=False, allow_infinity=False),
    Decimal: lambda: st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**40), max_value=10**40),
    datetime: lambda: st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - bounds are naive
    Any: lambda: st.one_of(_TEXT, st.integers(-(10**6), 10**6), st.booleans(), st.none()),
}


def values_of(hint: Any) -> st.SearchStrategy[Any]:
    """Return any value of a type hint that a row may hold."""
    hint = getattr(hint, "__supertype__", hint)
    origin, arguments = get_origin(hint), get_args(hint)
    if hint in _LEAVES:
        return _LEAVES[hint]()
    if hint is types.NoneType:
        return st.none()
    if origin in (Union, types.UnionType):
        return st.one_of(*(values_of(part) for part in arguments))
    if origin is tuple:
        return st.lists(values_of(arguments[0]), max_size=2).map(tuple)
    if origin in (Mapping, dict) or getattr(origin, "__name__", "") == "Mapping":
        return st.dictionaries(_TEXT, values_of(arguments[1]), max_size=2)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return st.sampled_from(hint)
    if hint is getattr(Context, "__annotations__", {}).get("market") or getattr(hint, "_is_protocol", False):
        return values_of(SeenMarket)
    assert is_dataclass(hint), f"no strategy for {hint}"
    return _dataclass_values(hint)


def _dataclass_values(kind: Any) -> st.SearchStrategy[Any]:
    given = {name: values_of(hint) for name, hint in get_type_hints(kind).items()}
    if kind is ExecutorSpec:
        given["api_key"] = st.just("")
    if kind is Performance:
        given |= {"returns": st.integers(0, 100), "m2": st.floats(0, 10), "mean": st.floats(-1, 1)}
    if kind is ScheduleRow:
        given["interval_s"] = st.integers(1, 2**31)
    if "tenant_id" in given:
        given["tenant_id"] = st.just(DEFAULT_TENANT)
    return st.builds(kind, **given)


def rows_of(kind: type[R]) -> st.SearchStrategy[R]:
    """Return any row of a type, in the default tenant."""
    return values_of(kind)


def examples_of(values: st.SearchStrategy[R], count: int) -> list[R]:
    """Draw `count` values of a strategy, always the same ones, to use in one async test."""
    found: list[R] = []

    @settings(max_examples=count, phases=[Phase.generate], database=None, suppress_health_check=list(HealthCheck))
    @given(values)
    def collect(value: R) -> None:
        found.append(value)

    collect()
    return found


def make_row(kind: type[R], **values: Any) -> R:
    """Build a plain valid row; give the fields that matter."""
    plain: dict[str, Any] = {}
    for item in fields(kind):  # type: ignore[arg-type]  # every row is a dataclass
        hint = get_type_hints(kind)[item.name]
        if item.name not in values and _required(item):
            plain[item.name] = _plain(item.name, hint)
    return kind(**plain | values)


def _required(item: Any) -> bool:
    missing = type(item.default).__name__ == "_MISSING_TYPE"
    return missing and type(item.default_factory).__name__ == "_MISSING_TYPE"


def _plain(name: str, hint: Any) -> Any:
    hint = getattr(hint, "__supertype__", hint)
    named = {"tenant_id": DEFAULT_TENANT, "symbol": BTC, "interval_s": 60}
    if name in named:
        return named[name]
    if isinstance(hint, type) and issubclass(hint, Enum):
        return next(iter(hint))
    plain = {str: name[:4], int: 1, Decimal: Decimal(1), datetime: AT}
    if hint in plain:
        return plain[hint]
    if hint is TraderSpec:
        return make_spec("trad")
    if hint is Decision:
        return Decision(symbol=BTC, action=Action.OPEN_LONG, position_size_usd=Decimal("100.10"))
    return ()


def make_spec(trader_id: str, account_id: str = "acco") -> TraderSpec:
    """Build the definition of a baseline trader."""
    return TraderSpec(
        id=TraderId(trader_id),
        name=trader_id,
        account=account_id,
        executor=ExecutorSpec(),
        symbols=(BTC,),
        decision_interval_s=60,
    )


def parents_of(row: Row) -> Sequence[Row]:
    """Build the rows that must exist before this one, the outermost first."""
    if type(row) not in PARENTS:
        return ()
    kind, names = PARENTS[type(row)]
    given = {name: getattr(row, name) for name in {*names, "account_id"} if hasattr(row, name)}
    parent: Row = make_row(kind, tenant_id=row.tenant_id, **given)
    return (*parents_of(parent), parent)


def make_trader(trader_id: str, *, account_id: str = "acco", **values: Any) -> list[Any]:
    """Build a running trader with its schedule and book; `values` go to whichever of them has the field."""
    made: tuple[Any, ...] = (
        make_row(TraderRow, trader_id=trader_id, account_id=account_id, state=TraderState.RUNNING),
        make_row(ScheduleRow, trader_id=trader_id, account_id=account_id, next_due_at=AT),
        make_row(BookRow, trader_id=trader_id, account_id=account_id),
    )
    known = [{item.name for item in fields(row)} for row in made]
    return [
        replace(row, **{k: v for k, v in values.items() if k in names}) for row, names in zip(made, known, strict=True)
    ]


def make_account(account_id: str = "acco", **values: Any) -> AccountRow:
    """Build a paper account."""
    return make_row(AccountRow, account_id=account_id, venue="paper", **values)


def make_intent(intent_id: str, **values: Any) -> IntentRow:
    """Build a pending intent of trader `trad`."""
    return make_row(IntentRow, intent_id=intent_id, **values)


def key_of(row: Row) -> tuple[Any, ...]:
    """Return a row's key without its tenant."""
    return tuple(getattr(row, name) for name in KEYS[type(row)])
