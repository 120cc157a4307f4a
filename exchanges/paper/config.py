"""Settings of one paper venue."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from exchanges.errors import ExchangeConfigError
from exchanges.types import Instrument, Symbol

BPS = Decimal(10_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperConfig:
    """Configure fees, slippage and size; raise ExchangeConfigError for values no venue could have.

    Fees and slippage are basis points (1 bp = 0.01 %); a negative maker fee is a rebate. `volume_share` caps each
    fill at that fraction of a bar's volume, None switches the cap off. `instruments` replace those the market quotes.
    `default_leverage` holds until set_leverage is called.
    """

    fee_bps: Decimal = Decimal("4.5")
    maker_fee_bps: Decimal = Decimal("1.5")
    slippage_bps: Decimal = Decimal(1)
    volume_share: Decimal | None = None
    start_equity: Decimal = Decimal(10_000)
    default_leverage: int = 1
    instruments: Mapping[Symbol, Instrument] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the ranges."""
        self._require("fee_bps", self.fee_bps, self.fee_bps.is_finite() and 0 <= self.fee_bps < BPS, "0 to 10000")
        rebate_limit = -self.fee_bps
        maker_ok = self.maker_fee_bps.is_finite() and rebate_limit <= self.maker_fee_bps < BPS
        self._require("maker_fee_bps", self.maker_fee_bps, maker_ok, f"{rebate_limit} to 10000")
        slippage_ok = self.slippage_bps.is_finite() and 0 <= self.slippage_bps < BPS
        self._require("slippage_bps", self.slippage_bps, slippage_ok, "0 to 10000")
        share = self.volume_share
        share_ok = share is None or (share.is_finite() and 0 < share <= 1)
        self._require("volume_share", share, share_ok, "above 0, up to 1, or nothing")
        equity_ok = self.start_equity.is_finite() and self.start_equity > 0
        self._require("start_equity", self.start_equity, equity_ok, "above 0 USD")
        self._require("default_leverage", self.default_leverage, self.default_leverage >= 1, "1 or more")

    @property
    def slippage(self) -> Decimal:
        """Return the slippage as a fraction."""
        return self.slippage_bps / BPS

    @staticmethod
    def _require(name: str, value: object, valid: bool, expected: str) -> None:
        if not valid:
            raise ExchangeConfigError(f"paper venue: {name} is {value}, expected {expected}; change it in the config")
