"""The sections of `exchanges:`: one class a type of account and of market, and the frozen settings that it becomes.

The settings of an account are a value of its venue's own folder. Who reads accounts or registers traders passes it on
and knows none of its fields.
"""

from abc import abstractmethod
from collections.abc import Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import Field

from exchanges.paper.config import PaperConfig
from exchanges.synthetic.config import SyntheticConfig
from exchanges.types import Instrument, Symbol
from manager.config import fields
from manager.config.fields import EMPTY_IS_DEFAULT, Count, Duration, Example, Expect, Number, Section, Text, Usd
from manager.config.values import VenueSettings
from manager.desk.plan.values import AccountRules, ConflictStrategy

_PAPER: Final = PaperConfig()
_SYNTHETIC: Final = SyntheticConfig()
_INSTRUMENT: Final = Instrument(symbol=Symbol(""))


class AccountSection(Section):
    """Hold an account; a type of venue adds its keys and its settings. Not `tradable` is what has no adapter yet."""

    tradable: ClassVar[bool] = True
    type: str
    """The kind of account."""

    @property
    def given_market(self) -> Any:
        """Return the section of its market, None where it trades on the venue's own."""
        return None

    def equity_usd(self, total_usd: Decimal) -> Decimal:
        """Return what the account starts with, 0 where only the venue knows."""
        del total_usd
        return Decimal(0)

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
    """The kind of account."""
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
    start_equity_usd: Usd | None = None
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
    timeout: Duration = 30
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
    """The kind of market."""
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
    indicator_interval: Duration = _SYNTHETIC.indicator_interval_s
    """The interval of the candles that indicators are computed on."""
    funding_interval: Duration = _SYNTHETIC.funding_interval_s
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
    """The kind of market."""
    candles: Annotated[Text, Example("candles_1h.parquet")]
    """The file with the candles, Parquet or CSV."""
    funding: Annotated[Text, Example("funding_8h.parquet")] | None = None
    """The file with the funding rates."""


class LiveMarketSection(Section):
    """Hold `market: {type: live}`: a venue's public prices, for which no key is needed; not readable yet."""

    type: Literal["live"]
    """The kind of market."""
    venue: Annotated[Text, Example("binance")]
    """The venue whose prices they are."""


MARKETS: Final[Mapping[str, type[Section]]] = MappingProxyType(
    {"synthetic": SyntheticMarketSection, "replay": ReplayMarketSection, "live": LiveMarketSection}
)
EXCHANGES: Final[Mapping[str, type[AccountSection]]] = MappingProxyType(
    {"paper": PaperSection, "hyperliquid": LiveSection, "binance": LiveSection}
)
