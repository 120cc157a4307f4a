"""Audit what a replay of candles wrote, fill by fill, from the candles alone (docs/rules.md 10); default fees."""

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl

TAKER, MAKER, SLIP = Decimal("0.00045"), Decimal("0.00015"), Decimal("0.0001")
CENT = Decimal("0.005")
TINY = Decimal("1E-9")
ZERO = Decimal(0)
TOUCHED = ("stop", "take_profit")


@dataclass(slots=True)
class Candles:
    """Hold one symbol's candles; prices become the decimals they were written as, when asked for."""

    begins: list[int]
    rows: list[tuple[float, float, float, float]]
    interval: int

    def at(self, begin_ms: int) -> list[Decimal] | None:
        """Return open, high, low, close of the candle that begins then."""
        index = bisect_left(self.begins, begin_ms)
        found = index < len(self.begins) and self.begins[index] == begin_ms
        return [Decimal(repr(value)) for value in self.rows[index]] if found else None

    def mark(self, at_ms: int) -> Decimal:
        """Return the close of the last candle that has ended."""
        return Decimal(repr(self.rows[bisect_right(self.begins, at_ms - self.interval) - 1][3]))

    def touched(self, after_ms: int, before_ms: int, level: Decimal, *, long: bool) -> bool:
        """Tell whether a candle that ends strictly between the two instants reaches a stop."""
        first = bisect_right(self.begins, after_ms - self.interval)
        last = bisect_left(self.begins, before_ms - self.interval)
        if long:
            return any(Decimal(repr(row[2])) <= level for row in self.rows[first:last])
        return any(Decimal(repr(row[1])) >= level for row in self.rows[first:last])


def read_candles(path: Path, start: datetime | None = None, end: datetime | None = None) -> dict[str, Candles]:
    """Return the candles that begin at or after `start` and end by `end`, by symbol."""
    frame = pl.read_parquet(path).sort("symbol", "ts_ms")
    step = int(frame.select(pl.col("ts_ms").diff().over("symbol"))["ts_ms"].drop_nulls().min())  # type: ignore[arg-type]  # polars types a minimum as anything
    if start is not None:
        frame = frame.filter(pl.col("ts_ms") >= ms(start))
    if end is not None:
        frame = frame.filter(pl.col("ts_ms") + step <= ms(end))
    found = {}
    for (symbol,), part in frame.group_by("symbol", maintain_order=True):
        rows = part.select("open", "high", "low", "close").rows()
        found[str(symbol)] = Candles(part["ts_ms"].to_list(), rows, step)
    return found


def ms(at: datetime) -> int:
    """Return the instant in whole milliseconds."""
    return round(at.timestamp() * 1000)


def audit(out: Path, candles: dict[str, Candles], funding: Path | None, report: dict[str, Any]) -> int:
    """Check every fill, every stop that should have fired, funding and the account's equity; return the fills."""
    trades = pl.read_parquet(out / "trades.parquet").to_dicts()
    orders = pl.read_parquet(out / "orders.parquet").to_dicts()
    triggers = {order["order_id"]: order["trigger_price"] for order in orders}
    for row in trades:
        _check_price(row, candles[row["symbol"]], triggers.get(row["order_id"]))
    _check_stops(trades, orders, candles)
    _check_funding(trades, candles, funding, report)
    _check_account(trades, candles, report)
    assert report["invariants"]["violated"] == 0, report["invariants"]
    return len(trades)


def _check_price(row: dict[str, Any], candles: Candles, trigger: str | None) -> None:
    at, quantity, price, fee = ms(row["at"]), *(Decimal(row[name]) for name in ("quantity", "price", "fee"))
    worse = 1 + SLIP if quantity > 0 else 1 - SLIP
    rate = TAKER
    if row["trade_id"].startswith("cross"):
        expected, rate = candles.mark(at), ZERO
    elif row["purpose"] == "liquidation":
        expected = candles.mark(at) * worse
    elif row["purpose"] in TOUCHED:
        bar = candles.at(at - candles.interval)
        assert bar is not None, row
        assert trigger is not None, row
        take_profit, level = row["purpose"] == "take_profit", Decimal(trigger)
        falls = (quantity < 0) is not take_profit
        assert (bar[2] <= level) if falls else (bar[1] >= level), (row, bar)
        expected = min(level, bar[0]) if falls else max(level, bar[0])
        rate = MAKER if take_profit else TAKER
        expected *= 1 if take_profit else worse
    else:
        bar = candles.at(at)
        assert bar is not None, row
        expected = bar[0] * worse
    assert abs(price - expected) < TINY, (row, expected)
    assert abs(fee - abs(quantity) * price * rate) < TINY, row


