"""The table of docs/rules.md 4, row by row, with its own numbers."""

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

import pytest

from desk_factory import BTC, ETH, make_candidate, make_position, make_reduce, make_trader, make_view
from exchanges.types import Side
from manager.desk.plan.conflict_resolver import STRATEGIES, resolve, strategy_of
from manager.desk.plan.outcomes import Candidate, Resolution
from manager.desk.plan.values import ConflictStrategy, Reservation
from manager.state.records import IntentId
from traders.spec import TraderId

FIRST_COME = ConflictStrategy.FIRST_COME
HIGHEST = ConflictStrategy.HIGHEST_CONFIDENCE
AGGREGATE = ConflictStrategy.AGGREGATE
PROPORTIONAL = ConflictStrategy.PROPORTIONAL
NET = ConflictStrategy.NET
MERGING = (HIGHEST, AGGREGATE, PROPORTIONAL, NET)


def decide(strategy: ConflictStrategy, *entries: Candidate) -> Resolution:
    return resolve(make_view(strategy=strategy), entries, ())


def kept(result: Resolution) -> list[tuple[str, Decimal]]:
    return [(candidate.trader_id, candidate.size_usd) for candidate in result.kept]


def denied(result: Resolution) -> set[tuple[str, str]]:
    return {(denial.trader_id, denial.code) for denial in result.denials}


def types(result: Resolution) -> list[tuple[str, str]]:
    return [(conflict.type, conflict.severity) for conflict in result.conflicts]


@pytest.mark.parametrize("strategy", ConflictStrategy)
def test_a_lone_entry_stands_without_conflict(strategy: ConflictStrategy) -> None:
    result = decide(strategy, make_candidate("a", 1, 300))
    assert kept(result) == [("a", Decimal(300))]
    assert not result.denials
    assert not result.conflicts


@pytest.mark.parametrize("strategy", ConflictStrategy)
def test_entries_on_different_symbols_do_not_meet(strategy: ConflictStrategy) -> None:
    result = decide(strategy, make_candidate("a", 1), make_candidate("b", -1, symbol=ETH))
    assert {trader for trader, _ in kept(result)} == {"a", "b"}
    assert not result.conflicts


def test_first_come_keeps_the_earliest_side_and_only_the_earliest() -> None:
    result = decide(
        FIRST_COME,
        make_candidate("late", 1, confidence=99, after_s=5),
        make_candidate("short", -1, confidence=95, after_s=1),
        make_candidate("early", 1, confidence=75),
    )
    assert kept(result) == [("early", Decimal(100))]
    assert denied(result) == {("short", "DIRECTION"), ("late", "DUPLICATE")}
    assert types(result) == [("direction", "high"), ("duplicate", "low")]
    assert result.conflicts[0].outcome == "kept early, late (long); denied short"
    assert result.conflicts[1].outcome == "kept early; denied late"


def test_first_come_breaks_a_tie_by_trader_id() -> None:
    assert kept(decide(FIRST_COME, make_candidate("b", 1), make_candidate("a", -1))) == [("a", Decimal(100))]


@pytest.mark.parametrize("strategy", [HIGHEST, PROPORTIONAL])
def test_the_side_of_the_most_confident_stays_and_merges(strategy: ConflictStrategy) -> None:
    result = decide(
        strategy,
        make_candidate("long", 1, confidence=80),
        make_candidate("sure", -1, confidence=90, after_s=9),
        make_candidate("meek", -1, confidence=None),
    )
    assert kept(result) == [("sure", Decimal(100)), ("meek", Decimal(100))]
    assert denied(result) == {("long", "DIRECTION")}
    assert types(result) == [("direction", "high"), ("duplicate", "low")]
    assert result.conflicts[0].traders == ("sure", "long", "meek")
    assert result.conflicts[0].confidences == (Decimal(90), Decimal(80), None)
    assert result.conflicts[1].outcome == "kept sure, meek, merged into one order"


def test_equal_confidence_falls_back_on_time_then_trader_id() -> None:
    entries = [make_candidate("c", 1, after_s=1), make_candidate("b", -1), make_candidate("a", 1, after_s=1)]
    assert [trader for trader, _ in kept(decide(HIGHEST, *entries))] == ["b"]
    assert [trader for trader, _ in kept(decide(NET, *entries))] == ["b", "a", "c"]


def test_opens_of_one_trader_keep_the_order_of_its_batch() -> None:
    first = make_candidate("a", 1, 100)
    batch = [replace(first, intent=replace(first.intent, intent_id=IntentId(f"a@0#{n}"), n=n)) for n in (10, 2, 1)]
    for strategy in ConflictStrategy:
        result = decide(strategy, *batch)
        assert [candidate.intent.intent_id for candidate in result.kept] == ["a@0#1", "a@0#2", "a@0#10"]
        assert not result.conflicts


def test_aggregate_cancels_equal_notional_pro_rata() -> None:
    result = decide(
        AGGREGATE,
        make_candidate("a", 1, 750, confidence=90),
        make_candidate("b", 1, 250),
        make_candidate("c", -1, 600, confidence=95),
    )
    assert kept(result) == [("a", Decimal(300)), ("b", Decimal(100))]
    assert denied(result) == {("c", "DIRECTION")}
    assert result.conflicts[0].outcome == (
        "cancelled 600 USD of each side; kept a 300.00000000 USD, b 100.00000000 USD; denied c"
    )


