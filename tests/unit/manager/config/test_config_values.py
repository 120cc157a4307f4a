"""What a sound config becomes."""

from decimal import Decimal
from pathlib import Path

import pytest

from config_files import SOUND, changed, write_config
from exchanges.paper.config import PaperConfig
from executor.contract import Limits
from executor.registry import ExecutorType
from manager.config import AccountConfig, Config, ConfigError, MarketType, load_config
from manager.config.values import VenueSettings
from manager.desk.plan.values import AccountRules, AllocationStrategy, ConflictStrategy
from manager.resources import resource
from manager.state.records import DEFAULT_TENANT, TenantId
from traders.spec import ManagedBy

DESIGN = """\
manager:   {total_equity_usd: 20000, reserve_equity_pct: 12.5, allocation_strategy: equal, rebalance_interval: 1h,
            conflict_strategy: net, decision_timeout: 30s, decision_concurrency: 64, trading_enabled: false}
global_limits: {max_margin_usage_pct: 85, max_positions: 10, max_symbol_exposure_pct: 50, max_unrealized_loss_pct: 20}
exchanges:
  paper: {type: paper, market: {type: synthetic, seed: 7}, fee_bps: 4.5, maker_fee_bps: 1.5, slippage_bps: 1}
  hyperliquid: {type: hyperliquid, api_key: ${HL_KEY}, api_secret: ${HL_SECRET}, testnet: true, timeout: 10s,
                allow_opposite_books: true}
traders:
  - {id: trend_btc, name: Trend BTC, exchange: paper, executor: {type: baseline, style: trend},
     symbols: ["BTC/USDT:USDT"], prompt_template: prompts/general.md, decision_interval: 3m, allocation_pct: 30,
     risk_params: {min_confidence: 80}, auto_start: true}
monitoring: {update_interval: 10s, alert_webhook: ${WEBHOOK}, metrics_exporter: prometheus}
tenants: {acme: {exchanges: {own: {type: paper, market: {type: synthetic}, start_equity_usd: 500}},
                 traders: [{id: trend_btc, exchange: own, executor: {type: recorded}, symbols: ["ETH/USDT:USDT"],
                            decision_interval: 1h, auto_start: false, description: "buys dips", author: ann,
                            risk_params: {max_single_position_exposure_pct: 250}}],
                 global_limits: {max_positions: 3}}}
"""
ENV = {"HL_KEY": "key-1", "HL_SECRET": "secret-1", "WEBHOOK": "https://hooks.example/x", "OTHER": "not-named"}


@pytest.fixture
def design(tmp_path: Path) -> Config:
    return load_config(write_config(tmp_path, DESIGN), ENV)


def test_the_manager_section_becomes_the_rules_of_each_account(design: Config) -> None:
    rules = design.tenants[DEFAULT_TENANT].accounts["paper"].rules
    assert rules.conflict_strategy is ConflictStrategy.NET
    assert rules.allocation_strategy is AllocationStrategy.EQUAL
    assert (rules.reserve_equity_pct, rules.rebalance_interval_s) == (Decimal("12.5"), 3600)
    assert rules.trading_enabled is False
    assert design.manager.decision_timeout_s == 30
    assert design.monitoring.update_interval_s == 10


def settings(account: AccountConfig) -> PaperConfig:
    assert isinstance(account.settings, PaperConfig)
    return account.settings


def test_a_paper_account_starts_with_the_total_equity_or_its_own(design: Config) -> None:
    paper = design.tenants[DEFAULT_TENANT].accounts["paper"]
    own = design.tenants[TenantId("acme")].accounts["own"]
    assert (paper.equity_usd, settings(paper).start_equity) == (Decimal(20_000), Decimal(20_000))
    assert (own.equity_usd, settings(own).start_equity) == (Decimal(500), Decimal(500))
    assert paper.market.type is MarketType.SYNTHETIC
    assert paper.market.synthetic is not None
    assert paper.market.synthetic.seed == 7


def test_tenants_have_their_own_accounts_traders_and_limits(design: Config) -> None:
    acme = design.tenants[TenantId("acme")]
    assert acme.accounts["own"].rules.limits.max_positions == 3
    assert design.tenants[DEFAULT_TENANT].accounts["paper"].rules.limits.max_positions == 10
    [trader] = acme.traders
    assert (trader.id, trader.account, trader.auto_start) == ("trend_btc", "own", False)
    assert (trader.description, trader.author) == ("buys dips", "ann")
    assert trader.limits.max_single_position_exposure_pct == 250
    [plain] = design.tenants[DEFAULT_TENANT].traders
    assert (plain.description, plain.author, plain.limits.max_single_position_exposure_pct) == ("", "", None)
    assert trader.executor.type is ExecutorType.RECORDED


def test_a_trader_gets_its_limits_and_is_managed_by_the_config(design: Config) -> None:
    [trader] = design.tenants[DEFAULT_TENANT].traders
    assert trader.limits == Limits(min_confidence=Decimal(80))
    assert (trader.name, trader.decision_interval_s, trader.allocation_pct) == ("Trend BTC", 180, Decimal(30))
    assert trader.managed_by is ManagedBy.CONFIG