def _check_stops(trades: list[dict[str, Any]], orders: list[dict[str, Any]], candles: dict[str, Candles]) -> None:
    """Between two fills of a book the stop that stands is its newest; no candle in between may have reached it."""
    stops: dict[tuple[str, str], list[tuple[int, Decimal]]] = {}
    for order in sorted(orders, key=lambda order: order["created_at"]):
        if order["purpose"] == "stop":
            key = (order["traders"], order["symbol"])
            stops.setdefault(key, []).append((ms(order["created_at"]), Decimal(order["trigger_price"])))
    held: dict[tuple[str, str], tuple[Decimal, int]] = {}
    ends = {symbol: own.begins[-1] + own.interval + 1 for symbol, own in candles.items()}
    for row in [*_in_time(trades), *({"last": key} for key in stops)]:
        key = row.get("last") or (row["trader_id"], row["symbol"])
        quantity, since = held.get(key, (ZERO, 0))
        now = ms(row["at"]) if "at" in row else ends[key[1]]
        placed = [(at, level) for at, level in stops.get(key, ()) if at <= since]
        if quantity and placed:
            early = candles[key[1]].touched(since, now, placed[-1][1], long=quantity > 0)
            replaced = any(since < at < now for at, _ in stops[key])
            assert replaced or not early, (key, quantity, placed[-1], since, now)
        if "at" in row:
            held[key] = (quantity + Decimal(row["quantity"]), now)


def _check_funding(
    trades: list[dict[str, Any]], candles: dict[str, Candles], funding: Path | None, report: dict[str, Any]
) -> None:
    told = {row["id"]: Decimal(row["funding"]) for row in report["traders"]}
    paid = dict.fromkeys(told, ZERO)
    fills: dict[tuple[str, str], list[tuple[int, bool, Decimal]]] = {}
    for row in trades:
        late = row["purpose"] not in TOUCHED
        fills.setdefault((row["trader_id"], row["symbol"]), []).append((ms(row["at"]), late, Decimal(row["quantity"])))
    stamps = pl.read_parquet(funding).rows(named=True) if funding is not None else []
    for row in stamps:
        at, symbol = (row["ts_ms"] + 500) // 1000 * 1000, row["symbol"]
        own = candles.get(symbol)
        for trader in told if own is not None and own.begins[0] < at <= own.begins[-1] + own.interval else ():
            before = [q for when, late, q in fills.get((trader, symbol), ()) if when < at or (when == at and not late)]
            if quantity := sum(before, ZERO):
                paid[trader] -= quantity * candles[symbol].mark(at) * Decimal(repr(row["funding_rate"]))
    for trader, amount in told.items():
        assert abs(amount - paid[trader]) < Decimal("1E-6"), (trader, amount, paid[trader])


def _check_account(trades: list[dict[str, Any]], candles: dict[str, Candles], report: dict[str, Any]) -> None:
    account = {name: Decimal(report["account"][name]) for name in ("equity", "unallocated", "fees", "funding")}
    fees = sum((Decimal(row["fee"]) for row in trades), ZERO)
    cash = sum((-Decimal(row["quantity"]) * Decimal(row["price"]) for row in trades), ZERO)
    worth = sum((Decimal(row["quantity"]) * candles[row["symbol"]].mark(2**62) for row in trades), ZERO)
    start = account["equity"] - (cash + worth - fees + account["funding"])
    assert abs(start - start.quantize(Decimal(1))) < CENT, start
    assert abs(fees - account["fees"]) < CENT
    equities = sum((Decimal(row["equity"]) for row in report["traders"]), account["unallocated"])
    assert abs(equities - account["equity"]) < CENT


def _in_time(trades: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(trades, key=lambda row: (row["at"], row["purpose"] not in TOUCHED))
