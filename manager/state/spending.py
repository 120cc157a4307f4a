"""What models cost, as rows: the sums of a day, what is set aside for calls under way, and the budgets."""

from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Final

from exchanges.types import ZERO
from manager.state.records import TenantId
from traders.spec import TraderId

TENANT: Final = "tenant"
MODEL: Final = "model"
TRADER: Final = "trader"
ADDED: Final = (
    "spent_usd",
    "reserved_usd",
    "unknown_usd",
    "calls",
    "input_tokens",
    "cached_tokens",
    "output_tokens",
)


def day_of(at: datetime) -> datetime:
    """Return the UTC midnight at which the day of `at` began."""
    return at.replace(hour=0, minute=0, second=0, microsecond=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class SpendingRow:
    """Sum what models cost on one UTC day within one scope: the tenant, one of its models or one of its traders.

    `spent_usd` is known and final, `reserved_usd` set aside for calls under way, `unknown_usd` the worst case of calls
    that ended without anybody telling their cost; all three count against a budget. Written by decide jobs, by adding.
    """

    tenant_id: TenantId
    day: datetime
    scope: str
    name: str
    spent_usd: Decimal = ZERO
    reserved_usd: Decimal = ZERO
    unknown_usd: Decimal = ZERO
    calls: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0

    @property
    def used_usd(self) -> Decimal:
        """Return what counts against a budget: spent, set aside, and not known."""
        return self.spent_usd + self.reserved_usd + self.unknown_usd

    def plus(self, other: "SpendingRow") -> "SpendingRow":
        """Return this row with the numbers of another added."""
        return replace(self, **{name: getattr(self, name) + getattr(other, name) for name in ADDED})


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetRow:
    """Hold what a config allows a scope on a UTC day, so that who has no config can show it; written at a start.

    Of the scope of traders it is the default, without a name.
    """

    tenant_id: TenantId
    scope: str
    name: str
    usd: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldRow:
    """Hold what one call under way has set aside; past `expires_at` its maker is gone. Written by decide jobs."""

    tenant_id: TenantId
    hold_id: str
    day: datetime
    model: str
    trader_id: TraderId
    usd: Decimal
    expires_at: datetime
