"""Stops, targets, gaps, partial closes and lots: every number recomputed by the oracle, some by hand."""

from pathlib import Path

from manager.replay.run import run_replay
from replay_harness import judge, without_timings, write
from replay_scenario import Scenario, closes, flat, opens

BTC, SOL = "BTC/USDT:USDT", "SOL/USDT:USDT"


def test_the_stop_wins_when_one_candle_touches_both(tmp_path: Path) -> None:
    bars = [*flat(2, "100"), "101 112 94 103", "103 103 103 103"]
    asked = opens(SOL, "long", "1000", stop_loss="95", take_profit="110")
    outcome = judge(Scenario(bars={SOL: bars}, traders={"a": {}}, batches=[(1, "a", [asked])]), tmp_path)
    assert outcome.fills("a") == [("entry", "10", "101.0101"), ("stop", "-10", "94.9905")]
    told = outcome.trader("a")
    assert (told["realized_pnl"], told["fees"], told["equity"]) == ("-60.196", "0.8820027", "8938.9219973")
    assert (told["trades"], float(told["win_rate"]), told["sharpe"]) == (1, 0.0, None)
    assert outcome.report["account"]["unallocated"] == "1000"
    assert outcome.report["account"]["equity"] == "9938.9219973"


def test_a_gap_through_the_stop_fills_at_the_open(tmp_path: Path) -> None:
    bars: dict[str, list[str | None]] = {
        BTC: [*flat(3, "1000"), "1080 1090 1070 1085", *flat(1, "1085")],
        SOL: [*flat(3, "100"), "90 91 89 90", *flat(1, "90")],
    }
    batches = [
        (1, "a", [opens(SOL, "long", "1000", stop_loss="95")]),
        (1, "b", [opens(BTC, "short", "1000", stop_loss="1050")]),
    ]
    outcome = judge(Scenario(bars=bars, traders={"a": {}, "b": {}}, batches=batches), tmp_path)
    assert outcome.fills("a") == [("entry", "10", "100.01"), ("stop", "-10", "89.991")]
    assert outcome.fills("b") == [("entry", "-1", "999.9"), ("stop", "1", "1080.108")]


def test_an_entry_that_opens_beyond_its_stop_is_stopped_in_its_own_candle(tmp_path: Path) -> None:
    bars = [*flat(2, "100"), "94 96 93 95", *flat(1, "95")]
    asked = opens(SOL, "long", "1000", stop_loss="95")
    outcome = judge(Scenario(bars={SOL: bars}, traders={"a": {}}, batches=[(1, "a", [asked])]), tmp_path)
    assert outcome.fills("a") == [("entry", "10", "94.0094"), ("stop", "-10", "93.9906")]


def test_a_take_profit_fills_at_its_price_or_at_a_better_open_as_a_maker(tmp_path: Path) -> None:
    bars: dict[str, list[str | None]] = {
        BTC: [*flat(3, "1000"), "930 940 920 935", *flat(1, "935")],
        SOL: [*flat(2, "100"), "100 108 99 101", *flat(2, "101")],
    }
    batches = [
        (1, "a", [opens(SOL, "long", "1000", take_profit="107")]),
        (1, "b", [opens(BTC, "short", "1000", take_profit="950")]),
    ]
    outcome = judge(Scenario(bars=bars, traders={"a": {}, "b": {}}, batches=batches), tmp_path)
    assert outcome.fills("a") == [("entry", "10", "100.01"), ("take_profit", "-10", "107")]
    assert outcome.fills("b") == [("entry", "-1", "999.9"), ("take_profit", "1", "930")]
    assert outcome.trader("a")["fees"] == "0.610545"
    assert (outcome.trader("b")["realized_pnl"], outcome.trader("b")["win_rate"]) == ("69.9", "1.0")


def test_a_partial_close_is_floored_to_the_lot_and_realizes_pro_rata(tmp_path: Path) -> None:
    bars = [*flat(2, "100"), *flat(1, "104"), "104 104 94 96", *flat(2, "96")]
    batches = [
        (1, "a", [opens(SOL, "long", "1000", stop_loss="95")]),
        (2, "a", [closes(SOL, "long", fraction="0.37")]),
    ]
    scenario = Scenario(bars={SOL: bars}, traders={"a": {}}, batches=batches, instruments={SOL: {"lot": "0.5"}})
    outcome = judge(scenario, tmp_path)
    assert outcome.fills("a") == [
        ("entry", "10", "104.0104"),
        ("reduce", "-3.5", "103.9896"),
        ("stop", "-6.5", "94.9905"),
    ]
    assert outcome.trader("a")["trades"] == 1
    told = outcome.trader("a")["realized_pnl"]
    assert told == "-58.70215"


def test_a_fraction_below_one_lot_and_a_close_without_a_position_trade_nothing(tmp_path: Path) -> None:
    batches = [
        (1, "a", [opens(SOL, "long", "1000")]),
        (2, "a", [closes(SOL, "long", fraction="0.01")]),
        (3, "a", [closes(SOL, "short", expect="NO_POSITION")]),
    ]
    scenario = Scenario(
        bars={SOL: flat(6, "100")}, traders={"a": {}}, batches=batches, instruments={SOL: {"lot": "0.5"}}
    )
    assert len(judge(scenario, tmp_path).fills("a")) == 1


