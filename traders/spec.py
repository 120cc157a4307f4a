"""What a virtual trader is: an account, a mandate and limits."""

from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import NewType

from exchanges.types import ZERO, Symbol
from executor.contract import Limits
from executor.registry import ExecutorSpec

TraderId = NewType("TraderId", str)


class ManagedBy(StrEnum):
    """Name who owns a trader's definition; a reload of the file touches only its own."""

    CONFIG = "config"
    API = "api"


@dataclass(frozen=True, slots=True, kw_only=True)
class TraderSpec:
    """Define one virtual trader; `allocation_pct` (0-100) counts under the `custom` allocation only.

    `show_desk_exposure` lets its model see the net exposure of the account's other traders in its symbols.
    """

    id: TraderId
    name: str
    account: str
    executor: ExecutorSpec
    symbols: tuple[Symbol, ...]
    decision_interval_s: int
    allocation_pct: Decimal = ZERO
    limits: Limits = field(default_factory=Limits)
    auto_start: bool = True
    show_desk_exposure: bool = True
    managed_by: ManagedBy = ManagedBy.CONFIG
