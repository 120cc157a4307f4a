"""Funding by book, books and accounts that break, and the order of events at one instant."""

from pathlib import Path
from typing import Any

from replay_harness import judge
from replay_scenario import Item, Scenario, close_ms, closes, flat, opens

BTC, SOL = "BTC/USDT:USDT", "SOL/USDT:USDT"
NET = {"conflict_strategy": "net"}
WIDE = {"max_symbol_exposure_pct": 10_000, "max_margin_usage_pct": 100, "max_unrealized_loss_pct": 100}
BOLD = {"max_position_size_usd": 1_000_000, "max_margin_usage_pct": 100, "max_drawdown_pct": 100}


def test_funding_is_paid_by_each_book_at_the_mark_with_its_jitter_rounded(tmp_path: Path) -> None:
    bars = [*flat(2, "100"), *flat(1, "100"), *flat(3, "110")]
    batches = [
        (1, "a", [opens(SOL, "long", "1000", stop_loss="80")]),
        (1, "b", [opens(SOL, "short", "400", stop_loss="120")]),
    ]
    funding = [(close_ms(3) + 37, SOL, "0.0001"), (close_ms(4), SOL, "-0.00025")]
    scenario = Scenario(bars={SOL: bars}, traders={"a": {}, "b": {}}, batches=batches, funding=funding, manager=NET)
    outcome = judge(scenario, tmp_path)
    assert (outcome.trader("a")["funding"], outcome.trader("b")["funding"]) == ("0.165", "-0.066")
    assert outcome.report["account"]["funding"] == "0.099"


def test_funding_moves_between_books_that_offset_exactly(tmp_path: Path) -> None:
    """The venue's net position is zero and it pays nothing; the long still pays the short."""
    batches = [(1, "a", [opens(SOL, "long", "1000")]), (1, "b", [opens(SOL, "short", "1000")])]
    scenario = Scenario(
        bars={SOL: flat(6, "100")},
        traders={"a": {}, "b": {}},
        batches=batches,
        funding=[(close_ms(3), SOL, "0.0001")],
        manager=NET,
    )
    outcome = judge(scenario, tmp_path)
    assert (outcome.trader("a")["funding"], outcome.trader("b")["funding"]) == ("-0.1", "0.1")
    assert outcome.report["account"]["funding"] == "0"


def test_a_position_stopped_in_the_candle_that_ends_at_the_stamp_pays_nothing(tmp_path: Path) -> None:
    """Touches come before funding, and funding before the entries of that instant."""
    bars = [*flat(3, "100"), "100 100 89 95", *flat(2, "95")]
    batches = [
        (1, "a", [opens(SOL, "long", "1000", stop_loss="90")]),
        (3, "b", [opens(SOL, "long", "950")]),
    ]
    scenario = Scenario(
        bars={SOL: bars}, traders={"a": {}, "b": {}}, batches=batches, funding=[(close_ms(3), SOL, "0.001")]
    )
    outcome = judge(scenario, tmp_path)
    assert (outcome.trader("a")["funding"], outcome.trader("b")["funding"]) == ("0", "0")


def test_a_position_closed_by_decision_at_the_stamp_still_pays(tmp_path: Path) -> None:
    batches = [(1, "a", [opens(SOL, "long", "1000")]), (3, "a", [closes(SOL, "long")])]
    funding = [(close_ms(1), SOL, "0.5"), (close_ms(3), SOL, "0.001")]
    outcome = judge(Scenario(bars={SOL: flat(6, "100")}, traders={"a": {}}, batches=batches, funding=funding), tmp_path)
    assert outcome.trader("a")["funding"] == "-1"


def broken_book(low: str) -> dict[str, Any]:
    bars: dict[str, list[str | None]] = {
        BTC: [*flat(3, "1000"), f"1000 1000 {low} {low}", *flat(3, low)],
        SOL: flat(7, "100"),
    }
    traders = {"a": {"risk_params": BOLD}, "b": {"risk_params": BOLD}}
    items: list[Item] = [opens(BTC, "long", "44000", leverage=10)]
    batches = [(1, "a", items), (1, "b", [opens(SOL, "long", "1000", stop_loss="80")])]
    return {"bars": bars, "traders": traders, "batches": batches, "limits": WIDE}


def test_a_book_below_its_maintenance_margin_is_closed_at_the_mark(tmp_path: Path) -> None:
    """4500 of capital carry 44 BTC; at 898 equity is below 0.5 % of 39,512 and the book is closed with slippage."""
    outcome = judge(Scenario(**broken_book("898")), tmp_path)
    assert outcome.fills("a") == [("entry", "44", "1000.1"), ("liquidation", "-44", "897.9102")]
    assert [purpose for purpose, *_ in outcome.fills("b")] == ["entry"]
    assert float(outcome.trader("a")["equity"]) < 0


def test_a_book_just_above_its_maintenance_margin_stands(tmp_path: Path) -> None:
    outcome = judge(Scenario(**broken_book("903.5")), tmp_path)
    assert [purpose for purpose, *_ in outcome.fills("a")] == ["entry"]


def test_a_broken_book_shorter_than_a_candle_is_not_tested(tmp_path: Path) -> None:
    """Liquidation is decided on marks, the closes, not on lows."""
    given = broken_book("898")
    given["bars"][BTC][3] = "1000 1000 850 950"
    given["bars"][BTC][4:] = flat(3, "950")
    outcome = judge(Scenario(**given), tmp_path)
    assert [purpose for purpose, *_ in outcome.fills("a")] == ["entry"]


def test_an_account_below_its_maintenance_margin_is_closed_and_halted(tmp_path: Path) -> None:
    """a's book is closed at a loss beyond all capital; then the net position, b's, is liquidated and entries stop."""
    given = broken_book("700")
    given["batches"].append((4, "b", [opens(SOL, "long", "100", expect="HALTED")]))
    outcome = judge(Scenario(**given), tmp_path)
    assert outcome.fills("a")[-1] == ("liquidation", "-44", "699.93")
    assert outcome.fills("b")[-1] == ("liquidation", "-10", "99.99")
    assert float(outcome.report["account"]["equity"]) < 0
    assert {row["state"] for row in outcome.orders if row["purpose"] == "stop"} == {"canceled"}


def test_an_account_liquidation_reduces_the_books_on_that_side_pro_rata(tmp_path: Path) -> None:
    """b long 10, c long 5, d short 3: the net long of 12 is closed, b gives 8 and c 4; d keeps its book."""
    given = broken_book("700")
    given["manager"] = NET
    given["traders"] |= {"c": {"risk_params": BOLD}, "d": {"risk_params": BOLD}}
    given["batches"] = [
        (1, "a", [opens(BTC, "long", "22000", leverage=10)]),
        (1, "b", [opens(SOL, "long", "1000", confidence=90)]),
        (1, "c", [opens(SOL, "long", "500")]),
        (1, "d", [opens(SOL, "short", "300")]),
    ]
    given["bars"][BTC] = [*flat(3, "1000"), "1000 1000 500 500", *flat(3, "500")]
    outcome = judge(Scenario(**given), tmp_path)
    assert outcome.fills("b")[-1] == ("liquidation", "-8", "99.99")
    assert outcome.fills("c")[-1] == ("liquidation", "-4", "99.99")
    assert [purpose for purpose, *_ in outcome.fills("d")] == ["entry"]
