"""The page of a replay: what it draws, how it rounds, and that names cannot break it."""

import re
from typing import Any

import polars as pl

from manager.replay.page import page

START_MS = 1_735_689_600_000
HOUR_MS = 3_600_000


def trader(name: str, **more: Any) -> dict[str, Any]:
    return {
        "id": name,
        "state": "running",
        "state_reason": "",
        "equity": "1234.5678",
        "start_usd": "1000",
        "moved_usd": "234.692801",
        "pnl": "-0.125001",
        "max_drawdown_pct": "12.345678",
        "sharpe": None,
        "win_rate": "0.333333",
        "trades": 3,
        "realized_pnl": "1",
        "fees": "0.004",
        "funding": "0",
        "decisions": 12345,
        "orders": 4,
        "fills": 4,
        **more,
    }


def report(*traders: dict[str, Any], **more: Any) -> dict[str, Any]:
    money = {"equity": "10000.129", "start_usd": "10000", "moved_usd": "0", "pnl": "0.129"}
    money |= {"realized_pnl": "1", "fees": "2", "funding": "0", "unallocated": "5"}
    money |= {"state": "active", "state_reason": ""}
    return {
        "bars": 1000,
        "traders": list(traders),
        "account": money,
        "conflicts": {"direction": 7},
        "denials": {},
        "clamps": {"MAX_POSITION_SIZE": 1},
        "invariants": {"checked": 50, "violated": 0, "violations": []},
        **more,
    }


def shown(given: dict[str, Any], curves: dict[str, list[float]]) -> str:
    stamps = [START_MS + HOUR_MS * index for index in range(max(map(len, curves.values()), default=0))]
    equity = pl.concat(
        [pl.DataFrame({"ts_ms": stamps, "trader_id": name, "equity": values}) for name, values in curves.items()]
    )
    return page(given, equity, (START_MS - HOUR_MS, stamps[-1]))


def test_curves_begin_with_the_first_capital() -> None:
    text = shown(report(trader("a"), trader("b")), {"a": [0, 0, 100, 110, 120], "b": [0, 0, 0, 50, 40]})
    total, a, b = re.findall(r'points="([^"]*)"', text)
    assert total.startswith("0.0,232.0 ")
    assert [float(point.split(",")[0]) for point in a.split()[:3]] == [0.0, 450.0, 900.0]
    assert b.startswith("450.0,")
    assert "100.00 USD" in text
    assert "2025-01-01 02:00" in text
    assert "2025-01-01 04:00" in text


def test_money_has_cents_and_what_is_important_comes_first() -> None:
    text = shown(report(trader("a", state="isolated", state_reason="Sharpe below")), {"a": [100.0, 90.0]})
    cells = re.findall(r"<td[^>]*>(.*?)</td>", text.split("Traders</h2>")[1])
    assert cells[:4] == ["a", "1,234.57", "1,000.00", "234.69"]
    assert cells[4:7] == ["-0.12", 'isolated<span class="reason">Sharpe below</span>', "12.35"]
    assert cells[7:10] == ["-", "33.3 %", "3"]
    assert "12,345" in cells
    assert "10,000.13" in text


def test_conflicts_denials_and_clamps_are_counted() -> None:
    text = shown(report(trader("a")), {"a": [100.0, 90.0]})
    assert "<td>direction</td><td>7</td>" in text
    assert "<td>MAX_POSITION_SIZE</td><td>1</td>" in text
    assert '<p class="none">none</p>' in text.split("Denials")[1].split("Clamps")[0]


def test_a_name_is_text_and_a_replay_without_capital_draws_nothing() -> None:
    text = shown(report(trader("<script>x</script>")), {"<script>x</script>": [0.0, 0.0]})
    assert "<script" not in text
    assert "<svg" not in text


def test_what_the_models_cost_is_shown_where_models_were_asked() -> None:
    cost = {"calls": 1234, "input_tokens": 12025, "cached_tokens": 0, "output_tokens": 605, "cost_usd": "0.0014445"}
    sums = {**cost, "unknown_usd": "0.25"}
    models = {"total": sums, "models": [{"id": "small", **sums}], "traders": [{"id": "<a>", **sums, "calls": 2}]}
    text = shown(report(trader("a"), models=models), {"a": [100.0, 90.0]})
    cells = re.findall(r"<td[^>]*>(.*?)</td>", text.split("Models</h2>")[1].split("</table>")[0])
    assert cells[:7] == ["all", "1,234", "12,025", "0", "605", "0.0014445", "0.25"]
    assert cells[7::7] == ["small", "&lt;a&gt;"]
    assert "Models</h2>" not in shown(report(trader("a"), models={}), {"a": [100.0, 90.0]})
