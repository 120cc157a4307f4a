"""What models cost a tenant today: in all and by model, against what the config allows."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final

from manager.cli.render import fine_usd, show_table
from manager.state.records import TenantId, TraderRow
from manager.state.spending import MODEL, TENANT, TRADER, BudgetRow, SpendingRow, day_of
from manager.state.store import Store, Transaction

_MOST: Final = 100_000
_COLUMNS: Final = (
    "model",
    "calls>",
    "tokens in>",
    "cached>",
    "out>",
    "spent USD>",
    "unknown>",
    "reserved>",
    "of budget>",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCost:
    """Hold what model calls of one scope cost on this UTC day; `name` is empty for the whole tenant.

    `reserved_usd` is set aside for calls under way, `unknown_usd` the worst case of calls whose cost nobody told; both
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


async def read_model_costs(store: Store, tenant: TenantId, now: datetime) -> tuple[ModelCost, ...]:
    """Return the cost of the tenant and of each model that has a budget or was called today; empty without any."""
    day = day_of(now)
    async with store.transaction(tenant) as tx:
        found = await tx.find(SpendingRow, {"day": day, "scope": (TENANT, MODEL)}, limit=_MOST)
        allowed = await tx.find(BudgetRow, {"scope": (TENANT, MODEL)}, limit=_MOST)
    rows = {(row.scope, row.name): row for row in found}
    budgets = {(row.scope, row.name): row.usd for row in allowed}
    keys = sorted(rows.keys() | budgets.keys(), key=lambda key: (key[0] != TENANT, key))
    return tuple(_cost(rows.get(key) or _nothing(tenant, day, key), budgets.get(key)) for key in keys)


async def trader_cost(tx: Transaction, trader: TraderRow, now: datetime) -> ModelCost:
    """Return the cost of one trader against its own budget or the default."""
    day, budget = day_of(now), trader.spec.executor.budget_usd_per_day
    row = await tx.get(SpendingRow, day, TRADER, trader.trader_id)
    default = await tx.get(BudgetRow, TRADER, "") if budget is None else None
    spent = row or _nothing(trader.tenant_id, day, (TRADER, trader.trader_id))
    return _cost(spent, budget if default is None else default.usd)


def show_model_costs(costs: Sequence[ModelCost]) -> None:
    """Print a table of what models cost; nothing where none was asked and none has a budget."""
    if costs:
        show_table("Models today (UTC)", _COLUMNS, [_cells(cost) for cost in costs])


def cost_text(cost: ModelCost) -> str:
    """Return what was spent of what is allowed, and beside it what is held for calls under way or of unknown cost."""
    held = {"reserved": cost.reserved_usd, "unknown": cost.unknown_usd}
    beside = "".join(f" + {fine_usd(amount)} {name}" for name, amount in held.items() if amount)
    allowed = "" if cost.budget_usd is None else f" of {fine_usd(cost.budget_usd)}"
    return f"{fine_usd(cost.spent_usd)}{beside}{allowed}"


def _cells(cost: ModelCost) -> list[str]:
    tokens = (cost.calls, cost.input_tokens, cost.cached_tokens, cost.output_tokens)
    amounts = (cost.spent_usd, cost.unknown_usd, cost.reserved_usd)
    return [cost.name or "all", *map(str, tokens), *map(fine_usd, amounts), fine_usd(cost.budget_usd)]


def _cost(row: SpendingRow, budget_usd: Decimal | None) -> ModelCost:
    return ModelCost(
        scope=row.scope,
        name=row.name,
        calls=row.calls,
        input_tokens=row.input_tokens,
        cached_tokens=row.cached_tokens,
        output_tokens=row.output_tokens,
        spent_usd=row.spent_usd,
        unknown_usd=row.unknown_usd,
        reserved_usd=row.reserved_usd,
        budget_usd=budget_usd,
    )


def _nothing(tenant: TenantId, day: datetime, key: tuple[str, str]) -> SpendingRow:
    return SpendingRow(tenant_id=tenant, day=day, scope=key[0], name=key[1])
