"""An EMA cross with a stop and a target in backtesting.py, symbol by symbol; prints one JSON line a run.

It runs in an interpreter of its own with backtesting.py on PYTHONPATH, so that the desk's dependencies stay as locked.
"""

import json
import sys
import time
import warnings
from typing import Any

import pandas as pd  # type: ignore[import-untyped,import-not-found,unused-ignore]  # only in the peer's own folder
from backtesting import Backtest, Strategy  # type: ignore[import-untyped,import-not-found,unused-ignore]  # as above
from backtesting.lib import crossover  # type: ignore[import-untyped,import-not-found,unused-ignore]  # as above

COLUMNS = {"open": "Open", "high": "High", "low": "Low", "close": "Close", "volume": "Volume"}
FAST, SLOW = 300, 750


def ema(values: Any, span: int) -> Any:
    """Return the exponential mean of a column."""
    return pd.Series(values).ewm(span=span, adjust=False).mean().to_numpy()


class EmaCross(Strategy):  # type: ignore[misc,unused-ignore]  # the base class has no types
    """Go with the means of 20 and 50 quarter hours, 2 % to the stop and 6 % to the target: the desk's own trend."""

    def init(self) -> None:
        """Compute both means as columns."""
        close = self.data.Close
        self.fast = self.I(ema, close, FAST)
        self.slow = self.I(ema, close, SLOW)

    def next(self) -> None:
        """Turn the position at a cross."""
        price = self.data.Close[-1]
        if crossover(self.fast, self.slow):
            self.position.close()
            self.buy(size=0.2, sl=price * 0.98, tp=price * 1.06)
        elif crossover(self.slow, self.fast):
            self.position.close()
            self.sell(size=0.2, sl=price * 1.02, tp=price * 0.94)


def main() -> None:
    """Run every symbol of the CSV file named first, as often as named second."""
    warnings.simplefilter("ignore")
    candles = pd.read_csv(sys.argv[1])
    candles.index = pd.to_datetime(candles.pop("ts_ms"), unit="ms")
    frames = [frame.rename(columns=COLUMNS).drop(columns="symbol") for _, frame in candles.groupby("symbol")]
    for _ in range(int(sys.argv[2])):
        wall, cpu = time.perf_counter(), time.process_time()
        trades = 0
        for frame in frames:
            run = Backtest(frame, EmaCross, cash=1_000_000, commission=0.00045, margin=0.2, finalize_trades=True).run()
            trades += int(run["# Trades"])
        took = {"cpu_s": time.process_time() - cpu, "wall_s": time.perf_counter() - wall}
        print(json.dumps({"bars": len(candles), "trades": trades, **took}), flush=True)


if __name__ == "__main__":
    main()
