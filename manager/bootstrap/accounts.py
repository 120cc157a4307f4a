"""Bind each configured account to its venue, its market and its rules."""

from collections.abc import Callable, Mapping

import structlog

from exchanges.clock import Clock
from exchanges.market import SharedMarket
from exchanges.paper.config import PaperConfig
from exchanges.paper.ledger import PaperLedger
from exchanges.registry import VenueRequest
from manager.config.values import Config, MarketType
from manager.desk.session import AccountRuntime
from manager.state.records import AccountId, TenantId

_LOG = structlog.get_logger(__name__)

LedgerOf = Callable[[TenantId], PaperLedger]
Runtimes = Mapping[tuple[TenantId, AccountId], AccountRuntime]


async def account_runtimes(config: Config, clock: Clock, ledger_of: LedgerOf) -> Runtimes:
    """Return a runtime for each account of `config` that trades in real time.

    Accounts of a kind this version cannot trade on are left out with a warning; no trader can be on them. Accounts
    with the same market settings have a market each. Raises ExchangeConfigError.
    """
    from exchanges.venues import default_registry  # with numpy and polars, which most commands do without

    runtimes = {}
    for tenant_id, tenant in config.tenants.items():
        registry = default_registry(ledger_of(tenant_id))
        for name, account in tenant.accounts.items():
            if account.type not in registry.venues or account.market.type is not MarketType.SYNTHETIC:
                _LOG.warning("account_left_out", tenant=tenant_id, account=name, type=account.type)
                continue
            quoted = registry.build_market(
                f"exchange {name}: market", account.market.type, account.market.synthetic, clock
            )
            settings = account.paper or PaperConfig(start_equity=account.equity_usd)
            venue = registry.build_venue(
                VenueRequest(name=name, type=account.type, settings=settings, clock=clock, market=quoted)
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
