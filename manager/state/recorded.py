"""A decision's context as it is stored: the market as plain values, the candle window as far as a prompt shows it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from executor.contract import Indicators, MarketView
from executor.prompts import CLOSES_SHOWN
from manager.state.checks import check_value


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedMarket:
    """Show one symbol as a decision saw it; the window holds no more closes than a prompt prints."""

    symbol: str
    mark: Decimal
    age_s: float
    funding_rate: Decimal | None
    indicators: Indicators
    window: tuple[float, ...]

    def closes(self, count: int) -> Sequence[float]:
        """Return up to `count` closes, oldest first."""
        return self.window[-count:] if count > 0 else ()


def record_market(market: Mapping[str, MarketView]) -> dict[str, RecordedMarket]:
    """Return the market of a context as values; recorded ones stay as they are."""
    return {symbol: view if isinstance(view, RecordedMarket) else _record(view) for symbol, view in market.items()}


def _record(view: MarketView) -> RecordedMarket:
    check_value(Decimal, view.mark, f"mark of {view.symbol}")
    check_value(Decimal, view.funding_rate, f"funding rate of {view.symbol}")
    return RecordedMarket(
        symbol=view.symbol,
        mark=view.mark,
        age_s=view.age_s,
        funding_rate=view.funding_rate,
        indicators=view.indicators,
        window=tuple(view.closes(CLOSES_SHOWN)),
    )
