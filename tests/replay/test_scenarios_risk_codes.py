"""Each risk code that a replay on paper can reach, once; what it cannot reach is named with the reason."""

from pathlib import Path
from typing import Any

import pytest

from manager.desk.risk.registry import ACCOUNT_RULES, LOCAL_RULES, OTHER_CODES
from manager.desk.risk.rule import Stage
from replay_harness import judge
from replay_scenario import Item, Scenario, closes, flat, opens

BTC, ETH, SOL = "BTC/USDT:USDT", "ETH/USDT:USDT", "SOL/USDT:USDT"
WIDE = {"max_symbol_exposure_pct": 10_000, "max_margin_usage_pct": 100, "max_unrealized_loss_pct": 100}
ALL_IN = {"max_position_size_usd": 1_000_000, "max_margin_usage_pct": 100, "max_drawdown_pct": 100}
TESTS = Path(__file__).parents[1]
NOT_REACHED = {
    "REDUCING": "an operator sets it; a replay has none",
    "BEING_CLOSED": "an operator asks for it; a replay has none",
    "TRADER_ISOLATED": "it takes twenty closed trades and a day of returns, and then the trader is not asked",
    "TRADER_NOT_RUNNING": "only running traders are asked",
    "SAFE_MODE": "recorded and rule-based decisions cannot fail",
    "INTENT_STALE": "the round follows its decisions at the same instant",
    "ACCOUNT_STALE": "each job of a replay reads the venue at its own instant",
    "INSTRUMENT_HALTED": "recorded instruments are tradable throughout",
    "SYMBOL_UNRESOLVED": "the paper venue answers every order, and nobody else trades on it",
}
OTHER_PLACES = {
    "HALTED": "replay/test_scenarios_funding_liquidation.py",
    "INSUFFICIENT_MARGIN": "replay/test_scenarios_capital.py",
    "BOOK_LIQUIDATED": "replay/test_scenarios_funding_liquidation.py",
    "LEVERAGE": "replay/test_scenarios_capital.py",
    "MARKET_STALE": "replay/test_scenarios_fills.py",
    "NO_POSITION": "replay/test_scenarios_fills.py",
    "DIRECTION": "replay/test_scenarios_books.py",
    "DUPLICATE": "replay/test_scenarios_books.py",
}


def refused(code: str, side: str = "long", usd: str = "1000", **more: Any) -> Item:
    return opens(more.pop("symbol", SOL), side, usd, expect=code, **more)


def one(
    *batches: tuple[int, str, list[Item]],
    risk: dict[str, Any] | None = None,
    bars: list[str | None] | None = None,
    **more: Any,
) -> Scenario:
    """Return a scenario of traders a and b on a quiet SOL, BTC and ETH; `bars` are SOL's."""
    given: dict[str, list[str | None]] = {BTC: flat(8, "1000"), ETH: flat(8, "100"), SOL: bars or flat(8, "100")}
    traders = {"a": {"risk_params": risk or {}}, "b": {"risk_params": risk or {}}}
    return Scenario(bars=given, traders=traders, batches=list(batches), **more)


