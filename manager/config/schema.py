"""The shape of config.yaml: which keys a section has, their types, ranges and defaults (DESIGN.md 4)."""

from collections.abc import Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from exchanges.paper.config import PaperConfig
from exchanges.synthetic.config import SyntheticConfig
from exchanges.types import Instrument, Symbol
from executor.baseline.styles import Style
from executor.contract import Limits
from executor.models.chat import Structured
from manager.config.fields import (
    AccountCount,
    Bps,
    Count,
    Duration,
    DurationOrZero,
    Expect,
    Id,
    Key,
    Leverage,
    Number,
    Percent,
    Positions,
    Positive,
    Price,
    Secret,
    Share,
    Text,
    Usd,
    choice,
)
from manager.desk.plan.values import AccountRules, AllocationStrategy, ConflictStrategy, GlobalLimits

_LIMITS: Final = Limits()
_DESK: Final = GlobalLimits()
_RULES: Final = AccountRules()
_PAPER: Final = PaperConfig()
_SYNTHETIC: Final = SyntheticConfig()
_INSTRUMENT: Final = Instrument(symbol=Symbol(""))


class Section(BaseModel):
    """Refuse unknown keys and silent conversions."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


_EMPTY_IS_DEFAULT = BeforeValidator(lambda given: {} if given is None else given)
_EMPTY_IS_NOTHING = BeforeValidator(lambda given: [] if given is None else given)


class ManagerSection(Section):
    """Hold `manager:`; the equity is what a paper account starts with and what the desk allocates."""

    total_equity_usd: Usd = Decimal(10_000)
    reserve_equity_pct: Annotated[Number, Field(ge=0, lt=100), Expect("a percentage from 0, below 100")] = Decimal(10)
    allocation_strategy: Annotated[AllocationStrategy, choice(AllocationStrategy)] = AllocationStrategy.EQUAL
    rebalance_interval: Duration = 3600
    conflict_strategy: Annotated[ConflictStrategy, choice(ConflictStrategy)] = ConflictStrategy.HIGHEST_CONFIDENCE
    decision_timeout: Duration = 30
    decision_concurrency: Annotated[Count, Field(ge=1, le=10_000), Expect("a whole number from 1 to 10000")] = 64
    trading_enabled: bool = True
    protection_grace: Duration = 5
    max_open_orders: AccountCount = _RULES.max_open_orders


class LimitsSection(Section):
    """Hold `global_limits:`, the limits of each account."""

    max_margin_usage_pct: Share = _DESK.max_margin_usage_pct
    max_positions: AccountCount = _DESK.max_positions
    max_symbol_exposure_pct: Annotated[
        Number, Field(gt=0, le=10_000), Expect("a percentage of equity above 0, up to 10000")
    ] = _DESK.max_symbol_exposure_pct
    max_unrealized_loss_pct: Share = _DESK.max_unrealized_loss_pct


class DataSection(Section):
    """Hold `data:`, how old prices may be and how long the texts of prompts are kept."""

    max_data_age: Duration = 15
    snapshot_max_age: Duration = 1
    prompt_retention: DurationOrZero = 30 * 86_400


class MonitoringSection(Section):
    """Hold `monitoring:`."""

    update_interval: Annotated[
        Duration, Field(le=30), Expect("a duration from 1s to 30s, by which a desk shows life")
    ] = 10
    alert_webhook: Secret | None = None
    metrics_exporter: Annotated[Literal["prometheus", "none"], Expect("prometheus or none")] = "none"


class InstrumentSection(Section):
    """Hold one entry of a paper account's `instruments:`."""

    lot: Positive = _INSTRUMENT.lot
    tick: Positive | None = None
    min_notional: Annotated[Number, Field(ge=0), Expect("0 USD or more")] = _INSTRUMENT.min_notional
    contract_size: Positive = _INSTRUMENT.contract_size
    max_leverage: Leverage = _INSTRUMENT.max_leverage
    maintenance_rate: Annotated[Number, Field(ge=0, lt=1), Expect("a fraction from 0, below 1, such as 0.005")] = (
        _INSTRUMENT.maintenance_rate
    )


class PaperSection(Section):
    """Hold an account of `type: paper`."""

    type: Literal["paper"]
    market: Any
    fee_bps: Bps = _PAPER.fee_bps
    maker_fee_bps: Annotated[Number, Field(gt=-10_000, lt=10_000), Expect("basis points from -fee_bps to 10000")] = (
        _PAPER.maker_fee_bps
    )
    slippage_bps: Bps = _PAPER.slippage_bps
    volume_share: Annotated[Number, Field(gt=0, le=1), Expect("a fraction above 0, up to 1")] | None = None
    start_equity_usd: Usd | None = None
    default_leverage: Leverage = _PAPER.default_leverage
    instruments: Annotated[dict[str, InstrumentSection], _EMPTY_IS_DEFAULT] = Field(default_factory=dict)


