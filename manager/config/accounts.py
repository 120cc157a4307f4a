"""The sections of `exchanges:`, one class a type of account and of market, and how accounts are built from them.

The settings of an account are one frozen value of its venue's own folder. Who registers traders or puts a desk together
passes it on and knows none of its fields.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import Field

from exchanges.errors import ExchangeConfigError, MarketDataError
from exchanges.paper.config import PaperConfig
from exchanges.synthetic.config import SyntheticConfig
from exchanges.types import ZERO, Instrument, Symbol
from manager.config import fields
from manager.config.fields import EMPTY_IS_DEFAULT, Count, Example, Expect, Number, Section
from manager.config.reading import Reading
from manager.config.schema import LimitsSection, RootSection
from manager.config.source import Loc, shown
from manager.config.values import AccountConfig, MarketSettings, MarketType, VenueSettings
from manager.desk.plan.values import AccountRules, ConflictStrategy, GlobalLimits

InstrumentsOf = Callable[[AccountConfig], frozenset[str] | None]
_PAPER: Final = PaperConfig()
_SYNTHETIC: Final = SyntheticConfig()
_INSTRUMENT: Final = Instrument(symbol=Symbol(""))


class AccountSection(Section):
    """Hold an account; a type of venue adds its keys and its settings. Not `tradable` is what has no adapter yet."""

    tradable: ClassVar[bool] = True
    type: str

    @property
    def given_market(self) -> Any:
        """Return the section of its market, None where it trades on the venue's own."""
        return None

    def equity_usd(self, total_usd: Decimal) -> Decimal:
        """Return what the account starts with, 0 where only the venue knows."""
        del total_usd
        return ZERO

    @abstractmethod
    def settings(self, equity_usd: Decimal) -> object:
        """Return the venue's frozen settings; raise ExchangeConfigError for values that no venue could have."""

    def unfit(self, rules: AccountRules) -> tuple[str, str, str] | None:
        """Return key, value and mend of what does not fit the desk's rules, None where all does."""
        del rules
        return None


class InstrumentSection(Section):
    """Hold one entry of a paper account's `instruments:`, by symbol: what the market quotes otherwise."""

    lot: fields.Positive = _INSTRUMENT.lot
    """The smallest step of a quantity."""
    tick: fields.Positive | None = None
    """The smallest step of a price; without it prices are as exact as they are given."""
    min_notional: Annotated[Number, Field(ge=0), Expect("0 USD or more", "10")] = _INSTRUMENT.min_notional
    """The smallest order in USD."""
    contract_size: fields.Positive = _INSTRUMENT.contract_size
    """How much of the coin one contract is."""
    max_leverage: fields.Leverage = _INSTRUMENT.max_leverage
    """The highest leverage that the venue grants."""
    maintenance_rate: Annotated[Number, Field(ge=0, lt=1), Expect("a fraction from 0, below 1, such as 0.005")] = (
        _INSTRUMENT.maintenance_rate
    )
    """The share of a position's value that must be left, or it is liquidated."""


class PaperSection(AccountSection):
    """Hold an account of `type: paper`: orders are filled here, at the prices of its market."""

    type: Literal["paper"]
    market: Annotated[Any, Example("{type: synthetic, seed: 7}", "a mapping, see below")]
    """Where its prices come from."""
    fee_bps: fields.Bps = _PAPER.fee_bps
    """The fee of an order that takes."""
    maker_fee_bps: Annotated[Number, Field(gt=-10_000, lt=10_000), Expect("basis points from -fee_bps to 10000")] = (
        _PAPER.maker_fee_bps
    )
    """The fee of an order that rests; a negative one is a rebate."""
    slippage_bps: fields.Bps = _PAPER.slippage_bps
    """How much worse than the price a market order is filled."""
    volume_share: Annotated[Number, Field(gt=0, le=1), Expect("a fraction above 0, up to 1", "0.1")] | None = None
    """The most of a candle's volume that one fill may take; without it there is no cap."""
    start_equity_usd: fields.Usd | None = None
    """What the account starts with; without it `manager.total_equity_usd`."""
    default_leverage: fields.Leverage = _PAPER.default_leverage
    """The leverage of a symbol until a trader sets one."""
    instruments: Annotated[
        dict[str, InstrumentSection],
        EMPTY_IS_DEFAULT,
        Example('{"BTC/USDT:USDT": {lot: 0.001}}', "a mapping by symbol"),
    ] = Field(default_factory=dict)
    """Instruments that are otherwise than the market quotes them."""

    @property
    def given_market(self) -> Any:
        """Return the section of its market."""
        return self.market

    def equity_usd(self, total_usd: Decimal) -> Decimal:
        """Return its own equity at the start, or the desk's."""
        return self.start_equity_usd or total_usd

    def settings(self, equity_usd: Decimal) -> PaperConfig:
        """Return the settings of the paper venue; raise ExchangeConfigError for values that no venue could have."""
        return PaperConfig(
            fee_bps=self.fee_bps,
            maker_fee_bps=self.maker_fee_bps,
            slippage_bps=self.slippage_bps,
            volume_share=self.volume_share,
            start_equity=equity_usd,
            default_leverage=self.default_leverage,
            instruments={
                Symbol(symbol): Instrument(symbol=Symbol(symbol), **overridden.model_dump())
                for symbol, overridden in self.instruments.items()
            },
        )


