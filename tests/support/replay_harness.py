"""Write a scenario to files, replay them through the real command path and hold every number against the oracle."""

import json
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl

from manager.bootstrap.request import ReplayRequest
from manager.replay.run import run_replay
from replay_oracle import Oracle
from replay_scenario import JUDGED, MINUTE_MS, START_MS, Scenario, close_ms

TIMINGS = ("wall_s", "bars_per_s", "decisions_per_s")
DUST_USD = Decimal("1E-6")
OPEN_RISK = {"stop_loss_enabled": False, "take_profit_enabled": False, "min_confidence": 0, "min_risk_reward_ratio": 0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Hold what a replay reported and wrote, and what the oracle says."""

    report: dict[str, Any]
    trades: list[dict[str, Any]]
    round_trips: list[dict[str, Any]]
    orders: list[dict[str, Any]]
    oracle: Oracle

    def trader(self, trader_id: str) -> dict[str, Any]:
        """Return one trader's part of the report."""
        found: dict[str, Any] = next(row for row in self.report["traders"] if row["id"] == trader_id)
        return found

    def fills(self, trader_id: str) -> list[tuple[str, str, str]]:
        """Return (purpose, signed quantity, price) of a trader's fills in their order, plainly written."""
        return [
            (row["purpose"], plain(row["quantity"]), plain(row["price"]))
            for row in self.trades
            if row["trader_id"] == trader_id
        ]


def plain(number: str) -> str:
    """Return a decimal without exponent and trailing zeros."""
    return format(Decimal(number).normalize(), "f")


def write(scenario: Scenario, folder: Path) -> ReplayRequest:
    """Write config, candles, decisions and funding and return the request for them."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "manager": scenario.manager,
        "global_limits": scenario.limits,
        "exchanges": {
            "desk": {
                "type": "paper",
                "market": {"type": "synthetic"},
                **{name: Decimal(value) for name, value in scenario.paper.items()},
                "instruments": scenario.instruments,
            }
        },
        "traders": [_trader(scenario, name, given) for name, given in scenario.traders.items()],
    }
    (folder / "config.yaml").write_text(json.dumps(_plain_numbers(config), indent=1), encoding="utf-8")
    rows = ["symbol,ts_ms,open,high,low,close,volume"]
    for symbol, bars in scenario.bars.items():
        for index, bar in enumerate(bars):
            if bar is not None:
                rows.append(f"{symbol},{START_MS + index * MINUTE_MS},{','.join(bar.split())},1000")
    (folder / "candles.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    lines = [
        json.dumps(
            {
                "ts_ms": close_ms(index),
                "trader_id": trader_id,
                "decisions": [{k: v for k, v in item.items() if k not in JUDGED} for item in items],
            }
        )
        for index, trader_id, items in scenario.batches
    ]
    (folder / "decisions.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    funding = None
    if scenario.funding:
        funding = folder / "funding.csv"
        text = "\n".join(f"{symbol},{stamp},{rate}" for stamp, symbol, rate in scenario.funding)
        funding.write_text(f"symbol,ts_ms,funding_rate\n{text}\n", encoding="utf-8")
    return ReplayRequest(
        config=folder / "config.yaml",
        candles=folder / "candles.csv",
        funding=funding,
        decisions=folder / "decisions.jsonl",
        out=folder / "out",
    )


def judge(scenario: Scenario, folder: Path) -> Outcome:
    """Replay the scenario, compare every number with the oracle and what was refused with the hand, and return both."""
    outcome = replay(scenario, folder, Oracle(scenario))
    compare(scenario, outcome)
    expected = Counter(item["expect"] for *_, items in scenario.batches for item in items if "expect" in item)
    assert outcome.report["denials"] == dict(expected)
    assert outcome.report["invariants"]["violated"] == 0, outcome.report["invariants"]
    return outcome


def replay(scenario: Scenario, folder: Path, oracle: Oracle) -> Outcome:
    """Replay the scenario and return what was reported and written beside what the oracle says."""
    report = run_replay(write(scenario, folder))
    out = folder / "out"
    return Outcome(
        report=report,
        trades=sorted(pl.read_parquet(out / "trades.parquet").to_dicts(), key=_time_order),
        round_trips=pl.read_parquet(out / "round_trips.parquet").to_dicts(),
        orders=pl.read_parquet(out / "orders.parquet").to_dicts(),
        oracle=oracle,
    )


def compare(scenario: Scenario, outcome: Outcome) -> None:
    """Hold every number of the replay against the oracle's."""
    _compare_fills(outcome)
    _compare_orders(outcome)
    _compare_traders(outcome, scenario)
    _compare_account(outcome)


def without_timings(report: dict[str, Any]) -> dict[str, Any]:
    """Return the report without what depends on the machine."""
    return {name: value for name, value in report.items() if name not in TIMINGS}


def _trader(scenario: Scenario, name: str, given: dict[str, Any]) -> dict[str, Any]:
    base = {"id": name, "exchange": "desk", "executor": {"type": "recorded"}, "decision_interval": "60s"}
    risk = {**OPEN_RISK, **given.get("risk_params", {})}
    return {**base, "symbols": sorted(scenario.bars), **given, "risk_params": risk}


def _plain_numbers(value: Any) -> Any:
    """YAML takes numbers, the scenario writes them as strings so that no float is in the way."""
    if isinstance(value, dict):
        return {key: _plain_numbers(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain_numbers(inner) for inner in value]
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, str):
        try:
            return _plain_numbers(Decimal(value))
        except ArithmeticError:
            return value
    return value


def _same(told: str, computed: Decimal, what: object) -> None:
    assert abs(Decimal(told) - computed) <= DUST_USD, f"{what}: told {told}, computed {computed}"


def _compare_fills(outcome: Outcome) -> None:
    told = sorted(
        (
            (
                _ms(row["at"]),
                *(row["trader_id"], row["symbol"]),
                *(Decimal(row[name]) for name in ("quantity", "price", "fee", "realized")),
                str(row["purpose"]),
            )
            for row in outcome.trades
        ),
        key=_fill_key,
    )
    computed = sorted(outcome.oracle.fills, key=_fill_key)
    brief = [(row[0], row[1], row[2], row[3], row[7]) for row in computed]
    assert [(row[0], row[1], row[2], row[3], row[7]) for row in told] == brief
    for mine, theirs in zip(told, computed, strict=True):
        assert abs(mine[4] - theirs[4]) <= Decimal("1E-18"), (mine, theirs)
        _same(str(mine[5]), theirs[5], ("fee", mine))
        _same(str(mine[6]), theirs[6], ("realized", mine))


def _time_order(row: dict[str, Any]) -> tuple[Any, ...]:
    """Order by time; at one instant the market comes first, then what is crossed, then the orders of the round."""
    touched = row["purpose"] in ("stop", "take_profit", "liquidation")
    return row["at"], not touched, not row["trade_id"].startswith("cross"), row["trade_id"]


def _fill_key(row: tuple[Any, ...]) -> tuple[Any, ...]:
    return row[0], row[1], row[2], row[7], row[3], row[4]


def _compare_orders(outcome: Outcome) -> None:
    told = sorted(
        (
            _ms(row["created_at"]),
            *(str(row[name]) for name in ("symbol", "side", "purpose")),
            Decimal(row["quantity"]),
            *(str(row[name]) for name in ("traders", "state")),
        )
        for row in outcome.orders
        if row["purpose"] in ("entry", "reduce") and row["state"] != "denied"
    )
    assert told == sorted(outcome.oracle.orders)
    for row in outcome.orders:
        assert row["state"] not in ("pending", "unknown", "rejected"), row


def _compare_traders(outcome: Outcome, scenario: Scenario) -> None:
    assert [row["id"] for row in outcome.report["traders"]] == sorted(scenario.traders)
    for row in outcome.report["traders"]:
        who, book = row["id"], outcome.oracle.books[row["id"]]
        for name in ("realized", "fees", "funding"):
            _same(row["realized_pnl" if name == "realized" else name], getattr(book, name), (who, name))
        _same(row["equity"], outcome.oracle.equity(book), (who, "equity"))
        assert row["fills"] == sum(fill[1] == who for fill in outcome.oracle.fills), who
        assert row["decisions"] == sum(name == who for _, name in outcome.oracle.taken), who
        assert row["trades"] == book.trades, who
        rate = book.wins / book.trades if book.trades else None
        trips = [one for one in outcome.round_trips if one["trader_id"] == who]
        assert sum(one["closed_at"] is not None for one in trips) == book.trades, who
        made = sum((Decimal(one["net_pnl"]) for one in trips), Decimal(0))
        _same(str(made), book.realized - book.fees + book.funding, (who, "round trips"))
        for name, ratio in (("win_rate", rate), ("max_drawdown_pct", book.fall * 100), ("sharpe", book.sharpe())):
            assert (row[name] is None) is (ratio is None), (who, name, row[name], ratio)
            assert ratio is None or abs(float(row[name]) - ratio) < 2e-6 * max(1.0, abs(ratio)), (who, name, ratio)


def _compare_account(outcome: Outcome) -> None:
    account, books = outcome.report["account"], list(outcome.oracle.books.values())
    _same(account["equity"], outcome.oracle.account(), "account equity")
    _same(account["unallocated"], outcome.oracle.unallocated, "unallocated")
    for name in ("realized", "fees", "funding"):
        total = sum((getattr(book, name) for book in books), Decimal(0))
        _same(account["realized_pnl" if name == "realized" else name], total, ("account", name))
    total = sum((Decimal(row["equity"]) for row in outcome.report["traders"]), Decimal(account["unallocated"]))
    assert abs(total - Decimal(account["equity"])) < Decimal("0.005")
    for row in (account, *outcome.report["traders"]):
        parts = sum((Decimal(row[name]) for name in ("start_usd", "moved_usd", "pnl")), Decimal(0))
        assert parts == Decimal(row["equity"]), row


def _ms(at: datetime) -> int:
    return round(at.timestamp() * 1000)
