"""Show a replay as one page without scripts: curves, traders, and what was refused or cut."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import polars as pl
from jinja2 import Environment, select_autoescape

from exchanges.clock import from_ms
from manager.views.adding_up import InCents

GENERATOR: Final = '<meta name="generator" content="propdesk replay">'
_WIDTH: Final = 900
_HEIGHT: Final = 240
_MARGIN: Final = 8
_POINTS: Final = 60_000
_SMALLEST_SHARE: Final = 1e-9
_TRADER_COLUMNS: Final = (
    ("equity", "equity"),
    ("start_usd", "start"),
    ("moved_usd", "moved"),
    ("pnl", "PnL"),
    ("state", "state"),
    ("max_drawdown_pct", "max drawdown %"),
    ("sharpe", "Sharpe"),
    ("win_rate", "win rate"),
    ("trades", "trades"),
    ("realized_pnl", "realized"),
    ("fees", "fees"),
    ("funding", "funding"),
    ("decisions", "decisions"),
    ("orders", "orders"),
    ("fills", "fills"),
)
_MODEL_COLUMNS: Final = (
    ("calls", "calls"),
    ("input_tokens", "tokens in"),
    ("cached_tokens", "cached"),
    ("output_tokens", "tokens out"),
    ("cost_usd", "cost, USD"),
    ("unknown_usd", "unknown, USD"),
)
_PAGE = (
    """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Replay</title>
