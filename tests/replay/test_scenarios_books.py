"""Several books on one symbol: opposite under net, merged, crossed, and stops that trade their own quantity only."""

from pathlib import Path

import pytest

from replay_harness import judge
from replay_scenario import Scenario, close_ms, closes, flat, opens

BTC, SOL = "BTC/USDT:USDT", "SOL/USDT:USDT"
NET = {"conflict_strategy": "net"}


def test_opposite_books_cross_at_the_mark_free_of_fees_and_the_rest_trades(tmp_path: Path) -> None:
    bars = [*flat(2, "100"), *flat(1, "101"), "101 104 100 103", *flat(2, "103")]
    batches = [
        (1, "a", [opens(SOL, "long", "1000", stop_loss="80")]),
        (1, "b", [opens(SOL, "short", "400", stop_loss="120")]),
        (4, "b", [closes(SOL, "short")]),
    ]
    scenario = Scenario(bars={SOL: bars}, traders={"a": {}, "b": {}}, batches=batches, manager=NET)
    outcome = judge(scenario, tmp_path)
    assert outcome.fills("a") == [("entry", "4", "100"), ("entry", "6", "101.0101")]
    assert outcome.fills("b") == [("entry", "-4", "100"), ("reduce", "4", "103.0103")]
    assert outcome.trader("b")["fees"] == "0.18541854"
    assert outcome.trader("b")["realized_pnl"] == "-12.0412"
    assert outcome.report["conflicts"] == {"direction": 1}


def test_exactly_offset_books_trade_nothing_at_the_venue_and_keep_their_own_pnl(tmp_path: Path) -> None:
    bars = [*flat(2, "100"), *flat(1, "105"), *flat(1, "90")]
    batches = [(1, "a", [opens(SOL, "long", "1000")]), (1, "b", [opens(SOL, "short", "1000")])]
    outcome = judge(Scenario(bars={SOL: bars}, traders={"a": {}, "b": {}}, batches=batches, manager=NET), tmp_path)
    assert outcome.orders == []
    assert (outcome.trader("a")["equity"], outcome.trader("b")["equity"]) == ("4400", "4600")
    assert outcome.report["account"]["equity"] == "10000"


def test_stops_of_opposite_books_fill_alone_in_one_candle(tmp_path: Path) -> None:
    """Protective fills never cross: a sells 10 at its stop, b buys 6 at its stop, both at the venue."""
    bars = [*flat(3, "100"), "100 112 88 100", *flat(1, "100")]
    batches = [
        (1, "a", [opens(SOL, "long", "1000", stop_loss="90")]),
        (1, "b", [opens(SOL, "short", "600", stop_loss="110")]),
        (1, "c", [opens(SOL, "long", "500", stop_loss="80")]),
    ]
    scenario = Scenario(bars={SOL: bars}, traders={"a": {}, "b": {}, "c": {}}, batches=batches, manager=NET)
    outcome = judge(scenario, tmp_path)
    assert outcome.fills("a")[-1] == ("stop", "-10", "89.991")
    assert outcome.fills("b")[-1] == ("stop", "6", "110.011")
    assert [purpose for purpose, *_ in outcome.fills("c")] == ["entry"] * len(outcome.fills("c"))
    assert sum(float(quantity) for _, quantity, _ in outcome.fills("c")) == 5


def test_a_stop_of_one_book_trades_through_a_flat_net_position(tmp_path: Path) -> None:
    """The books offset, so the venue holds nothing; a's stop must open what only b holds then."""
    bars = [*flat(3, "100"), "100 100 85 86", *flat(2, "86")]
    batches = [
        (1, "a", [opens(SOL, "long", "1000", stop_loss="90")]),
        (1, "b", [opens(SOL, "short", "1000", stop_loss="120")]),
        (4, "b", [closes(SOL, "short", fraction="0.5")]),
    ]
    outcome = judge(Scenario(bars={SOL: bars}, traders={"a": {}, "b": {}}, batches=batches, manager=NET), tmp_path)
    assert outcome.fills("a")[-1] == ("stop", "-10", "89.991")
    assert outcome.fills("b")[-1] == ("reduce", "5", "86.0086")


