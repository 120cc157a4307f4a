"""`budgets:` in a config: who may spend what, and that nothing is promised that has no price."""

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from config_files import changed, write_config
from executor.registry import ExecutorSpec, ExecutorType
from manager.config import Config, ConfigError, load_config, load_traders
from manager.errors import RegistrationError
from manager.roster.registration import registration_check
from manager.state.records import DEFAULT_TENANT
from traders.spec import TraderId, TraderSpec

ENV = {"KEY": "sk-hidden"}
URL = "http://127.0.0.1:11434/v1"
CAP = "extra_body: {max_tokens: 500}"
PRICED = f'  big: {{base_url: "{URL}", model: x, price_per_mtok: {{input: 1, output: 2}}, {CAP}}}\n'
ENDLESS = PRICED.replace(CAP, "structured: none")
FREE = f'  free: {{base_url: "{URL}", model: y}}\n'
OWN = "{type: llm, model: z, api_key: ${KEY}, base_url: https://api.example.com/v1}"


def text(asks: str, *, models: str = PRICED + FREE, budgets: str = "", trader: str = "") -> str:
    """Return a config whose first trader asks a model."""
    executor = f"{asks}\n    prompt_template: prompts/general.md{trader}"
    heads = (f"budgets: {{{budgets}}}\n" if budgets else "") + f"models:\n{models}"
    return heads + changed("{type: baseline, style: trend}", executor)


def load(folder: Path, written: str) -> Config:
    return load_config(write_config(folder, written), ENV)


def problems(folder: Path, written: str) -> list[tuple[str, str, str]]:
    with pytest.raises(ConfigError) as refused:
        load(folder, written)
    return [(one.field, one.value, one.mend) for one in refused.value.problems]


def test_budgets_are_read_with_defaults_for_who_has_none(tmp_path: Path) -> None:
    budgets = "tenant_usd_per_day: 20, model_usd_per_day: 5, trader_usd_per_day: 2"
    models = PRICED + FREE.replace(
        "model: y", "model: y, budget_usd_per_day: 0.5, price_per_mtok: {input: 0, output: 0}"
    )
    config = load(tmp_path, text("{type: llm, model: big}", models=models, budgets=budgets))
    tenant = config.tenants[DEFAULT_TENANT]
    assert tenant.budgets.tenant_usd_per_day == 20
    assert {name: one.budget_usd_per_day for name, one in tenant.models.items()} == {"big": 5, "free": Decimal("0.5")}
    asks, rules = tenant.traders
    assert tenant.budgets.trader_usd_per_day == 2
    assert {asks.executor.budget_usd_per_day, rules.executor.budget_usd_per_day} == {None}
    own = text("{type: llm, model: big}", models=models, budgets=budgets, trader="\n    budget_usd_per_day: 7")
    assert load(tmp_path, own).tenants[DEFAULT_TENANT].traders[0].executor.budget_usd_per_day == 7


def test_without_budgets_nobody_has_one(tmp_path: Path) -> None:
    tenant = load(tmp_path, text("{type: llm, model: free}")).tenants[DEFAULT_TENANT]
    assert tenant.budgets.tenant_usd_per_day is None
    assert {one.budget_usd_per_day for one in tenant.models.values()} == {None}
    assert {spec.executor.budget_usd_per_day for spec in tenant.traders} == {None}


@pytest.mark.parametrize(
    ("written", "field", "mend"),
    [
        (text("{type: llm, model: free}", budgets="tenant_usd_per_day: 1"), "models.free.price", "0 where it"),
        (text("{type: llm, model: big, fallback: [free]}", budgets="trader_usd_per_day: 1"), "models.free", "0 where"),
        (text("{type: llm, model: free}", trader="\n    budget_usd_per_day: 1"), "models.free.price", "add price_per"),
        (text("{type: llm, model: big}", budgets="model_usd_per_day: 1"), "models.free.price", "add price_per"),
        (text(OWN, trader="\n    budget_usd_per_day: 1"), "traders[0].executor", "define it under models"),
        (text(OWN, budgets="tenant_usd_per_day: 1"), "traders[0].executor", "define it under models"),
        (text("{type: llm, model: big}", budgets="model_usd_per_day: 1", models=ENDLESS),
         "models.big.extra_body", "without a cap"),
        (text("{type: llm, model: big}", budgets="trader_usd_per_day: 1", models=ENDLESS),
         "models.big.extra_body", "without a cap"),
        (text(OWN, models=PRICED, budgets="model_usd_per_day: 1"), "traders[0].executor", "does not reach"),
        (text(OWN, models=PRICED, budgets="trader_usd_per_day: 1"), "traders[0].executor", "define it under models"),
        (text("{type: llm, model: big}", budgets="tenant_usd_per_day: 0"), "budgets.tenant_usd_per_day", "above 0 USD"),
        (text("{type: llm, model: big}", budgets="daily: 3"), "budgets.daily", "tenant_usd_per_day"),
        (changed("{type: baseline, style: trend}", "{type: baseline, style: trend}\n    budget_usd_per_day: 1"),
         "traders[0].budget_usd_per_day", "remove it"),
    ],
)  # fmt: skip
def test_a_budget_that_cannot_hold_is_a_mistake(tmp_path: Path, written: str, field: str, mend: str) -> None:
    ((at, _, told),) = problems(tmp_path, written)
    assert at.startswith(field)
    assert mend in told


