"""The shape of config.yaml: which keys a section has, their types, ranges and defaults.

docs/config.md is written from it: the string below a key says what it is for.
"""

from collections.abc import Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from exchanges.types import ZERO
from executor.baseline.styles import Style
from executor.contract import Limits
from executor.models.chat import Structured
from manager.config import fields
from manager.config.fields import EMPTY_IS_DEFAULT, EMPTY_IS_NOTHING, Count, Example, Expect, Number, Section, choice
from manager.desk.plan.values import (
    AccountRules,
    AllocationStrategy,
    ConflictStrategy,
    GlobalLimits,
    OnUnrealizedLoss,
)
from traders.spec import IsolationRules

_LIMITS: Final = Limits()
_DESK: Final = GlobalLimits()
_RULES: Final = AccountRules()
_ISOLATION: Final = IsolationRules()
OPENAI: Final = "https://api.openai.com/v1"


class IsolationSection(Section):
    """Hold `isolation:`, when a trader is isolated; null switches a rule off, a trader's own goes before the desk's."""

    sharpe_below: Annotated[Number, Field(ge=-1000, le=1000), Expect("a Sharpe ratio, or null", "-1.0")] | None = (
        Decimal("-1.0")
    )
    """The Sharpe ratio below which it is isolated (SHARPE)."""
    min_trades: Annotated[Count, Field(ge=1, le=100_000), Expect("a whole number from 1 to 100000")] = (
        _ISOLATION.min_trades
    )
    """The closed trades from which its Sharpe ratio counts."""
    failed_decisions: (
        Annotated[Count, Field(ge=1, le=100_000), Expect("a whole number from 1, or null", "10")] | None
    ) = _ISOLATION.failed_decisions
    """The replies in a row that are no decision (FAILURES); an endpoint that is away does not count."""
    violations_per_day: (
        Annotated[Count, Field(ge=1, le=1000), Expect("a whole number from 1 to 1000, or null", "30")] | None
    ) = _ISOLATION.violations_per_day
    """The denials by its own limits within 24 hours in which no entry was taken (VIOLATIONS)."""
    flatten: bool = _ISOLATION.flatten
    """Whether what an isolated trader holds is closed."""

    @property
    def rules(self) -> IsolationRules:
        """Return the rules, with the names of those that are given."""
        floor = None if self.sharpe_below is None else float(self.sharpe_below)
        values = {**self.model_dump(), "sharpe_below": floor}
        return IsolationRules(**values, own=tuple(sorted(self.model_fields_set)))


class ManagerSection(Section):
    """Hold `manager:`, what applies to every account and trader of the file."""

    total_equity_usd: fields.Usd = Decimal(10_000)
    """What a paper account starts with, and what the desk allocates."""
    reserve_equity_pct: Annotated[Number, Field(ge=0, lt=100), Expect("a percentage from 0, below 100")] = Decimal(10)
    """The part of the equity that is kept back; the rest is allocated to the traders."""
    allocation_strategy: Annotated[AllocationStrategy, choice(AllocationStrategy)] = AllocationStrategy.EQUAL
    """How capital is shared out: in equal parts, by each trader's allocation_pct, by performance, or once (fixed)."""
    rebalance_interval: fields.Duration = 3600
    """How often capital is shared out anew; never under fixed, where each keeps what it makes or loses."""
    rebalance_closes: bool = False
    """Whether a rebalance closes what a trader holds beyond its allocation, the worst first."""
    isolation: Annotated[
        IsolationSection, EMPTY_IS_DEFAULT, Example("{failed_decisions: 5}", "a mapping, see below")
    ] = IsolationSection()
    """When a trader is isolated: no entries, and its free capital is withdrawn."""
    conflict_strategy: Annotated[ConflictStrategy, choice(ConflictStrategy)] = ConflictStrategy.HIGHEST_CONFIDENCE
    """What happens where traders of an account want opposite things: docs/concepts/conflicts.md."""
    decision_timeout: fields.Duration = 30
    """How long a decision may take; a later one means no new risk."""
    decision_concurrency: Annotated[Count, Field(ge=1, le=10_000), Expect("a whole number from 1 to 10000")] = 64
    """How many decisions each worker has under way at once."""
    trading_enabled: bool = True
    """Whether entries are taken; closing is always allowed."""
    protection_grace: fields.Duration = 5
    """How long a position may be without a confirmed stop before it is closed."""
    max_open_orders: fields.AccountCount = _RULES.max_open_orders
    """The most orders that an account may have at its venue."""


