"""The benchmark's twelve strategies in backtesting.py; prints one JSON line.

`PYTHONPATH=. PEERS/bin/python benchmarks/peers/backtesting_twelve.py CANDLES.parquet STRATEGIES.json`, in an
interpreter with `benchmarks/requirements.txt`. Entries, exits, stops and take-profits are the desk's own
(`desk_rules.py`), decided at each full hour. Simplified, because an engine of one symbol knows no more:

- A strategy runs once for each of its symbols, every run with an account of its own: nothing is shared between the
  symbols (no limit of three positions, no strongest signal first), nor between the twelve. So more is entered.
- No conflict, no rule of risk, no rebalancing, no funding, no liquidation.
- Market orders fill at the next open, at the same fee for makers and takers. Units are whole, so prices are those of a
  millionth of a coin.

A decision is one strategy at one hour, so the runs over its symbols make one decision together. Bars are stepped
through anew in each run. Reading the file is left out, the statistics that the engine always computes are not.
"""

# mypy: disable-error-code="import-untyped,import-not-found"
# The peers are only in their own interpreter.

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import backtesting
import numpy as np
import pandas as pd

from benchmarks.peers.desk_rules import Bars, Held, Rules, View, is_due, read
from benchmarks.peers.measured import Run, measured
from benchmarks.twelve_traders import FEE_BPS, SLIPPAGE_BPS
from executor.contract import Action

SCALE = 1e-6
CASH_USD = 1_000_000
COLUMNS = {"open": "Open", "high": "High", "low": "Low", "close": "Close", "volume": "Volume"}


class OneSymbol(backtesting.Strategy):  # type: ignore[misc,unused-ignore]  # the base class has no types
    """Decide at each full hour on one symbol; a run's class carries the rules and what they read."""

    rules: Rules
    bars: Bars
    orders_placed = 0

    def init(self) -> None:
        """Compute the indicators."""
        self.table = self.bars.table()
        self.ends = (self.bars.candles["ts_ms"] + self.bars.interval_ms).to_list()
        self.due = [is_due(end) for end in self.ends]

    def next(self) -> None:
        """Close what lost its reason, open what has one."""
        index = len(self.data) - 1
        if not self.due[index]:
            return
        symbol, price = self.bars.symbol, float(self.data.Close[-1])
        view = View(symbol, price, self.table.row(self.table.count_at(self.ends[index])))
        held = (Held(symbol, self.position.size),) if self.position else ()
        for decision in self.rules.decide({symbol: view}, held):
            match decision.action:
                case Action.CLOSE_LONG | Action.CLOSE_SHORT:
                    self.position.close()
                    self.orders_placed += 1
                case Action.OPEN_LONG | Action.OPEN_SHORT:
                    trade = self.buy if decision.action is Action.OPEN_LONG else self.sell
                    assert decision.position_size_usd is not None
                    size = int(float(decision.position_size_usd) / price)
                    trade(size=size, sl=float(decision.stop_loss or 0), tp=float(decision.take_profit or 0))
                    self.orders_placed += 3


def run_one(frame: Any, bars: Bars, style: str) -> OneSymbol:
    """Run one strategy over one symbol and return it as it ended."""
    rules = Rules(style, [bars.symbol])
    kind = type("Run", (OneSymbol,), {"rules": rules, "bars": bars})
    costs = {"commission": FEE_BPS / 10_000, "spread": SLIPPAGE_BPS / 10_000}
    ended: OneSymbol = backtesting.Backtest(frame, kind, cash=CASH_USD, margin=0.2, **costs).run()["_strategy"]
    return ended


def frame_of(bars: Bars) -> Any:
    """Return the candles as backtesting.py wants them."""
    columns = {theirs: bars.candles[ours].to_numpy() for ours, theirs in COLUMNS.items()}
    return pd.DataFrame(columns, index=pd.DatetimeIndex(np.array(bars.candles["ts_ms"]).astype("datetime64[ms]")))


def main() -> None:
    """Run every strategy over each of its symbols."""
    warnings.simplefilter("ignore")
    strategies = json.loads(Path(sys.argv[2]).read_text(encoding="utf-8"))
    with measured() as load:
        market = {symbol: bars.at_scale(SCALE) for symbol, bars in read(Path(sys.argv[1])).items()}
        frames = {symbol: frame_of(bars) for symbol, bars in market.items()}
    decisions, stepped, ended = 0, 0, []
    with measured() as took:
        for strategy in strategies:
            runs = [run_one(frames[symbol], market[symbol], strategy["style"]) for symbol in strategy["symbols"]]
            decisions += max(run.rules.made for run in runs)
            stepped += sum(len(run.ends) for run in runs)
            ended += [(run.orders_placed, 2 * len(run.closed_trades) + len(run.trades)) for run in runs]
    Run(
        engine=f"backtesting.py {backtesting.__version__}",
        bars=stepped,
        decisions=decisions,
        orders=sum(orders for orders, _ in ended),
        fills=sum(fills for _, fills in ended),
        load_s=load.cpu_s,
        cpu_s=took.cpu_s,
        wall_s=took.wall_s,
    ).tell()


if __name__ == "__main__":
    main()
