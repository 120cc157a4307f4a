"""Sizes when capital is enough and when it is short, with numbers one can check by hand."""

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from desk_factory import BTC, ETH, SOL, make_book, make_candidate, make_position, make_reduce, make_trader, make_view
from exchanges.types import Instrument
from manager.desk.plan.outcomes import Candidate, Sizing
from manager.desk.plan.resource_allocator import allocate, free_margin, margin_in_use
from manager.desk.plan.values import AccountView, ConflictStrategy, Reservation
from traders.book import EXTERNAL
from traders.spec import TraderId

IN_ORDER = (ConflictStrategy.FIRST_COME, ConflictStrategy.HIGHEST_CONFIDENCE)
SCALING = (ConflictStrategy.AGGREGATE, ConflictStrategy.PROPORTIONAL, ConflictStrategy.NET)


def notionals(result: Sizing) -> dict[str, Decimal]:
    return {entry.candidate.trader_id: entry.notional for entry in result.entries}


def poor_view(equity: int, strategy: ConflictStrategy) -> AccountView:
    return make_view(strategy=strategy, equity=Decimal(equity))


@pytest.mark.parametrize("strategy", ConflictStrategy)
def test_a_size_becomes_whole_lots_at_the_mark(strategy: ConflictStrategy) -> None:
    view = make_view(strategy=strategy, instruments={BTC: Instrument(symbol=BTC, lot=Decimal("0.3"))})
    entry = allocate(view, [make_candidate("a", 1, 250)], ()).entries[0]
    assert (entry.quantity, entry.notional, entry.margin) == (Decimal("2.4"), Decimal(240), Decimal(48))


@pytest.mark.parametrize("strategy", ConflictStrategy)
def test_what_is_too_small_for_the_venue_is_denied(strategy: ConflictStrategy) -> None:
    result = allocate(make_view(strategy=strategy), [make_candidate("a", 1, "4.99"), make_candidate("b", 1, 5)], ())
    assert notionals(result) == {"b": Decimal(5)}
    assert [(denial.trader_id, denial.code) for denial in result.denials] == [("a", "BELOW_MIN_NOTIONAL")]
    assert result.denials[0].numbers["min_notional"] == "5"


@pytest.mark.parametrize("strategy", IN_ORDER)
def test_capital_is_spent_in_order(strategy: ConflictStrategy) -> None:
    kept = [make_candidate("a", 1, 300), make_candidate("b", 1, 300), make_candidate("c", 1, 300, symbol=ETH)]
    result = allocate(poor_view(100, strategy), kept, ())
    assert notionals(result) == {"a": Decimal(300), "b": Decimal(200)}
    assert [(clamp.trader_id, clamp.before, clamp.after) for clamp in result.clamps] == [
        ("b", Decimal(300), Decimal(200))
    ]
    assert [(denial.trader_id, denial.code) for denial in result.denials] == [("c", "INSUFFICIENT_MARGIN")]
    assert [(conflict.type, conflict.severity, conflict.symbol) for conflict in result.conflicts] == [
        ("resource", "medium", BTC),
        ("resource", "medium", ETH),
    ]
    assert result.conflicts[0].outcome == (
        "100.00 USD of 180.00 USD margin free; kept a 300.00 USD; cut b from 300.00 to 200.00 USD"
    )


@pytest.mark.parametrize("strategy", IN_ORDER)
def test_thirds_of_the_margin_add_up(strategy: ConflictStrategy) -> None:
    kept = [make_candidate("a", 1, 200, leverage=3), make_candidate("b", 1, 300, leverage=3)]
    assert notionals(allocate(poor_view(100, strategy), kept, ())) == {"a": Decimal(200), "b": Decimal(100)}


@pytest.mark.parametrize("strategy", SCALING)
def test_all_are_scaled_by_available_over_needed(strategy: ConflictStrategy) -> None:
    kept = [make_candidate("a", 1, 300), make_candidate("b", 1, 600, leverage=10), make_candidate("c", 1, 24)]
    result = allocate(poor_view(24, strategy), kept, ())
    needed = Decimal(300) / 5 + Decimal(600) / 10 + Decimal(24) / 5
    assert needed == Decimal("124.8")
    assert {name: f"{value:.2f}" for name, value in notionals(result).items()} == {"a": "57.69", "b": "115.38"}
    assert [(denial.trader_id, denial.code) for denial in result.denials] == [("c", "INSUFFICIENT_MARGIN")]


