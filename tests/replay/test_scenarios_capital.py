"""Capital that is short under each strategy, clamps of size and leverage, rebalancing, and curves."""

from pathlib import Path
from typing import Any

import pytest

from replay_harness import judge
from replay_scenario import Item, Scenario, closes, flat, opens

BTC, ETH, SOL = "BTC/USDT:USDT", "ETH/USDT:USDT", "SOL/USDT:USDT"
WIDE = {"max_symbol_exposure_pct": 10_000, "max_margin_usage_pct": 100, "max_unrealized_loss_pct": 100}
ALL_IN = {"max_position_size_usd": 1_000_000, "max_margin_usage_pct": 100, "max_drawdown_pct": 100}


def short_of_capital(strategy: str, items: dict[str, list[Item]]) -> Scenario:
    """Three traders of 3000 each; a is short 30 SOL at 100, which rises to 130: margin 3900 of 8100 equity is used.

    Entry and fees: a sells 30 at 99.99, pays 1.34986500. Equity is 9000 - 900.3 - 1.349865 = 8098.350135 and
    4198.350135 of it is free.
    """
    bars: dict[str, list[str | None]] = {
        BTC: flat(6, "1000"),
        ETH: flat(6, "100"),
        SOL: [*flat(3, "100"), *flat(3, "130")],
    }
    return Scenario(
        bars=bars,
        traders={name: {"risk_params": ALL_IN} for name in ("a", "b", "c")},
        batches=[
            (1, "a", [opens(SOL, "short", "3000")]),
            *((3, name, all_asked) for name, all_asked in items.items()),
        ],
        manager={"conflict_strategy": strategy, "reserve_equity_pct": 0, "total_equity_usd": "9000"},
        limits=WIDE,
    )


@pytest.mark.parametrize("strategy", ["first_come", "highest_confidence"])
def test_short_capital_is_spent_in_order(tmp_path: Path, strategy: str) -> None:
    """b (first, and most confident) gets its 3000; c gets the 1198.350135 that are left of its 2500."""
    items = {
        "b": [opens(BTC, "long", "3000", confidence=90)],
        "c": [opens(ETH, "long", "2500", confidence=80, size="1198.350135")],
    }
    outcome = judge(short_of_capital(strategy, items), tmp_path)
    assert outcome.fills("b") == [("entry", "3", "1000.1")]
    assert outcome.fills("c") == [("entry", "11.983501", "100.01")]
    assert outcome.report["clamps"] == {"INSUFFICIENT_MARGIN": 1}
    assert outcome.report["conflicts"] == {"resource": 1}


def test_confidence_and_not_time_decides_who_is_served_first(tmp_path: Path) -> None:
    items = {
        "b": [opens(BTC, "long", "3000", confidence=70, size="1698.350135")],
        "c": [opens(ETH, "long", "2500", confidence=80)],
    }
    outcome = judge(short_of_capital("highest_confidence", items), tmp_path)
    assert outcome.fills("b") == [("entry", "1.69835", "1000.1")]
    assert outcome.fills("c") == [("entry", "25", "100.01")]


@pytest.mark.parametrize("strategy", ["aggregate", "proportional", "net"])
def test_short_capital_scales_all(tmp_path: Path, strategy: str) -> None:
    """Both get 4198.350135 / 5500 of their margin: 2290.00916454.. of 3000 and 1908.34097045.. of 2500."""
    items = {
        "b": [opens(BTC, "long", "3000", confidence=90, size="2290.00916454")],
        "c": [opens(ETH, "long", "2500", confidence=80, size="1908.34097045")],
    }
    outcome = judge(short_of_capital(strategy, items), tmp_path)
    assert outcome.fills("b") == [("entry", "2.290009", "1000.1")]
    assert outcome.fills("c") == [("entry", "19.083409", "100.01")]
    assert outcome.report["clamps"] == {"INSUFFICIENT_MARGIN": 2}
    assert outcome.report["conflicts"] == {"resource": 2}


