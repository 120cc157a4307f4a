"""Each of the account's checks refuses or cuts on one side of its limit and lets through on the other."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

import pytest

from desk_factory import (
    BTC,
    ETH,
    SOL,
    make_book,
    make_candidate,
    make_marks,
    make_position,
    make_reduce,
    make_sized,
    make_trader,
    make_view,
)  # fmt: skip
from exchanges.types import Side
from manager.desk.plan.outcomes import Sizing
from manager.desk.plan.risk_manager import check_account
from manager.desk.plan.values import AccountRules, GlobalLimits, Reservation
from manager.desk.risk.registry import ACCOUNT_RULES
from traders.book import EXTERNAL
from traders.spec import TraderId

D = Decimal
RESERVED = Reservation(trader_id=TraderId("z"), symbol=ETH, quantity=D(10), notional=D(500), margin=D(100))


@dataclass(frozen=True, kw_only=True)
class Given:
    """Open 1 BTC at 100 (leverage 5, margin 20) on an account of 10,000 USD, changed in one part."""

    limits: Mapping[str, Any] = field(default_factory=dict)
    rules: Mapping[str, Any] = field(default_factory=dict)
    view: Mapping[str, Any] = field(default_factory=dict)
    entry: Mapping[str, Any] = field(default_factory=dict)
    held: tuple[Any, ...] = ()
    other: tuple[Any, ...] = ()
    external: tuple[Any, ...] = ()
    reduces: tuple[Any, ...] = ()
    quantity: str = "1"
    dust: frozenset[Any] = frozenset()

    def check(self) -> Sizing:
        """Check the entry."""
        rules = AccountRules(limits=GlobalLimits(**self.limits), **self.rules)
        view = make_view(
            make_trader("a", *self.held), make_trader("b", *self.other), rules=rules,
            external=make_book(EXTERNAL, *self.external, capital=0), **self.view,
        )  # fmt: skip
        entry = make_sized(make_candidate("a", **self.entry), self.quantity)
        return check_account(view, [entry], self.reduces, self.dust)


LOSS = make_position(ETH, 100, price="70.01")
EDGE = make_position(ETH, 100, price="70")
UNDER = (make_position(BTC, 1, price=110),)
ONE: Mapping[str, Any] = {"max_positions": 1}
TINY: Mapping[str, Any] = {"equity": D(100)}
RULES: list[tuple[str, Given, Given]] = [
    ("UNREALIZED_LOSS", Given(other=(LOSS,)), Given(other=(EDGE,))),
    ("UNREALIZED_LOSS", Given(external=(LOSS,)), Given(external=(EDGE,))),
    ("UNREALIZED_LOSS", Given(other=(LOSS,)), Given(other=(LOSS,), reduces=(make_reduce("b", 1, symbol=ETH),))),
    ("MAX_POSITIONS_GLOBAL", Given(limits=ONE, other=(make_position(ETH, 1),)), Given(limits=ONE)),
    (
        "MAX_POSITIONS_GLOBAL",
        Given(limits=ONE, other=(make_position(BTC, 1),)),
        Given(limits=ONE, held=(make_position(BTC, 1),)),
    ),
    (
        "MAX_POSITIONS_GLOBAL",
        Given(limits=ONE, view={"reservations": (RESERVED,)}),
        Given(limits=ONE, external=(make_position(ETH, 1),)),
    ),
    (
        "MAX_POSITIONS_GLOBAL",
        Given(limits=ONE, other=(make_position(ETH, 1),)),
        Given(limits=ONE, other=(make_position(ETH, 1),), dust=frozenset({("b", ETH)})),
    ),
    (
        "MAX_POSITIONS_GLOBAL",
        Given(limits=ONE, other=(make_position(ETH, 2),), reduces=(make_reduce("b", 1, symbol=ETH),)),
        Given(limits=ONE, other=(make_position(ETH, 1),), reduces=(make_reduce("b", 1, symbol=ETH),)),
    ),
    ("OPEN_ORDERS_LIMIT", Given(view={"open_orders": 200}), Given(view={"open_orders": 199})),
    (
        "OPEN_ORDERS_LIMIT",
        Given(view={"open_orders": 198}, entry={"stop_loss": D(95), "take_profit": D(115)}),
        Given(view={"open_orders": 197}, entry={"stop_loss": D(95), "take_profit": D(115)}),
    ),
    (
        "OPEN_ORDERS_LIMIT",
        Given(view={"open_orders": 199}, entry={"stop_loss": D(95)}),
        Given(view={"open_orders": 199}, entry={"stop_loss": D(95)}, held=(make_position(BTC, 1),)),
    ),
    ("BELOW_MIN_NOTIONAL", Given(quantity="0.0499"), Given(quantity="0.05")),
    (
        "SYMBOL_EXPOSURE",
        Given(view=TINY, other=(make_position(BTC, "0.46"),)),
        Given(view=TINY, other=(make_position(BTC, "0.45"),)),
    ),
    (
        "SYMBOL_EXPOSURE",
        Given(view=TINY, external=(make_position(BTC, "-0.51"),)),
        Given(view=TINY, external=(make_position(BTC, "-0.50"),)),
    ),
    (
        "SYMBOL_EXPOSURE",
        Given(view=TINY, external=(make_position(BTC, "-0.51"),), quantity="0.1"),
        Given(view=TINY, external=(make_position(BTC, "-0.50"),), quantity="0.1"),
    ),
    (
        "MARGIN_USAGE_GLOBAL",
        Given(limits={"max_margin_usage_pct": D("0.009")}),
        Given(limits={"max_margin_usage_pct": D("0.01")}),
    ),
    (
        "MARGIN_USAGE_GLOBAL",
        Given(limits={"max_margin_usage_pct": D("1.009")}, view={"reservations": (RESERVED,)}),
        Given(limits={"max_margin_usage_pct": D("1.01")}, view={"reservations": (RESERVED,)}),
    ),
    (
        "INSUFFICIENT_MARGIN",
        Given(view=TINY, other=(make_position(SOL, "49.6"),), limits={"max_margin_usage_pct": D(200)}),
        Given(view=TINY, other=(make_position(SOL, "49.5"),), limits={"max_margin_usage_pct": D(200)}),
    ),
    (
        "RISK_REWARD_TOO_LOW",
        Given(held=UNDER, entry={"stop_loss": D(99), "take_profit": D("122.9")}),
        Given(held=UNDER, entry={"stop_loss": D(99), "take_profit": D(123)}),
    ),
    (
        "STOP_BEYOND_LIQUIDATION",
        Given(held=UNDER, entry={"stop_loss": D("95.025"), "leverage": 10}),
        Given(held=UNDER, entry={"stop_loss": D("95.026"), "leverage": 10}),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("code", "refused", "passed"), RULES)
def test_a_rule_refuses_and_lets_through(code: str, refused: Given, passed: Given) -> None:
    denied = refused.check()
    assert [denial.code for denial in denied.denials] == [code]
    assert not denied.entries
    assert not denied.clamps
    assert denied.denials[0].numbers
    assert not passed.check().denials
    assert len(passed.check().entries) == 1


def test_every_desk_rule_is_in_the_table() -> None:
    assert {code for code, _, _ in RULES} == {rule.code for rule in ACCOUNT_RULES}


def test_an_entry_is_cut_to_what_the_symbol_may_carry() -> None:
    sizing = Given(other=(make_position(BTC, 40),), quantity="20").check()
    assert [(c.code, c.before, c.after) for c in sizing.clamps] == [("SYMBOL_EXPOSURE", D(2000), D(1000))]
    entry = sizing.entries[0]
    assert (entry.quantity, entry.notional, entry.margin) == (D(10), D(1000), D(200))


def test_opposite_books_bind_the_larger_side_only() -> None:
    limits = {"max_symbol_exposure_pct": D(10), "max_margin_usage_pct": D(2)}
    short = make_position(BTC, -10)
    assert not Given(limits=limits, other=(short,), quantity="10").check().clamps
    assert Given(limits=limits, other=(short,), quantity="11").check().clamps[0].after == D(1000)


def test_lower_leverage_binds_margin_for_the_whole_position() -> None:
    held = make_position(BTC, 8, leverage=10)
    given: dict[str, Any] = {"limits": {"max_margin_usage_pct": D(9)}, "held": (held,), "quantity": "2"}
    sizing = Given(**given, entry={"leverage": 1}).check()
    assert [(c.code, c.after) for c in sizing.clamps] == [("MARGIN_USAGE_GLOBAL", D(100))]
    assert not Given(**given, entry={"leverage": 10}).check().clamps


def test_higher_leverage_frees_no_margin_before_it_has_filled() -> None:
    rules = AccountRules(limits=GlobalLimits(max_margin_usage_pct=D("10.2")))
    view = make_view(make_trader("a", make_position(BTC, 10, leverage=1)), make_trader("b"), rules=rules)
    raised, other = make_candidate("a", leverage=10), make_candidate("b", symbol=ETH)
    sizing = check_account(view, [make_sized(raised, 1), make_sized(other, 4)], ())
    assert [entry.notional for entry in sizing.entries] == [D(100), D(100)]
    assert [clamp.code for clamp in sizing.clamps] == ["MARGIN_USAGE_GLOBAL"]


def test_limits_are_used_up_in_the_order_given() -> None:
    view = make_view(make_trader("a"), make_trader("b"), make_trader("c"))
    first, second, third = (make_sized(make_candidate(name), 30) for name in "abc")
    sizing = check_account(view, [first, second, third], ())
    assert [(e.candidate.trader_id, e.notional) for e in sizing.entries] == [("a", D(3000)), ("b", D(2000))]
    assert [(d.trader_id, d.code) for d in sizing.denials] == [("c", "SYMBOL_EXPOSURE")]
    turned = check_account(view, [third, second, first], ())
    assert [e.candidate.trader_id for e in turned.entries] == ["c", "b"]


def test_each_new_position_of_a_round_counts() -> None:
    rules = AccountRules(limits=GlobalLimits(max_positions=2))
    view = make_view(make_trader("a"), make_trader("b"), rules=rules)
    candidates = [make_candidate(name, symbol=symbol) for name, symbol in (("a", BTC), ("b", BTC), ("a", ETH))]
    sizing = check_account(view, [make_sized(one, 1) for one in candidates], ())
    assert len(sizing.entries) == 2
    assert [(d.symbol, d.code) for d in sizing.denials] == [(ETH, "MAX_POSITIONS_GLOBAL")]


def test_an_add_counts_what_it_adds_and_not_the_position_again() -> None:
    rules = AccountRules(limits=GlobalLimits(max_margin_usage_pct=D("2.2")))
    view = make_view(make_trader("a", make_position(BTC, 10, leverage=10)), make_trader("b"), rules=rules)
    first, second, third = make_candidate("a"), make_candidate("b", symbol=ETH), make_candidate("b", symbol=SOL)
    sizing = check_account(view, [make_sized(first, "0.5"), make_sized(second, "1"), make_sized(third, "3")], ())
    assert [entry.candidate for entry in sizing.entries] == [first, second]
    assert [(d.symbol, d.code) for d in sizing.denials] == [(SOL, "MARGIN_USAGE_GLOBAL")]


def test_a_book_is_taken_after_the_reduces_of_the_round() -> None:
    held = make_position(BTC, 50)
    closed = make_reduce("b", 30, Side.SELL)
    sizing = Given(other=(held,), reduces=(closed,), quantity="40").check()
    assert sizing.entries[0].notional == D(3000)


def test_no_entries_need_no_account() -> None:
    assert check_account(replace(make_view(), marks={}), [], ()) == Sizing()


def test_a_position_without_a_mark_counts_at_its_entry_price() -> None:
    view = {"marks": make_marks({BTC: 100})}
    assert Given(view=view, other=(make_position(ETH, 100, price=70),)).check().entries


def test_the_stop_of_an_add_is_judged_anew_when_the_account_cuts_it() -> None:
    """40 of 60 held, 20 asked, 10 left: (40 x 110 + 1000) / 50 = 108, dead at 97.74; with 20 it were 96.566."""
    given: dict[str, Any] = {"held": (make_position(BTC, 40, price=110),), "quantity": "20"}
    kept = Given(**given, entry={"stop_loss": D("97.75"), "leverage": 10}).check()
    assert [(entry.quantity, entry.candidate.leverage) for entry in kept.entries] == [(D(10), 10)]
    denied = Given(**given, entry={"stop_loss": D("97.73"), "leverage": 10}).check()
    assert [denial.code for denial in denied.denials] == ["STOP_BEYOND_LIQUIDATION"]


def test_a_stop_that_stands_is_judged_where_an_add_brings_none() -> None:
    for stop, passed in ((D("95.025"), 0), (D("95.026"), 1)):
        held = replace(make_position(BTC, 1, price=110), stop_loss=stop)
        assert len(Given(held=(held,), entry={"leverage": 10}).check().entries) == passed