@pytest.mark.parametrize("strategy", ConflictStrategy)
def test_without_free_margin_every_entry_is_denied(strategy: ConflictStrategy) -> None:
    view = poor_view(-10, strategy)
    result = allocate(view, [make_candidate("a", 1, 300), make_candidate("b", -1, 300)], ())
    assert not result.entries
    assert {denial.code for denial in result.denials} == {"INSUFFICIENT_MARGIN"}


def test_margin_counts_the_larger_side_of_each_symbol_and_external() -> None:
    view = make_view(
        make_trader("a", make_position(BTC, 10)),
        make_trader("b", make_position(BTC, -4), make_position(SOL, 7, leverage=2)),
        external=make_book(EXTERNAL, make_position(BTC, -3, leverage=1)),
    )
    long_btc, short_btc, long_sol = Decimal(200), Decimal(80) + Decimal(300), Decimal(35)
    assert margin_in_use(view) == max(long_btc, short_btc) + long_sol
    assert margin_in_use(view, [make_reduce("b", 7, symbol=SOL)]) == short_btc


def test_reservations_are_not_free() -> None:
    held = Reservation(
        trader_id=TraderId("a"), symbol=BTC, quantity=Decimal(1), notional=Decimal(100), margin=Decimal(20)
    )
    view = make_view(make_trader("a", make_position(BTC, 1)), reservations=(held,), equity=Decimal(100))
    assert free_margin(view, ()) == 60
    assert free_margin(view, [make_reduce("a", 1)]) == 80


@st.composite
def crowds(draw: st.DrawFn) -> list[Candidate]:
    size = st.decimals(min_value=1, max_value=3000, places=3)
    found = []
    for name in draw(st.lists(st.sampled_from("abcdef"), unique=True, min_size=1)):
        symbol = draw(st.sampled_from([BTC, ETH, SOL]))
        found.append(make_candidate(name, 1, draw(size), symbol=symbol, leverage=draw(st.integers(1, 10))))
    return found


@given(
    kept=crowds(),
    equity=st.decimals(min_value=-10, max_value=2000, places=4),
    strategy=st.sampled_from(ConflictStrategy),
    held=st.integers(-20, 20),
)
def test_margin_never_exceeds_what_is_free(
    kept: list[Candidate], equity: Decimal, strategy: ConflictStrategy, held: int
) -> None:
    traders = [make_trader("holder", make_position(ETH, held))] if held else []
    view = make_view(*traders, strategy=strategy, equity=equity)
    result = allocate(view, kept, ())
    used = sum((entry.margin for entry in result.entries), Decimal(0))
    assert used <= max(free_margin(view, ()), Decimal(0))
    done = [entry.candidate.intent.intent_id for entry in result.entries] + [d.intent_id for d in result.denials]
    assert sorted(done) == sorted(entry.intent.intent_id for entry in kept)
    asked = {entry.intent.intent_id: entry.size_usd for entry in kept}
    assert all(entry.notional <= asked[entry.candidate.intent.intent_id] for entry in result.entries)
    assert all(entry.notional >= 5 for entry in result.entries)


@given(kept=crowds(), equity=st.integers(1, 500), data=st.data())
def test_scaling_does_not_depend_on_the_order_of_the_input(
    kept: list[Candidate], equity: int, data: st.DataObject
) -> None:
    view = poor_view(equity, ConflictStrategy.PROPORTIONAL)
    shuffled = data.draw(st.permutations(kept))
    one, other = allocate(view, kept, ()), allocate(view, shuffled, ())
    assert notionals(one) == notionals(other)
    assert sorted(one.denials, key=lambda d: d.intent_id) == sorted(other.denials, key=lambda d: d.intent_id)


def test_the_sized_entry_carries_the_cut_size() -> None:
    result = allocate(poor_view(10, ConflictStrategy.FIRST_COME), [make_candidate("a", 1, 80)], ())
    assert result.entries[0].candidate == replace(make_candidate("a", 1, 80), size_usd=Decimal(50))
