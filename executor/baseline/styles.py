"""The temperaments of the baseline: each reads one symbol's indicators and says how much it wants in or out.

Everything is measured in ATR or band widths, so a style behaves alike on any price, candle length and market.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from executor.contract import Indicators

Entry = Callable[[Indicators, float], float]
Exit = Callable[[Indicators, float, bool], bool]


class Style(StrEnum):
    """Name a temperament; `hold` never trades."""

    TREND = "trend"
    MEAN_REVERSION = "mean_reversion"
    BREAKOUT = "breakout"
    SHORT_BIASED = "short_biased"
    HOLD = "hold"


@dataclass(frozen=True, slots=True, kw_only=True)
class Temperament:
    """Hold the rules of a style.

    `entry` returns a strength from -1 (short) to 1 (long), 0 for no trade; `exit` says whether a held long (True) or
    short (False) has lost its reason. `leverage` is what it prefers below the cap, `stop_atr` the distance of its stop.
    """

    entry: Entry
    exit: Exit
    leverage: int
    stop_atr: float


def temperament(style: Style) -> Temperament:
    """Return the rules of `style`."""
    match style:
        case Style.TREND:
            return Temperament(entry=_trend, exit=_trend_turned, leverage=3, stop_atr=4.0)
        case Style.MEAN_REVERSION:
            return Temperament(entry=_stretched, exit=_reverted, leverage=2, stop_atr=3.0)
        case Style.BREAKOUT:
            return Temperament(entry=_broken_out, exit=_fell_back, leverage=4, stop_atr=3.5)
        case Style.SHORT_BIASED:
            return Temperament(entry=_weak, exit=_strong_again, leverage=3, stop_atr=4.0)
        case Style.HOLD:
            return Temperament(entry=_never, exit=_not_ever, leverage=1, stop_atr=3.0)


def _trend(at: Indicators, price: float) -> float:
    fast, slow, atr = at.ema_20, at.ema_50, at.atr_14
    if fast is None or slow is None or atr is None or atr <= 0.0 or at.macd is None or at.macd_signal is None:
        return 0.0
    gap = (fast - slow) / atr
    if gap > 0.8 and price > fast and at.macd > at.macd_signal:
        return min(1.0, gap / 4.0)
    if gap < -0.8 and price < fast and at.macd < at.macd_signal:
        return max(-1.0, gap / 4.0)
    return 0.0


def _trend_turned(at: Indicators, price: float, long: bool) -> bool:
    fast, slow, atr = at.ema_20, at.ema_50, at.atr_14
    if fast is None or slow is None or atr is None:
        return False
    return fast < slow - 0.5 * atr and price < slow if long else fast > slow + 0.5 * atr and price > slow


def _stretched(at: Indicators, price: float) -> float:
    upper, lower, rsi = at.bollinger_upper, at.bollinger_lower, at.rsi_14
    if upper is None or lower is None or rsi is None or upper <= lower:
        return 0.0
    if price < lower + 0.1 * (upper - lower) and rsi < 35.0:
        return min(1.0, (40.0 - rsi) / 25.0)
    if price > upper - 0.1 * (upper - lower) and rsi > 65.0:
        return max(-1.0, (60.0 - rsi) / 25.0)
    return 0.0


def _reverted(at: Indicators, price: float, long: bool) -> bool:
    upper, lower, rsi = at.bollinger_upper, at.bollinger_lower, at.rsi_14
    if upper is None or lower is None or rsi is None:
        return False
    middle = (upper + lower) / 2.0
    return price > middle and rsi > 60.0 if long else price < middle and rsi < 40.0


def _broken_out(at: Indicators, price: float) -> float:
    high, low, atr = at.high_20, at.low_20, at.atr_14
    if high is None or low is None or atr is None or atr <= 0.0 or high <= low:
        return 0.0
    width = (high - low) / atr
    if price >= high - 0.25 * atr:
        return min(1.0, width / 10.0)
    if price <= low + 0.25 * atr:
        return max(-1.0, -width / 10.0)
    return 0.0


def _fell_back(at: Indicators, price: float, long: bool) -> bool:
    high, low, atr = at.high_20, at.low_20, at.atr_14
    if high is None or low is None or atr is None:
        return False
    return price <= low + 0.25 * atr if long else price >= high - 0.25 * atr


def _weak(at: Indicators, price: float) -> float:
    fast, slow, atr, rsi = at.ema_20, at.ema_50, at.atr_14, at.rsi_14
    if fast is None or slow is None or atr is None or atr <= 0.0 or rsi is None:
        return 0.0
    if rsi > 72.0:
        return max(-1.0, (65.0 - rsi) / 25.0)
    gap = (fast - slow) / atr
    return max(-1.0, gap / 4.0) if gap < -0.6 and price < slow and rsi < 48.0 else 0.0


def _strong_again(at: Indicators, price: float, long: bool) -> bool:
    fast, slow, atr = at.ema_20, at.ema_50, at.atr_14
    if long:
        return True
    if fast is None or slow is None or atr is None:
        return False
    return fast > slow + atr and price > fast


def _never(at: Indicators, price: float) -> float:
    del at, price
    return 0.0


def _not_ever(at: Indicators, price: float, long: bool) -> bool:
    del at, price, long
    return False
