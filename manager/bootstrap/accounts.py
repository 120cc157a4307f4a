"""Bind each configured account to its venue, its market and its rules."""

from collections.abc import Callable, Mapping
from dataclasses import asdict

import structlog

from exchanges.clock import Clock
from exchanges.market import SharedMarket
from exchanges.paper.config import PaperConfig
from exchanges.paper.ledger import PaperLedger
from exchanges.paper.state import PaperAccountId
from exchanges.registry import Registry, VenueRequest
from manager.config.values import AccountConfig, Config, MarketSettings, MarketType
from manager.desk.session import AccountRuntime
from manager.state.records import AccountId, TenantId

_LOG = structlog.get_logger(__name__)
_PAPER_FIELDS = ("fee_bps", "maker_fee_bps", "slippage_bps", "volume_share", "start_equity", "default_leverage")
_MARKET_FIELDS = (
    "seed",
    "annual_volatility",
    "jumps_per_day",
    "outages_per_day",
    "indicator_interval_s",
    "funding_interval_s",
)
_INSTRUMENT_FIELDS = ("lot", "tick", "min_notional", "contract_size", "max_leverage", "maintenance_rate")

LedgerOf = Callable[[TenantId], PaperLedger]
Runtimes = Mapping[tuple[TenantId, AccountId], AccountRuntime]


async def account_runtimes(config: Config, registry: Registry, ledger_of: LedgerOf, clock: Clock) -> Runtimes:
    """Return a runtime for each account of `config` that trades in real time.

    Accounts of a kind this version cannot trade on are left out with a warning; no trader can be on them. Accounts
    with the same market settings have a market each. Raises ExchangeConfigError.
    """
    runtimes = {}
    for tenant_id, tenant in config.tenants.items():
        for name, account in tenant.accounts.items():
            if account.type not in registry.venues or account.market.type is not MarketType.SYNTHETIC:
                _LOG.warning("account_left_out", tenant=tenant_id, account=name, type=account.type)
                continue
            venue = registry.build_venue(
                VenueRequest(
                    name=name,
                    type=account.type,
                    settings=_settings(account),
                    clock=clock,
                    ledger=ledger_of(tenant_id),
                    account=PaperAccountId(name),
                )
            )
            market = SharedMarket(venue.feed, clock, max_age_s=config.manager.snapshot_max_age_s)
            runtimes[(tenant_id, AccountId(name))] = AccountRuntime(
                tenant_id=tenant_id,
                account_id=AccountId(name),
                venue=account.type,
                exchange=venue.exchange,
                market=market,
                rules=account.rules,
                instruments=await venue.exchange.instruments(),
                start_equity=account.equity_usd,
            )
    return runtimes


def _settings(account: AccountConfig) -> Mapping[str, object]:
    paper = account.paper or PaperConfig(start_equity=account.equity_usd)
    plain = {name: getattr(paper, name) for name in _PAPER_FIELDS}
    instruments = {
        symbol: {name: getattr(instrument, name) for name in _INSTRUMENT_FIELDS}
        for symbol, instrument in paper.instruments.items()
    }
    return {**plain, "instruments": instruments, "market": _market(account.market)}


def _market(settings: MarketSettings) -> Mapping[str, object]:
    synthetic = asdict(settings.synthetic) if settings.synthetic is not None else {}
    return {"type": settings.type.value, **{name: synthetic[name] for name in _MARKET_FIELDS if name in synthetic}}