class LiveSection(Section):
    """Hold an account at a real venue."""

    type: str
    api_key: Key
    api_secret: Secret
    testnet: bool = True
    live: bool = False
    timeout: Duration = 30
    allow_opposite_books: bool = False


class SyntheticMarketSection(Section):
    """Hold `market: {type: synthetic}`."""

    type: Literal["synthetic"]
    seed: Annotated[Count, Field(ge=0, lt=2**32), Expect("a whole number from 0 to 4294967295")] = _SYNTHETIC.seed
    annual_volatility: Annotated[Number, Field(gt=0, le=10), Expect("a fraction above 0, up to 10 (1 is 100 %)")] = (
        Decimal(repr(_SYNTHETIC.annual_volatility))
    )
    jumps_per_day: Annotated[Number, Field(ge=0, le=24), Expect("0 to 24")] = Decimal(repr(_SYNTHETIC.jumps_per_day))
    outages_per_day: Annotated[Number, Field(ge=0, le=4), Expect("0 to 4")] = Decimal(repr(_SYNTHETIC.outages_per_day))
    indicator_interval: Duration = _SYNTHETIC.indicator_interval_s
    funding_interval: Duration = _SYNTHETIC.funding_interval_s


class ReplayMarketSection(Section):
    """Hold `market: {type: replay}`; paths are relative to the config file."""

    type: Literal["replay"]
    candles: Text
    funding: Text | None = None


class LiveMarketSection(Section):
    """Hold `market: {type: live}`: a venue's public prices, for which no key is needed."""

    type: Literal["live"]
    venue: Text


class BaselineSection(Section):
    """Hold `executor: {type: baseline}`: rules in code, no key."""

    type: Literal["baseline"]
    style: Annotated[Style, choice(Style)]


class LlmSection(Section):
    """Hold `executor: {type: llm}`: names out of `models:`, or an endpoint of the trader's own with its key."""

    type: Literal["llm"]
    model: Text
    fallback: Annotated[list[Text], _EMPTY_IS_NOTHING, Field(max_length=10), Expect("a list of up to 10 models")] = (
        Field(default_factory=list)
    )
    api_key: Key | None = None
    base_url: str | None = None
    structured: Annotated[Structured, choice(Structured)] | None = None
    timeout: Duration | None = None
    extra_body: Annotated[dict[str, Any], _EMPTY_IS_DEFAULT] = Field(default_factory=dict)


class PricesSection(Section):
    """Hold `price_per_mtok:`, USD for a million tokens; a cached one without its own price costs what others do."""

    input: Price
    cached_input: Price | None = None
    output: Price


class ModelSection(Section):
    """Hold one entry of `models:`: an endpoint that speaks OpenAI's chat completions, its limits and its prices."""

    model: Text
    api_key: Key | None = None
    base_url: str = "https://api.openai.com/v1"
    structured: Annotated[Structured, choice(Structured)] = Structured.JSON_SCHEMA
    timeout: Duration | None = None
    max_concurrency: Annotated[Count, Field(ge=1, le=10_000), Expect("a whole number from 1 to 10000")] | None = None
    requests_per_minute: (
        Annotated[Count, Field(ge=1, le=1_000_000), Expect("a whole number from 1 to 1000000")] | None
    ) = None
    price_per_mtok: PricesSection | None = None
    budget_usd_per_day: Usd | None = None
    extra_body: Annotated[dict[str, Any], _EMPTY_IS_DEFAULT] = Field(default_factory=dict)
    allow_private: bool = False


class RecordedSection(Section):
    """Hold `executor: {type: recorded}`: decisions from the file that `propdesk replay --decisions` names."""

    type: Literal["recorded"]


class RemoteSection(Section):
    """Hold `executor: {type: remote}`: a `propdesk executor serve` elsewhere, by http, https, grpc or grpcs."""

    type: Literal["remote"]
    url: Text
    key: Key
    timeout: Duration | None = None
    max_usd_per_decision: (
        Annotated[Number, Field(ge=0, le=Decimal("1e6")), Expect("USD for one decision, 0 or more")] | None
    ) = None
    ca_file: Text | None = None
    allow_private: bool = False
    allow_unencrypted: bool = False


