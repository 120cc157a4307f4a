"""The benchmark's twelve strategies in backtesting.py, one run each; prints one JSON line.

`python backtesting_twelve.py CANDLES.csv STRATEGIES.json`: each strategy is a style and its symbols. The rules are the
entries of the baseline, decided once an hour, with a stop and a target. It runs in an interpreter of its own with
backtesting.py on PYTHONPATH, so that the desk's dependencies stay as locked.
"""

import json
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import pandas as pd  # type: ignore[import-untyped,import-not-found,unused-ignore]  # only in the peer's own folder
from backtesting import Backtest, Strategy  # type: ignore[import-untyped,import-not-found,unused-ignore]  # as above

COLUMNS = {"open": "Open", "high": "High", "low": "Low", "close": "Close", "volume": "Volume"}
QUARTER, HOUR = 15, 60
REWARD = 3.0


def indicators(frame: Any) -> Any:
    """Add the columns that the rules read, over quarter hours of one-minute bars."""
    close, high, low = frame.Close, frame.High, frame.Low
    frame["fast"] = close.ewm(span=20 * QUARTER, adjust=False).mean()
    frame["slow"] = close.ewm(span=50 * QUARTER, adjust=False).mean()
    quarter = high.rolling(QUARTER).max() - low.rolling(QUARTER).min()
    frame["atr"] = quarter.ewm(alpha=1 / (14 * QUARTER), adjust=False).mean()
    middle, width = close.rolling(20 * QUARTER).mean(), 2 * close.rolling(20 * QUARTER).std()
    frame["upper"], frame["lower"] = middle + width, middle - width
    frame["top"], frame["bottom"] = high.rolling(20 * QUARTER).max(), low.rolling(20 * QUARTER).min()
    gain = close.diff(QUARTER).clip(lower=0).ewm(alpha=1 / (14 * QUARTER), adjust=False).mean()
    loss = (-close.diff(QUARTER)).clip(lower=0).ewm(alpha=1 / (14 * QUARTER), adjust=False).mean()
    frame["rsi"] = 100 * gain / (gain + loss)
    return frame.dropna()


class Twelfth(Strategy):  # type: ignore[misc,unused-ignore]  # the base class has no types
    """Decide once an hour by a style's rules."""

    style = ""
    stop_atr = 4.0
    made = 0

    def init(self) -> None:
        """Do nothing: the columns are computed before."""

    def next(self) -> None:
        """Close what lost its reason, open what has one."""
        at = self.data
        if len(at) % HOUR:
            return
        self.__class__.made += 1
        price, atr = at.Close[-1], at.atr[-1]
        side = self.entry(at, price, atr)
        if self.position:
            if side and (side > 0) != self.position.is_long:
                self.position.close()
            return
        if side:
            risk = max(self.stop_atr * atr, 0.003 * price)
            trade = self.buy if side > 0 else self.sell
            trade(size=0.2, sl=price - side * risk, tp=price + side * risk * REWARD)

    def entry(self, at: Any, price: float, atr: float) -> int:
        """Return 1 for long, -1 for short, 0 for neither."""
        gap = (at.fast[-1] - at.slow[-1]) / atr if atr > 0 else 0.0
        match self.style:
            case "trend":
                return int(gap > 0.8 and price > at.fast[-1]) - int(gap < -0.8 and price < at.fast[-1])
            case "mean_reversion":
                tenth = 0.1 * (at.upper[-1] - at.lower[-1])
                low, high = price < at.lower[-1] + tenth, price > at.upper[-1] - tenth
                return int(low and at.rsi[-1] < 35) - int(high and at.rsi[-1] > 65)
            case "breakout":
                return int(price >= at.top[-1] - 0.25 * atr) - int(price <= at.bottom[-1] + 0.25 * atr)
        return -int(at.rsi[-1] > 72 or (gap < -0.6 and price < at.slow[-1] and at.rsi[-1] < 48))


def main() -> None:
    """Run every strategy over each of its symbols."""
    warnings.simplefilter("ignore")
    candles = pd.read_csv(sys.argv[1])
    candles.index = pd.to_datetime(candles.pop("ts_ms"), unit="ms")
    strategies = json.loads(Path(sys.argv[2]).read_text(encoding="utf-8"))
    by_symbol = {
        name: frame.rename(columns=COLUMNS).drop(columns="symbol") for name, frame in candles.groupby("symbol")
    }
    wall, cpu, trades, bars, made = time.perf_counter(), time.process_time(), 0, 0, 0
    ready = {name: indicators(frame) for name, frame in by_symbol.items()}
    for strategy in strategies:
        for symbol in strategy["symbols"]:
            kind: Any = type("Run", (Twelfth,), {"style": strategy["style"], "made": 0})
            frame = ready[symbol]
            run = Backtest(frame, kind, cash=1_000_000, commission=0.00045, margin=0.2, finalize_trades=True).run()
            trades, bars, made = trades + int(run["# Trades"]), bars + len(frame), made + kind.made
    took = {"cpu_s": time.process_time() - cpu, "wall_s": time.perf_counter() - wall}
    print(json.dumps({"bars": bars, "decisions": made, "orders": 2 * trades, **took}), flush=True)


if __name__ == "__main__":
    main()
