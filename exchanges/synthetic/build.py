"""Build the synthetic market from its settings."""

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal

from exchanges.clock import Clock
from exchanges.errors import ExchangeConfigError
from exchanges.registry import Market
from exchanges.settings import Settings
from exchanges.synthetic.config import SyntheticConfig
from exchanges.synthetic.feed import SyntheticFeed
from exchanges.synthetic.model import BLOCK_S, SyntheticModel
from exchanges.synthetic.path import SECOND, SyntheticPath


def build_synthetic(where: str, values: Mapping[str, object], clock: Clock) -> Market:
    """Return the market of (seed, annual_volatility, indicator_interval_s, funding_interval_s, ...); all optional."""
    settings = Settings(where, values)
    plain = SyntheticConfig()
    config = replace(
        plain,
        seed=settings.integer("seed", plain.seed),
        annual_volatility=float(settings.decimal("annual_volatility", Decimal(str(plain.annual_volatility)))),
        jumps_per_day=float(settings.decimal("jumps_per_day", Decimal(str(plain.jumps_per_day)))),
        outages_per_day=float(settings.decimal("outages_per_day", Decimal(str(plain.outages_per_day)))),
        indicator_interval_s=settings.integer("indicator_interval_s", plain.indicator_interval_s),
        funding_interval_s=settings.integer("funding_interval_s", plain.funding_interval_s),
    )
    settings.finish()
    if clock.now().year < 1972:
        raise ExchangeConfigError(f"{where}: the synthetic market begins in 1972, the clock says {clock.now()}; set it")
    model = SyntheticModel(config)
    return Market(path=SyntheticPath(model), feed=SyntheticFeed(model, clock), lookahead=BLOCK_S * SECOND)