class LiveSection(AccountSection):
    """Hold an account at a real venue, which this version reads and does not trade on."""

    tradable = False
    type: Annotated[str, Example("hyperliquid", "hyperliquid or binance")]
    """The venue."""
    api_key: fields.Key
    """The key of the account at its venue."""
    api_secret: fields.Secret
    """The secret that belongs to the key."""
    testnet: bool = True
    """Whether it is the venue's test network."""
    live: bool = False
    """Whether real money may be traded; needed beside the credentials."""
    timeout: fields.Duration = 30
    """How long a call of the venue may take."""
    allow_opposite_books: bool = False
    """Whether conflict_strategy net may keep opposite books there, whose stops are not reduce-only."""

    def settings(self, equity_usd: Decimal) -> VenueSettings:
        """Return how to reach the venue."""
        del equity_usd
        return VenueSettings(
            api_key=self.api_key,
            api_secret=self.api_secret,
            testnet=self.testnet,
            live=self.live,
            timeout_s=self.timeout,
        )

    def unfit(self, rules: AccountRules) -> tuple[str, str, str] | None:
        """Refuse opposite books unless they are allowed."""
        if rules.conflict_strategy is not ConflictStrategy.NET or self.allow_opposite_books:
            return None
        mend = "set it to true, or change conflict_strategy: net keeps opposite books, whose stops are not reduce-only"
        return "allow_opposite_books", "false", mend


class SyntheticMarketSection(Section):
    """Hold `market: {type: synthetic}`: prices that are made up, the same everywhere for the same seed."""

    type: Literal["synthetic"]
    seed: Annotated[Count, Field(ge=0, lt=2**32), Expect("a whole number from 0 to 4294967295")] = _SYNTHETIC.seed
    """Which of the worlds it is."""
    annual_volatility: Annotated[Number, Field(gt=0, le=10), Expect("a fraction above 0, up to 10 (1 is 100 %)")] = (
        Decimal(repr(_SYNTHETIC.annual_volatility))
    )
    """How much prices move in a year."""
    jumps_per_day: Annotated[Number, Field(ge=0, le=24), Expect("0 to 24")] = Decimal(repr(_SYNTHETIC.jumps_per_day))
    """How often a price jumps, for each symbol on average."""
    outages_per_day: Annotated[Number, Field(ge=0, le=4), Expect("0 to 4")] = Decimal(repr(_SYNTHETIC.outages_per_day))
    """How often a symbol has no prices for a while, on average."""
    indicator_interval: fields.Duration = _SYNTHETIC.indicator_interval_s
    """The interval of the candles that indicators are computed on."""
    funding_interval: fields.Duration = _SYNTHETIC.funding_interval_s
    """How often funding is paid."""

    def config(self) -> SyntheticConfig:
        """Return the settings of the synthetic market."""
        return SyntheticConfig(
            seed=self.seed,
            annual_volatility=float(self.annual_volatility),
            jumps_per_day=float(self.jumps_per_day),
            outages_per_day=float(self.outages_per_day),
            indicator_interval_s=self.indicator_interval,
            funding_interval_s=self.funding_interval,
        )


class ReplayMarketSection(Section):
    """Hold `market: {type: replay}`: recorded candles, for `propdesk replay`; paths are relative to the config file."""

    type: Literal["replay"]
    candles: Annotated[fields.Text, Example("candles_1h.parquet")]
    """The file with the candles, Parquet or CSV."""
    funding: Annotated[fields.Text, Example("funding_8h.parquet")] | None = None
    """The file with the funding rates."""


class LiveMarketSection(Section):
    """Hold `market: {type: live}`: a venue's public prices, for which no key is needed; not readable yet."""

    type: Literal["live"]
    venue: Annotated[fields.Text, Example("binance")]
    """The venue whose prices they are."""


