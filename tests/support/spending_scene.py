"""Budgets, traders and quotes for tests of spending: one output token costs one USD."""

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

from executor.contract import Usage
from executor.models.chat import Message, ModelEndpoint
from executor.models.metering import CallQuote, Charge, Quote
from executor.models.profile import ModelProfile, TokenPrices
from executor.registry import ExecutorSpec, ExecutorType
from manager.config.values import Budgets, Config
from memory_desk import plain_config
from state_rows import make_spec
from traders.spec import TraderSpec

ZERO = Decimal(0)
DOLLAR_A_TOKEN = TokenPrices(input=ZERO, cached_input=ZERO, output=Decimal(1_000_000))
FREE = TokenPrices(input=ZERO, cached_input=ZERO, output=ZERO)


def budget_config(
    tenant_usd: Decimal | None, trader_usd: Decimal | None = None, model_usd: Decimal | None = None
) -> Config:
    """Return a config of one tenant with budgets, `model_usd` that of its model m, and nothing else."""
    budgets = Budgets(tenant_usd_per_day=tenant_usd, trader_usd_per_day=trader_usd)
    endpoint = ModelEndpoint(base_url="http://x/v1", model="x", api_key="")
    models = {"m": ModelProfile(name="m", endpoint=endpoint, prices=DOLLAR_A_TOKEN, budget_usd_per_day=model_usd)}
    return plain_config(accounts={}, models=models, budgets=budgets)


def trader(name: str, usd: Decimal | None) -> TraderSpec:
    """Return a trader that asks a model, with a budget of its own or none."""
    return replace(make_spec(name), executor=ExecutorSpec(type=ExecutorType.LLM, budget_usd_per_day=usd))


def quote(worst: int, model: str = "m", usd: Decimal | None = None, lasts_s: float = 30.0) -> Quote:
    """Return a quote of a call whose worst case is `worst` USD; `usd` is the model's budget."""
    body: Mapping[str, Any] = {"max_tokens": worst}
    endpoint = ModelEndpoint(base_url="http://x/v1", model="x", api_key="", timeout_s=lasts_s, extra_body=body)
    prices = DOLLAR_A_TOKEN if worst else FREE
    profile = ModelProfile(name=model, endpoint=endpoint, prices=prices, budget_usd_per_day=usd)
    return CallQuote(profile, [Message(role="user", text="hello")])


def costs(usd: int | Decimal) -> Charge:
    """Return the charge of an answered call."""
    return Charge(calls=1, usage=Usage(input_tokens=3, cached_tokens=1, output_tokens=2, cost_usd=Decimal(usd)))
