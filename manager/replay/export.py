"""Write what a replay did as files: trades, orders, equity curves and a page to look at."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
from jinja2 import Environment, select_autoescape

from manager.replay.report import ReplayFacts
from manager.replay.setup import Replay

_WIDTH, _HEIGHT = 900, 220
_PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Replay</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>body{font:15px system-ui,sans-serif;margin:1.5rem;max-width:60rem}table{border-collapse:collapse;width:100%}
td,th{padding:.3rem .6rem;text-align:right;border-bottom:1px solid #ddd}td:first-child,th:first-child{text-align:left}
svg{width:100%;height:auto;background:#fafafa}.wide{overflow-x:auto}</style></head><body>
<h1>Replay</h1><p>{{ report.bars }} bars, account equity {{ report.account.equity }} USD, unallocated
{{ report.account.unallocated }} USD, invariants checked {{ report.invariants.checked }}, violated
<strong>{{ report.invariants.violated }}</strong>.</p>
<h2>Equity of all traders, USD</h2><svg viewBox="0 0 {{ width }} {{ height }}" role="img" aria-label="equity">
<polyline fill="none" stroke="#1667b8" stroke-width="1.5" points="{{ points }}"/>
<text x="4" y="14" font-size="12">{{ top }}</text><text x="4" y="{{ height - 4 }}" font-size="12">{{ bottom }}</text>
</svg><h2>Traders</h2><div class="wide"><table><tr>{% for name in columns %}<th>{{ name }}</th>{% endfor %}</tr>
{% for trader in report.traders %}<tr>{% for name in columns %}<td>{{ trader[name] }}</td>{% endfor %}</tr>
{% endfor %}</table></div></body></html>"""


def export(out: Path, replay: Replay, facts: ReplayFacts, report: dict[str, Any]) -> None:
    """Write report.json, report.html, trades.parquet, orders.parquet and equity.parquet into `out`, rows by time."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "report.json").write_text(json.dumps(report, indent=1), encoding="utf-8")
    _trades(facts).write_parquet(out / "trades.parquet")
    _orders(facts).write_parquet(out / "orders.parquet")
    equity = _equity(replay)
    equity.write_parquet(out / "equity.parquet")
    (out / "report.html").write_text(_page(report, equity), encoding="utf-8")


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


def _page(report: dict[str, Any], equity: pl.DataFrame) -> str:
    total = equity.group_by("ts_ms").agg(pl.col("equity").sum()).sort("ts_ms")
    step = max(1, len(total) // _WIDTH)
    thin = total.gather_every(step)["equity"].to_list()
    low, high = (min(thin), max(thin)) if thin else (0.0, 1.0)
    span = (high - low) or 1.0
    points = " ".join(
        f"{index * _WIDTH / max(1, len(thin) - 1):.1f},{_HEIGHT - 10 - (value - low) / span * (_HEIGHT - 20):.1f}"
        for index, value in enumerate(thin)
    )
    template = Environment(autoescape=select_autoescape(default_for_string=True)).from_string(_PAGE)
    columns = list(report["traders"][0]) if report["traders"] else []
    return template.render(
        report=report,
        points=points,
        width=_WIDTH,
        height=_HEIGHT,
        top=f"{high:.2f}",
        bottom=f"{low:.2f}",
        columns=columns,
    )


def _plain(value: object) -> object:
    return str(value) if isinstance(value, Decimal) else value
