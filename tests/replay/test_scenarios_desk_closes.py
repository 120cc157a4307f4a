"""What the desk closes of itself, and capital that is dealt once, against the oracle."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from replay_harness import judge
from replay_scenario import Item, Scenario, closes, flat, opens

BTC, ETH, SOL = "BTC/USDT:USDT", "ETH/USDT:USDT", "SOL/USDT:USDT"
WIDE = {"max_symbol_exposure_pct": 10_000, "max_margin_usage_pct": 100, "max_unrealized_loss_pct": 100}
ALL_IN = {"max_position_size_usd": 1_000_000, "max_margin_usage_pct": 100, "max_drawdown_pct": 100}


def test_under_fixed_each_keeps_what_it_makes_or_loses(tmp_path: Path) -> None:
    """c has 40 % of 9000, a and b share the rest. a wins and b loses over three hours: nothing moves after the deal."""
    batches: list[tuple[int, str, list[Item]]] = [
        (1, "a", [opens(SOL, "long", "2000")]),
        (1, "b", [opens(SOL, "short", "2000")]),
        (100, "a", [closes(SOL, "long")]),
        (100, "b", [closes(SOL, "short")]),
    ]
    scenario = Scenario(
        bars={SOL: [*flat(3, "100"), *flat(180, "120")]},
        traders={"a": {"risk_params": ALL_IN}, "b": {"risk_params": ALL_IN}, "c": {"allocation_pct": 40}},
        batches=batches,
        manager={"allocation_strategy": "fixed", "conflict_strategy": "net"},
        limits=WIDE,
    )
    outcome = judge(scenario, tmp_path)
    assert outcome.report["account"]["unallocated"] == "1000"
    assert outcome.trader("c")["equity"] == "3600"
    assert Decimal(outcome.trader("a")["equity"]) > 3090 > 2400 > Decimal(outcome.trader("b")["equity"])


def losing(**manager: Any) -> Scenario:
    """a holds two shorts that lose and a long that wins; b holds a short that loses more than any of them."""
    rise: list[str | None] = [f"{p} {p} {p} {p}" for p in ("100", "100", "100", "110", "120", "130", "125", "120")]
    fill = flat(72, "120")
    return Scenario(
        bars={
            BTC: [*flat(3, "1000"), *flat(77, "1100")],
            ETH: [*flat(3, "50"), *flat(77, "60")],
            SOL: [*rise, *fill],
        },
        traders={name: {"risk_params": {**ALL_IN, "max_positions": 9, "take_profit_enabled": False}} for name in "ab"},
        batches=[
            (1, "a", [opens(BTC, "long", "1000", leverage=2), opens(ETH, "short", "1000", leverage=2)]),
            (1, "a", [opens(SOL, "short", "2000", leverage=5, take_profit="60")]),
            (1, "b", [opens(SOL, "short", "4000", stop_loss="180")]),
        ],
        manager={"conflict_strategy": "net", "allocation_strategy": "equal", **manager},
        limits=WIDE,
    )


@pytest.mark.parametrize("limit", [5, 8, 12])
def test_the_worst_losers_go_one_a_candle_until_the_loss_is_back_under(tmp_path: Path, limit: int) -> None:
    scenario = losing()
    scenario.limits.update({"max_unrealized_loss_pct": limit, "on_unrealized_loss": "close_losers"})
    outcome = judge(scenario, tmp_path)
    closed = [who for who in "ab" for what, *_ in outcome.fills(who) if what == "reduce"]
    assert 1 <= len(closed) <= 2
    assert "b" in closed


def test_a_rebalance_closes_what_is_beyond_the_allocation(tmp_path: Path) -> None:
    """a uses 4000 of its 4500 as margin; the loss of b and its own leave it an allocation below that."""
    scenario = Scenario(
        bars={SOL: [*flat(3, "100"), *flat(77, "50")], ETH: [*flat(3, "50"), *flat(77, "51")]},
        traders={name: {"risk_params": {**ALL_IN, "max_positions": 9}} for name in "ab"},
        batches=[
            (1, "a", [opens(ETH, "short", "2200"), opens(SOL, "long", "1800")]),
            (1, "b", [opens(SOL, "long", "4400")]),
        ],
        manager={"rebalance_closes": True, "allocation_strategy": "equal"},
        limits=WIDE,
    )
    outcome = judge(scenario, tmp_path)
    assert [what for what, *_ in outcome.fills("a")] == ["entry", "entry", "reduce"]
