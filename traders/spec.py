"""What a virtual trader is: an account, a mandate and limits."""

from dataclasses import dataclass, field, replace
from decimal import Decimal
from enum import StrEnum
from typing import NewType

from exchanges.types import ZERO, Symbol
from executor.contract import Limits
from executor.spec import ExecutorSpec

TraderId = NewType("TraderId", str)


class ManagedBy(StrEnum):
    """Name who owns a trader's definition; a reload of the file touches only its own."""

    CONFIG = "config"
    API = "api"


@dataclass(frozen=True, slots=True, kw_only=True)
class IsolationRules:
    """Say when a trader is isolated (docs/rules.md 1); None switches one off, `flatten` also closes what it holds.

    `own` names the fields that a trader has for itself, in the rules of its definition.
    """

    sharpe_below: float | None = -1.0
    min_trades: int = 20
    failed_decisions: int | None = 10
    violations_per_day: int | None = 30
    flatten: bool = False
    own: tuple[str, ...] = ()

    def with_own(self, spec: "TraderSpec") -> "IsolationRules":
        """Return these rules with those of a trader's definition in their place."""
        mine = spec.isolation
        return replace(self, **{name: getattr(mine, name) for name in mine.own}) if mine.own else self


@dataclass(frozen=True, slots=True, kw_only=True)
class TraderSpec:
    """Define one virtual trader; `allocation_pct` (0-100) counts under the `custom` and `fixed` allocation only.

    `show_desk_exposure` lets its model see the net exposure of the account's other traders in its symbols. Of
    `isolation` only the fields count that it names as its own.
    """

    id: TraderId
    name: str
    account: str
    executor: ExecutorSpec
    symbols: tuple[Symbol, ...]
    decision_interval_s: int
    allocation_pct: Decimal = ZERO
    limits: Limits = field(default_factory=Limits)
    isolation: IsolationRules = field(default_factory=IsolationRules)
    auto_start: bool = True
    show_desk_exposure: bool = True
    description: str = ""
    author: str = ""
    managed_by: ManagedBy = ManagedBy.CONFIG