def test_a_second_short_on_the_symbol_finds_the_same_capital(tmp_path: Path) -> None:
    items = {
        "b": [opens(BTC, "long", "3000", confidence=90)],
        "c": [opens(SOL, "short", "2999", confidence=80, size="1198.350135")],
    }
    outcome = judge(short_of_capital("highest_confidence", items), tmp_path)
    assert outcome.fills("c") == [("entry", "-9.218077", "129.987")]


def test_scaled_entries_below_the_minimum_are_denied_alone(tmp_path: Path) -> None:
    """4198.350135 / 5506 of 6 USD is 4.575: below the minimum of 5, and b gets nothing of it."""
    items = {
        "b": [opens(BTC, "long", "2994", size="2282.93866766"), opens(ETH, "long", "6", expect="INSUFFICIENT_MARGIN")],
        "c": [opens(ETH, "long", "2506", size="1910.83643994")],
    }
    scenario = short_of_capital("proportional", items)
    outcome = judge(scenario, tmp_path)
    assert outcome.trader("b")["fills"] == 1


def test_sizes_and_leverage_are_clamped_in_turn(tmp_path: Path) -> None:
    """Each trader has 2250. a: 800 held and a cap of 1000 leave 200. b: 40 % of 2250 at 5x is 4500. c: 10x on BTC."""
    batches: list[tuple[int, str, list[Item]]] = [
        (1, "a", [opens(SOL, "long", "800", leverage=2)]),
        (2, "a", [opens(SOL, "long", "500", leverage=2, size="200")]),
        (2, "b", [opens(ETH, "short", "9000", leverage=5, size="4500")]),
        (2, "c", [opens(BTC, "long", "1000", leverage=25, lev=10)]),
        (2, "d", [opens(SOL, "long", "1000", leverage=25, lev=5)]),
    ]
    cap = {"max_position_size_usd": 100_000, "max_margin_usage_pct": 40}
    bars = {BTC: flat(5, "1000"), ETH: flat(5, "100"), SOL: flat(5, "100")}
    traders: dict[str, dict[str, Any]] = {"a": {}, "b": {"risk_params": cap}, "c": {}, "d": {}}
    outcome = judge(Scenario(bars=bars, traders=traders, batches=batches), tmp_path)
    assert outcome.report["clamps"] == {"LEVERAGE": 2, "MARGIN_USAGE_TRADER": 1, "MAX_POSITION_SIZE": 1}


def test_the_account_cuts_a_symbol_and_then_its_margin(tmp_path: Path) -> None:
    """Exposure: 50 % of 10000 on SOL, 3000 for b and 2000 for a. Margin: 60 %, of which c takes the last 1000."""
    batches: list[tuple[int, str, list[Item]]] = [
        (1, "a", [opens(SOL, "long", "3000", confidence=70, size="2000")]),
        (1, "b", [opens(SOL, "long", "3000", confidence=80)]),
        (2, "c", [opens(BTC, "long", "3000", size="999.774977")]),
    ]
    risk = {"max_position_size_usd": 100_000, "max_margin_usage_pct": 100}
    scenario = Scenario(
        bars={BTC: flat(5, "1000"), SOL: flat(5, "100")},
        traders={name: {"risk_params": risk} for name in ("a", "b", "c")},
        batches=batches,
        limits={"max_margin_usage_pct": 60},
        paper={"slippage_bps": "0"},
        instruments={BTC: {"lot": "0.000000001"}},
    )
    batches[2][2][0]["size"] = "998.65"
    outcome = judge(scenario, tmp_path)
    assert outcome.report["clamps"] == {"SYMBOL_EXPOSURE": 1, "MARGIN_USAGE_GLOBAL": 1}


