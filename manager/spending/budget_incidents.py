"""Alarms of budgets: at 80 % of one and where a call no longer fits, once for each day, account and budget.

What is over ends: with the first call of the next day, with a budget that was raised, with who had it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from manager.config.values import TenantConfig
from manager.desk.incidents.codes import INCIDENTS
from manager.state.records import AccountId, IncidentRow, TenantId, TraderRow, TraderState
from manager.state.spending import MODEL, TENANT, TRADER, BudgetRow, SpendingRow
from manager.state.store import Transaction
from traders.spec import TraderId

WARNING: Final = "BUDGET_WARNING"
EXHAUSTED: Final = "BUDGET_EXHAUSTED"
WARN_AT: Final = Decimal("0.8")
_ZERO: Final = Decimal(0)
_DAY: Final = "%Y-%m-%d"
_OPEN: Final[Mapping[str, Any]] = {"code": (WARNING, EXHAUSTED), "resolved_at": None}
_MOST: Final = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """Name one scope of a call and its budget of a day, None for none."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """Hold one alarm before it is told; `account` is where the traders are that it concerns."""

    limit: Limit
    day: datetime
    code: str
    detail: str
    tenant: TenantId
    account: AccountId

    @property
    def subject(self) -> tuple[str, ...]:
        """Return what the alarm is about, whatever its day."""
        return (self.tenant, self.account, self.limit.scope, self.limit.name, self.code)

    def row(self, at: datetime) -> IncidentRow:
        """Return the incident; its id is the same for the whole day."""
        limit = self.limit
        return IncidentRow(
            tenant_id=self.tenant,
            incident_id=f"budget/{limit.scope}/{limit.name}/{self.day.strftime(_DAY)}/{self.code}/{self.account}",
            account_id=self.account,
            code=self.code,
            severity=INCIDENTS[self.code].severity.value,
            detail=self.detail,
            at=at,
            trader_id=TraderId(limit.name if limit.scope == TRADER else ""),
        )


class BudgetAlarms:
    """Tell alarms and remember what was told, so that those that are refused all day cost no statement."""

    def __init__(self) -> None:
        self._told: dict[tuple[str, ...], tuple[datetime, Decimal | None]] = {}

    def untold(self, alarms: Iterable[Alarm]) -> list[Alarm]:
        """Return the alarms that this process has not told for their day and budget."""
        return [one for one in alarms if self._told.get(one.subject) != (one.day, one.limit.usd)]

    async def tell(self, tx: Transaction, alarms: Sequence[Alarm], at: datetime) -> list[IncidentRow]:
        """Open an incident for each, unless it is open for the same budget already; return those opened."""
        opened = []
        for one in alarms:
            row = one.row(at)
            known = await tx.get(IncidentRow, row.incident_id)
            if known is None or known.resolved_at is not None or not _same_budget(known, one.limit):
                await tx.upsert([row])
                opened.append(row)
            self._told[one.subject] = (one.day, one.limit.usd)
        return opened

    def forget(self) -> None:
        """Forget what was told, because it may not have been stored."""
        self._told.clear()


def warnings(limits: Sequence[Limit], sums: Sequence[SpendingRow], tenant: TenantId, account: AccountId) -> list[Alarm]:
    """Return an alarm for each budget of which 80 % are used, what is set aside left out."""
    found = {row.scope: row for row in sums}
    told = [(limit, found[limit.scope]) for limit in limits if limit.scope in found]
    return [
        Alarm(
            limit=limit,
            day=row.day,
            code=WARNING,
            detail=f"{limit.title} has used {usd(_known(row))} of its {usd(limit.usd)} USD for models today",
            tenant=tenant,
            account=account,
        )
        for limit, row in told
        if limit.usd is not None and _known(row) >= WARN_AT * limit.usd
    ]


async def end_before(
    tx: Transaction, day: datetime, at: datetime, limits: Sequence[Limit] | None = None
) -> list[IncidentRow]:
    """End the alarms of the days before `day`, those of `limits` or all; return them."""
    subjects = None if limits is None else {(limit.scope, limit.name) for limit in limits}
    ended = []
    for one in await tx.find(IncidentRow, _OPEN, limit=_MOST):
        scope, name, told_day = _parts(one)
        if told_day < day.strftime(_DAY) and (subjects is None or (scope, name) in subjects):
            await tx.patch(IncidentRow, (one.incident_id,), resolved_at=at)
            ended.append(one)
    return ended


async def end_obsolete(tx: Transaction, tenant: TenantConfig, day: datetime, at: datetime) -> list[IncidentRow]:
    """End the alarms that the config makes untrue: of raised budgets, and of who is gone; return them."""
    ended = await end_before(tx, day, at)
    for one in await tx.find(IncidentRow, _OPEN, limit=_MOST):
        scope, name, _ = _parts(one)
        limit = Limit(scope=scope, name=name, usd=await _budget(tx, tenant, scope, name))
        if await _is_over(tx, one, limit, day):
            await tx.patch(IncidentRow, (one.incident_id,), resolved_at=at)
            ended.append(one)
    return ended


def budget_rows(tenant: TenantConfig) -> list[BudgetRow]:
    """Return the budgets of a config as rows; that of traders without their own has no name."""
    budgets = tenant.budgets
    limits = [
        Limit(scope=TENANT, name="", usd=budgets.tenant_usd_per_day),
        Limit(scope=TRADER, name="", usd=budgets.trader_usd_per_day),
        *(Limit(scope=MODEL, name=name, usd=one.budget_usd_per_day) for name, one in tenant.models.items()),
    ]
    return [
        BudgetRow(tenant_id=tenant.tenant_id, scope=limit.scope, name=limit.name, usd=limit.usd)
        for limit in limits
        if limit.usd is not None
    ]


def model_budget(tenant: TenantConfig | None, model: str) -> Decimal | None:
    """Return the budget of a model, None for a tenant or a model that the config does not name."""
    profile = tenant.models.get(model) if tenant is not None else None
    return None if profile is None else profile.budget_usd_per_day


def usd(amount: Decimal | None) -> str:
    """Return an amount in plain digits."""
    return f"{amount.normalize():f}" if amount else "0"


async def _is_over(tx: Transaction, told: IncidentRow, limit: Limit, day: datetime) -> bool:
    if limit.usd is None:
        return True
    if _same_budget(told, limit):
        return False
    row = await tx.get(SpendingRow, day, limit.scope, limit.name)
    share = Decimal(1) if told.code == EXHAUSTED else WARN_AT
    return row is None or _known(row) < share * limit.usd


async def _budget(tx: Transaction, tenant: TenantConfig, scope: str, name: str) -> Decimal | None:
    if scope == TENANT:
        return tenant.budgets.tenant_usd_per_day
    if scope == MODEL:
        return model_budget(tenant, name)
    trader = await tx.get(TraderRow, name)
    if trader is None or trader.state is TraderState.STOPPED:
        return None
    own = trader.spec.executor.budget_usd_per_day
    return tenant.budgets.trader_usd_per_day if own is None else own


def _same_budget(told: IncidentRow, limit: Limit) -> bool:
    amount = usd(limit.usd)
    return f" of its {amount} USD for models" in told.detail or f" may spend {amount} USD a day" in told.detail


def _known(row: SpendingRow) -> Decimal:
    return row.spent_usd + row.unknown_usd


def _parts(incident: IncidentRow) -> tuple[str, str, str]:
    """Return scope, name and day; a model's name may have any characters."""
    head, _, _ = incident.incident_id.rpartition(f"/{incident.code}")
    subject, _, day = head.rpartition("/")
    _, scope, name = (*subject.split("/", 2), "", "")[:3]
    return scope, name, day
