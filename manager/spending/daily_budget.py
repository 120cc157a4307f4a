"""The daily budget stop: what calls may cost on a UTC day for a tenant, a trader and a model."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from manager.config.values import TenantConfig
from manager.state.records import TenantId
from manager.state.spending import MODEL, TENANT, TRADER, BudgetRow, HoldRow, SpendingRow


@dataclass(frozen=True, slots=True, kw_only=True)
class DailyBudget:
    """Name one scope of a call and what it may cost on a day, None for no limit."""

    scope: str
    name: str
    usd: Decimal | None

    def row(self, tenant: TenantId, day: datetime, **amounts: Any) -> SpendingRow:
        """Return what to add to the sum of this scope."""
        return SpendingRow(tenant_id=tenant, day=day, scope=self.scope, name=self.name, **amounts)

    @property
    def title(self) -> str:
        """Return the scope as people name it."""
        return "the tenant" if self.scope == TENANT else f"{self.scope} {self.name}"

    def is_exceeded(self, used_usd: Decimal, call_usd: Decimal) -> bool:
        """Tell whether `used_usd`, a call of `call_usd` included, is too much.

        A used-up budget stops calls that cost nothing too.
        """
        return self.usd is not None and (used_usd > self.usd or used_usd - call_usd >= self.usd)


class DailyBudgetStop(Exception):
    """Take a reservation back that does not fit: `row` is the sum that it would have made, `sums` are those of all."""

    def __init__(self, budget: DailyBudget, hold: HoldRow, row: SpendingRow, sums: Sequence[SpendingRow]) -> None:
        self.budget = budget
        self.row = row
        self.sums = sums
        self._hold = hold
        super().__init__(self._text())

    @property
    def for_the_day(self) -> bool:
        """Tell whether the call does not fit even when all that is set aside for others is given back."""
        used = known_usd(self.row) + self._hold.usd
        return self.budget.is_exceeded(used, self._hold.usd)

    def _text(self) -> str:
        row, hold = self.row, self._hold
        others = row.reserved_usd - hold.usd
        parts = [f"{usd(row.spent_usd)} are spent"]
        parts += [f"{usd(row.unknown_usd)} of unknown cost"] if row.unknown_usd else []
        parts += [f"{usd(others)} set aside for calls under way"] if others else []
        return (
            f"{self.budget.title} may spend {usd(self.budget.usd)} USD a day for models; {', '.join(parts)}, and a "
            f"call of model {hold.model!r} may cost {usd(hold.usd)}; raise the budget, lower what a call may cost, or "
            "wait for the next day (UTC)"
        )


def stop_at_daily_budget(sums: Sequence[SpendingRow], budgets: Sequence[DailyBudget], hold: HoldRow) -> None:
    """Raise DailyBudgetStop for the first budget that the sums of the day exceed, `hold` included."""
    found = {row.scope: row for row in sums}
    for budget in budgets:
        if budget.is_exceeded(found[budget.scope].used_usd, hold.usd):
            raise DailyBudgetStop(budget, hold, found[budget.scope], sums)


def budget_rows(tenant: TenantConfig) -> list[BudgetRow]:
    """Return the budgets of a config as rows; that of traders without their own has no name."""
    budgets = tenant.budgets
    given = {(TENANT, ""): budgets.tenant_usd_per_day, (TRADER, ""): budgets.trader_usd_per_day}
    given |= {(MODEL, name): one.budget_usd_per_day for name, one in tenant.models.items()}
    return [
        BudgetRow(tenant_id=tenant.tenant_id, scope=scope, name=name, usd=usd)
        for (scope, name), usd in given.items()
        if usd is not None
    ]


def model_budget(tenant: TenantConfig | None, model: str) -> Decimal | None:
    """Return the budget of a model, None for a tenant or a model that the config does not name."""
    profile = tenant.models.get(model) if tenant is not None else None
    return None if profile is None else profile.budget_usd_per_day


def known_usd(row: SpendingRow) -> Decimal:
    """Return what a day has cost, calls of unknown cost at their worst, without what is only set aside."""
    return row.spent_usd + row.unknown_usd


def usd(amount: Decimal | None) -> str:
    """Return an amount in plain digits."""
    return f"{amount.normalize():f}" if amount else "0"
