"""Each of a trader's own checks refuses on one side of its limit and lets through on the other."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from desk_factory import AT, BTC, ETH, SOL, make_book, make_intent, make_marks, make_position, make_trader, make_view
from exchanges.types import Instrument
from executor.contract import Action, Decision
from manager.desk.plan.outcomes import LocalVerdict
from manager.desk.plan.risk_manager import check_local
from manager.desk.plan.values import AccountRules, Mark, Reservation
from manager.desk.risk.registry import LOCAL_RULES
from manager.state.records import PositionKey, TraderState, TradingState
from traders.book import EXTERNAL
from traders.spec import TraderId

D = Decimal
SECOND = timedelta(seconds=1)
OPEN = Decision(
    symbol=BTC, action=Action.OPEN_LONG, leverage=5, position_size_usd=D(100),
    stop_loss=D(95), take_profit=D(115), confidence=D(80),
)  # fmt: skip
SHORT: Mapping[str, Any] = {"action": Action.OPEN_SHORT, "stop_loss": D(105), "take_profit": D(85)}
RAISED: dict[str, Any] = {"leverage": 10, "take_profit": D(200)}


@dataclass(frozen=True, kw_only=True)
class Given:
    """Change one part of a scene in which the open of 100 USD of BTC at 100 passes."""

    decision: Mapping[str, Any] = field(default_factory=dict)
    intent: Mapping[str, Any] = field(default_factory=dict)
    limits: Mapping[str, Any] = field(default_factory=dict)
    trader: Mapping[str, Any] = field(default_factory=dict)
    view: Mapping[str, Any] = field(default_factory=dict)
    held: tuple[Any, ...] = ()
    symbols: tuple[Any, ...] = (BTC, ETH, SOL)
    other: tuple[Any, ...] = ()

    def check(self) -> LocalVerdict:
        """Check the scene's open."""
        trader = make_trader("a", *self.held, **self.trader)
        limits = replace(trader.spec.limits, **self.limits)
        trader = replace(trader, spec=replace(trader.spec, limits=limits, symbols=self.symbols))
        view = make_view(trader, make_trader("b", *self.other), **self.view)
        return check_local(view, [make_intent("a", replace(OPEN, **self.decision), **self.intent)])


def marked(**changes: Any) -> dict[str, Any]:
    """Give BTC's mark another age or price."""
    mark = replace(Mark(price=D(100), interval_s=60), **changes)
    return {"marks": {**make_marks({ETH: 50, SOL: 10}), BTC: mark}}


def listed(**changes: Any) -> dict[str, Any]:
    """Give BTC another instrument."""
    return {"instruments": {BTC: Instrument(symbol=BTC, **changes)}}


def external(quantity: int) -> dict[str, Any]:
    """Give the account an external position in BTC."""
    return {"external": make_book(EXTERNAL, make_position(BTC, quantity))}


def reserved(symbol: Any) -> dict[str, Any]:
    """Leave an entry of trader a without a known outcome."""
    return {
        "reservations": (
            Reservation(trader_id=TraderId("a"), symbol=symbol, quantity=D(1), notional=D(100), margin=D(20)),
        )
    }


