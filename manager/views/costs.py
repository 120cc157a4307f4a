"""What models cost a tenant today: in all and by model, against what the config allows."""

from dataclasses import dataclass, fields
from datetime import datetime
from decimal import Decimal
from typing import Final

from manager.state.records import TenantId
from manager.state.spending import MODEL, TENANT, BudgetRow, SpendingRow, day_of
from manager.state.store import Search, Store
from manager.views.pages import cursor_of, parts_of

_SCOPES: Final = (TENANT, MODEL)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCost:
    """Hold what model calls of one scope cost on this UTC day; `name` is empty for the whole tenant.

    `reserved_usd` is set aside for calls under way, `unknown_usd` the worst case of calls whose cost is unknown; both
    count against the budget.
    """

    scope: str
    name: str
    calls: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    spent_usd: Decimal
    unknown_usd: Decimal
    reserved_usd: Decimal
    budget_usd: Decimal | None

    @classmethod
    def of(cls, row: SpendingRow, budget_usd: Decimal | None) -> "ModelCost":
        """Return what was spent, against what is allowed."""
        spent = {item.name: getattr(row, item.name) for item in fields(cls) if item.name != "budget_usd"}
        return cls(**spent, budget_usd=budget_usd)


@dataclass(frozen=True, slots=True, kw_only=True)
class CostQuery:
    """Say of which day costs are asked, that of `now`, and of which models; empty fields do not narrow."""

    now: datetime
    models: tuple[str, ...] = ()
    limit: int | None = None
    after: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CostPage:
    """Hold costs, the tenant's before those of its models; `next` is the cursor of the next page, empty at the end."""

    costs: tuple[ModelCost, ...]
    next: str


async def read_model_costs(store: Store, tenant: TenantId, query: CostQuery) -> CostPage:
    """Return the cost of the tenant and of each model that has a budget or was called today; empty without any.

    Raises UnknownCursor.
    """
    day = day_of(query.now)
    past = parts_of(query.after, int, str, str) if query.after else ()
    narrow = {"name": query.models} if query.models else {}
    async with store.transaction(tenant) as tx:
        found, allowed = await tx.search(
            Search(kind=SpendingRow, where={"day": day, "scope": _SCOPES, **narrow}),
            Search(kind=BudgetRow, where={"scope": _SCOPES, **narrow}),
        )
    rows = {(_SCOPES.index(row.scope), row.scope, row.name): row for row in found}
    budgets = {(_SCOPES.index(row.scope), row.scope, row.name): row.usd for row in allowed}
    keys = [key for key in sorted(rows.keys() | budgets.keys()) if key > past]
    page = keys[: query.limit]
    costs = tuple(
        ModelCost.of(
            rows.get(key) or SpendingRow(tenant_id=tenant, day=day, scope=key[1], name=key[2]), budgets.get(key)
        )
        for key in page
    )
    return CostPage(costs=costs, next=cursor_of(*page[-1]) if len(keys) > len(page) else "")