def test_rebalancing_books_take_profit_less_equity_and_leaves_the_reserve(tmp_path: Path) -> None:
    """After the first hour a has won and b lost; the capital is dealt again, and every cent stays accounted for."""
    bars: dict[str, list[str | None]] = {
        BTC: [*flat(60, "1000"), *flat(80, "1100")],
        SOL: [*flat(60, "100"), *flat(80, "90")],
    }
    batches = [
        (1, "a", [opens(BTC, "long", "1000", leverage=5)]),
        (1, "b", [opens(SOL, "long", "1000", leverage=1)]),
        (70, "c", [opens(SOL, "short", "500", skipped=True)]),
        (125, "a", [closes(BTC, "long", fraction="0.25")]),
    ]
    scenario = Scenario(bars=bars, traders={"a": {}, "b": {}, "c": {}}, batches=batches)
    outcome = judge(scenario, tmp_path)
    assert outcome.report["account"]["equity"] == "9998.748672375"
    equities = [float(row["equity"]) for row in outcome.report["traders"]]
    assert max(equities) - min(equities) < 0.2


def test_a_rebalance_takes_no_margin_in_use(tmp_path: Path) -> None:
    """a binds 4400 of its 4500 in margin and wins; only what is free can be taken from it."""
    bars: dict[str, list[str | None]] = {BTC: flat(70, "1000"), SOL: [*flat(30, "100"), *flat(40, "150")]}
    batches = [(1, "a", [opens(SOL, "long", "4400")])]
    traders = {"a": {"risk_params": ALL_IN}, "b": {"risk_params": ALL_IN}}
    outcome = judge(Scenario(bars=bars, traders=traders, batches=batches, limits=WIDE), tmp_path)
    assert outcome.trader("a")["equity"] == "6600"


def test_custom_allocation_deals_by_share(tmp_path: Path) -> None:
    """5400 and 900 of the 9000; 60 % of b's 900 are 540. a wins 520 with 5200, but its allocation is 5400 still."""
    risk = {"max_position_size_usd": 100_000, "max_margin_usage_pct": 100}
    batches = [
        (1, "a", [opens(SOL, "long", "5200")]),
        (1, "b", [opens(BTC, "long", "900", size="540")]),
        (3, "a", [closes(SOL, "long")]),
        (4, "a", [opens(SOL, "long", "9000", size="5400")]),
    ]
    scenario = Scenario(
        bars={BTC: flat(7, "1000"), SOL: [*flat(3, "100"), *flat(4, "110")]},
        traders={"a": {"allocation_pct": 60, "risk_params": risk}, "b": {"allocation_pct": 10}},
        batches=batches,
        manager={"allocation_strategy": "custom"},
        limits=WIDE,
    )
    outcome = judge(scenario, tmp_path)
    assert outcome.report["account"]["unallocated"] == "3700"
    assert outcome.report["clamps"] == {"ALLOCATION_EXCEEDED": 1, "MARGIN_USAGE_TRADER": 2}


def test_sharpe_needs_24_hourly_returns_and_drawdown_leaves_flows_out(tmp_path: Path) -> None:
    """27 hours of a saw; at each hour capital is dealt again, which moves neither nav, drawdown nor Sharpe."""
    prices = [100 + (hour % 5) * 3 - (hour % 3) * 4 for hour in range(27)]
    saw: list[str | None] = [f"{p} {p + 1} {p - 1} {p}" for price in prices for p in [price] * 60]
    batches = [(1, "a", [opens(SOL, "long", "1000", leverage=5)])]
    scenario = Scenario(bars={SOL: saw}, traders={"a": {}, "b": {}}, batches=batches)
    outcome = judge(scenario, tmp_path)
    assert float(outcome.trader("a")["sharpe"]) != 0
    assert float(outcome.trader("a")["max_drawdown_pct"]) > 1
    assert (float(outcome.trader("b")["sharpe"]), float(outcome.trader("b")["max_drawdown_pct"])) == (0, 0)
    shorter = Scenario(bars={SOL: saw[: 24 * 60 - 1]}, traders={"a": {}, "b": {}}, batches=batches)
    assert judge(shorter, tmp_path / "shorter").trader("a")["sharpe"] is None
