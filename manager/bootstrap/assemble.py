"""Put one desk together: the same for live, paper, replay and tests, which differ in what they pass in."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import structlog

from exchanges.clock import Clock
from exchanges.decorators import read_within
from exchanges.errors import VenueUnavailable
from exchanges.market import SharedMarket
from exchanges.paper.ledger import PaperLedger
from exchanges.provider import Exchange
from exchanges.registry import Market, Registry, Venue, VenueRequest
from exchanges.types import Instrument, Symbol
from executor.registry import ExecutorParts
from manager.bootstrap.executors import ConfiguredExecutors, Recorded
from manager.config.values import AccountConfig, Config, MarketSettings, MarketType
from manager.desk.plan.values import VENUE_TIMEOUT_S
from manager.desk.sampling import EquitySampler
from manager.desk.session import AccountRuntime
from manager.jobs.handlers import DeskParts
from manager.jobs.runner import JobRunner
from manager.spending.meter import Spending
from manager.state.records import AccountId, TenantId
from manager.state.store import Store

_LOG = structlog.get_logger(__name__)

LedgerOf = Callable[[TenantId], PaperLedger]
Runtimes = Mapping[tuple[TenantId, AccountId], AccountRuntime]


class Venues:
    """Build the venue of an account from its settings, and what only the process has: the clock and the ledgers."""

    def __init__(self, clock: Clock, ledger_of: LedgerOf) -> None:
        self._clock = clock
        self._ledger_of = ledger_of

    def trades(self, tenant: TenantId, account: AccountConfig) -> bool:
        """Tell whether this version can trade the account in real time."""
        return account.type in self._registry(tenant).venues and account.market.type is MarketType.SYNTHETIC

    def open(self, tenant: TenantId, account: AccountConfig, market: Market | None = None) -> Venue:
        """Return the account's venue, on `market` where one is given; raise ExchangeConfigError."""
        market = market or self.market(tenant, account)
        request = VenueRequest(
            name=account.name, type=account.type, settings=account.settings, clock=self._clock, market=market
        )
        return self._registry(tenant).build_venue(request)

    def market(self, tenant: TenantId, account: AccountConfig) -> Market:
        """Return the market of the account's settings; raise ExchangeConfigError."""
        prices, where = account.market, f"exchange {account.name}: market"
        return self._registry(tenant).build_market(where, prices.type, prices.synthetic, self._clock)

    def _registry(self, tenant: TenantId) -> Registry:
        from exchanges.venues import default_registry  # with numpy and polars, which most commands do without

        return default_registry(self._ledger_of(tenant))


def runtime_of(
    tenant: TenantId,
    account: AccountConfig,
    exchange: Exchange,
    market: SharedMarket,
    instruments: Mapping[Symbol, Instrument],
) -> AccountRuntime:
    """Return an account as jobs see it: on its venue, by its rules, with the market that all its traders share."""
    return AccountRuntime(
        tenant_id=tenant,
        account_id=AccountId(account.name),
        venue=account.type,
        exchange=exchange,
        market=market,
        rules=account.rules,
        instruments=dict(instruments),
        start_equity=account.equity_usd,
        timeout_s=account.timeout_s,
    )


async def account_runtimes(config: Config, clock: Clock, ledger_of: LedgerOf) -> Runtimes:
    """Return a runtime for each account of `config` that trades in real time.

    Accounts of a kind this version cannot trade on are left out with a warning; no trader can be on them. Accounts
    with the same market settings share one market, which is then asked once for all of them. Raises
    ExchangeConfigError.
    """
    runtimes, venues = {}, Venues(clock, ledger_of)
    markets: list[tuple[MarketSettings, Market, SharedMarket]] = []
    for tenant_id, tenant in config.tenants.items():
        for name, account in tenant.accounts.items():
            if not venues.trades(tenant_id, account):
                _LOG.warning("account_left_out", tenant=tenant_id, account=name, type=account.type)
                continue
            known = next((one for one in markets if one[0] == account.market), None)
            if known is None:
                market = venues.market(tenant_id, account)
                shared = SharedMarket(market.feed, clock, max_age_s=config.manager.snapshot_max_age_s)
                known = (account.market, market, shared)
                markets.append(known)
            venue = venues.open(tenant_id, account, known[1])
            instruments: Mapping[Symbol, Instrument] = {}
            try:
                limit_s = account.timeout_s or VENUE_TIMEOUT_S
                instruments = await read_within(limit_s, "instruments", venue.exchange.instruments())
            except VenueUnavailable as failure:  # its jobs ask again, and tell; other accounts start meanwhile
                _LOG.warning("venue_does_not_answer", tenant=tenant_id, account=name, error=str(failure))
            runtime = runtime_of(tenant_id, account, venue.exchange, known[2], instruments)
            runtimes[(tenant_id, runtime.account_id)] = replace(runtime, begin=venue.begin)
    return runtimes


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """Hold what a desk is given from outside; nothing below knows whether it is live, paper or replay.

    Each of `accounts` has its exchange and its market feed, `deciding` the models. A replay has `recorded` decisions,
    none perhaps; anything else has None.
    """

    store: Store
    clock: Clock
    runner: JobRunner
    accounts: Runtimes
    sampler: EquitySampler
    deciding: ExecutorParts
    recorded: Recorded | None = None


def assemble(config: Config, outside: Outside, *, holder: str, keep_prompts: bool = True) -> DeskParts:
    """Return the parts of the desk that `config` describes; `holder` names who holds its accounts."""
    spending = Spending(outside.store, outside.clock, config)
    return DeskParts(
        store=outside.store,
        clock=outside.clock,
        runner=outside.runner,
        executors=ConfiguredExecutors(config, outside.deciding, spending, outside.recorded),
        sampler=outside.sampler,
        accounts=outside.accounts,
        holder=holder,
        keep_prompts=keep_prompts,
        maintain_fires=outside.recorded is None,
        checks_invariants=outside.recorded is None,
    )
