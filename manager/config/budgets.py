"""Read `budgets:`, and see that what has a budget has a price and an end."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

from executor.budget import output_cap
from executor.models.profile import ModelProfile
from executor.registry import ExecutorSpec, ExecutorType
from manager.config.schema import BudgetsSection
from manager.config.source import Loc, Source, shown
from manager.config.values import Budgets, TenantConfig
from traders.spec import TraderSpec


def read_budgets(section: BudgetsSection) -> Budgets:
    """Return the budgets of a tenant."""
    return Budgets(
        tenant_usd_per_day=section.tenant_usd_per_day,
        model_usd_per_day=section.model_usd_per_day,
        trader_usd_per_day=section.trader_usd_per_day,
    )


def budgeted_models(models: Mapping[str, ModelProfile], default: Decimal | None) -> dict[str, ModelProfile]:
    """Return the models with the default budget where they have none of their own."""
    return {
        name: one if one.budget_usd_per_day is not None else replace(one, budget_usd_per_day=default)
        for name, one in models.items()
    }


def check_budgets(source: Source, loc: Loc, given: Sequence[Any], tenant: TenantConfig) -> None:
    """Note each budget that could not hold, because what it covers has no price or no end.

    `given` are the traders as read.
    """
    places = {str(item.get("id")): index for index, item in enumerate(given) if isinstance(item, dict)}
    covered: set[str] = set()
    for spec in tenant.traders:
        here = (*loc, "traders", places[spec.id])
        own = spec.executor.budget_usd_per_day
        if spec.executor.type is ExecutorType.REMOTE:
            if _covered(spec, tenant) and spec.executor.max_usd_per_decision is None:
                mend = (
                    "a budget covers this trader; say what one decision there costs at most, 0 where it costs nothing"
                )
                source.report((*here, "executor", "max_usd_per_decision"), "missing", mend)
        elif spec.executor.type is not ExecutorType.LLM:
            if own is not None:
                mend = f"an executor of type {spec.executor.type} calls no model from here; remove it"
                source.report((*here, "budget_usd_per_day"), shown((), own), mend)
        elif _covered(spec, tenant):
            covered.update(asked_models(spec.executor))
            if spec.executor.base_url:
                mend = "has a budget and an endpoint of its own, whose prices are not known; define it under models"
                source.report((*here, "executor"), "", mend)
        elif spec.executor.base_url and tenant.budgets.model_usd_per_day is not None:
            mend = "has an endpoint of its own, which model_usd_per_day does not reach; define it under models"
            source.report((*here, "executor"), "", mend)
    for name, one in tenant.models.items():
        here = (*loc, "models", name)
        lack = lacking(one) if name in covered or one.budget_usd_per_day is not None else None
        if lack is not None:
            source.report((*here, lack[0]), "missing", f"a budget counts its calls; {lack[1]}")


def lacking(profile: ModelProfile) -> tuple[str, str] | None:
    """Return the field that a model needs before a budget can hold for it and the mend, None if it has all."""
    if profile.prices is None:
        return "price_per_mtok", "add price_per_mtok: {input: ..., output: ...}, 0 where it costs nothing"
    if profile.prices.output and output_cap(profile.endpoint.extra_body) is None:
        mend = "add extra_body: {max_tokens: ...}, or max_completion_tokens where the provider wants that"
        return "extra_body", f"{mend}: without a cap nobody knows what a reply may cost"
    return None


def _covered(spec: TraderSpec, tenant: TenantConfig) -> bool:
    budgets = tenant.budgets
    limits = (spec.executor.budget_usd_per_day, budgets.tenant_usd_per_day, budgets.trader_usd_per_day)
    return any(usd is not None for usd in limits)


def asked_models(executor: ExecutorSpec) -> tuple[str, ...]:
    """Return the names under `models:` that an executor asks."""
    return executor.fallback if executor.base_url else (*executor.fallback, executor.model)