def test_aggregate_denies_both_sides_when_they_are_equal() -> None:
    result = decide(AGGREGATE, make_candidate("a", 1, 500), make_candidate("b", -1, 500))
    assert kept(result) == []
    assert denied(result) == {("a", "DIRECTION"), ("b", "DIRECTION")}


def test_aggregate_rounds_what_is_left_down() -> None:
    entries = [make_candidate("a", 1, 100), make_candidate("b", 1, 200), make_candidate("c", -1, 100)]
    sizes = dict(kept(decide(AGGREGATE, *entries)))
    assert sizes == {"a": Decimal("66.66666666"), "b": Decimal("133.33333333")}


def test_net_lets_all_stand_in_their_books() -> None:
    result = decide(NET, make_candidate("a", 1, 1000), make_candidate("b", -1, 600, confidence=90))
    assert kept(result) == [("b", Decimal(600)), ("a", Decimal(1000))]
    assert not result.denials
    assert types(result) == [("direction", "high")]
    assert result.conflicts[0].outcome == "kept b (short) and a (long), each in its own book"


@pytest.mark.parametrize("strategy", [FIRST_COME, HIGHEST, AGGREGATE, PROPORTIONAL])
def test_an_open_against_a_standing_position_is_denied(strategy: ConflictStrategy) -> None:
    view = make_view(make_trader("holder", make_position(BTC, 1)), strategy=strategy)
    result = resolve(view, [make_candidate("b", -1, confidence=99)], ())
    assert denied(result) == {("b", "DIRECTION")}
    assert result.conflicts[0].traders == ("b", "holder")
    assert result.conflicts[0].confidences == (Decimal(99), None)
    assert result.conflicts[0].outcome == "kept the standing long that holder holds; denied b"


def test_several_holders_hold_and_one_holds() -> None:
    one, two = (make_trader(name, make_position(BTC, -1)) for name in ("one", "two"))
    several = resolve(make_view(one, two), [make_candidate("b", 1)], ())
    assert several.denials[0].detail == "long of b denied: one, two hold a short"
    assert several.conflicts[0].outcome == "kept the standing short that one, two hold; denied b"
    single = resolve(make_view(one), [make_candidate("b", 1)], ())
    assert single.denials[0].detail == "long of b denied: one holds a short"


def test_net_ignores_standing_positions() -> None:
    view = make_view(make_trader("holder", make_position(BTC, 1)), strategy=NET)
    assert len(resolve(view, [make_candidate("b", -1)], ()).kept) == 1


def test_a_position_that_is_closed_in_this_round_does_not_stand() -> None:
    view = make_view(make_trader("holder", make_position(BTC, 1)))
    assert len(resolve(view, [make_candidate("b", -1)], [make_reduce("holder", 1)]).kept) == 1
    assert not resolve(view, [make_candidate("b", -1)], [make_reduce("holder", "0.9")]).kept


def test_a_short_that_is_covered_in_this_round_does_not_stand() -> None:
    view = make_view(make_trader("holder", make_position(BTC, -1)))
    assert len(resolve(view, [make_candidate("b", 1)], [make_reduce("holder", 1, Side.BUY)]).kept) == 1


def test_a_reservation_stands_like_a_position() -> None:
    reservation = Reservation(
        trader_id=TraderId("a"), symbol=BTC, quantity=Decimal(1), notional=Decimal(100), margin=Decimal(20)
    )
    view = make_view(reservations=(reservation,))
    assert denied(resolve(view, [make_candidate("b", -1)], ())) == {("b", "DIRECTION")}
    assert len(resolve(view, [make_candidate("a", -1)], ()).kept) == 1


def test_first_come_counts_a_standing_position_of_another_as_earlier() -> None:
    view = make_view(make_trader("holder", make_position(BTC, 1)), make_trader("b"), strategy=FIRST_COME)
    result = resolve(view, [make_candidate("b", 1), make_candidate("holder", 1, after_s=9)], ())
    assert kept(result) == [("holder", Decimal(100))]
    assert denied(result) == {("b", "DUPLICATE")}
    assert types(result) == [("duplicate", "low")]


@pytest.mark.parametrize("strategy", MERGING)
def test_same_direction_joins_a_standing_position_of_another(strategy: ConflictStrategy) -> None:
    view = make_view(make_trader("holder", make_position(BTC, 1)), strategy=strategy)
    result = resolve(view, [make_candidate("b", 1)], ())
    assert len(result.kept) == 1
    assert not result.conflicts


def test_a_strategy_without_a_row_is_an_error() -> None:
    assert STRATEGIES.keys() == set(ConflictStrategy)
    with pytest.raises(ValueError, match="'coin_toss' has no row; expected one of first_come, highest_confidence"):
        strategy_of("coin_toss")  # type: ignore[arg-type]  # what a new member without a row would be


def test_nothing_in_is_nothing_out() -> None:
    entries: Sequence[Candidate] = ()
    assert resolve(make_view(), entries, ()) == Resolution()
