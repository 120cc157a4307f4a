"""What becomes of whole batches: closes first, then stops, then opens; targets; nothing blocks a reduction."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from desk_factory import AT, BTC, ETH, make_intent, make_marks, make_position, make_trader, make_view
from exchanges.types import Instrument, Side, Symbol
from executor.contract import Action, Decision
from manager.desk.plan.outcomes import LocalVerdict
from manager.desk.plan.risk_manager import check_local
from manager.desk.plan.values import AccountRules, AccountView, TraderView
from manager.state.records import IntentId, IntentRow, TraderState, TradingState

D = Decimal


def asking(action: Action, number: int = 0, *, symbol: Symbol = BTC, batch: int = 0, **fields: Any) -> IntentRow:
    """Build the `number`-th intent of a batch of trader a."""
    decision = Decision(symbol=symbol, action=action, **fields)
    return make_intent(
        "a", decision, intent_id=f"a@{batch}#{number}", n=number, decision_id=f"a@{batch}",
        decided_at=AT + timedelta(seconds=batch),
    )  # fmt: skip


def opening(action: Action = Action.OPEN_LONG, number: int = 0, **fields: Any) -> IntentRow:
    """Build an open of 100 USD that passes."""
    long = action is Action.OPEN_LONG
    stops = {"stop_loss": D(95 if long else 105), "take_profit": D(115 if long else 85)}
    return asking(action, number, **{"leverage": 5, "position_size_usd": D(100), **stops, **fields})


def holding(quantity: str, **changes: Any) -> TraderView:
    """Build trader a with a position in BTC, entered at 100."""
    return make_trader("a", replace(make_position(BTC, quantity), **changes))


def check(trader: TraderView, *intents: IntentRow, **view: Any) -> LocalVerdict:
    """Check a batch of one trader."""
    return check_local(make_view(trader, **view), intents)


def blocked_desk(trader: TraderView) -> AccountView:
    """Build a desk where everything that can block an entry does."""
    limits = replace(trader.spec.limits, max_positions=0, max_position_size_usd=D(0), max_entries_per_hour=0)
    stopped = replace(
        trader, spec=replace(trader.spec, limits=limits, symbols=()), state=TraderState.ISOLATED,
        trading_state=TradingState.HALTED, failed_decisions=9, drawdown_pct=D(99), last_stop_at=AT, allocated=D(0),
    )  # fmt: skip
    return make_view(
        stopped, trading_state=TradingState.HALTED, rules=AccountRules(trading_enabled=False), truth_at=None, marks={},
        unresolved=frozenset({BTC}), instruments={BTC: Instrument(symbol=BTC, tradable=False)}, equity=D(-1),
    )  # fmt: skip


def test_nothing_blocks_a_close() -> None:
    view = blocked_desk(holding("3"))
    for intent in (asking(Action.CLOSE_LONG), asking(Action.TARGET, target_quantity=D(0))):
        verdict = check_local(view, [intent])
        assert not verdict.denials
        assert [(r.side, r.quantity, r.closes) for r in verdict.reduces] == [(Side.SELL, D(3), True)]


def test_a_fraction_is_floored_to_the_lot_and_all_is_all() -> None:
    trader = holding("-0.0000105")
    half = check(trader, asking(Action.CLOSE_SHORT, fraction=D("0.5"))).reduces[0]
    assert (half.side, half.quantity, half.closes) == (Side.BUY, D("0.000005"), False)
    assert check(trader, asking(Action.CLOSE_SHORT)).reduces[0].quantity == D("0.0000105")


def test_a_fraction_below_one_lot_is_done() -> None:
    verdict = check(holding("0.000001"), asking(Action.CLOSE_LONG, fraction=D("0.5")))
    assert verdict == LocalVerdict(done=(IntentId("a@0#0"),))


@pytest.mark.parametrize("held", ["0", "-1"])
def test_closing_what_is_not_held_is_no_position(held: str) -> None:
    trader = holding(held) if held != "0" else make_trader("a")
    verdict = check(trader, asking(Action.CLOSE_LONG))
    assert [denial.code for denial in verdict.denials] == ["NO_POSITION"]
    assert not verdict.reduces


def test_a_second_close_takes_only_what_is_left() -> None:
    closes = (
        asking(Action.CLOSE_LONG, 0, fraction=D("0.6")),
        asking(Action.CLOSE_LONG, 1),
        asking(Action.CLOSE_LONG, 2),
    )
    verdict = check(holding("10"), *closes)
    assert [(r.quantity, r.closes) for r in verdict.reduces] == [(D(6), False), (D(4), True)]
    assert [(d.intent_id, d.code) for d in verdict.denials] == [("a@0#2", "NO_POSITION")]


def test_a_batch_may_turn_a_position_by_closing_it_first() -> None:
    turned = check(holding("1"), opening(Action.OPEN_SHORT, 0), asking(Action.CLOSE_LONG, 1))
    assert [entry.direction for entry in turned.entries] == [-1]
    assert [reduce.quantity for reduce in turned.reduces] == [D(1)]


def test_a_partial_close_does_not_let_the_other_side_open() -> None:
    verdict = check(holding("1"), opening(Action.OPEN_SHORT, 0), asking(Action.CLOSE_LONG, 1, fraction=D("0.9")))
    assert [denial.code for denial in verdict.denials] == ["OPPOSITE_OWN_POSITION"]


def test_two_sides_of_one_symbol_in_a_batch_do_not_both_open() -> None:
    verdict = check(make_trader("a"), opening(Action.OPEN_LONG, 0), opening(Action.OPEN_SHORT, 1))
    assert [entry.direction for entry in verdict.entries] == [1]
    assert [denial.code for denial in verdict.denials] == ["OPPOSITE_OWN_POSITION"]


def test_a_close_frees_what_the_opens_of_its_batch_use() -> None:
    trader = replace(holding("4"), allocated=D(90))
    assert check(trader, opening(position_size_usd=D(100))).entries[0].size_usd == D(50)
    freed = check(trader, opening(), asking(Action.CLOSE_LONG, 1))
    assert freed.entries[0].size_usd == D(100)


def test_opens_of_a_batch_share_the_allocation() -> None:
    trader = replace(make_trader("a"), allocated=D(30))
    eth: dict[str, Any] = {"symbol": ETH, "stop_loss": D("47.5"), "take_profit": D("57.5")}
    verdict = check(trader, opening(number=0), opening(number=1, **eth), opening(number=2))
    assert [(e.symbol, e.size_usd) for e in verdict.entries] == [(BTC, D(100)), (ETH, D(50))]
    assert [(d.intent_id, d.code) for d in verdict.denials] == [("a@0#2", "ALLOCATION_EXCEEDED")]


def test_higher_leverage_frees_no_margin_before_it_has_filled() -> None:
    trader = replace(holding("2", leverage=1), allocated=D(210))
    eth: dict[str, Any] = {"symbol": ETH, "stop_loss": D("47.5"), "take_profit": D("57.5")}
    verdict = check(trader, opening(leverage=10), opening(number=1, **eth))
    assert [entry.size_usd for entry in verdict.entries] == [D(100), D(50)]
    over = check(replace(trader, allocated=D(190)), opening(leverage=10))
    assert [denial.code for denial in over.denials] == ["ALLOCATION_EXCEEDED"]


def test_opens_of_one_symbol_add_up_to_one_position() -> None:
    opens = [opening(number=number, position_size_usd=D(400)) for number in range(3)]
    verdict = check(make_trader("a"), *opens)
    assert [entry.size_usd for entry in verdict.entries] == [D(400), D(400), D(200)]
    assert [(c.code, c.intent_id) for c in verdict.clamps] == [("MAX_POSITION_SIZE", "a@0#2")]


def test_opens_of_a_batch_share_the_entry_rate() -> None:
    trader = replace(make_trader("a"), recent_entries=(AT, AT))
    verdict = check(trader, opening(number=0), opening(number=10), opening(number=9))
    assert [entry.intent.intent_id for entry in verdict.entries] == ["a@0#0"]
    assert [(d.intent_id, d.code) for d in verdict.denials] == [("a@0#9", "ENTRY_RATE"), ("a@0#10", "ENTRY_RATE")]


def test_the_order_of_the_input_does_not_matter() -> None:
    intents = [
        opening(number=0), opening(Action.OPEN_SHORT, 1), asking(Action.CLOSE_LONG, 2), asking(Action.HOLD, 3),
        asking(Action.WAIT, 4), asking(Action.CLOSE_LONG, 0, batch=1), opening(number=1, batch=1),
    ]  # fmt: skip
    assert check(holding("1"), *intents) == check(holding("1"), *reversed(intents))


def test_holding_and_waiting_are_done() -> None:
    verdict = check(make_trader("a"), asking(Action.WAIT, 1), asking(Action.HOLD, 0))
    assert verdict == LocalVerdict(done=(IntentId("a@0#0"), IntentId("a@0#1")))


def test_an_unknown_trader_opens_nothing() -> None:
    verdict = check_local(make_view(), [opening()])
    assert [denial.code for denial in verdict.denials] == ["TRADER_NOT_RUNNING"]


TARGET_POSITIONS = [
    ("0", "2", None, ("1", "200")),
    ("0", "-2", None, ("-1", "200")),
    ("1", "3", None, ("1", "200")),
    ("3", "1", ("2", False), None),
    ("3", "0", ("3", True), None),
    ("3", "-2", ("3", True), ("-1", "200")),
    ("-3", "1", ("3", True), ("1", "100")),
    ("-3", "-3", None, None),
    ("1", "1.0000009", None, None),
    ("1.0000005", "0", ("1.0000005", True), None),
    ("1", "0.9999991", None, None),
]


@pytest.mark.parametrize(("held", "wanted", "reduced", "opened"), TARGET_POSITIONS)
def test_a_target_position_is_a_reduce_and_an_entry(
    held: str, wanted: str, reduced: tuple[str, bool] | None, opened: tuple[str, str] | None
) -> None:
    long = D(wanted) > 0
    intent = asking(
        Action.TARGET, target_quantity=D(wanted), leverage=5,
        stop_loss=D(95 if long else 105), take_profit=D(115 if long else 85),
    )  # fmt: skip
    verdict = check(make_trader("a") if held == "0" else holding(held), intent)
    assert not verdict.denials
    assert [(r.quantity, r.closes) for r in verdict.reduces] == ([(D(reduced[0]), reduced[1])] if reduced else [])
    assert [(D(e.direction), e.size_usd) for e in verdict.entries] == ([(D(opened[0]), D(opened[1]))] if opened else [])
    assert bool(verdict.done) is (reduced is None and opened is None)


def test_two_target_positions_do_not_add_up() -> None:
    stops: dict[str, Any] = {"leverage": 5, "stop_loss": D(95), "take_profit": D(115)}
    pair = [asking(Action.TARGET, number, target_quantity=D(2), **stops) for number in (0, 1)]
    verdict = check(make_trader("a"), *pair)
    assert [entry.size_usd for entry in verdict.entries] == [D(200)]
    assert verdict.done == ("a@0#1",)


def test_a_refused_target_position_still_reduces() -> None:
    view = make_view(holding("3"), trading_state=TradingState.HALTED)
    verdict = check_local(view, [asking(Action.TARGET, target_quantity=D(-2))])
    assert [reduce.quantity for reduce in verdict.reduces] == [D(3)]
    assert [denial.code for denial in verdict.denials] == ["HALTED"]


def adjusting(stop: str | None = None, take_profit: str | None = None) -> IntentRow:
    """Build a change of stop and take-profit."""
    return asking(
        Action.ADJUST_STOP, stop_loss=D(stop) if stop else None, take_profit=D(take_profit) if take_profit else None
    )  # fmt: skip


@pytest.mark.parametrize(
    ("stop", "take_profit", "code"),
    [
        ("96", None, None), ("94", None, None), (None, "120", None), ("96", "101", None),
        ("100", None, "STOP_LOSS_WRONG_SIDE"), (None, "100", "TAKE_PROFIT_WRONG_SIDE"),
        ("80", None, "STOP_BEYOND_LIQUIDATION"),
    ],
)  # fmt: skip
def test_a_stop_change_passes_the_stop_checks(stop: str | None, take_profit: str | None, code: str | None) -> None:
    verdict = check(holding("1", stop_loss=D(95)), adjusting(stop, take_profit))
    assert [denial.code for denial in verdict.denials] == ([code] if code else [])
    assert len(verdict.stops) == (0 if code else 1)


def test_tightening_is_always_allowed_and_widening_only_with_entries() -> None:
    trader = holding("1", stop_loss=D(95))
    view = replace(blocked_desk(trader), marks=make_marks({BTC: 100}))
    assert not check_local(view, [adjusting("96")]).denials
    assert [denial.code for denial in check_local(view, [adjusting("94")]).denials] == ["TRADING_DISABLED"]
    short = replace(trader, book=holding("-1", stop_loss=D(105)).book)
    view = make_view(short, trading_state=TradingState.REDUCING)
    assert not check_local(view, [adjusting("104")]).denials
    assert [denial.code for denial in check_local(view, [adjusting("106")]).denials] == ["REDUCING"]


def test_a_first_stop_may_be_set_whatever_the_state() -> None:
    view = make_view(holding("1"), trading_state=TradingState.HALTED)
    assert check_local(view, [adjusting("90")]).stops[0].stop_loss == D(90)


def test_a_stop_cannot_be_judged_without_a_mark() -> None:
    verdict = check(holding("1", stop_loss=D(95)), adjusting("96"), marks={})
    assert [denial.code for denial in verdict.denials] == ["MARKET_STALE"]


def test_a_stop_of_a_closed_position_is_no_position() -> None:
    verdict = check(holding("1"), adjusting("96"), asking(Action.CLOSE_LONG, 1))
    assert [denial.code for denial in verdict.denials] == ["NO_POSITION"]


def test_a_stop_change_without_prices_is_done() -> None:
    assert check(holding("1"), adjusting()).done == ("a@0#0",)