def test_take_profits_under_opposite_books_are_fired_by_the_desk_at_their_price(tmp_path: Path) -> None:
    bars = [*flat(3, "100"), "100 107 99 104", "92 93 88 91", *flat(2, "91")]
    batches = [
        (1, "a", [opens(SOL, "long", "1000", stop_loss="80", take_profit="106")]),
        (1, "b", [opens(SOL, "short", "700", stop_loss="120", take_profit="94")]),
        (1, "c", [opens(SOL, "long", "300", stop_loss="80", take_profit="130")]),
    ]
    scenario = Scenario(bars={SOL: bars}, traders={"a": {}, "b": {}, "c": {}}, batches=batches, manager=NET)
    outcome = judge(scenario, tmp_path)
    assert outcome.fills("a")[-1] == ("take_profit", "-10", "106")
    assert outcome.fills("b")[-1] == ("take_profit", "7", "92")


def test_stop_and_take_profit_of_an_opposite_book_in_one_candle(tmp_path: Path) -> None:
    bars = [*flat(3, "100"), "100 107 89 104", *flat(2, "104")]
    batches = [
        (1, "a", [opens(SOL, "long", "1000", stop_loss="90", take_profit="106")]),
        (1, "b", [opens(SOL, "short", "700", stop_loss="120", take_profit="85")]),
    ]
    outcome = judge(Scenario(bars={SOL: bars}, traders={"a": {}, "b": {}}, batches=batches, manager=NET), tmp_path)
    assert outcome.fills("a")[-1] == ("stop", "-10", "89.991")


def test_a_fired_take_profit_holds_from_the_entrys_own_candle(tmp_path: Path) -> None:
    bars = [*flat(2, "100"), "100 107 99 104", *flat(2, "104")]
    batches = [
        (1, "a", [opens(SOL, "long", "1000", take_profit="106")]),
        (1, "b", [opens(SOL, "short", "700", take_profit="85")]),
    ]
    outcome = judge(Scenario(bars={SOL: bars}, traders={"a": {}, "b": {}}, batches=batches, manager=NET), tmp_path)
    assert outcome.fills("a")[-1] == ("take_profit", "-10", "106")


def test_an_adjusted_take_profit_that_cannot_rest_holds_from_the_next_candle(tmp_path: Path) -> None:
    bars = [*flat(2, "100"), "100 104 99 100", "100 102 99 100", "100 103.5 99 101", *flat(1, "101")]
    adjust = {"symbol": SOL, "action": "adjust_stop", "take_profit": "103"}
    batches = [
        (1, "a", [opens(SOL, "long", "1000", take_profit="120")]),
        (1, "b", [opens(SOL, "short", "700")]),
        (2, "a", [adjust]),
    ]
    outcome = judge(Scenario(bars={SOL: bars}, traders={"a": {}, "b": {}}, batches=batches, manager=NET), tmp_path)
    assert outcome.fills("a")[-1] == ("take_profit", "-10", "103")
    assert outcome.trades[-1]["at"].minute == 5


@pytest.mark.parametrize("strategy", ["highest_confidence", "aggregate", "proportional", "net"])
def test_same_direction_merges_into_one_order(tmp_path: Path, strategy: str) -> None:
    bars = [*flat(2, "100"), *flat(1, "100"), "100 101 91 95", *flat(2, "95")]
    batches = [
        (1, "a", [opens(SOL, "long", "1000", confidence=80, stop_loss="90")]),
        (1, "b", [opens(SOL, "long", "333.3333", confidence=90, stop_loss="94")]),
        (4, "a", [opens(SOL, "long", "77", confidence=80, size="50")]),
    ]
    scenario = Scenario(
        bars={SOL: bars}, traders={"a": {}, "b": {}}, batches=batches, manager={"conflict_strategy": strategy}
    )
    outcome = judge(scenario, tmp_path)
    entries = [row for row in outcome.orders if row["purpose"] == "entry"]
    assert (entries[0]["quantity"], entries[0]["traders"]) == ("13.333333", "b,a")
    assert outcome.report["clamps"] == {"MAX_POSITION_SIZE": 1}
    assert outcome.fills("b") == [("entry", "3.333333", "100.01"), ("stop", "-3.333333", "93.9906")]
    assert outcome.report["conflicts"] == {"duplicate": 1}


