"""Settings of the synthetic market."""

from dataclasses import dataclass

from exchanges.errors import ExchangeConfigError
from exchanges.types import Symbol


@dataclass(frozen=True, slots=True, kw_only=True)
class SyntheticSymbol:
    """Describe one symbol: price level in USD, volatility against the market's, share of it that is common to all."""

    symbol: Symbol
    level: float
    digits: int
    volatility: float = 1.0
    common: float = 0.75
    volume_per_s: float = 1.0


DEFAULT_SYMBOLS = (
    SyntheticSymbol(
        symbol=Symbol("BTC/USDT:USDT"), level=96_000, digits=1, volatility=0.8, common=0.85, volume_per_s=3
    ),
    SyntheticSymbol(symbol=Symbol("ETH/USDT:USDT"), level=3_400, digits=2, volatility=1.0, common=0.8, volume_per_s=40),
    SyntheticSymbol(symbol=Symbol("SOL/USDT:USDT"), level=180, digits=3, volatility=1.3, volume_per_s=300),
    SyntheticSymbol(symbol=Symbol("XRP/USDT:USDT"), level=2.2, digits=5, volatility=1.2, volume_per_s=20_000),
    SyntheticSymbol(symbol=Symbol("DOGE/USDT:USDT"), level=0.32, digits=6, volatility=1.5, volume_per_s=90_000),
    SyntheticSymbol(symbol=Symbol("BNB/USDT:USDT"), level=650, digits=2, volatility=0.9, common=0.6, volume_per_s=15),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SyntheticConfig:
    """Configure the market; two equal values give the same prices on every host, at every time.

    `annual_volatility` is a fraction; jumps and outages are expected counts per symbol and day.
    """

    seed: int = 7
    symbols: tuple[SyntheticSymbol, ...] = DEFAULT_SYMBOLS
    annual_volatility: float = 1.0
    jumps_per_day: float = 4.0
    outages_per_day: float = 1.0
    indicator_interval_s: int = 15
    funding_interval_s: int = 28_800
    history_candles: int = 300

    def __post_init__(self) -> None:
        """Check the ranges."""
        names = [one.symbol for one in self.symbols]
        checks = (
            ("symbols", names, bool(names) and len(set(names)) == len(names), "at least one, each once"),
            ("annual_volatility", self.annual_volatility, 0 < self.annual_volatility <= 10, "above 0, up to 10"),
            ("jumps_per_day", self.jumps_per_day, 0 <= self.jumps_per_day <= 24, "0 to 24"),
            ("outages_per_day", self.outages_per_day, 0 <= self.outages_per_day <= 4, "0 to 4"),
            ("indicator_interval_s", self.indicator_interval_s, self.indicator_interval_s >= 1, "1 or more"),
            ("funding_interval_s", self.funding_interval_s, self.funding_interval_s >= 1, "1 or more"),
            ("history_candles", self.history_candles, self.history_candles >= 60, "60 or more"),
        )
        for name, value, valid, expected in checks:
            if not valid:
                raise ExchangeConfigError(
                    f"synthetic market: {name} is {value}, expected {expected}; change the config"
                )