"""
    + GENERATOR
    + """
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
:root{color-scheme:light}
body{font:15px/1.45 system-ui,sans-serif;color:#1b1f24;background:#fff;max-width:80rem;margin:0 auto;padding:1rem}
h1{font-size:1.5rem;margin:.2rem 0}h2{font-size:1.1rem;margin:1.6rem 0 .4rem}
.figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(8.5rem,1fr));gap:.5rem;margin:1rem 0;padding:0}
.figures div{background:#f4f6f8;border-radius:.4rem;padding:.5rem .7rem}
.figures dt{color:#57606a;font-size:.85rem}.figures dd{margin:0;font-size:1.05rem;font-variant-numeric:tabular-nums}
.axis{display:flex;justify-content:space-between;color:#57606a;font-size:.85rem;font-variant-numeric:tabular-nums}
svg{display:block;box-sizing:border-box;width:100%;height:15rem;background:#f8fafb;border:1px solid #e3e7eb}
polyline{fill:none;vector-effect:non-scaling-stroke;stroke-linejoin:round}
.legend{display:flex;flex-wrap:wrap;gap:.2rem .9rem;font-size:.85rem;margin:.4rem 0 0;padding:0;list-style:none}
.legend i{display:inline-block;width:.9rem;height:.2rem;vertical-align:middle;margin-right:.35rem}
.wide{overflow-x:auto}.counts{display:grid;grid-template-columns:repeat(auto-fit,minmax(15rem,1fr));gap:0 2rem}
table{border-collapse:separate;border-spacing:0;width:100%;font-variant-numeric:tabular-nums}
td,th{padding:.3rem .5rem;text-align:right;border-bottom:1px solid #e3e7eb;white-space:nowrap;vertical-align:top}
th{color:#57606a;font-weight:600;font-size:.85rem}
td:first-child,th:first-child,.text{text-align:left}
.wide td:first-child,.wide th:first-child{position:sticky;left:0;background:#fff}
.reason{display:block;white-space:normal;min-width:11rem;color:#57606a;font-size:.85rem}
.bad,.down{color:#b3261e}.none{color:#57606a}
</style></head><body>
<h1>Replay</h1>
<p>{{ begins }} to {{ ends }} UTC, {{ "{:,}".format(report.bars) }} bars.</p>
<p{% if report.account.state != "active" %} class="bad"{% endif %}>The account is {{ report.account.state }}
{%- if report.account.state_reason %}: {{ report.account.state_reason }}{% endif %}.</p>
<dl class="figures">
{% for name, value in figures %}<div><dt>{{ name }}</dt><dd>{{ value }}</dd></div>
{% endfor %}<div><dt>Invariants violated</dt><dd{% if report.invariants.violated %} class="bad"{% endif %}>
{{- report.invariants.violated }} of {{ "{:,}".format(report.invariants.checked) }}</dd></div>
</dl>
{% if report.invariants.violations %}<ul class="bad">
{% for violation in report.invariants.violations %}<li>{{ violation }}</li>{% endfor %}</ul>{% endif %}
{% for chart in charts %}<h2>{{ chart.title }}</h2>
<div class="axis"><span>{{ chart.top }} USD</span></div>
<svg viewBox="0 0 {{ width }} {{ height }}" preserveAspectRatio="none" role="img" aria-label="{{ chart.title }}">
{% for line in chart.lines %}<polyline stroke="{{ line.colour }}" stroke-width="{{ chart.stroke }}"
 points="{{ line.points }}"><title>{{ line.name }}</title></polyline>
{% endfor %}</svg>
<div class="axis"><span>{{ chart.bottom }} USD</span></div>
<div class="axis"><span>{{ chart.begins }}</span><span>{{ chart.ends }}</span></div>
{% if chart.lines | length > 1 %}<ul class="legend">
{% for line in chart.lines %}<li><i style="background:{{ line.colour }}"></i>{{ line.name }}</li>
{% endfor %}</ul>{% endif %}
{% endfor %}
<h2>Traders</h2>
<div class="wide"><table><tr><th>trader</th>
{% for key, name in columns %}<th{% if key == "state" %} class="text"{% endif %}>{{ name }}</th>{% endfor %}</tr>
{% for trader in report.traders %}<tr><td>{{ trader.id }}</td>
{%- for key, _ in columns %}{% if key == "state" %}<td class="text">{{ trader.state }}
{%- if trader.state_reason %}<span class="reason">{{ trader.state_reason }}</span>{% endif %}</td>
{%- else %}{% set text = shown(trader, key) %}<td{% if key == "pnl" and text[0] == "-" %} class="down"{% endif %}>
{{- text }}</td>{% endif %}{% endfor %}</tr>
{% endfor %}</table></div>
{% if models %}<h2>Models</h2>
<div class="wide"><table><tr><th>of</th>{% for _, name in model_columns %}<th>{{ name }}</th>{% endfor %}</tr>
{% for name, sums in models %}<tr><td>{{ name }}</td>
{%- for key, _ in model_columns %}{% set sum = sums[key] %}
{%- if sum is integer %}<td>{{ "{:,}".format(sum) }}</td>{% else %}<td>{{ sum }}</td>{% endif %}{% endfor %}</tr>
{% endfor %}</table></div>
{% endif %}<div class="counts">
{% for title in ("conflicts", "denials", "clamps") %}<div><h2>{{ title.capitalize() }}</h2>
{% if report[title] %}<table><tr><th>what</th><th>count</th></tr>
{% for name, count in report[title].items() %}<tr><td>{{ name }}</td><td>{{ "{:,}".format(count) }}</td></tr>
{% endfor %}</table>{% else %}<p class="none">none</p>{% endif %}</div>
{% endfor %}</div>
</body></html>
"""
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    name: str
    colour: str
    points: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Chart:
    title: str
    stroke: float
    lines: Sequence[_Line]
    top: str
    bottom: str
    begins: str
    ends: str


def page(report: dict[str, Any], equity: pl.DataFrame, span_ms: tuple[int, int]) -> str:
    """Return the page of a report with the curves of `equity` (ts_ms, trader_id, equity), from the first capital on.

    Money is rounded to cents, ratios to two digits; report.json has every digit.
    """
    account = report["account"]
    whole = adding_up(account)
    figures = [
        ("Account equity, USD", whole["equity"]),
        ("Start, USD", whole["start_usd"]),
        ("Moved, USD", whole["moved_usd"]),
        ("PnL, USD", whole["pnl"]),
        ("Realized, USD", money(account["realized_pnl"])),
        ("Fees, USD", money(account["fees"])),
        ("Funding, USD", money(account["funding"])),
        ("Unallocated, USD", money(account["unallocated"])),
        *(("Invalid items of decisions", str(count)) for count in [report.get("invalid_items")] if count),
    ]
    asked = report.get("models")
    sums = (
        [("all", asked["total"]), *((one["id"], one) for one in (*asked["models"], *asked["traders"]))] if asked else []
    )
    template = Environment(autoescape=select_autoescape(default_for_string=True)).from_string(_PAGE)
    return template.render(
        report=report,
        figures=figures,
        charts=_Charts(equity).drawn(),
        columns=_TRADER_COLUMNS,
        models=sums,
        model_columns=_MODEL_COLUMNS,
        shown=_shown,
        width=_WIDTH,
        height=_HEIGHT,
        begins=f"{from_ms(span_ms[0]):%Y-%m-%d %H:%M}",
        ends=f"{from_ms(span_ms[1]):%Y-%m-%d %H:%M}",
    )


def money(amount: str) -> str:
    """Return an amount of USD to the cent, with thousands apart."""
    return f"{Decimal(amount):,.2f}"


def adding_up(row: Mapping[str, Any]) -> dict[str, str]:
    """Return a row's equity, start, moved and PnL in cents, which add up."""
    told = InCents.rounded(*(Decimal(row[key]) for key in ("start_usd", "moved_usd", "equity")))
    shown = {"equity": told.equity, "start_usd": told.start_usd, "moved_usd": told.moved_usd, "pnl": told.pnl_usd}
    return {key: f"{amount:z,.2f}" for key, amount in shown.items()}


def _shown(trader: dict[str, Any], key: str) -> str:
    value, sums = trader[key], adding_up(trader)
    if key in sums:
        return sums[key]
    if value is None:
        return "-"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{Decimal(value) * 100:.1f} %" if key == "win_rate" else money(value)


class _Charts:
    """Draw the sum of all traders and each trader, both from the first capital that was dealt on."""

    def __init__(self, equity: pl.DataFrame) -> None:
        self._total = self._since_funded(equity.group_by("ts_ms").agg(pl.col("equity").sum()).sort("ts_ms"))
        parts = {
            str(key[0]): self._since_funded(part.sort("ts_ms"))
            for key, part in equity.partition_by("trader_id", as_dict=True, maintain_order=True).items()
        }
        self._parts = {name: part for name, part in sorted(parts.items()) if not part.is_empty()}

    def drawn(self) -> list[_Chart]:
        """Return the charts, none before any capital was dealt."""
        if self._total.is_empty():
            return []
        return [
            self._chart("Equity of all traders", {"all": self._total}, stroke=2),
            self._chart("Equity of each trader, capital that comes and goes included", self._parts, stroke=1),
        ]

    @staticmethod
    def _since_funded(curve: pl.DataFrame) -> pl.DataFrame:
        funded = curve.filter(pl.col("equity").abs() > _SMALLEST_SHARE)
        return curve.filter(pl.col("ts_ms") >= funded["ts_ms"][0]) if len(funded) else curve.head(0)

    def _chart(self, title: str, curves: dict[str, pl.DataFrame], *, stroke: float) -> _Chart:
        most = max(2, min(_WIDTH, _POINTS // max(1, len(curves))))
        low = min(float(curve["equity"].min()) for curve in curves.values())  # type: ignore[arg-type]  # polars types a minimum as anything
        high = max(float(curve["equity"].max()) for curve in curves.values())  # type: ignore[arg-type]  # polars types a maximum as anything
        lines = [
            _Line(
                name=name,
                colour=f"hsl({210 + index * 360 // len(curves)} 65% {38 + index % 3 * 9}%)",
                points=self._points(curve, (low, high), most),
            )
            for index, (name, curve) in enumerate(curves.items())
        ]
        return _Chart(
            title=title,
            stroke=stroke,
            lines=lines,
            top=f"{high:,.2f}",
            bottom=f"{low:,.2f}",
            begins=f"{from_ms(self._span[0]):%Y-%m-%d %H:%M}",
            ends=f"{from_ms(self._span[1]):%Y-%m-%d %H:%M}",
        )

    @property
    def _span(self) -> tuple[int, int]:
        return int(self._total["ts_ms"][0]), int(self._total["ts_ms"][-1])

    def _points(self, curve: pl.DataFrame, scale: tuple[float, float], most: int) -> str:
        begins, ends = self._span
        thin = pl.concat([curve.gather_every(max(1, len(curve) // most)), curve.tail(1)])
        across, up = max(1, ends - begins), (scale[1] - scale[0]) or 1.0
        return " ".join(
            f"{(at_ms - begins) / across * _WIDTH:.1f},"
            f"{_HEIGHT - _MARGIN - (value - scale[0]) / up * (_HEIGHT - 2 * _MARGIN):.1f}"
            for at_ms, value in thin.select("ts_ms", "equity").iter_rows()
        )
