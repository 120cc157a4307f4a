"""Build accounts from `exchanges:`, and say which symbols they quote."""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from exchanges.errors import ExchangeConfigError
from exchanges.paper.config import PaperConfig
from exchanges.synthetic.config import SyntheticConfig
from exchanges.types import Instrument, Symbol
from manager.config.explain import validated, variant
from manager.config.fields import Environment, parse_id
from manager.config.schema import (
    EXCHANGES,
    MARKETS,
    LimitsSection,
    LiveMarketSection,
    LiveSection,
    PaperSection,
    ReplayMarketSection,
    RootSection,
    SyntheticMarketSection,
)
from manager.config.source import Loc, Source, shown
from manager.config.values import AccountConfig, MarketSettings, MarketType, VenueSettings
from manager.desk.plan.values import AccountRules, ConflictStrategy, GlobalLimits

InstrumentsOf = Callable[[AccountConfig], frozenset[str] | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Hold what every part of one file's reading needs; `candles` is the file a replay trades on."""

    source: Source
    environment: Environment
    root: RootSection
    instruments_of: InstrumentsOf
    candles: Path | None = None


def read_accounts(
    reading: Reading, loc: Loc, exchanges: dict[str, Any], limits: LimitsSection
) -> dict[str, AccountConfig]:
    """Return the accounts that are right; the mistakes of the others are noted."""
    rules = desk_rules(reading.root, limits)
    accounts = {}
    for name, given in exchanges.items():
        here = (*loc, "exchanges", name)
        try:
            parse_id(name)
        except ValueError as error:
            reading.source.report(here, shown((), name), str(error))
            continue
        account = _account(reading, here, given, rules)
        if account is not None:
            accounts[name] = account
    return accounts


def desk_rules(root: RootSection, limits: LimitsSection) -> AccountRules:
    """Return the rules of an account from `manager:`, `data:` and its tenant's limits."""
    manager = root.manager
    return AccountRules(
        conflict_strategy=manager.conflict_strategy,
        allocation_strategy=manager.allocation_strategy,
        reserve_equity_pct=manager.reserve_equity_pct,
        rebalance_interval_s=manager.rebalance_interval,
        limits=GlobalLimits(**limits.model_dump()),
        trading_enabled=manager.trading_enabled,
        max_data_age_s=root.data.max_data_age,
        protection_grace_s=manager.protection_grace,
        max_open_orders=manager.max_open_orders,
    )


def _account(reading: Reading, loc: Loc, given: Any, rules: AccountRules) -> AccountConfig | None:
    kind = variant(reading.source, loc, EXCHANGES, given)
    section = validated(reading.source, loc, kind, given, reading.environment) if kind else None
    name = str(loc[-1])
    if isinstance(section, LiveSection):
        return _live(reading, loc, section, rules)
    if not isinstance(section, PaperSection):
        if kind is PaperSection and "market" in given:
            _market(reading, (*loc, "market"), given["market"])
        return None
    market = _market(reading, (*loc, "market"), section.market)
    equity = section.start_equity_usd or reading.root.manager.total_equity_usd
    paper = _paper(reading.source, loc, section, equity)
    if market is None or paper is None:
        return None
    return AccountConfig(name=name, type=section.type, market=market, rules=rules, equity_usd=equity, paper=paper)


def _live(reading: Reading, loc: Loc, section: LiveSection, rules: AccountRules) -> AccountConfig | None:
    if rules.conflict_strategy is ConflictStrategy.NET and not section.allow_opposite_books:
        mend = "set it to true, or change conflict_strategy: net keeps opposite books, whose stops are not reduce-only"
        reading.source.report((*loc, "allow_opposite_books"), "false", mend)
        return None
    return AccountConfig(
        name=str(loc[-1]),
        type=section.type,
        market=MarketSettings(type=MarketType.LIVE, venue=section.type),
        rules=rules,
        equity_usd=Decimal(0),
        venue=VenueSettings(
            api_key=section.api_key,
            api_secret=section.api_secret,
            testnet=section.testnet,
            live=section.live,
            timeout_s=section.timeout,
        ),
    )


def _paper(source: Source, loc: Loc, section: PaperSection, equity: Decimal) -> PaperConfig | None:
    instruments = {
        Symbol(symbol): Instrument(symbol=Symbol(symbol), **overridden.model_dump())
        for symbol, overridden in section.instruments.items()
    }
    try:
        return PaperConfig(
            fee_bps=section.fee_bps,
            maker_fee_bps=section.maker_fee_bps,
            slippage_bps=section.slippage_bps,
            volume_share=section.volume_share,
            start_equity=equity,
            default_leverage=section.default_leverage,
            instruments=instruments,
        )
    except ExchangeConfigError as error:
        source.report(loc, "", str(error))
        return None


def _market(reading: Reading, loc: Loc, given: Any) -> MarketSettings | None:
    kind = variant(reading.source, loc, MARKETS, given)
    section = validated(reading.source, loc, kind, given, reading.environment) if kind else None
    match section:
        case SyntheticMarketSection():
            return MarketSettings(type=MarketType.SYNTHETIC, synthetic=_synthetic(section))
        case ReplayMarketSection():
            candles = _file(reading.source, (*loc, "candles"), section.candles)
            funding = _file(reading.source, (*loc, "funding"), section.funding) if section.funding else None
            return MarketSettings(type=MarketType.REPLAY, candles=candles, funding=funding)
        case LiveMarketSection():
            return MarketSettings(type=MarketType.LIVE, venue=section.venue)
    return None


def _synthetic(section: SyntheticMarketSection) -> SyntheticConfig:
    return SyntheticConfig(
        seed=section.seed,
        annual_volatility=float(section.annual_volatility),
        jumps_per_day=float(section.jumps_per_day),
        outages_per_day=float(section.outages_per_day),
        indicator_interval_s=section.indicator_interval,
        funding_interval_s=section.funding_interval,
    )


def _file(source: Source, loc: Loc, name: str) -> Path:
    path = source.path.parent / name
    if not path.is_file():
        source.report(loc, shown((), name), f"no such file {path}; paths are relative to the config file")
    return path
