"""Incidents of budgets: at 80 % of one and where a call no longer fits, once for each day, account and budget.

They end with the first call of the next day, with a budget that was raised, and with who had it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from manager.config.values import TenantConfig
from manager.desk.incidents.codes import INCIDENTS
from manager.spending.daily_budget import DailyBudget, known_usd, model_budget, usd
from manager.state.records import AccountId, IncidentRow, TenantId, TraderRow, TraderState
from manager.state.spending import MODEL, TENANT, TRADER, SpendingRow
from manager.state.store import Transaction
from traders.spec import TraderId

WARNING: Final = "BUDGET_WARNING"
EXHAUSTED: Final = "BUDGET_EXHAUSTED"
WARN_AT: Final = Decimal("0.8")
_OPEN: Final[Mapping[str, Any]] = {"code": (WARNING, EXHAUSTED), "resolved_at": None}


@dataclass(frozen=True, slots=True, kw_only=True)
class IncidentKey:
    """Name what an incident is about: scope and name of the budget, the day as 2025-05-01, and the account it concerns.

    Its text is the incident's id; this is the one place that writes and reads it.
    """

    scope: str
    name: str
    day: str
    code: str
    account: str

    def __str__(self) -> str:
        """Return the id."""
        return f"budget/{self.scope}/{self.name}/{self.day}/{self.code}/{self.account}"

    @staticmethod
    def of(incident: IncidentRow) -> "IncidentKey":
        """Return the key of a stored incident; a model's name may have any characters."""
        head, _, _ = incident.incident_id.rpartition(f"/{incident.code}")
        subject, _, day = head.rpartition("/")
        _, scope, name = (*subject.split("/", 2), "", "")[:3]
        return IncidentKey(scope=scope, name=name, day=day, code=incident.code, account=incident.account_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetIncident:
    """Hold one incident before it is opened; `account` is where the traders are that it concerns."""

    budget: DailyBudget
    day: datetime
    code: str
    detail: str
    tenant: TenantId
    account: AccountId

    @property
    def subject(self) -> tuple[str, ...]:
        """Return what it is about, whatever its day."""
        return (self.tenant, self.account, self.budget.scope, self.budget.name, self.code)

    def row(self, at: datetime) -> IncidentRow:
        """Return the incident; its id is the same for the whole day."""
        scope, name = self.budget.scope, self.budget.name
        key = IncidentKey(scope=scope, name=name, day=_day(self.day), code=self.code, account=self.account)
        return IncidentRow(
            tenant_id=self.tenant,
            incident_id=str(key),
            account_id=self.account,
            code=self.code,
            severity=INCIDENTS[self.code].severity.value,
            detail=self.detail,
            at=at,
            trader_id=TraderId(name if scope == TRADER else ""),
        )


class BudgetIncidents:
    """Open incidents and remember which, so that those that are met all day cost no statement."""

    def __init__(self) -> None:
        self._opened: dict[tuple[str, ...], tuple[datetime, Decimal | None]] = {}

    def new(self, incidents: Iterable[BudgetIncident]) -> list[BudgetIncident]:
        """Return those that this process has not opened for their day and budget."""
        return [one for one in incidents if self._opened.get(one.subject) != (one.day, one.budget.usd)]

    async def open(self, tx: Transaction, incidents: Sequence[BudgetIncident], at: datetime) -> list[IncidentRow]:
        """Open each, unless it is open for the same budget already; return those opened."""
        opened = []
        for one in incidents:
            row = one.row(at)
            known = await tx.get(IncidentRow, row.incident_id)
            if known is None or known.resolved_at is not None or not _same_budget(known, one.budget):
                await tx.upsert([row])
                opened.append(row)
            self._opened[one.subject] = (one.day, one.budget.usd)
        return opened

    def forget(self) -> None:
        """Forget which were opened, because they may not have been stored."""
        self._opened.clear()


def warnings(
    budgets: Sequence[DailyBudget], sums: Sequence[SpendingRow], tenant: TenantId, account: AccountId
) -> list[BudgetIncident]:
    """Return an incident for each budget of which 80 % are used, what is set aside left out."""
    found = {row.scope: row for row in sums}
    return [
        BudgetIncident(
            budget=budget,
            day=row.day,
            code=WARNING,
            detail=f"{budget.title} has used {usd(known_usd(row))} of its {usd(budget.usd)} USD for models today",
            tenant=tenant,
            account=account,
        )
        for budget, row in ((budget, found[budget.scope]) for budget in budgets if budget.scope in found)
        if budget.usd is not None and known_usd(row) >= WARN_AT * budget.usd
    ]


async def end_before(
    tx: Transaction, day: datetime, at: datetime, budgets: Sequence[DailyBudget] | None = None
) -> list[IncidentRow]:
    """End the incidents of the days before `day`, those of `budgets` or all; return them."""
    subjects = None if budgets is None else {(budget.scope, budget.name) for budget in budgets}
    ended = []
    for one in await tx.find(IncidentRow, _OPEN, limit=None):
        key = IncidentKey.of(one)
        if key.day < _day(day) and (subjects is None or (key.scope, key.name) in subjects):
            await tx.patch(IncidentRow, (one.incident_id,), resolved_at=at)
            ended.append(one)
    return ended


async def end_obsolete(tx: Transaction, tenant: TenantConfig, day: datetime, at: datetime) -> list[IncidentRow]:
    """End the incidents that the config makes untrue: of raised budgets, and of who is gone; return them."""
    ended = await end_before(tx, day, at)
    for one in await tx.find(IncidentRow, _OPEN, limit=None):
        key = IncidentKey.of(one)
        budget = DailyBudget(scope=key.scope, name=key.name, usd=await _configured(tx, tenant, key))
        if await _is_over(tx, one, budget, day):
            await tx.patch(IncidentRow, (one.incident_id,), resolved_at=at)
            ended.append(one)
    return ended


async def _is_over(tx: Transaction, opened: IncidentRow, budget: DailyBudget, day: datetime) -> bool:
    if budget.usd is None:
        return True
    if _same_budget(opened, budget):
        return False
    row = await tx.get(SpendingRow, day, budget.scope, budget.name)
    share = Decimal(1) if opened.code == EXHAUSTED else WARN_AT
    return row is None or known_usd(row) < share * budget.usd


async def _configured(tx: Transaction, tenant: TenantConfig, key: IncidentKey) -> Decimal | None:
    if key.scope == TENANT:
        return tenant.budgets.tenant_usd_per_day
    if key.scope == MODEL:
        return model_budget(tenant, key.name)
    trader = await tx.get(TraderRow, key.name)
    if trader is None or trader.state is TraderState.STOPPED:
        return None
    own = trader.spec.executor.budget_usd_per_day
    return tenant.budgets.trader_usd_per_day if own is None else own


def _same_budget(opened: IncidentRow, budget: DailyBudget) -> bool:
    """An incident is told anew when its budget changes; what it was is in its detail alone."""
    amount = usd(budget.usd)
    return f" of its {amount} USD for models" in opened.detail or f" may spend {amount} USD a day" in opened.detail


def _day(day: datetime) -> str:
    return f"{day:%Y-%m-%d}"
