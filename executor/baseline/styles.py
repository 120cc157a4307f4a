"""The temperaments of the baseline: each reads one symbol's indicators and says how much it wants in or out.

Everything is measured in ATR or band widths, so a style behaves alike on any price, candle length and market.
"""

from enum import StrEnum
from typing import ClassVar, Final

from executor.contract import Indicators


class Style(StrEnum):
    """Name a temperament; `hold` never trades."""

    TREND = "trend"
    MEAN_REVERSION = "mean_reversion"
    BREAKOUT = "breakout"
    SHORT_BIASED = "short_biased"
    HOLD = "hold"


class Temperament:
    """Hold the rules of a style; these never trade.

    `leverage` is what it prefers below the cap, `stop_atr` the distance of its stop.
    """

    leverage: ClassVar[int] = 1
    stop_atr: ClassVar[float] = 3.0

    @staticmethod
    def entry(at: Indicators, price: float) -> float:
        """Return a strength from -1 (short) to 1 (long), 0 for no trade."""
        del at, price
        return 0.0

    @staticmethod
    def exit(at: Indicators, price: float, long: bool) -> bool:
        """Tell whether a held long (True) or short (False) has lost its reason."""
        del at, price, long
        return False


class Trend(Temperament):
    """Follow the side on which the fast average has left the slow one."""

    leverage = 3
    stop_atr = 4.0

    @staticmethod
    def entry(at: Indicators, price: float) -> float:
        """Enter when price, averages and MACD agree."""
        fast, slow, atr = at.ema_20, at.ema_50, at.atr_14
        if fast is None or slow is None or atr is None or atr <= 0.0 or at.macd is None or at.macd_signal is None:
            return 0.0
        gap = (fast - slow) / atr
        if gap > 0.8 and price > fast and at.macd > at.macd_signal:
            return min(1.0, gap / 4.0)
        if gap < -0.8 and price < fast and at.macd < at.macd_signal:
            return max(-1.0, gap / 4.0)
        return 0.0

    @staticmethod
    def exit(at: Indicators, price: float, long: bool) -> bool:
        """Leave when the averages have crossed."""
        fast, slow, atr = at.ema_20, at.ema_50, at.atr_14
        if fast is None or slow is None or atr is None:
            return False
        return fast < slow - 0.5 * atr and price < slow if long else fast > slow + 0.5 * atr and price > slow


class MeanReversion(Temperament):
    """Bet on the way back from the edge of the band."""

    leverage = 2

    @staticmethod
    def entry(at: Indicators, price: float) -> float:
        """Enter at the edge, when the RSI says that the move is stretched."""
        upper, lower, rsi = at.bollinger_upper, at.bollinger_lower, at.rsi_14
        if upper is None or lower is None or rsi is None or upper <= lower:
            return 0.0
        if price < lower + 0.1 * (upper - lower) and rsi < 35.0:
            return min(1.0, (40.0 - rsi) / 25.0)
        if price > upper - 0.1 * (upper - lower) and rsi > 65.0:
            return max(-1.0, (60.0 - rsi) / 25.0)
        return 0.0

    @staticmethod
    def exit(at: Indicators, price: float, long: bool) -> bool:
        """Leave past the middle."""
        upper, lower, rsi = at.bollinger_upper, at.bollinger_lower, at.rsi_14
        if upper is None or lower is None or rsi is None:
            return False
        middle = (upper + lower) / 2.0
        return price > middle and rsi > 60.0 if long else price < middle and rsi < 40.0


class Breakout(Temperament):
    """Go with the price that leaves its range."""

    leverage = 4
    stop_atr = 3.5

    @staticmethod
    def entry(at: Indicators, price: float) -> float:
        """Enter at an end of the range, the more the wider it is."""
        high, low, atr = at.high_20, at.low_20, at.atr_14
        if high is None or low is None or atr is None or atr <= 0.0 or high <= low:
            return 0.0
        width = (high - low) / atr
        if price >= high - 0.25 * atr:
            return min(1.0, width / 10.0)
        if price <= low + 0.25 * atr:
            return max(-1.0, -width / 10.0)
        return 0.0

    @staticmethod
    def exit(at: Indicators, price: float, long: bool) -> bool:
        """Leave at the other end of the range."""
        high, low, atr = at.high_20, at.low_20, at.atr_14
        if high is None or low is None or atr is None:
            return False
        return price <= low + 0.25 * atr if long else price >= high - 0.25 * atr


class ShortBiased(Temperament):
    """Sell weakness and exhaustion; never hold a long."""

    leverage = 3
    stop_atr = 4.0

    @staticmethod
    def entry(at: Indicators, price: float) -> float:
        """Enter below falling averages, or when a rise is overdone."""
        fast, slow, atr, rsi = at.ema_20, at.ema_50, at.atr_14, at.rsi_14
        if fast is None or slow is None or atr is None or atr <= 0.0 or rsi is None:
            return 0.0
        if rsi > 72.0:
            return max(-1.0, (65.0 - rsi) / 25.0)
        gap = (fast - slow) / atr
        return max(-1.0, gap / 4.0) if gap < -0.6 and price < slow and rsi < 48.0 else 0.0

    @staticmethod
    def exit(at: Indicators, price: float, long: bool) -> bool:
        """Leave when the averages rise."""
        fast, slow, atr = at.ema_20, at.ema_50, at.atr_14
        if long:
            return True
        if fast is None or slow is None or atr is None:
            return False
        return fast > slow + atr and price > fast


TEMPERAMENTS: Final[dict[Style, type[Temperament]]] = {
    Style.TREND: Trend,
    Style.MEAN_REVERSION: MeanReversion,
    Style.BREAKOUT: Breakout,
    Style.SHORT_BIASED: ShortBiased,
    Style.HOLD: Temperament,
}