MARKETS: Final[Mapping[str, type[Section]]] = MappingProxyType(
    {"synthetic": SyntheticMarketSection, "replay": ReplayMarketSection, "live": LiveMarketSection}
)
EXCHANGES: Final[Mapping[str, type[AccountSection]]] = MappingProxyType(
    {"paper": PaperSection, "hyperliquid": LiveSection, "binance": LiveSection}
)


def instruments_of_market(account: AccountConfig) -> frozenset[str] | None:
    """Return the symbols that the account's market quotes, None where only the venue knows.

    A candle file is read whole, so that its mistakes show now: raises MarketDataError.
    """
    market = account.market
    if market.synthetic is not None:
        return frozenset(one.symbol for one in market.synthetic.symbols)
    if market.type is MarketType.REPLAY and market.candles is not None and market.candles.is_file():
        from exchanges.replay.loader import load_candles

        return frozenset(load_candles(market.candles).by_symbol)
    return None


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


class AccountReader:
    """Read the accounts of one tenant; the mistakes of all are noted."""

    def __init__(self, reading: Reading, rules: AccountRules, instruments_of: InstrumentsOf) -> None:
        self._reading = reading
        self._rules = rules
        self._instruments_of = instruments_of

    def read(self, loc: Loc, given: Mapping[str, Any]) -> dict[str, AccountConfig]:
        """Return the accounts that are right."""
        accounts = {}
        for name, section in given.items():
            account = self._account((*loc, name), section) if self._reading.named((*loc, name)) else None
            if account is not None:
                accounts[name] = account
        return accounts

    def _account(self, loc: Loc, given: Any) -> AccountConfig | None:
        kind = self._reading.variant(loc, EXCHANGES, given)
        section = self._reading.validated(loc, kind, given) if kind else None
        if kind is None or section is None:
            if kind is not None and "market" in kind.model_fields and "market" in given:
                self._market((*loc, "market"), given["market"])
            return None
        unfit = section.unfit(self._rules)
        if unfit is not None:
            key, value, mend = unfit
            self._reading.report((*loc, key), value, mend)
            return None
        return self._built(loc, section)

    def _built(self, loc: Loc, section: AccountSection) -> AccountConfig | None:
        market = MarketSettings(type=MarketType.LIVE, venue=section.type)
        if section.given_market is not None:
            read = self._market((*loc, "market"), section.given_market)
            if read is None:
                return None
            market = read
        equity = section.equity_usd(self._reading.root.manager.total_equity_usd)
        try:
            settings = section.settings(equity)
        except ExchangeConfigError as error:
            self._reading.report(loc, "", str(error))
            return None
        account = AccountConfig(
            name=str(loc[-1]),
            type=section.type,
            market=market,
            rules=self._rules,
            equity_usd=equity,
            settings=settings,
            unfit=self._unfit(section, market, str(loc[-1])),
        )
        return replace(account, quoted=self._quoted(loc, account))

    @staticmethod
    def _unfit(section: AccountSection, market: MarketSettings, name: str) -> str:
        """Say why no trader can be on the account in this version, empty if one can."""
        if not section.tradable:
            able = " or ".join(kind for kind, one in EXCHANGES.items() if one.tradable)
            return f"this version has no adapter for {section.type}; put the trader on an account of type {able}"
        if market.type is MarketType.LIVE:
            return f"account {name} has a live market, which this version cannot read; give it a synthetic one"
        return ""

    def _quoted(self, loc: Loc, account: AccountConfig) -> frozenset[str] | None:
        try:
            return self._instruments_of(account)
        except MarketDataError as error:
            self._reading.report((*loc, "market", "candles"), shown((), str(account.market.candles)), str(error))
            return None

    def _market(self, loc: Loc, given: Any) -> MarketSettings | None:
        kind = self._reading.variant(loc, MARKETS, given)
        section = self._reading.validated(loc, kind, given) if kind else None
        match section:
            case SyntheticMarketSection():
                return MarketSettings(type=MarketType.SYNTHETIC, synthetic=section.config())
            case ReplayMarketSection():
                candles = self._file((*loc, "candles"), section.candles)
                funding = self._file((*loc, "funding"), section.funding) if section.funding else None
                return MarketSettings(type=MarketType.REPLAY, candles=candles, funding=funding)
            case LiveMarketSection():
                return MarketSettings(type=MarketType.LIVE, venue=section.venue)
        return None

    def _file(self, loc: Loc, name: str) -> Path:
        path = self._reading.source.path.parent / name
        if not path.is_file():
            self._reading.report(loc, shown((), name), f"no such file {path}; paths are relative to the config file")
        return path