class LimitsSection(Section):
    """Hold `global_limits:`, the limits of each account."""

    max_margin_usage_pct: fields.Share = _DESK.max_margin_usage_pct
    """The most margin in use, of the account's equity."""
    max_positions: fields.AccountCount = _DESK.max_positions
    """The most positions in all traders' books together."""
    max_symbol_exposure_pct: Annotated[
        Number, Field(gt=0, le=10_000), Expect("a percentage of equity above 0, up to 10000")
    ] = _DESK.max_symbol_exposure_pct
    """The largest notional of one symbol, of the account's equity."""
    max_unrealized_loss_pct: fields.Share = _DESK.max_unrealized_loss_pct
    """The unrealized loss, of the account's equity, above which no entry is taken."""
    on_unrealized_loss: Annotated[OnUnrealizedLoss, choice(OnUnrealizedLoss)] = _DESK.on_unrealized_loss
    """What such a loss does beside: nothing, or it closes the worst positions, one a pass, until it is back under."""


class DataSection(Section):
    """Hold `data:`, how old prices may be and how long texts and samples are kept."""

    max_data_age: fields.Duration = 15
    """The age from which a price is too old for an entry."""
    snapshot_max_age: fields.Duration = 1
    """How long the traders of an account share one look at the market."""
    prompt_retention: fields.RetentionOrNone = 30 * 86_400
    """How long the texts of prompts are kept; 0s keeps neither them nor contexts."""
    context_retention: fields.Retention = 90 * 86_400
    """How long decisions keep what their trader was shown."""
    equity_retention: fields.Retention = 400 * 86_400
    """How long samples of equity are kept; those older than a day are thinned to one an hour."""


class MonitoringSection(Section):
    """Hold `monitoring:`, how the desk is watched."""

    update_interval: Annotated[
        fields.Duration, Field(le=30), Expect("a duration from 1s to 30s, by which a desk shows life")
    ] = 10
    """How often equity is sampled and the desk shows life."""
    alert_webhook: fields.Secret | None = None
    """Where alerts are sent."""
    metrics_exporter: Annotated[Literal["prometheus", "none"], Expect("prometheus or none")] = "none"
    """Where metrics are offered."""


class BaselineSection(Section):
    """Hold `executor: {type: baseline}`: rules in code, no key."""

    type: Literal["baseline"]
    style: Annotated[Style, choice(Style), Example("trend")]
    """The temperament of the rules."""


class LlmSection(Section):
    """Hold `executor: {type: llm}`: names out of `models:`, or an endpoint of the trader's own with its key."""

    type: Literal["llm"]
    model: Annotated[fields.Text, Example("gpt")]
    """A name under `models:`; with a key of its own, the endpoint's name of the model."""
    fallback: Annotated[
        list[fields.Text], EMPTY_IS_NOTHING, Field(max_length=10), Expect("a list of up to 10 models", "[haiku]")
    ] = Field(default_factory=list)
    """Names under `models:` that are asked where the ones before bring no reply."""
    api_key: fields.Key | None = None
    """The key of an endpoint of the trader's own."""
    base_url: Annotated[str, Example(OPENAI, "a URL")] | None = None
    """The address of an endpoint of the trader's own."""
    structured: Annotated[Structured, choice(Structured)] | None = None
    """How an endpoint of the trader's own is asked for JSON; json_schema unless given."""
    timeout: fields.Duration | None = None
    """How long a decision may take; without it `manager.decision_timeout`."""
    extra_body: Annotated[dict[str, Any], EMPTY_IS_DEFAULT, Example("{temperature: 0.2}", "a mapping")] = Field(
        default_factory=dict
    )
    """What an endpoint of the trader's own is told beside the prompt."""


