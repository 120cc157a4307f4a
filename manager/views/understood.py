"""What was understood of a config: each trader with what it gets, may do and is decided by, and what looks wrong."""

from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from exchanges.paper.config import PaperConfig
from exchanges.types import Symbol
from executor.contract import Limits
from executor.models.addresses import shown_url
from executor.spec import ExecutorSpec, ExecutorType
from manager.config.dealing import dealt, distributable
from manager.config.values import AccountConfig, Config, MarketType, TenantConfig
from manager.config.warnings import ConfigWarning, doubts_about
from manager.desk.plan.values import AllocationStrategy, ConflictStrategy, GlobalLimits
from manager.state.records import DEFAULT_TENANT, TenantId
from traders.spec import TraderId, TraderSpec

INHERITED = ("manager", "data", "monitoring")


@dataclass(frozen=True, slots=True, kw_only=True)
class UnderstoodExecutor:
    """Say what decides for a trader: its style, model or address, and how long a decision may take."""

    type: ExecutorType
    name: str
    url: str = ""
    fallback: tuple[str, ...] = ()
    prompt_template: str = ""
    timeout_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UnderstoodTrader:
    """Hold a trader; `capital_usd` is what it gets at the first start, None where that is not known before."""

    id: TraderId
    name: str
    account: str
    capital_usd: Decimal | None
    auto_start: bool
    decision_interval_s: int
    symbols: tuple[Symbol, ...]
    executor: UnderstoodExecutor
    limits: Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class UnderstoodAccount:
    """Hold an account; fees and slippage are None where only the venue knows, `unfit` says why none can trade on it."""

    name: str
    type: str
    market: str
    equity_usd: Decimal
    distributable_usd: Decimal
    reserve_equity_pct: Decimal
    allocation_strategy: AllocationStrategy
    conflict_strategy: ConflictStrategy
    rebalance_interval_s: int
    trading_enabled: bool
    limits: GlobalLimits
    fee_bps: Decimal | None = None
    maker_fee_bps: Decimal | None = None
    slippage_bps: Decimal | None = None
    unfit: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnderstoodTenant:
    """Hold a tenant; `inherited` are the sections at the top of the file that apply to it, too."""

    id: TenantId
    inherited: tuple[str, ...]
    models: tuple[str, ...]
    accounts: tuple[UnderstoodAccount, ...]
    traders: tuple[UnderstoodTrader, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Understood:
    """Hold all that a config says, after its defaults, and the warnings about it."""

    path: Path
    tenants: tuple[UnderstoodTenant, ...]
    warnings: tuple[ConfigWarning, ...]


def understood(config: Config) -> Understood:
    """Return what a sound config says."""
    tenants = tuple(_tenant(tenant) for tenant in config.tenants.values())
    return Understood(path=config.path, tenants=tenants, warnings=doubts_about(config))


def _tenant(tenant: TenantConfig) -> UnderstoodTenant:
    capital: dict[TraderId, Decimal] = {}
    for account in tenant.accounts.values():
        capital |= dealt(account, tenant.traders) if account.equity_usd else {}
    return UnderstoodTenant(
        id=tenant.tenant_id,
        inherited=() if tenant.tenant_id == DEFAULT_TENANT else INHERITED,
        models=tuple(tenant.models),
        accounts=tuple(_account(account) for account in tenant.accounts.values()),
        traders=tuple(_trader(spec, capital.get(spec.id)) for spec in tenant.traders),
    )


def _account(account: AccountConfig) -> UnderstoodAccount:
    rules, paper = account.rules, account.settings if isinstance(account.settings, PaperConfig) else None
    market = account.market
    told = {
        MarketType.SYNTHETIC: f"synthetic, seed {market.synthetic.seed}"
        if market.synthetic is not None
        else "synthetic",
        MarketType.REPLAY: f"candles of {market.candles}",
        MarketType.LIVE: f"live prices of {market.venue}",
    }
    return UnderstoodAccount(
        name=account.name,
        type=account.type,
        market=told[market.type],
        equity_usd=account.equity_usd,
        distributable_usd=distributable(account),
        reserve_equity_pct=rules.reserve_equity_pct,
        allocation_strategy=rules.allocation_strategy,
        conflict_strategy=rules.conflict_strategy,
        rebalance_interval_s=rules.rebalance_interval_s,
        trading_enabled=rules.trading_enabled,
        limits=rules.limits,
        fee_bps=None if paper is None else paper.fee_bps,
        maker_fee_bps=None if paper is None else paper.maker_fee_bps,
        slippage_bps=None if paper is None else paper.slippage_bps,
        unfit=account.unfit,
    )


def _trader(spec: TraderSpec, capital: Decimal | None) -> UnderstoodTrader:
    return UnderstoodTrader(
        id=spec.id,
        name=spec.name,
        account=spec.account,
        capital_usd=capital,
        auto_start=spec.auto_start,
        decision_interval_s=spec.decision_interval_s,
        symbols=spec.symbols,
        executor=_executor(spec.executor),
        limits=spec.limits,
    )


def _executor(executor: ExecutorSpec) -> UnderstoodExecutor:
    match executor.type:
        case ExecutorType.LLM:
            return UnderstoodExecutor(
                type=executor.type,
                name=executor.model,
                url=shown_url(executor.base_url) if executor.base_url else "",
                fallback=executor.fallback,
                prompt_template=executor.prompt_template,
                timeout_s=executor.timeout_s,
            )
        case ExecutorType.REMOTE:
            url = shown_url(executor.base_url)
            return UnderstoodExecutor(type=executor.type, name=url, url=url, timeout_s=executor.timeout_s)
        case ExecutorType.BASELINE:
            return UnderstoodExecutor(type=executor.type, name=str(executor.style))
    return UnderstoodExecutor(type=executor.type, name="the file of --decisions")