CASES: dict[str, Scenario] = {
    "TRADING_DISABLED": one((1, "a", [refused("TRADING_DISABLED")]), manager={"trading_enabled": False}),
    "MAX_DRAWDOWN": one(
        (1, "a", [opens(SOL, "long", "1000")]),
        (4, "a", [refused("MAX_DRAWDOWN", symbol=ETH)]),
        (4, "b", [opens(ETH, "long", "100")]),
        risk={"max_drawdown_pct": 5},
        bars=[*flat(3, "100"), *flat(5, "70")],
    ),
    "COOLDOWN": one(
        (1, "a", [opens(SOL, "long", "1000", stop_loss="95")]),
        (4, "a", [refused("COOLDOWN", symbol=ETH)]),
        (5, "a", [opens(ETH, "long", "300")]),
        (5, "b", [opens(SOL, "long", "300")]),
        risk={"cooldown_after_stop": "2m"},
        bars=[*flat(3, "100"), "100 100 94 98", *flat(4, "98")],
    ),
    "ENTRY_RATE": one(
        (1, "a", [opens(SOL, "long", "100"), opens(ETH, "long", "100"), refused("ENTRY_RATE", symbol=BTC)]),
        (2, "a", [refused("ENTRY_RATE", symbol=BTC)]),
        (3, "a", [closes(SOL, "long"), refused("ENTRY_RATE", symbol=BTC)]),
        (3, "b", [opens(SOL, "long", "100")]),
        risk={"max_entries_per_hour": 2},
    ),
    "SYMBOL_NOT_ALLOWED": one(
        (1, "a", [refused("SYMBOL_NOT_ALLOWED", symbol="NOPE/USDT:USDT"), opens(ETH, "long", "100")]),
    ),
    "ENTRY_PRICE_MOVED": one(
        (1, "a", [refused("ENTRY_PRICE_MOVED", max_entry_price="99.9")]),
        (2, "a", [refused("ENTRY_PRICE_MOVED", side="short", min_entry_price="100.1")]),
        (3, "a", [opens(SOL, "long", "500", max_entry_price="100", min_entry_price="100")]),
    ),
    "OPPOSITE_OWN_POSITION": one(
        (1, "a", [opens(SOL, "long", "1000")]), (2, "a", [refused("OPPOSITE_OWN_POSITION", side="short")])
    ),
    "MAX_POSITIONS_TRADER": one(
        (1, "a", [opens(SOL, "long", "100")]),
        (2, "a", [refused("MAX_POSITIONS_TRADER", symbol=ETH), opens(SOL, "long", "100")]),
        (2, "b", [opens(ETH, "long", "100"), refused("MAX_POSITIONS_TRADER", symbol=BTC)]),
        risk={"max_positions": 1},
    ),
    "CONFIDENCE_TOO_LOW": one(
        (1, "a", [refused("CONFIDENCE_TOO_LOW", confidence=79.9), opens(ETH, "long", "100", confidence=80)]),
        risk={"min_confidence": 80},
    ),
    "STOP_LOSS_MISSING": one(
        (1, "a", [refused("STOP_LOSS_MISSING"), opens(ETH, "long", "100", stop_loss="90")]),
        (2, "a", [opens(ETH, "long", "100")]),
        risk={"stop_loss_enabled": True},
    ),
    "TAKE_PROFIT_MISSING": one(
        (1, "a", [refused("TAKE_PROFIT_MISSING"), opens(ETH, "long", "100", take_profit="120")]),
        risk={"take_profit_enabled": True},
    ),
    "STOP_LOSS_WRONG_SIDE": one(
        (1, "a", [refused("STOP_LOSS_WRONG_SIDE", stop_loss="100"), opens(ETH, "short", "100", stop_loss="101")]),
        (2, "a", [{"symbol": ETH, "action": "adjust_stop", "stop_loss": "99", "expect": "STOP_LOSS_WRONG_SIDE"}]),
    ),
    "TAKE_PROFIT_WRONG_SIDE": one(
        (1, "a", [refused("TAKE_PROFIT_WRONG_SIDE", take_profit="99"), opens(ETH, "short", "100", take_profit="99")]),
    ),
    "RISK_REWARD_TOO_LOW": one(
        (1, "a", [refused("RISK_REWARD_TOO_LOW", stop_loss="90", take_profit="129")]),
        (1, "b", [opens(SOL, "long", "100", stop_loss="90", take_profit="130")]),
        risk={"min_risk_reward_ratio": 3},
    ),
    "STOP_BEYOND_LIQUIDATION": one(
        (1, "a", [refused("STOP_BEYOND_LIQUIDATION", stop_loss="80.5", leverage=5)]),
        (2, "a", [opens(SOL, "long", "100", stop_loss="80.6", leverage=5)]),
    ),
    "BELOW_MIN_NOTIONAL": one(
        (1, "a", [refused("BELOW_MIN_NOTIONAL", usd="4.99"), opens(ETH, "long", "5")]),
        (1, "b", [refused("BELOW_MIN_NOTIONAL", usd="9.99", symbol=BTC)]),
        instruments={BTC: {"lot": "0.01"}},
    ),
    "MAX_POSITION_SIZE": one(
        (1, "a", [opens(SOL, "long", "996")]), (2, "a", [refused("MAX_POSITION_SIZE", usd="500")])
    ),
    "POSITION_EXPOSURE": one(
        (1, "a", [opens(SOL, "long", "600", size="450")]),
        (2, "a", [refused("POSITION_EXPOSURE", usd="500")]),
        risk={"max_single_position_exposure_pct": 10},
    ),
    "MARGIN_USAGE_TRADER": one(
        (1, "a", [opens(SOL, "long", "2250", size="2250")]),
        (2, "a", [refused("MARGIN_USAGE_TRADER", symbol=ETH)]),
        risk={**ALL_IN, "max_margin_usage_pct": 50},
    ),
    "ALLOCATION_EXCEEDED": one(
        (1, "a", [opens(SOL, "long", "4000")]),
        (3, "a", [refused("ALLOCATION_EXCEEDED", symbol=ETH)]),
        risk=ALL_IN,
        limits=WIDE,
        bars=[*flat(3, "100"), *flat(5, "113")],
    ),
    "UNREALIZED_LOSS": one(
        (1, "a", [opens(SOL, "long", "1000", leverage=5)]),
        (4, "b", [refused("UNREALIZED_LOSS", symbol=ETH)]),
        limits={"max_unrealized_loss_pct": 2},
        bars=[*flat(3, "100"), *flat(5, "79")],
    ),
    "MAX_POSITIONS_GLOBAL": one(
        (1, "a", [opens(SOL, "long", "100", confidence=90), opens(ETH, "long", "100", confidence=89)]),
        (1, "b", [refused("MAX_POSITIONS_GLOBAL", confidence=80)]),
        limits={"max_positions": 2},
    ),
    "OPEN_ORDERS_LIMIT": one(
        (1, "a", [opens(SOL, "long", "100", stop_loss="90", take_profit="120")]),
        (2, "b", [refused("OPEN_ORDERS_LIMIT", stop_loss="90", take_profit="120"), opens(ETH, "long", "100")]),
        manager={"max_open_orders": 4},
    ),
    "SYMBOL_EXPOSURE": one(
        (1, "a", [opens(SOL, "long", "1000", confidence=90)]),
        (1, "b", [refused("SYMBOL_EXPOSURE", confidence=80), opens(ETH, "long", "600")]),
        limits={"max_symbol_exposure_pct": 10},
    ),
    "MARGIN_USAGE_GLOBAL": one(
        (1, "a", [opens(SOL, "long", "1000", confidence=90)]),
        (1, "b", [refused("MARGIN_USAGE_GLOBAL", symbol=ETH, confidence=80)]),
        limits={"max_margin_usage_pct": 10},
    ),
    "REDUCE_INCOMPLETE": one(
        (1, "a", [opens(SOL, "long", "1000")]),
        (3, "a", [closes(SOL, "long")]),
        (3, "b", [refused("REDUCE_INCOMPLETE", side="short"), opens(ETH, "long", "100")]),
        bars=[*flat(4, "100"), None, None, *flat(2, "104")],
    ),
}