class PricesSection(Section):
    """Hold `price_per_mtok:`, USD for a million tokens; a cached one without its own price costs what others do."""

    input: fields.Price
    """What tokens of the prompt cost."""
    cached_input: fields.Price | None = None
    """What tokens of the prompt cost that the endpoint knows already; without it what others do."""
    output: fields.Price
    """What tokens of the reply cost."""


class ModelSection(Section):
    """Hold one entry of `models:`: an endpoint that speaks OpenAI's chat completions, its limits and its prices."""

    model: Annotated[fields.Text, Example("gpt-5-mini")]
    """The endpoint's name of the model."""
    api_key: fields.Key | None = None
    """The key of the endpoint; a private one may need none."""
    base_url: Annotated[str, Example(OPENAI, "a URL")] = OPENAI
    """The address of the endpoint."""
    structured: Annotated[Structured, choice(Structured)] = Structured.JSON_SCHEMA
    """How it is asked for JSON: by schema, as an object, or only in words."""
    timeout: fields.Duration | None = None
    """How long one call may take; without it `manager.decision_timeout`."""
    max_concurrency: Annotated[Count, Field(ge=1, le=10_000), Expect("a whole number from 1 to 10000", "8")] | None = (
        None
    )
    """How many calls each worker has under way there at once; 64 where no name of the endpoint says."""
    requests_per_minute: (
        Annotated[Count, Field(ge=1, le=1_000_000), Expect("a whole number from 1 to 1000000", "500")] | None
    ) = None
    """How many calls each worker makes in any 60 seconds."""
    price_per_mtok: Annotated[PricesSection, Example("{input: 0.25, output: 2}", "a mapping, see below")] | None = None
    """What its tokens cost; a budget needs it."""
    budget_usd_per_day: fields.Usd | None = None
    """What all its calls may cost on a UTC day; without it `budgets.model_usd_per_day`."""
    extra_body: Annotated[dict[str, Any], EMPTY_IS_DEFAULT, Example("{max_tokens: 2000}", "a mapping")] = Field(
        default_factory=dict
    )
    """What it is told beside the prompt; a budget needs max_tokens or max_completion_tokens."""
    allow_private: bool = False
    """Whether it may be in a private network."""


class RecordedSection(Section):
    """Hold `executor: {type: recorded}`: decisions from the file that `propdesk replay --decisions` names."""

    type: Literal["recorded"]


class RemoteSection(Section):
    """Hold `executor: {type: remote}`: a server in another process, by http, https, grpc or grpcs."""

    type: Literal["remote"]
    url: Annotated[fields.Text, Example("grpcs://decide.example.com:7443")]
    """The address of the server."""
    key: fields.Key
    """The key that the server knows for this tenant."""
    timeout: fields.Duration | None = None
    """How long a decision may take; without it `manager.decision_timeout`."""
    max_usd_per_decision: (
        Annotated[Number, Field(ge=0, le=Decimal("1e6")), Expect("USD for one decision, 0 or more", "0.05")] | None
    ) = None
    """What one decision there costs at most; a budget needs it."""
    ca_file: Annotated[fields.Text, Example("ca.pem")] | None = None
    """The certificates that the server's is checked by; relative to the config file."""
    allow_private: bool = False
    """Whether it may be in a private network."""
    allow_unencrypted: bool = False
    """Whether it may be asked in the clear outside this machine."""


class ExecutorServerSection(Section):
    """Hold `executor_server:`, for `propdesk executor serve`."""

    key: fields.Key
    """The key with which desks ask about this tenant's traders."""