def test_first_come_takes_the_earliest_alone(tmp_path: Path) -> None:
    batches = [
        (1, "b", [opens(SOL, "long", "500", confidence=99, skipped=True)]),
        (1, "a", [opens(SOL, "long", "1000", confidence=10)]),
        (2, "b", [opens(SOL, "long", "500", skipped=True)]),
        (3, "c", [opens(SOL, "short", "500", skipped=True)]),
    ]
    scenario = Scenario(
        bars={SOL: flat(6, "100")},
        traders={"b": {}, "a": {}, "c": {}},
        batches=batches,
        manager={"conflict_strategy": "first_come"},
    )
    outcome = judge(scenario, tmp_path)
    assert outcome.report["conflicts"] == {"direction": 1, "duplicate": 2}


@pytest.mark.parametrize("strategy", ["first_come", "highest_confidence", "proportional"])
def test_ties_go_to_the_lower_trader_id(tmp_path: Path, strategy: str) -> None:
    batches = [
        (1, "z", [opens(SOL, "long", "1000", skipped=True)]),
        (1, "m", [opens(SOL, "short", "400")]),
    ]
    scenario = Scenario(
        bars={SOL: flat(4, "100")},
        traders={"z": {}, "m": {}},
        batches=batches,
        manager={"conflict_strategy": strategy},
    )
    outcome = judge(scenario, tmp_path)
    assert outcome.fills("m") == [("entry", "-4", "99.99")]
    assert outcome.report["conflicts"] == {"direction": 1}


def test_aggregate_cancels_equal_notional_pro_rata(tmp_path: Path) -> None:
    """Longs 1000 + 500 against a short of 600: 900 is left, so a keeps 600 and c 300."""
    batches = [
        (1, "a", [opens(SOL, "long", "1000", size="600")]),
        (1, "b", [opens(SOL, "short", "600", skipped=True)]),
        (1, "c", [opens(SOL, "long", "500", size="300")]),
    ]
    scenario = Scenario(
        bars={SOL: flat(4, "100")},
        traders={"a": {}, "b": {}, "c": {}},
        batches=batches,
        manager={"conflict_strategy": "aggregate"},
    )
    outcome = judge(scenario, tmp_path)
    assert (outcome.fills("a"), outcome.fills("c")) == ([("entry", "6", "100.01")], [("entry", "3", "100.01")])
    assert outcome.report["conflicts"] == {"direction": 1, "duplicate": 1}


def test_a_reversal_in_one_batch_closes_first(tmp_path: Path) -> None:
    """No order crosses zero: the close of the long and the short entry are two orders."""
    bars = [*flat(2, "100"), *flat(2, "90"), *flat(1, "90")]
    batches = [
        (1, "a", [opens(SOL, "long", "1000", stop_loss="80")]),
        (2, "a", [opens(SOL, "short", "450", stop_loss="99"), closes(SOL, "long")]),
    ]
    outcome = judge(Scenario(bars={SOL: bars}, traders={"a": {}}, batches=batches), tmp_path)
    assert outcome.fills("a") == [("entry", "10", "90.009"), ("reduce", "-10", "89.991"), ("entry", "-5", "89.991")]


def test_a_close_crosses_with_an_entry_of_another(tmp_path: Path) -> None:
    bars = [*flat(2, "100"), *flat(1, "100"), *flat(2, "102")]
    batches = [
        (1, "a", [opens(SOL, "long", "1000", stop_loss="80")]),
        (2, "a", [closes(SOL, "long")]),
        (2, "b", [opens(SOL, "long", "400", stop_loss="80")]),
    ]
    outcome = judge(Scenario(bars={SOL: bars}, traders={"a": {}, "b": {}}, batches=batches), tmp_path)
    assert outcome.fills("a")[1:] == [("reduce", "-4", "100"), ("reduce", "-6", "101.9898")]
    assert outcome.fills("b") == [("entry", "4", "100")]