@pytest.mark.parametrize("code", CASES)
def test_the_code_refuses_and_everything_else_stands(tmp_path: Path, code: str) -> None:
    outcome = judge(CASES[code], tmp_path)
    assert outcome.report["denials"][code] >= 1


def test_every_code_is_reached_or_named_with_its_reason() -> None:
    known = {rule.code for rule in LOCAL_RULES} | {rule.code for rule in ACCOUNT_RULES}
    known |= {code.code for code in OTHER_CODES if code.stage is not Stage.LATER}
    assert known == CASES.keys() | OTHER_PLACES.keys() | NOT_REACHED.keys()
    assert not NOT_REACHED.keys() & (CASES.keys() | OTHER_PLACES.keys())


def test_what_other_tests_reach_is_there() -> None:
    for code, path in OTHER_PLACES.items():
        text = (TESTS / path).read_text(encoding="utf-8")
        wanted = {"BOOK_LIQUIDATED": '"liquidation"', "DIRECTION": '"direction"', "DUPLICATE": '"duplicate"'}
        assert wanted.get(code, f'"{code}"') in text, code
    rules = "".join(path.read_text(encoding="utf-8") for path in (TESTS / "unit/manager/desk").rglob("test_*risk*.py"))
    assert [code for code in NOT_REACHED if f'"{code}"' not in rules] == []