class RiskSection(Section):
    """Hold a trader's `risk_params:`, which the desk enforces whatever the trader wants (docs/rules.md 1)."""

    max_positions: fields.Positions = _LIMITS.max_positions
    """The most positions that it may hold."""
    max_position_size_usd: fields.Usd = _LIMITS.max_position_size_usd
    """The largest notional of a position; a larger entry is cut."""
    max_margin_usage_pct: fields.Share = _LIMITS.max_margin_usage_pct
    """The most margin in use, of its own equity."""
    major_coin_leverage: fields.Leverage = _LIMITS.major_coin_leverage
    """The highest leverage on BTC and ETH."""
    altcoin_leverage: fields.Leverage = _LIMITS.altcoin_leverage
    """The highest leverage on all others."""
    min_risk_reward_ratio: Annotated[Number, Field(ge=0, le=100), Expect("a ratio from 0 to 100")] = (
        _LIMITS.min_risk_reward_ratio
    )
    """The least (take profit - entry) / (entry - stop); the entry is the mark, for an add the average of the whole."""
    min_confidence: Annotated[Number, Field(ge=0, le=100), Expect("a confidence from 0 to 100")] = (
        _LIMITS.min_confidence
    )
    """The least confidence of an entry that states one."""
    stop_loss_enabled: bool = _LIMITS.stop_loss_enabled
    """Whether every entry needs a stop, and every position keeps one."""
    take_profit_enabled: bool = _LIMITS.take_profit_enabled
    """Whether every entry needs a take profit."""
    max_drawdown_pct: fields.Share = _LIMITS.max_drawdown_pct
    """The fall from its peak of equity below which it takes no entry."""
    cooldown_after_stop: Annotated[fields.DurationOrZero, Field(le=2_592_000), Expect("a duration from 0s to 30d")] = (
        _LIMITS.cooldown_after_stop_s
    )
    """How long it takes no entry after a stop was hit."""
    max_entries_per_hour: Annotated[Count, Field(ge=1, le=3600), Expect("a whole number from 1 to 3600")] = (
        _LIMITS.max_entries_per_hour
    )
    """The most entries within an hour."""
    max_single_position_exposure_pct: (
        Annotated[Number, Field(gt=0, le=10_000), Expect("a percentage of its allocation above 0, up to 10000", "200")]
        | None
    ) = _LIMITS.max_single_position_exposure_pct
    """The largest notional of a position, of its allocation; a larger entry is cut. No such limit unless given."""


class TraderSection(Section):
    """Hold one item of `traders:`."""

    id: fields.Id
    """What it is called in the books; never give it to another."""
    name: Annotated[fields.Text, Example("Trend on BTC")] | None = None
    """What people call it; its id unless given."""
    exchange: Annotated[fields.Text, Example("paper")]
    """The account that it trades on, a name under `exchanges:`."""
    executor: Annotated[Any, Example("{type: baseline, style: trend}", "a mapping, see below")]
    """What decides for it."""
    symbols: Annotated[
        list[fields.Text],
        Field(min_length=1),
        Expect('a list with at least one symbol, such as ["BTC/USDT:USDT"]', '["BTC/USDT:USDT"]'),
    ]
    """What it may trade; its account's market must quote each."""
    prompt_template: Annotated[fields.Text, Example("prompts/general.md")] | None = None
    """The prompt of a model, a file below the folder `prompts`."""
    budget_usd_per_day: fields.Usd | None = None
    """What its calls of models may cost on a UTC day; without it `budgets.trader_usd_per_day`."""
    decision_interval: Annotated[fields.Duration, Field(le=2_592_000), Expect("a duration from 1s to 30d", "3m")]
    """How often it decides."""
    allocation_pct: fields.Percent = ZERO
    """Its part of the capital, under allocation_strategy custom or fixed."""
    risk_params: Annotated[RiskSection, EMPTY_IS_DEFAULT, Example("{max_positions: 2}", "a mapping, see below")] = (
        RiskSection()
    )
    """Its limits."""
    isolation: Annotated[
        IsolationSection, EMPTY_IS_DEFAULT, Example("{sharpe_below: null}", "a mapping, see below")
    ] = IsolationSection()
    """When it is isolated, where it differs from `manager.isolation`."""
    auto_start: bool = True
    """Whether it runs as soon as it is taken on."""
    show_desk_exposure: bool = True
    """Whether a model is shown what other traders of the account hold in its symbols, net."""
    description: Annotated[fields.Note, Example("Buys breakouts, out within the day")] = ""
    """What people say of it; nothing of it reaches a model."""
    author: Annotated[fields.Note, Example("ann")] = ""
    """Who made it."""


