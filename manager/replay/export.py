"""Write what a replay did as files: trades, orders, equity curves and a page to look at."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl

from manager.replay.page import page
from manager.replay.report import ReplayFacts
from manager.replay.setup import Replay


def export(out: Path, replay: Replay, facts: ReplayFacts, report: dict[str, Any]) -> None:
    """Write report.json, report.html, trades.parquet, orders.parquet and equity.parquet into `out`, rows by time."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "report.json").write_text(json.dumps(report, indent=1), encoding="utf-8")
    _trades(facts).write_parquet(out / "trades.parquet")
    _orders(facts).write_parquet(out / "orders.parquet")
    equity = _equity(replay)
    span_ms = replay.columns.instants[0] - replay.columns.interval_ms, replay.columns.instants[-1]
    equity.write_parquet(out / "equity.parquet")
    (out / "report.html").write_text(page(report, equity, span_ms), encoding="utf-8")


def _trades(facts: ReplayFacts) -> pl.DataFrame:
    names = ("at", "trade_id", "trader_id", "symbol", "quantity", "price", "fee", "realized", "purpose", "order_id")
    parts = sorted(facts.parts, key=lambda part: part.at)
    return pl.DataFrame(
        {name: [_plain(getattr(part, name)) for part in parts] for name in names}, infer_schema_length=None
    )


def _orders(facts: ReplayFacts) -> pl.DataFrame:
    names = (
        "created_at",
        "order_id",
        "round_id",
        "symbol",
        "side",
        "type",
        "purpose",
        "quantity",
        "filled",
        "trigger_price",
        "reduce_only",
        "state",
        "reason",
    )
    orders = sorted(facts.orders, key=lambda order: order.created_at)
    columns = {name: [_plain(getattr(order, name)) for order in orders] for name in names}
    columns["traders"] = [",".join(share.trader_id for share in order.shares) for order in orders]
    return pl.DataFrame(columns, infer_schema_length=None)


def _equity(replay: Replay) -> pl.DataFrame:
    frames = [
        pl.DataFrame({"ts_ms": instants, "equity": values}).with_columns(pl.lit(trader_id).alias("trader_id"))
        for instants, trader_id, values in replay.account.sampler.curves()
    ]
    return pl.concat(frames) if frames else pl.DataFrame({"ts_ms": [], "equity": [], "trader_id": []})


def _plain(value: object) -> object:
    return str(value) if isinstance(value, Decimal) else value