def test_a_batch_with_one_bad_item_keeps_the_others(tmp_path: Path) -> None:
    """Unknown symbol, unknown action, NaN, a missing field: each is left out alone and denies nothing."""
    bad: list[Item] = [
        {"symbol": "NOPEUSDT", "action": "open_long", "leverage": 1, "position_size_usd": "10", "confidence": 80},
        {"symbol": SOL, "action": "buy_the_dip"},
        {"symbol": SOL, "action": "open_long", "leverage": 1, "position_size_usd": float("nan"), "confidence": 80},
        {"symbol": SOL, "action": "open_long", "position_size_usd": "10", "confidence": 80},
        {"symbol": SOL, "action": "open_long", "leverage": 1.5, "position_size_usd": "10", "confidence": 80},
        {"symbol": SOL, "action": "hold", "colour": "green"},
    ]
    items = [opens(SOL, "long", "700", stop_loss="90"), *({**item, "bad": True} for item in bad)]
    items.insert(3, opens(ETH, "short", "300", stop_loss="120"))
    outcome = judge(one((1, "a", items), (3, "a", [closes(SOL, "long"), {**bad[1], "bad": True}])), tmp_path)
    assert outcome.fills("a") == [("entry", "7", "100.01"), ("entry", "-3", "99.99"), ("reduce", "-7", "99.99")]


def test_holds_and_waits_decide_nothing(tmp_path: Path) -> None:
    passive: list[Item] = [{"symbol": SOL, "action": "hold", "skipped": True}]
    passive.append({"symbol": SOL, "action": "wait", "skipped": True})
    outcome = judge(one((1, "a", passive)), tmp_path)
    assert (outcome.trader("a")["decisions"], outcome.trader("a")["orders"]) == (1, 0)


def test_widening_a_stop_is_refused_where_entries_are_and_tightening_is_not(tmp_path: Path) -> None:
    """After a stop on ETH the trader cools down: its SOL stop may come nearer, not go away."""
    wider = {"symbol": SOL, "action": "adjust_stop", "stop_loss": "80", "expect": "COOLDOWN"}
    nearer = {"symbol": SOL, "action": "adjust_stop", "stop_loss": "97"}
    scenario = one(
        (1, "a", [opens(SOL, "long", "1000", stop_loss="90"), opens(ETH, "short", "500", stop_loss="105")]),
        (4, "a", [wider]),
        (5, "a", [nearer]),
        bars=[*flat(6, "100"), "100 100 96 99", *flat(1, "99")],
    )
    scenario.bars[ETH][3] = "100 106 100 104"
    outcome = judge(scenario, tmp_path)
    assert outcome.fills("a")[-1] == ("stop", "-10", "96.9903")


def test_entries_of_one_instant_are_counted_one_by_one_until_their_hour_is_over(tmp_path: Path) -> None:
    """Three in one instant are three; one that crosses inside and then goes on to the venue is one."""
    three = [opens(symbol, "long", "100") for symbol in (SOL, ETH, BTC)]
    late = [opens(SOL, "long", "50"), opens(ETH, "long", "50"), refused("ENTRY_RATE", symbol=BTC, usd="50")]
    scenario = Scenario(
        bars={symbol: flat(80, price) for symbol, price in ((BTC, "1000"), (ETH, "100"), (SOL, "100"))},
        traders={name: {"risk_params": {"max_entries_per_hour": 3}} for name in "ab"},
        batches=[
            (1, "a", three),
            (5, "b", [opens(SOL, "short", "60")]),
            (5, "a", [refused("ENTRY_RATE", usd="100")]),
            (10, "b", [closes(SOL, "short"), opens(ETH, "short", "100")]),
            (61, "a", [opens(SOL, "long", "100")]),
            (62, "a", late),
            (62, "b", [opens(BTC, "short", "100")]),
            (63, "b", [refused("ENTRY_RATE", side="short", usd="100")]),
        ],
        manager={"conflict_strategy": "net"},
        limits=WIDE,
    )
    judge(scenario, tmp_path)


def test_a_close_is_done_once_where_the_batch_opens_the_same_side_again(tmp_path: Path) -> None:
    """The open trades inside with the close, so the book is never flat nor smaller; the close is done all the same."""
    part = [closes(SOL, "long", fraction="0.5"), opens(SOL, "long", "400")]
    whole = [closes(SOL, "long"), opens(SOL, "long", "300")]
    outcome = judge(one((1, "a", [opens(SOL, "long", "1000")]), (3, "a", part), (5, "a", whole)), tmp_path)
    held = sum(float(quantity) for _, quantity, _ in outcome.fills("a"))
    assert held == pytest.approx(3)
