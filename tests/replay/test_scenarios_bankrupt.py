"""Books at or below zero: no capital and no entry for them, and no solvent book pays but for what is really lacking."""

from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from replay_harness import Outcome, judge
from replay_scenario import Item, Scenario, closes, flat, opens

BTC, SOL = "BTC/USDT:USDT", "SOL/USDT:USDT"
FREE = {"fee_bps": "0", "maker_fee_bps": "0", "slippage_bps": "0"}
WIDE = {"max_symbol_exposure_pct": 10_000, "max_margin_usage_pct": 100, "max_unrealized_loss_pct": 100}
ALL_IN = {"max_position_size_usd": 1_000_000, "max_margin_usage_pct": 100, "max_drawdown_pct": 100}


def short_wiped_out(price: str, *, names: str = "ab", count: int = 140, **manager: Any) -> Scenario:
    """a is short all it has at 10; the price jumps at the third candle, and every later open of a would be taken."""
    later: list[tuple[int, str, list[Item]]] = [(k, "a", [opens(BTC, "long", "100")]) for k in (5, 90, 130)]
    return Scenario(
        bars={SOL: [*flat(3, "10"), *flat(count - 3, price)], BTC: flat(count, "1000")},
        traders={name: {"risk_params": ALL_IN} for name in names},
        batches=[(1, "a", [opens(SOL, "short", "4000")]), *later],
        manager={"allocation_strategy": "equal", **manager},
        limits=WIDE,
        paper=FREE,
    )


def capital(outcome: Outcome) -> dict[str, Decimal]:
    return {row["id"]: Decimal(row["equity"]) for row in outcome.report["traders"]}


def test_a_loss_beyond_its_capital_stays_in_its_book_and_takes_what_the_account_lacks(tmp_path: Path) -> None:
    """400 sold at 10 cost 6400 at 26: a is at 4500 - 6400. The account has 3600, of which 360 are kept back."""
    outcome = judge(short_wiped_out("26"), tmp_path)
    assert capital(outcome) == {"a": Decimal(-1900), "b": Decimal(3240)}
    assert outcome.report["account"]["unallocated"] == "2260"
    a = outcome.trader("a")
    b = outcome.trader("b")
    assert (b["start_usd"], b["moved_usd"], b["pnl"]) == ("4500", "-1260", "0")
    assert (a["decisions"], a["fills"], a["max_drawdown_pct"]) == (1, 2, "100.0")


def test_an_account_below_zero_is_halted_and_moves_no_capital(tmp_path: Path) -> None:
    """400 sold at 10 cost 16000 at 50: the account is at -6000, and b keeps every cent without a trade."""
    outcome = judge(short_wiped_out("50"), tmp_path)
    assert capital(outcome) == {"a": Decimal(-11500), "b": Decimal(4500)}
    account = outcome.report["account"]
    assert account | {"equity": "-6000", "unallocated": "1000"} == account
    assert (account["start_usd"], account["moved_usd"], account["pnl"]) == ("10000", "0", "-16000")
    assert account["state"] == "halted"
    assert account["state_reason"].startswith("the account's equity is -6,0")


def test_under_custom_the_share_of_a_bankrupt_is_not_dealt_to_others(tmp_path: Path) -> None:
    """a had 45 % and b has 30 % of 9000. a loses 4050 and 1950 more; of the 3600 above the reserve b gets 30 %."""
    shares = {"a": 45, "b": 30}
    traders = {name: {"allocation_pct": share, "risk_params": ALL_IN} for name, share in shares.items()}
    scenario = replace(short_wiped_out("25", allocation_strategy="custom"), traders=traders)
    outcome = judge(scenario, tmp_path)
    assert capital(outcome) == {"a": Decimal(-1950), "b": Decimal(1080)}


@pytest.mark.parametrize("strategy", ["equal", "fixed"])
def test_a_liquidated_book_above_zero_is_not_bankrupt(tmp_path: Path, strategy: str) -> None:
    """2 x 2000 of SOL at 10 are closed at 0.5 % of maintenance; what is left is topped up, but never under fixed."""
    scenario = Scenario(
        bars={SOL: [*flat(3, "10"), *flat(90, "9.01")]},
        traders={"a": {"risk_params": ALL_IN}, "b": {}},
        batches=[(1, "a", [opens(SOL, "long", "45000", leverage=50, lev=10, size="45000")])],
        manager={"allocation_strategy": strategy},
        limits=WIDE,
        paper=FREE,
    )
    scenario.traders["a"]["risk_params"] = {**ALL_IN, "altcoin_leverage": 10}
    outcome = judge(scenario, tmp_path)
    left = capital(outcome)["a"]
    assert outcome.fills("a")[-1][0] == "liquidation"
    assert left == (Decimal(45) if strategy == "fixed" else left)
    assert left > 0