def test_a_watched_take_profit_fires_though_the_opposite_book_goes_in_the_same_candle(tmp_path: Path) -> None:
    """b's stop ends the opposition; a's target was touched in that candle all the same, and fills at its price."""
    bars = [*flat(3, "100"), "100 112 99 111", "113 114 112 113", *flat(1, "113")]
    batches = [
        (1, "a", [opens(SOL, "long", "1000", take_profit="108")]),
        (1, "b", [opens(SOL, "short", "700", stop_loss="110")]),
    ]
    outcome = judge(Scenario(bars={SOL: bars}, traders={"a": {}, "b": {}}, batches=batches, manager=NET), tmp_path)
    assert outcome.fills("a")[-1] == ("take_profit", "-10", "108")
    assert outcome.trader("a")["fees"] == "0.2970135"


def test_a_fired_take_profit_comes_before_funding_and_liquidation(tmp_path: Path) -> None:
    """At T3 the target of a was touched, funding is due and the close would break the book: it is flat by then."""
    bars = [*flat(3, "100"), "100 107 50 51", *flat(2, "51")]
    risk = {"risk_params": {"max_position_size_usd": 30_000, "max_margin_usage_pct": 100, "max_drawdown_pct": 100}}
    batches = [
        (1, "a", [opens(SOL, "long", "20000", leverage=5, take_profit="106")]),
        (1, "b", [opens(SOL, "short", "700", take_profit="49")]),
    ]
    scenario = Scenario(
        bars={SOL: bars},
        traders={"a": risk, "b": {}},
        batches=batches,
        manager=NET,
        funding=[(close_ms(3), SOL, "0.01")],
        limits={"max_symbol_exposure_pct": 10_000},
    )
    outcome = judge(scenario, tmp_path)
    assert outcome.fills("a")[-1] == ("take_profit", "-200", "106")
    assert outcome.trader("a")["funding"] == "0"
    assert outcome.trader("b")["funding"] == "3.57"


def test_a_take_profit_moved_at_an_instant_is_not_fired_by_the_candle_before_it(tmp_path: Path) -> None:
    """c's reduce waits for BTC's next candle, so that the books are looked at again after a's target has moved."""
    bars: dict[str, list[str | None]] = {
        BTC: [*flat(3, "1000"), None, *flat(3, "1000")],
        SOL: [*flat(3, "100"), "100 104 99 100", "100 102 99 101", *flat(2, "101")],
    }
    adjust = {"symbol": SOL, "action": "adjust_stop", "take_profit": "103"}
    batches = [
        (1, "a", [opens(SOL, "long", "1000", take_profit="120")]),
        (1, "b", [opens(SOL, "short", "700")]),
        (1, "c", [opens(BTC, "long", "300")]),
        (2, "c", [closes(BTC, "long")]),
        (3, "a", [adjust]),
    ]
    scenario = Scenario(bars=bars, traders={"a": {}, "b": {}, "c": {}}, batches=batches, manager=NET)
    outcome = judge(scenario, tmp_path)
    assert {purpose for purpose, *_ in outcome.fills("a")} == {"entry"}
    assert outcome.trades[-1]["purpose"] == "reduce"


STRICT = {"risk_params": {"stop_loss_enabled": True}}


def gap_after(count: int, price: str, after: str) -> dict[str, list[str | None]]:
    """Return a steady BTC and a SOL that stands, misses two candles and goes on at another price."""
    return {BTC: flat(count + 6, "1000"), SOL: [*flat(count, price), None, None, *flat(4, after)]}