class ExecutorServerSection(Section):
    """Hold `executor_server:`, the key with which desks ask `propdesk executor serve` about this tenant's traders."""

    key: Key


class RiskSection(Section):
    """Hold a trader's `risk_params:` (RULES.md 1)."""

    max_positions: Positions = _LIMITS.max_positions
    max_position_size_usd: Usd = _LIMITS.max_position_size_usd
    max_margin_usage_pct: Share = _LIMITS.max_margin_usage_pct
    major_coin_leverage: Leverage = _LIMITS.major_coin_leverage
    altcoin_leverage: Leverage = _LIMITS.altcoin_leverage
    min_risk_reward_ratio: Annotated[Number, Field(ge=0, le=100), Expect("a ratio from 0 to 100")] = (
        _LIMITS.min_risk_reward_ratio
    )
    min_confidence: Annotated[Number, Field(ge=0, le=100), Expect("a confidence from 0 to 100")] = (
        _LIMITS.min_confidence
    )
    stop_loss_enabled: bool = _LIMITS.stop_loss_enabled
    take_profit_enabled: bool = _LIMITS.take_profit_enabled
    max_drawdown_pct: Share = _LIMITS.max_drawdown_pct
    cooldown_after_stop: Annotated[DurationOrZero, Field(le=2_592_000), Expect("a duration from 0s to 30d")] = (
        _LIMITS.cooldown_after_stop_s
    )
    max_entries_per_hour: Annotated[Count, Field(ge=1, le=3600), Expect("a whole number from 1 to 3600")] = (
        _LIMITS.max_entries_per_hour
    )


class TraderSection(Section):
    """Hold one item of `traders:`."""

    id: Id
    name: Text | None = None
    exchange: Text
    executor: Any
    symbols: Annotated[
        list[Text], Field(min_length=1), Expect('a list with at least one symbol, such as ["BTC/USDT:USDT"]')
    ]
    prompt_template: Text | None = None
    budget_usd_per_day: Usd | None = None
    decision_interval: Annotated[Duration, Field(le=2_592_000), Expect("a duration from 1s to 30d")]
    allocation_pct: Percent = Decimal(0)
    risk_params: Annotated[RiskSection, _EMPTY_IS_DEFAULT] = RiskSection()
    auto_start: bool = True
    show_desk_exposure: bool = True


class BudgetsSection(Section):
    """Hold `budgets:`, what models may cost on a UTC day: in all, and each model and trader without its own."""

    tenant_usd_per_day: Usd | None = None
    model_usd_per_day: Usd | None = None
    trader_usd_per_day: Usd | None = None


class TenantSection(Section):
    """Hold one tenant of `tenants:`; its accounts, models and traders are judged one by one."""

    models: Annotated[dict[str, Any], _EMPTY_IS_DEFAULT] = Field(default_factory=dict)
    budgets: Annotated[BudgetsSection, _EMPTY_IS_DEFAULT] = BudgetsSection()
    exchanges: Annotated[dict[str, Any], _EMPTY_IS_DEFAULT] = Field(default_factory=dict)
    traders: Annotated[list[Any], _EMPTY_IS_NOTHING] = Field(default_factory=list)
    global_limits: Annotated[LimitsSection, _EMPTY_IS_DEFAULT] = LimitsSection()
    executor_server: ExecutorServerSection | None = None


class RootSection(TenantSection):
    """Hold the whole file; its own accounts and traders belong to the tenant "default"."""

    manager: Annotated[ManagerSection, _EMPTY_IS_DEFAULT] = ManagerSection()
    monitoring: Annotated[MonitoringSection, _EMPTY_IS_DEFAULT] = MonitoringSection()
    data: Annotated[DataSection, _EMPTY_IS_DEFAULT] = DataSection()
    tenants: Annotated[dict[str, Any], _EMPTY_IS_DEFAULT] = Field(default_factory=dict)


MARKETS: Final[Mapping[str, type[Section]]] = MappingProxyType(
    {"synthetic": SyntheticMarketSection, "replay": ReplayMarketSection, "live": LiveMarketSection}
)
EXECUTORS: Final[Mapping[str, type[Section]]] = MappingProxyType(
    {"baseline": BaselineSection, "llm": LlmSection, "recorded": RecordedSection, "remote": RemoteSection}
)
EXCHANGES: Final[Mapping[str, type[Section]]] = MappingProxyType(
    {"paper": PaperSection, "hyperliquid": LiveSection, "binance": LiveSection}
)