def test_a_gain_on_paper_is_no_free_capital(tmp_path: Path) -> None:
    """1000 USD, 10x long at 100, stop at 91; wound down at 105 nothing may leave, or 92 would liquidate it."""
    bars = [*flat(5, "100"), *flat(70, "105"), *flat(5, "92"), "92 92 90.5 90.5"]
    risk = {**ALL_IN, "altcoin_leverage": 10, "stop_loss_enabled": True}
    scenario = Scenario(
        bars={SOL: bars, BTC: flat(81, "1000")},
        traders={"a": {"risk_params": risk, "isolation": {"violations_per_day": 1}}},
        batches=[
            (1, "a", [opens(SOL, "long", "10000", leverage=10, stop_loss="91")]),
            (7, "a", [opens(SOL, "short", "100", stop_loss="120", expect="OPPOSITE_OWN_POSITION")]),
        ],
        manager={"total_equity_usd": "1000", "reserve_equity_pct": 0, "allocation_strategy": "equal"},
        limits=WIDE,
        paper=FREE,
    )
    outcome = judge(scenario, tmp_path)
    assert outcome.fills("a") == [("entry", "100", "100"), ("stop", "-100", "91")]


def test_denials_of_its_own_making_isolate_a_trader_that_enters_nothing(tmp_path: Path) -> None:
    wrong = opens(BTC, "long", "100", stop_loss="1200", expect="STOP_LOSS_WRONG_SIDE")
    scenario = Scenario(
        bars={SOL: flat(20, "100"), BTC: flat(20, "1000")},
        traders={"a": {"isolation": {"violations_per_day": 3}}, "b": {}},
        batches=[(1, "a", [wrong]), (2, "a", [wrong, wrong]), (5, "a", [opens(BTC, "long", "100")])],
        manager={"allocation_strategy": "equal"},
        limits=WIDE,
    )
    outcome = judge(scenario, tmp_path)
    assert capital(outcome) == {"a": Decimal(0), "b": Decimal(9000)}
    assert outcome.trader("a")["decisions"] == 2


def sharpe_scenario(**isolation: Any) -> Scenario:
    """a loses a little 20 times, an hour and a quarter each, while it holds BTC; then it opens and closes."""
    every, count = 75, 75 * 22
    rounds = [(k, k + 20) for k in range(2, every * 20, every)]
    bars: list[str | None] = []
    for k in range(count):
        fallen = any(start + 2 <= k <= end + 2 for start, end in rounds)
        bars.append("99 99 99 99" if fallen else "100 100 100 100")
    batches: list[tuple[int, str, list[Item]]] = [(0, "a", [opens(BTC, "long", "2000", leverage=2)])]
    for start, end in rounds:
        batches += [(start, "a", [opens(SOL, "long", "900")]), (end, "a", [closes(SOL, "long")])]
    batches += [
        (count - 140, "a", [opens(SOL, "long", "900", expect="TRADER_ISOLATED")]),
        (count - 130, "a", [{"symbol": BTC, "action": "adjust_stop", "stop_loss": "900"}]),
        (count - 120, "a", [closes(BTC, "long", fraction="0.5")]),
        (count - 60, "a", [closes(BTC, "long")]),
        (count - 30, "a", [opens(SOL, "long", "900")]),
    ]
    fall = [*flat(count - 90, "1000"), *flat(90, "950")]
    return Scenario(
        bars={SOL: bars, BTC: fall},
        traders={"a": {"risk_params": {**ALL_IN, "max_entries_per_hour": 100}, "isolation": isolation}, "b": {}},
        batches=batches,
        manager={"allocation_strategy": "fixed"},
        limits=WIDE,
    )


def without_expectations(scenario: Scenario) -> Scenario:
    for _, _, items in scenario.batches:
        items[0].pop("expect", None)
    return scenario


def test_a_trader_isolated_by_its_sharpe_may_still_close(tmp_path: Path) -> None:
    outcome = judge(sharpe_scenario(), tmp_path)
    assert [what for what, *_ in outcome.fills("a")][-2:] == ["reduce", "reduce"]
    assert outcome.oracle.books["a"].code == "SHARPE"


def test_a_rule_that_is_switched_off_isolates_nobody(tmp_path: Path) -> None:
    outcome = judge(without_expectations(sharpe_scenario(sharpe_below=None)), tmp_path)
    assert outcome.oracle.books["a"].code == ""
    assert outcome.fills("a")[-1][0] == "entry"


def test_flatten_closes_what_an_isolated_trader_holds(tmp_path: Path) -> None:
    outcome = judge(without_expectations(sharpe_scenario(flatten=True)), tmp_path)
    assert outcome.fills("a")[-1] == ("reduce", "-2", "999.9")
    assert not outcome.oracle.books["a"].pos
