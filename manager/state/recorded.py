"""A decision's context as it is stored: the market as plain values, the candle window as far as a prompt shows it."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from executor.contract import Context, Indicators, MarketView
from executor.details import Candle
from executor.prompt_values import CANDLES_SHOWN, CLOSES_SHOWN, LONG_EVERY, LONG_SHOWN
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
    open_interest: Decimal | None = None
    base_s: float = 0.0
    recent: tuple[Candle, ...] = ()
    long: tuple[Candle, ...] = ()

    def closes(self, count: int) -> Sequence[float]:
        """Return up to `count` closes, oldest first."""
        return self.window[-count:] if count > 0 else ()

    def candles(self, count: int, every: int = 1) -> Sequence[Candle]:
        """Return up to `count` candles, oldest first; only the two series that a prompt prints are kept."""
        kept = self.recent if every == 1 else self.long if every == LONG_EVERY else ()
        return kept[-count:] if count > 0 else ()


def record_market(context: Context) -> dict[str, RecordedMarket]:
    """Return the market of a context as values, with candles if a model saw them; recorded ones stay as they are."""
    seen = context.details is not None
    return {
        symbol: view if isinstance(view, RecordedMarket) else _record(view, seen)
        for symbol, view in context.market.items()
    }


def _record(view: MarketView, candles: bool) -> RecordedMarket:
    check_value(Decimal, view.mark, f"mark of {view.symbol}")
    check_value(Decimal, view.funding_rate, f"funding rate of {view.symbol}")
    check_value(Decimal, view.open_interest, f"open interest of {view.symbol}")
    return RecordedMarket(
        symbol=view.symbol,
        mark=view.mark,
        age_s=view.age_s,
        funding_rate=view.funding_rate,
        indicators=view.indicators,
        window=tuple(view.closes(CLOSES_SHOWN)),
        open_interest=view.open_interest,
        base_s=view.base_s,
        recent=tuple(view.candles(CANDLES_SHOWN)) if candles else (),
        long=tuple(view.candles(LONG_SHOWN, LONG_EVERY)) if candles else (),
    )