REPLAY = AccountRules(data_age_intervals=2)
RULES: list[tuple[str, Given, Given]] = [
    ("TRADING_DISABLED", Given(view={"rules": AccountRules(trading_enabled=False)}), Given()),
    ("HALTED", Given(view={"trading_state": TradingState.HALTED}), Given()),
    ("HALTED", Given(trader={"trading_state": TradingState.HALTED}), Given()),
    ("REDUCING", Given(view={"trading_state": TradingState.REDUCING}), Given()),
    ("REDUCING", Given(trader={"trading_state": TradingState.REDUCING}), Given()),
    ("BEING_CLOSED", Given(view={"flattening": frozenset({"a"})}), Given(view={"flattening": frozenset({"b"})})),
    (
        "BEING_CLOSED",
        Given(view={"closing": frozenset({PositionKey(TraderId("a"), BTC)})}),
        Given(view={"closing": frozenset({PositionKey(TraderId("a"), ETH), PositionKey(TraderId("b"), BTC)})}),
    ),
    ("TRADER_ISOLATED", Given(trader={"state": TraderState.ISOLATED}), Given()),
    ("TRADER_NOT_RUNNING", Given(trader={"state": TraderState.PAUSED}), Given()),
    ("TRADER_NOT_RUNNING", Given(trader={"state": TraderState.STOPPED}), Given()),
    ("TRADER_NOT_RUNNING", Given(trader={"state": TraderState.ERROR}), Given()),
    ("SAFE_MODE", Given(trader={"failed_decisions": 3}), Given(trader={"failed_decisions": 2})),
    ("MAX_DRAWDOWN", Given(trader={"drawdown_pct": D("20.01")}), Given(trader={"drawdown_pct": D(20)})),
    (
        "COOLDOWN",
        Given(trader={"last_stop_at": AT - 899 * SECOND}),
        Given(trader={"last_stop_at": AT - 900 * SECOND}),
    ),
    (
        "ENTRY_RATE",
        Given(trader={"recent_entries": (AT - 3599 * SECOND, AT - SECOND, AT)}),
        Given(trader={"recent_entries": (AT - 3600 * SECOND, AT - SECOND, AT)}),
    ),
    ("ENTRY_RATE", Given(trader={"recent_entries": (AT,) * 3}), Given(trader={"recent_entries": (AT,) * 2})),
    (
        "ENTRY_RATE",
        Given(trader={"recent_entries": (AT,), "reserved_entries": 2}),
        Given(trader={"recent_entries": (AT,), "reserved_entries": 1}),
    ),
    ("INTENT_STALE", Given(intent={"expires_at": AT}), Given(intent={"expires_at": AT + SECOND})),
    ("ACCOUNT_STALE", Given(view={"truth_at": AT - SECOND}), Given(view={"truth_at": AT + SECOND})),
    ("ACCOUNT_STALE", Given(view={"truth_at": None}), Given()),
    ("SYMBOL_NOT_ALLOWED", Given(symbols=(ETH,)), Given(symbols=(BTC,))),
    ("INSTRUMENT_HALTED", Given(view=listed(tradable=False)), Given(view=listed())),
    ("INSTRUMENT_HALTED", Given(view={"instruments": {}}), Given()),
    ("MARKET_STALE", Given(view=marked(age_s=15.1)), Given(view=marked(age_s=15.0))),
    (
        "MARKET_STALE",
        Given(view={"rules": REPLAY, **marked(age_s=121.0)}),
        Given(view={"rules": REPLAY, **marked(age_s=120.0)}),
    ),
    ("MARKET_STALE", Given(view={"marks": {}}), Given()),
    ("SYMBOL_UNRESOLVED", Given(view={"unresolved": frozenset({BTC})}), Given(view={"unresolved": frozenset({ETH})})),
    (
        "SYMBOL_UNRESOLVED",
        Given(view=external(1), other=(make_position(BTC, -1),)),
        Given(view=external(1), other=(make_position(BTC, 1),)),
    ),
    ("SYMBOL_UNRESOLVED", Given(view=external(-1)), Given(view=external(-1), decision=SHORT)),
    ("ENTRY_PRICE_MOVED", Given(decision={"max_entry_price": D(99)}), Given(decision={"max_entry_price": D(100)})),
    ("ENTRY_PRICE_MOVED", Given(decision={"min_entry_price": D(101)}), Given(decision={"min_entry_price": D(100)})),
    (
        "ENTRY_PRICE_MOVED",
        Given(decision={"max_entry_price": D("101.9")}, view=listed(tick=D(3))),
        Given(decision={"max_entry_price": D(102)}, view=listed(tick=D(3))),
    ),
    (
        "ENTRY_PRICE_MOVED",
        Given(decision={"min_entry_price": D("99.1")}, view=listed(tick=D(3))),
        Given(decision={"min_entry_price": D(99)}, view=listed(tick=D(3))),
    ),
    ("OPPOSITE_OWN_POSITION", Given(held=(make_position(BTC, -1),)), Given(held=(make_position(BTC, 1),))),
    (
        "MAX_POSITIONS_TRADER",
        Given(limits={"max_positions": 1}, held=(make_position(ETH, 1),)),
        Given(limits={"max_positions": 1}, held=(make_position(BTC, 1),)),
    ),
    (
        "MAX_POSITIONS_TRADER",
        Given(limits={"max_positions": 1}, view=reserved(ETH)),
        Given(limits={"max_positions": 1}, view=reserved(BTC)),
    ),
    ("CONFIDENCE_TOO_LOW", Given(decision={"confidence": D("74.9")}), Given(decision={"confidence": D(75)})),
    ("STOP_LOSS_MISSING", Given(decision={"stop_loss": None}), Given(limits={"stop_loss_enabled": False})),
    (
        "STOP_LOSS_MISSING",
        Given(decision={"stop_loss": None}, held=(make_position(BTC, 1),)),
        Given(decision={"stop_loss": None}, held=(replace(make_position(BTC, 1), stop_loss=D(96)),)),
    ),
    (
        "TAKE_PROFIT_MISSING",
        Given(decision={"take_profit": None}),
        Given(decision={"take_profit": None}, limits={"take_profit_enabled": False}),
    ),
    ("STOP_LOSS_WRONG_SIDE", Given(decision={"stop_loss": D(100)}), Given(decision={"stop_loss": D("99.9")})),
    ("STOP_LOSS_WRONG_SIDE", Given(decision={**SHORT, "stop_loss": D(100)}), Given(decision=SHORT)),
    (
        "STOP_LOSS_WRONG_SIDE",
        Given(decision={"stop_loss": D("99.1")}, view=listed(tick=D(3))),
        Given(decision={"stop_loss": D(99)}, view=listed(tick=D(3))),
    ),
    (
        "STOP_LOSS_WRONG_SIDE",
        Given(decision={**SHORT, "stop_loss": D("101.9")}, view=listed(tick=D(3))),
        Given(decision={**SHORT, "stop_loss": D(102)}, view=listed(tick=D(3))),
    ),
    ("STOP_LOSS_WRONG_SIDE", Given(decision={"stop_loss": D("99.5")}, view=listed(tick=D(100))), Given()),
    (
        "TAKE_PROFIT_WRONG_SIDE",
        Given(decision={"take_profit": D("101.9")}, view=listed(tick=D(3)), limits={"min_risk_reward_ratio": D(0)}),
        Given(decision={"take_profit": D(102)}, view=listed(tick=D(3)), limits={"min_risk_reward_ratio": D(0)}),
    ),
    (
        "TAKE_PROFIT_WRONG_SIDE",
        Given(decision={"take_profit": D(100)}, limits={"min_risk_reward_ratio": D(0)}),
        Given(decision={"take_profit": D("100.1")}, limits={"min_risk_reward_ratio": D(0)}),
    ),
    ("TAKE_PROFIT_WRONG_SIDE", Given(decision={**SHORT, "take_profit": D(115)}), Given(decision=SHORT)),
    ("RISK_REWARD_TOO_LOW", Given(decision={"take_profit": D("114.99")}), Given(decision={"take_profit": D(115)})),
    ("RISK_REWARD_TOO_LOW", Given(decision={**SHORT, "take_profit": D("85.01")}), Given(decision=SHORT)),
    (
        "RISK_REWARD_TOO_LOW",
        Given(decision={"take_profit": D("113.9")}, view=listed(tick=D(3))),
        Given(decision={"take_profit": D(114)}, view=listed(tick=D(3))),
    ),
    (
        "RISK_REWARD_TOO_LOW",
        Given(decision={"stop_loss": D(99), "take_profit": D("122.9")}, held=(make_position(BTC, 1, price=110),)),
        Given(decision={"stop_loss": D(99), "take_profit": D(123)}, held=(make_position(BTC, 1, price=110),)),
    ),
    (
        "RISK_REWARD_TOO_LOW",
        Given(decision={"stop_loss": D(94), "take_profit": D(101)}),
        Given(decision={"stop_loss": D(94), "take_profit": D(101)}, held=(make_position(BTC, 1, price=90),)),
    ),
    (
        "STOP_BEYOND_LIQUIDATION",
        Given(decision=RAISED | {"stop_loss": D("95.025")}, held=(make_position(BTC, 1, price=110),)),
        Given(decision=RAISED | {"stop_loss": D("95.026")}, held=(make_position(BTC, 1, price=110),)),
    ),
    (
        "STOP_BEYOND_LIQUIDATION",
        Given(decision=RAISED | {"stop_loss": None}, held=(replace(make_position(BTC, 1), stop_loss=D("90.5")),)),
        Given(decision=RAISED | {"stop_loss": None}, held=(replace(make_position(BTC, 1), stop_loss=D("90.6")),)),
    ),
    (
        "STOP_BEYOND_LIQUIDATION",
        Given(decision={"stop_loss": D("80.5"), "take_profit": D(200)}),
        Given(decision={"stop_loss": D("80.6"), "take_profit": D(200)}),
    ),
    (
        "STOP_BEYOND_LIQUIDATION",
        Given(decision={**SHORT, "stop_loss": D("119.5"), "take_profit": D(1)}),
        Given(decision={**SHORT, "stop_loss": D("119.4"), "take_profit": D(1)}),
    ),
    (
        "STOP_BEYOND_LIQUIDATION",
        Given(view={"liquidation_prices": {BTC: D(96)}}),
        Given(view={"liquidation_prices": {BTC: D(110)}}),
    ),
    (
        "BELOW_MIN_NOTIONAL",
        Given(decision={"position_size_usd": D("4.99")}),
        Given(decision={"position_size_usd": D(5)}),
    ),
    ("BELOW_MIN_NOTIONAL", Given(view=listed(lot=D(2), min_notional=D(0))), Given(view=listed(lot=D(1)))),
    ("BELOW_MIN_NOTIONAL", Given(decision={"position_size_usd": None}), Given()),
    (
        "MAX_POSITION_SIZE",
        Given(limits={"max_position_size_usd": D(100)}, held=(make_position(BTC, "0.96"),)),
        Given(limits={"max_position_size_usd": D(100)}, held=(make_position(BTC, "0.95"),)),
    ),
    (
        "POSITION_EXPOSURE",
        Given(limits={"max_single_position_exposure_pct": D(10)}, held=(make_position(BTC, "0.96"),)),
        Given(limits={"max_single_position_exposure_pct": D(10)}, held=(make_position(BTC, "0.95"),)),
    ),
    (
        "MARGIN_USAGE_TRADER",
        Given(limits={"max_margin_usage_pct": D("0.09")}),
        Given(limits={"max_margin_usage_pct": D("0.1")}),
    ),
    ("ALLOCATION_EXCEEDED", Given(trader={"allocated": D("0.9")}), Given(trader={"allocated": D(1)})),
    (
        "ALLOCATION_EXCEEDED",
        Given(trader={"allocated": D(300), "reserved_margin": D("299.1")}),
        Given(trader={"allocated": D(300), "reserved_margin": D(299)}),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("code", "refused", "passed"), RULES)
def test_a_rule_refuses_and_lets_through(code: str, refused: Given, passed: Given) -> None:
    denied = refused.check()
    assert [denial.code for denial in denied.denials] == [code]
    assert not denied.entries
    assert not denied.clamps
    assert denied.denials[0].detail
    assert not passed.check().denials
    assert len(passed.check().entries) == 1


def test_every_local_rule_is_in_the_table() -> None:
    clamps_only = {"LEVERAGE"}
    assert {code for code, _, _ in RULES} == {rule.code for rule in LOCAL_RULES} - clamps_only


def test_a_denial_carries_the_numbers_that_decided() -> None:
    denial = Given(decision={"confidence": D("74.90")}).check().denials[0]
    assert denial.numbers == {"confidence": "74.9", "limit": "75"}


def test_a_drawdown_is_told_with_its_limit() -> None:
    denial = Given(trader={"drawdown_pct": D("20.01")}).check().denials[0]
    assert denial.detail == "drawdown of 20.01 % is above the trader's limit of 20 %"
    assert denial.numbers == {"drawdown_pct": "20.01", "limit_pct": "20"}


def test_a_missing_confidence_passes_the_minimum() -> None:
    assert Given(decision={"confidence": None}).check().entries


def test_leverage_above_the_cap_is_lowered_to_it() -> None:
    verdict = Given(decision={"leverage": 20, "stop_loss": D(99)}).check()
    assert [(c.code, c.before, c.after) for c in verdict.clamps] == [("LEVERAGE", D(20), D(10))]
    assert verdict.entries[0].leverage == 10
    venue = Given(decision={"leverage": 20, "stop_loss": D(99)}, view=listed(max_leverage=3)).check()
    assert venue.entries[0].leverage == 3


def test_the_stop_is_checked_at_the_lowered_leverage() -> None:
    deep = {"leverage": 50, "stop_loss": D(95), "take_profit": D(200)}
    assert Given(decision=deep).check().entries


def test_an_altcoin_has_its_own_leverage_cap() -> None:
    alt = {"symbol": SOL, "leverage": 8, "stop_loss": D("9.5"), "take_profit": D("11.5")}
    assert Given(decision=alt).check().entries[0].leverage == 5


def test_a_position_is_cut_to_its_cap_with_what_is_held() -> None:
    verdict = Given(decision={"position_size_usd": D(500)}, held=(make_position(BTC, 8),)).check()
    assert verdict.entries[0].size_usd == D(200)
    assert [(c.code, c.before, c.after) for c in verdict.clamps] == [("MAX_POSITION_SIZE", D(500), D(200))]


def test_margin_counts_the_whole_position_at_its_new_leverage() -> None:
    held = make_position(BTC, 4, leverage=10)
    low: dict[str, Any] = {"decision": {"position_size_usd": D(300), "leverage": 1}, "held": (held,)}
    assert Given(**low).check().entries[0].size_usd == D(200)
    assert Given(**low, trader={"allocated": D(401)}).check().denials[0].code == "ALLOCATION_EXCEEDED"


def test_a_trader_over_its_allocation_gets_none() -> None:
    verdict = Given(held=(make_position(ETH, 20),), trader={"allocated": D(150)}).check()
    assert [denial.code for denial in verdict.denials] == ["ALLOCATION_EXCEEDED"]


def test_a_position_without_a_mark_is_valued_at_its_entry() -> None:
    verdict = Given(held=(make_position(ETH, 2, price=70),), view={"marks": make_marks({BTC: 100})}).check()
    assert verdict.entries


def test_dust_does_not_count_as_a_position() -> None:
    trader = make_trader("a", make_position(ETH, "0.01"))
    limits = replace(trader.spec.limits, max_positions=1)
    view = make_view(replace(trader, spec=replace(trader.spec, limits=limits)))
    intents = [make_intent("a", OPEN)]
    assert check_local(view, intents).denials[0].code == "MAX_POSITIONS_TRADER"
    assert check_local(view, intents, frozenset({PositionKey(TraderId("a"), ETH)})).entries


def test_an_add_to_dust_counts_as_a_new_position() -> None:
    trader = make_trader("a", make_position(ETH, 1), make_position(BTC, "0.01"))
    limits = replace(trader.spec.limits, max_positions=1)
    view = make_view(replace(trader, spec=replace(trader.spec, limits=limits)))
    intents = [make_intent("a", OPEN)]
    assert check_local(view, intents).entries
    dust = frozenset({PositionKey(TraderId("a"), BTC)})
    assert [denial.code for denial in check_local(view, intents, dust).denials] == ["MAX_POSITIONS_TRADER"]


ADD = {"leverage": 10, "position_size_usd": D(900), "take_profit": D(200)}


def test_the_stop_of_an_add_is_judged_at_the_size_that_is_left() -> None:
    """9 held at 110, 900 USD more are cut to 1: average 109, dead at 98.645; with all nine it were 95.025."""
    held = (make_position(BTC, 9, price=110),)
    denied = Given(decision=ADD | {"stop_loss": D("98.6")}, held=held).check()
    assert [denial.code for denial in denied.denials] == ["STOP_BEYOND_LIQUIDATION"]
    assert Given(decision=ADD | {"stop_loss": D("98.7")}, held=held).check().entries[0].size_usd == D(100)


def test_an_add_that_is_cut_may_keep_a_stop_that_all_of_it_could_not() -> None:
    """9 held at 90: average 91 with what is left, dead at 82.355; with all nine 95, dead at 85.975."""
    held = (make_position(BTC, 9, price=90),)
    assert Given(decision=ADD | {"stop_loss": D(83)}, held=held).check().entries[0].size_usd == D(100)
    denied = Given(decision=ADD | {"stop_loss": D(82)}, held=held).check()
    assert [denial.code for denial in denied.denials] == ["STOP_BEYOND_LIQUIDATION"]


def test_an_add_counts_with_what_this_round_opens_and_closes() -> None:
    """Half of 2 at 110 goes first and 1 is opened at 100: the second add makes 3 at 310 / 3, dead at 93.51666."""
    close = make_intent("a", Decision(symbol=BTC, action=Action.CLOSE_LONG, fraction=D("0.5")), intent_id="a@0#0")
    first = make_intent("a", replace(OPEN, take_profit=D(200)), intent_id="a@0#1", n=1)
    for stop, kept in ((D("93.51"), 1), (D("93.52"), 2)):
        second = make_intent("a", replace(OPEN, **RAISED, stop_loss=stop), intent_id="a@0#2", n=2)
        verdict = check_local(make_view(make_trader("a", make_position(BTC, 2, price=110))), [close, first, second])
        assert (len(verdict.entries), len(verdict.denials)) == (kept, 2 - kept)


def test_a_whole_lot_counts_not_what_was_asked_for() -> None:
    """Of 160 USD one lot of 100 is bought, so that a second one fits under 200."""
    view = make_view(make_trader("a"), instruments={BTC: Instrument(symbol=BTC, lot=D(1))})
    limits = replace(view.traders[TraderId("a")].spec.limits, max_position_size_usd=D(200))
    trader = replace(make_trader("a"), spec=replace(make_trader("a").spec, limits=limits))
    opens = [make_intent("a", replace(OPEN, position_size_usd=D(160)), intent_id=f"a@0#{n}", n=n) for n in (0, 1)]
    verdict = check_local(replace(view, traders={TraderId("a"): trader}), opens)
    assert [entry.size_usd for entry in verdict.entries] == [D(160), D(100)]


def test_a_stop_is_moved_only_to_where_it_rests_before_the_mark() -> None:
    held = replace(make_position(BTC, 1), stop_loss=D("94.5"))
    view = make_view(make_trader("a", held, trading_state=TradingState.REDUCING), **listed(tick=D(3)))
    for stop, code in ((D("97.1"), None), (D("99.1"), "STOP_LOSS_WRONG_SIDE"), (D("93.1"), None), (D(93), "REDUCING")):
        moved = make_intent("a", Decision(symbol=BTC, action=Action.ADJUST_STOP, stop_loss=stop))
        verdict = check_local(view, [moved])
        assert [denial.code for denial in verdict.denials] == ([code] if code else []), stop
        assert [change.stop_loss for change in verdict.stops] == ([] if code else [stop])


def test_no_reward_is_asked_for_where_the_minimum_is_zero() -> None:
    """An add under water whose take-profit is below the average entry only loses less."""
    given: dict[str, Any] = {"decision": {"stop_loss": D(97), "take_profit": D(102)}}
    held = (make_position(BTC, 1, price=110),)
    assert Given(**given, held=held, limits={"min_risk_reward_ratio": D(0)}).check().entries
    denied = Given(**given, held=held, limits={"min_risk_reward_ratio": D("0.001")}).check()
    assert [denial.code for denial in denied.denials] == ["RISK_REWARD_TOO_LOW"]