def test_lots_that_do_not_divide_and_contract_sizes(tmp_path: Path) -> None:
    """1000 / (103 x 0.1 x 0.7) is 138.69 lots: 138; 777 / 7.21 is 107.7: 107; both go as one order."""
    bars = [*flat(2, "103"), "103.3 104 102 103.7", *flat(2, "103.7")]
    batches = [
        (1, "a", [opens(SOL, "long", "1000")]),
        (1, "b", [opens(SOL, "long", "777")]),
        (3, "a", [closes(SOL, "long", fraction="0.333")]),
    ]
    scenario = Scenario(
        bars={SOL: bars},
        traders={"a": {}, "b": {}},
        batches=batches,
        instruments={SOL: {"lot": "0.7", "contract_size": "0.1"}},
    )
    outcome = judge(scenario, tmp_path)
    assert outcome.fills("a") == [("entry", "96.6", "103.31033"), ("reduce", "-31.5", "103.68963")]
    assert outcome.fills("b") == [("entry", "74.9", "103.31033")]
    entries = [row for row in outcome.orders if row["purpose"] == "entry"]
    assert [(row["quantity"], row["traders"]) for row in entries] == [("171.5", "a,b")]


def test_an_adjusted_stop_holds_from_the_next_candle_on(tmp_path: Path) -> None:
    """The candle that ends when the stop is raised has touched it already; only the next one may fire it."""
    bars = [*flat(2, "100"), "100 101 98 100", "100 101 98.5 100", "100 101 97 100", *flat(1, "100")]
    batches = [
        (1, "a", [opens(SOL, "long", "1000", stop_loss="90")]),
        (2, "a", [{"symbol": SOL, "action": "adjust_stop", "stop_loss": "98.2", "take_profit": "120"}]),
    ]
    outcome = judge(Scenario(bars={SOL: bars}, traders={"a": {}}, batches=batches), tmp_path)
    assert outcome.fills("a")[1] == ("stop", "-10", "98.19018")
    stop = next(row for row in outcome.trades if row["purpose"] == "stop")
    assert stop["at"].minute == 5


def test_adding_moves_the_average_and_the_newest_stop_covers_all(tmp_path: Path) -> None:
    bars = [*flat(2, "100"), *flat(1, "100"), *flat(1, "110"), "110 110 99 100", *flat(1, "100")]
    batches = [
        (1, "a", [opens(SOL, "long", "400", stop_loss="90", leverage=2)]),
        (3, "a", [opens(SOL, "long", "550", stop_loss="101", leverage=3)]),
    ]
    outcome = judge(Scenario(bars={SOL: bars}, traders={"a": {}}, batches=batches), tmp_path)
    assert outcome.fills("a") == [("entry", "4", "100.01"), ("entry", "5", "110.011"), ("stop", "-9", "100.9899")]


def test_an_entry_in_a_gap_expires_and_a_reduce_waits_through_it(tmp_path: Path) -> None:
    """BTC keeps the clock going while SOL has no candles 4 to 6; at T6 its mark is three candles old."""
    bars: dict[str, list[str | None]] = {
        BTC: flat(9, "1000"),
        SOL: [*flat(4, "100"), None, None, None, "120 121 119 120", "120 120 120 120"],
    }
    batches = [
        (1, "a", [opens(SOL, "long", "1000", stop_loss="90")]),
        (3, "a", [closes(SOL, "long")]),
        (4, "b", [opens(SOL, "long", "500")]),
        (6, "c", [opens(SOL, "long", "500", expect="MARKET_STALE")]),
    ]
    outcome = judge(Scenario(bars=bars, traders={"a": {}, "b": {}, "c": {}, "idle": {}}, batches=batches), tmp_path)
    assert outcome.fills("a") == [("entry", "10", "100.01"), ("reduce", "-10", "119.988")]
    waited = next(row for row in outcome.trades if row["purpose"] == "reduce")
    assert waited["at"].minute == 7
    assert outcome.fills("b") == []


def test_what_still_waits_at_the_end_expires(tmp_path: Path) -> None:
    bars: dict[str, list[str | None]] = {BTC: flat(5, "1000"), SOL: flat(3, "100")}
    batches = [(1, "a", [opens(SOL, "long", "1000", stop_loss="90")]), (2, "a", [closes(SOL, "long")])]
    batches.append((4, "b", [opens(BTC, "long", "500")]))
    outcome = judge(Scenario(bars=bars, traders={"a": {}, "b": {}}, batches=batches), tmp_path)
    states = {(row["purpose"], row["state"]) for row in outcome.orders if row["purpose"] in ("entry", "reduce")}
    assert states == {("entry", "filled"), ("entry", "expired"), ("reduce", "expired")}
    assert outcome.trader("a")["equity"] != outcome.trader("b")["equity"]


def test_two_runs_print_the_same_but_for_the_timings(tmp_path: Path) -> None:
    bars = [*flat(2, "100"), "101 112 94 103", *flat(3, "103")]
    batches = [(1, "a", [opens(SOL, "long", "1000", stop_loss="95")]), (3, "b", [opens(SOL, "short", "300")])]
    scenario = Scenario(bars={SOL: bars}, traders={"a": {}, "b": {}}, batches=batches)
    first, second = (run_replay(write(scenario, tmp_path / name)) for name in ("one", "two"))
    assert without_timings(first) == without_timings(second)
    trades = [(tmp_path / name / "out" / "trades.parquet").read_bytes() for name in ("one", "two")]
    assert trades[0] == trades[1]
