"""Put one desk together: the same for live, paper, replay and tests, which differ in what they pass in."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

import structlog

from exchanges.clock import Clock
from exchanges.market import SharedMarket
from exchanges.paper.config import PaperConfig
from exchanges.paper.ledger import PaperLedger
from exchanges.paper.state import PaperAccountId
from exchanges.provider import Exchange
from exchanges.registry import Market, Venue, VenueRequest, default_registry
from exchanges.types import Instrument, Symbol
from executor.registry import ExecutorParts
from manager.bootstrap.executors import ConfiguredExecutors, Recorded
from manager.config.values import AccountConfig, Config, MarketSettings, MarketType
from manager.desk.sampling import EquitySampler
from manager.desk.session import AccountRuntime
from manager.jobs.handlers import DeskParts
from manager.jobs.runner import JobRunner
from manager.spending.meter import Spending
from manager.state.records import AccountId, TenantId
from manager.state.store import Store

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


class Venues:
    """Build the venue of an account from its settings, and what only the process has: the clock and the ledgers."""

    def __init__(self, clock: Clock, ledger_of: LedgerOf) -> None:
        self._clock = clock
        self._ledger_of = ledger_of
        self._registry = default_registry()

    def trades(self, account: AccountConfig) -> bool:
        """Tell whether this version can trade the account in real time."""
        return account.type in self._registry.venues and account.market.type is MarketType.SYNTHETIC

    def open(self, tenant: TenantId, account: AccountConfig, market: Market | None = None) -> Venue:
        """Return the account's venue, on `market` where one is given; raise ExchangeConfigError."""
        return self._registry.build_venue(
            VenueRequest(
                name=account.name,
                type=account.type,
                settings=_settings(account),
                clock=self._clock,
                ledger=self._ledger_of(tenant),
                account=PaperAccountId(account.name),
                market=market,
            )
        )


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
        instruments=instruments,
        start_equity=account.equity_usd,
    )


async def account_runtimes(config: Config, clock: Clock, ledger_of: LedgerOf) -> Runtimes:
    """Return a runtime for each account of `config` that trades in real time.

    Accounts of a kind this version cannot trade on are left out with a warning; no trader can be on them. Accounts
    with the same market settings have a market each. Raises ExchangeConfigError.
    """
    runtimes, venues = {}, Venues(clock, ledger_of)
    for tenant_id, tenant in config.tenants.items():
        for name, account in tenant.accounts.items():
            if not venues.trades(account):
                _LOG.warning("account_left_out", tenant=tenant_id, account=name, type=account.type)
                continue
            venue = venues.open(tenant_id, account)
            market = SharedMarket(venue.feed, clock, max_age_s=config.manager.snapshot_max_age_s)
            instruments = await venue.exchange.instruments()
            runtime = runtime_of(tenant_id, account, venue.exchange, market, instruments)
            runtimes[(tenant_id, runtime.account_id)] = runtime
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
    )


def _settings(account: AccountConfig) -> Mapping[str, object]:
    given = account.settings
    paper = given if isinstance(given, PaperConfig) else PaperConfig(start_equity=account.equity_usd)
    plain = {name: getattr(paper, name) for name in _PAPER_FIELDS}
    instruments = {
        symbol: {name: getattr(instrument, name) for name in _INSTRUMENT_FIELDS}
        for symbol, instrument in paper.instruments.items()
    }
    return {**plain, "instruments": instruments, "market": _market(account.market)}


def _market(settings: MarketSettings) -> Mapping[str, object]:
    synthetic = asdict(settings.synthetic) if settings.synthetic is not None else {}
    return {"type": settings.type.value, **{name: synthetic[name] for name in _MARKET_FIELDS if name in synthetic}}