def test_a_budget_of_others_asks_no_price_of_a_free_model(tmp_path: Path) -> None:
    second = '\n  - {id: free, exchange: paper, executor: {type: llm, model: free}, symbols: ["ETH/USDT:USDT"],'
    second += " decision_interval: 3m, prompt_template: prompts/general.md}"
    written = text("{type: llm, model: big}", trader="\n    budget_usd_per_day: 1") + second
    assert len(load(tmp_path, written).tenants[DEFAULT_TENANT].traders) == 3


def llm(name: str, **values: object) -> ExecutorSpec:
    return ExecutorSpec(type=ExecutorType.LLM, model=name, prompt_template="prompts/general.md", **values)  # type: ignore[arg-type]  # any field


def test_registration_asks_for_prices_too(tmp_path: Path) -> None:
    def check(config: Config, executor: ExecutorSpec) -> None:
        spec: TraderSpec = replace(config.tenants[DEFAULT_TENANT].traders[1], id=TraderId("new"), executor=executor)
        registration_check(config).beside(DEFAULT_TENANT, ()).check(replace(spec, allocation_pct=Decimal(0)))

    free = load(tmp_path, text("{type: llm, model: big}"))
    check(free, llm("free"))
    with pytest.raises(RegistrationError, match="'free' without a price: expected models with price_per_mtok"):
        check(free, llm("free", budget_usd_per_day=Decimal(1)))
    held = load(tmp_path, text("{type: llm, model: big}", models=PRICED, budgets="tenant_usd_per_day: 1"))
    check(held, llm("big"))
    with pytest.raises(RegistrationError, match="whose prices are not known"):
        check(held, llm("z", base_url="https://api.example.com/v1"))
    default = load(tmp_path, text("{type: llm, model: big}", models=PRICED + FREE, budgets="trader_usd_per_day: 1"))
    with pytest.raises(RegistrationError, match="'free' without a price"):
        check(default, llm("free"))
    endless = PRICED.replace("big", "endless").replace(CAP, "structured: none")
    uncapped = load(tmp_path, text("{type: llm, model: big}", models=PRICED + endless, budgets="tenant_usd_per_day: 1"))
    with pytest.raises(RegistrationError, match="'endless' without a cap"):
        check(uncapped, llm("endless"))


def test_what_costs_nothing_needs_no_cap(tmp_path: Path) -> None:
    free = FREE.replace("model: y", "model: y, price_per_mtok: {input: 0, output: 0}")
    tenant = load(tmp_path, text("{type: llm, model: free}", models=free, budgets="tenant_usd_per_day: 1"))
    assert tenant.tenants[DEFAULT_TENANT].budgets.tenant_usd_per_day == 1


def test_a_trader_added_later_stores_no_default_budget(tmp_path: Path) -> None:
    config = load(tmp_path, text("{type: llm, model: big}", budgets="trader_usd_per_day: 2"))
    path = tmp_path / "trader.yaml"
    path.write_text(
        'id: late\nexchange: paper\nexecutor: {type: llm, model: big}\nsymbols: ["BTC/USDT:USDT"]\n'
        "decision_interval: 3m\nprompt_template: prompts/general.md\n",
        encoding="utf-8",
    )
    (late,) = load_traders(path, config, DEFAULT_TENANT, ENV)
    assert late.executor.budget_usd_per_day is None