class BudgetsSection(Section):
    """Hold `budgets:`, what models may cost on a UTC day: in all, and each model and trader without its own."""

    tenant_usd_per_day: fields.Usd | None = None
    """What all calls of the tenant may cost together."""
    model_usd_per_day: fields.Usd | None = None
    """What the calls of one model may cost."""
    trader_usd_per_day: fields.Usd | None = None
    """What the calls of one trader may cost."""


class TenantSection(Section):
    """Hold one tenant of `tenants:`; its accounts, models and traders are judged one by one."""

    models: Annotated[
        dict[str, Any], EMPTY_IS_DEFAULT, Example("{gpt: {model: gpt-5-mini, api_key: '${NAME}'}}", "a mapping by name")
    ] = Field(default_factory=dict)
    """The models that traders may ask, by name."""
    budgets: Annotated[
        BudgetsSection, EMPTY_IS_DEFAULT, Example("{tenant_usd_per_day: 20}", "a mapping, see below")
    ] = BudgetsSection()
    """What models may cost in a day."""
    exchanges: Annotated[
        dict[str, Any],
        EMPTY_IS_DEFAULT,
        Example("{paper: {type: paper, market: {type: synthetic}}}", "a mapping by name"),
    ] = Field(default_factory=dict)
    """The accounts, by name."""
    traders: Annotated[list[Any], EMPTY_IS_NOTHING, Example("[{id: trend_btc}]", "a list, see traders[]")] = Field(
        default_factory=list
    )
    """The traders."""
    global_limits: Annotated[
        LimitsSection, EMPTY_IS_DEFAULT, Example("{max_positions: 10}", "a mapping, see below")
    ] = LimitsSection()
    """The limits of each account."""
    executor_server: Annotated[ExecutorServerSection, Example("{key: '${NAME}'}", "a mapping, see below")] | None = None
    """How desks may ask `propdesk executor serve` about this tenant's traders."""


class RootSection(TenantSection):
    """Hold the whole file; its own accounts and traders belong to the tenant "default"."""

    manager: Annotated[
        ManagerSection, EMPTY_IS_DEFAULT, Example("{total_equity_usd: 10000}", "a mapping, see below")
    ] = ManagerSection()
    """What applies to every account and trader."""
    monitoring: Annotated[
        MonitoringSection, EMPTY_IS_DEFAULT, Example("{update_interval: 10s}", "a mapping, see below")
    ] = MonitoringSection()
    """How the desk is watched."""
    data: Annotated[DataSection, EMPTY_IS_DEFAULT, Example("{max_data_age: 15s}", "a mapping, see below")] = (
        DataSection()
    )
    """How old data may be, and how long it is kept."""
    tenants: Annotated[dict[str, Any], EMPTY_IS_DEFAULT, Example("{acme: {traders: []}}", "a mapping by name")] = Field(
        default_factory=dict
    )
    """Further tenants, each with its own accounts, models, budgets and traders."""


EXECUTORS: Final[Mapping[str, type[Section]]] = MappingProxyType(
    {"baseline": BaselineSection, "llm": LlmSection, "recorded": RecordedSection, "remote": RemoteSection}
)