def test_secrets_are_references_everywhere_but_in_the_vault(design: Config) -> None:
    account = design.tenants[DEFAULT_TENANT].accounts["hyperliquid"]
    assert isinstance(account.settings, VenueSettings)
    assert account.settings.api_key == "${HL_KEY}"
    assert design.secret(account.settings.api_secret) == "secret-1"
    assert design.secret(design.monitoring.alert_webhook) == "https://hooks.example/x"
    assert set(design.secrets) == {"HL_KEY", "HL_SECRET", "WEBHOOK"}
    for value in ENV.values():
        assert value not in repr(design)


def test_a_model_key_appears_only_in_the_executor_that_opens_the_connection(tmp_path: Path) -> None:
    llm = "{type: llm, model: m, api_key: ${MODEL_KEY}}\n    prompt_template: prompts/general.md"
    config = load_config(
        write_config(tmp_path, changed("{type: baseline, style: trend}", llm)), {"MODEL_KEY": "sk-hidden"}
    )
    executor = config.tenants[DEFAULT_TENANT].traders[0].executor
    assert executor.api_key == "${MODEL_KEY}"
    assert executor.timeout_s == 30.0
    opened = config.with_key(executor)
    assert opened.api_key == "sk-hidden"
    assert "sk-hidden" not in repr(opened)


def test_numbers_are_exact(tmp_path: Path) -> None:
    config = load_config(write_config(tmp_path, changed("fee_bps: 4.5", "fee_bps: 0.1")), {})
    paper = settings(config.tenants[DEFAULT_TENANT].accounts["paper"])
    assert paper.fee_bps == Decimal("0.1")


def test_empty_sections_are_their_defaults(tmp_path: Path) -> None:
    config = load_config(write_config(tmp_path, SOUND + "global_limits:\nmonitoring:\ntenants:\ndata:\n"), {})
    rules = config.tenants[DEFAULT_TENANT].accounts["paper"].rules
    assert rules.limits == AccountRules().limits
    assert rules.max_data_age_s == 15


def test_merge_keys_fill_in_what_is_not_given(tmp_path: Path) -> None:
    text = changed("risk_params: {", "risk_params: &risk {max_positions: 2, ")
    text += "    risk_params: {<<: *risk, min_confidence: 70}\n"
    first, second = load_config(write_config(tmp_path, text), {}).tenants[DEFAULT_TENANT].traders
    assert (first.limits.max_positions, first.limits.min_confidence) == (2, Decimal(80))
    assert (second.limits.max_positions, second.limits.min_confidence) == (2, Decimal(70))


def test_symbols_are_judged_by_what_the_caller_knows_of_the_account(tmp_path: Path) -> None:
    path = write_config(tmp_path)

    def candles(account: AccountConfig) -> frozenset[str]:
        assert account.name == "paper"
        return frozenset({"BTC/USDT:USDT"})

    with pytest.raises(ConfigError) as refused:
        load_config(path, {}, instruments_of=candles)
    assert [problem.field for problem in refused.value.problems] == ["traders[1].symbols[0]"]
    unjudged = load_config(path, {}, instruments_of=lambda account: None)
    assert len(unjudged.tenants[DEFAULT_TENANT].traders) == 2


def test_instruments_of_a_paper_account_can_be_set(tmp_path: Path) -> None:
    text = changed("fee_bps: 4.5", 'instruments: {"BTC/USDT:USDT": {lot: 0.001, min_notional: 100}}')
    account = load_config(write_config(tmp_path, text), {}).tenants[DEFAULT_TENANT].accounts["paper"]
    [instrument] = settings(account).instruments.values()
    assert (instrument.lot, instrument.min_notional, instrument.max_leverage) == (Decimal("0.001"), Decimal(100), 50)


def test_net_on_a_live_account_must_be_allowed(tmp_path: Path) -> None:
    text = DESIGN.replace(",\n                allow_opposite_books: true", "")
    with pytest.raises(ConfigError, match=r"exchanges\.hyperliquid\.allow_opposite_books is false: set it to true"):
        load_config(write_config(tmp_path, text), ENV)


def test_a_trader_on_a_venue_without_an_adapter_is_refused(tmp_path: Path) -> None:
    text = DESIGN.replace("exchange: paper, ex", "exchange: hyperliquid, ex")
    with pytest.raises(ConfigError, match="this version has no adapter for hyperliquid"):
        load_config(write_config(tmp_path, text), ENV)


def test_the_shipped_config_runs_eight_traders_of_four_temperaments() -> None:
    config = load_config(resource("config.yaml"), {})
    traders = config.tenants[DEFAULT_TENANT].traders
    assert len(traders) == 8
    assert len({trader.executor.style for trader in traders}) == 4
    assert {trader.account for trader in traders} == {"paper"}
    assert min(trader.decision_interval_s for trader in traders) == 5
    assert all(trader.auto_start for trader in traders)