def test_a_stop_stands_while_an_opposite_close_waits_through_a_gap(tmp_path: Path) -> None:
    """Until a's close fills the venue is short on balance, so c's stop must stay plain; then it turns reduce-only."""
    bars = gap_after(4, "100", "101")
    bars[SOL][7] = "101 101 89 92"
    batches = [
        (1, "a", [opens(SOL, "short", "900", stop_loss="120")]),
        (1, "c", [opens(SOL, "long", "300", stop_loss="90")]),
        (3, "a", [closes(SOL, "short")]),
        (4, "b", [opens(BTC, "long", "100", stop_loss="900")]),
    ]
    scenario = Scenario(bars=bars, traders={"a": STRICT, "b": STRICT, "c": STRICT}, batches=batches, manager=NET)
    outcome = judge(scenario, tmp_path)
    assert outcome.fills("a")[-1] == ("reduce", "9", "101.0101")
    assert outcome.fills("c")[-1] == ("stop", "-3", "89.991")
    assert {row["state"] for row in outcome.orders} <= {"filled", "canceled", "accepted"}


def test_a_partial_close_that_waits_is_carried_out_once(tmp_path: Path) -> None:
    """Rounds go on while it waits and after it has filled; half is closed, and half stays."""
    bars = gap_after(4, "100", "104")
    batches = [
        (1, "a", [opens(SOL, "long", "1000", stop_loss="80")]),
        (3, "a", [closes(SOL, "long", fraction="0.5")]),
        (4, "b", [opens(BTC, "long", "100", stop_loss="900")]),
        (5, "b", [opens(BTC, "long", "100")]),
        (7, "b", [opens(BTC, "long", "100")]),
    ]
    scenario = Scenario(bars=bars, traders={"a": STRICT, "b": STRICT}, batches=batches)
    outcome = judge(scenario, tmp_path)
    assert outcome.fills("a") == [("entry", "10", "100.01"), ("reduce", "-5", "103.9896")]


def test_an_entry_against_the_net_position_dies_in_a_gap_like_any_other(tmp_path: Path) -> None:
    """b's long would shrink the venue's short, which makes it no close: without a candle it expires."""
    batches = [
        (1, "a", [opens(SOL, "short", "900", stop_loss="120")]),
        (3, "b", [opens(SOL, "long", "300", stop_loss="90")]),
    ]
    scenario = Scenario(bars=gap_after(4, "100", "101"), traders={"a": {}, "b": {}}, batches=batches, manager=NET)
    outcome = judge(scenario, tmp_path)
    assert outcome.fills("b") == []


def test_a_close_that_grows_the_net_position_waits_through_a_gap(tmp_path: Path) -> None:
    """The books offset: closing a's long makes the venue short, and is a close all the same."""
    batches = [
        (1, "a", [opens(SOL, "long", "900", stop_loss="90")]),
        (1, "b", [opens(SOL, "short", "900", stop_loss="120")]),
        (3, "a", [closes(SOL, "long")]),
    ]
    scenario = Scenario(bars=gap_after(4, "100", "101"), traders={"a": {}, "b": {}}, batches=batches, manager=NET)
    outcome = judge(scenario, tmp_path)
    assert outcome.fills("a")[-1] == ("reduce", "-9", "100.9899")


def test_only_one_leg_fills_when_others_hold_the_same_side(tmp_path: Path) -> None:
    """Both legs of c are touched in one candle; b's short keeps the venue short, so reduce-only stops neither."""
    bars = [*flat(3, "100"), "100 106 93 99", *flat(2, "99")]
    batches = [
        (1, "b", [opens(SOL, "short", "900", stop_loss="120", confidence=90)]),
        (1, "c", [opens(SOL, "short", "300", stop_loss="105", take_profit="95")]),
    ]
    outcome = judge(Scenario(bars={SOL: bars}, traders={"b": {}, "c": {}}, batches=batches), tmp_path)
    assert outcome.fills("c") == [("entry", "-3", "99.99"), ("stop", "3", "105.0105")]
    assert [purpose for purpose, *_ in outcome.fills("b")] == ["entry"]
    assert {row["trader_id"] for row in outcome.trades} == {"b", "c"}
