"""Capital by each strategy of docs/rules.md 6, and what a rebalance may move."""

from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from desk_factory import AT, BTC, make_position, make_spec, make_trader, make_view
from manager.desk.plan.capital import (
    ALLOCATIONS,
    CapitalMove,
    allocations,
    basis_of,
    needs_rebalance,
    rebalance,
    utilization,
)
from manager.desk.plan.values import AccountRules, AccountView, AllocationStrategy, TraderView
from manager.state.records import TraderState, UtilizationReport
from traders.spec import TraderId

EQUAL = AllocationStrategy.EQUAL
CUSTOM = AllocationStrategy.CUSTOM
PERFORMANCE = AllocationStrategy.PERFORMANCE_BASED


def scored(name: str, sharpe: float | None, trades: int = 20, **changes: Any) -> TraderView:
    return make_trader(name, sharpe=sharpe, closed_trades=trades, **changes)


def dealt(distributable: int, *traders: TraderView) -> dict[str, Decimal]:
    return {str(name): amount for name, amount in allocations(PERFORMANCE, Decimal(distributable), traders).items()}


def moved(moves: Sequence[CapitalMove]) -> dict[str, Decimal]:
    return {move.trader_id: move.amount for move in moves}


def test_equal_gives_all_the_same_rounded_down() -> None:
    found = allocations(EQUAL, Decimal(1000), [make_trader(name) for name in "abc"])
    assert set(found.values()) == {Decimal("333.33333333")}


def test_custom_gives_each_its_percentage() -> None:
    traders = [make_trader(n, spec=make_spec(n, allocation_pct=Decimal(p))) for n, p in (("a", 30), ("b", "12.5"))]
    assert allocations(CUSTOM, Decimal(9000), traders) == {"a": Decimal(2700), "b": Decimal(1125)}


def test_performance_deals_floors_then_by_sharpe() -> None:
    found = dealt(900, scored("a", 3.0), scored("b", 1.0), scored("c", -2.0))
    assert found == {"a": Decimal(550), "b": Decimal(250), "c": Decimal(100)}


def test_few_trades_count_at_the_median_of_the_others() -> None:
    found = dealt(1000, scored("a", 3.0), scored("b", 1.0), scored("young", 50.0, 19), scored("none", None))
    assert found == {"a": Decimal(325), "b": Decimal(175), "young": Decimal(250), "none": Decimal(250)}


def test_performance_without_any_positive_sharpe_is_equal() -> None:
    assert dealt(600, scored("a", -1.0), scored("b", -2.0)) == {"a": Decimal(300), "b": Decimal(300)}


def test_the_lowest_rank_gets_nothing_when_floors_do_not_fit() -> None:
    found = dealt(250, scored("a", 1.0), scored("b", 0.5), scored("c", 2.0))
    assert found["b"] == 0
    assert found["c"] > found["a"] >= 100
    assert dealt(99, scored("a", 1.0)) == {"a": Decimal(0)}


def test_the_first_in_wins_a_tie_for_the_last_floor() -> None:
    assert dealt(150, scored("a", 1.0, seq=2), scored("b", 1.0, seq=1)) == {"a": Decimal(0), "b": Decimal(150)}


def test_the_first_rebalance_deals_what_is_distributable() -> None:
    view = make_view(make_trader("a", capital=0), make_trader("b", capital=0))
    moves = rebalance(view, Decimal(10000))
    assert moves == (
        CapitalMove(trader_id=TraderId("a"), amount=Decimal(4500), allocated=Decimal(4500)),
        CapitalMove(trader_id=TraderId("b"), amount=Decimal(4500), allocated=Decimal(4500)),
    )


def test_a_withdrawal_stops_at_the_margin_in_use_and_deposits_are_scaled() -> None:
    rich = make_trader("rich", make_position(BTC, 400), capital=9000)
    poor = [make_trader(name, capital=0) for name in ("poor", "poorer")]
    moves = rebalance(make_view(rich, *poor), Decimal(1000))
    assert moved(moves) == {"rich": Decimal(-1000), "poor": Decimal(500), "poorer": Decimal(500)}
    assert {move.allocated for move in moves} == {Decimal(3000)}


def test_stopped_and_isolated_traders_give_back_what_is_free() -> None:
    view = make_view(
        make_trader("flat", state=TraderState.ISOLATED),
        make_trader("held", make_position(BTC, 10), state=TraderState.STOPPED),
        make_trader("ruined", capital=-50, allocated=Decimal(0), state=TraderState.ISOLATED),
    )
    assert rebalance(view, Decimal(0)) == (
        CapitalMove(trader_id=TraderId("flat"), amount=Decimal(-1000), allocated=Decimal(0)),
        CapitalMove(trader_id=TraderId("held"), amount=Decimal(-800), allocated=Decimal(0)),
    )


@pytest.mark.parametrize("state", [TraderState.PAUSED, TraderState.ERROR])
def test_paused_and_failed_traders_keep_theirs(state: TraderState) -> None:
    view = make_view(make_trader("idle", capital=3000, state=state), make_trader("a", capital=0))
    moves = rebalance(view, Decimal(7000))
    assert moves == (CapitalMove(trader_id=TraderId("a"), amount=Decimal(6000), allocated=Decimal(6000)),)


def test_margin_reserved_for_entries_is_not_withdrawn() -> None:
    trader = make_trader("a", make_position(BTC, 10), reserved_margin=Decimal(300), state=TraderState.STOPPED)
    assert moved(rebalance(make_view(trader), Decimal(0))) == {"a": Decimal(-500)}


def test_a_settled_desk_needs_no_move() -> None:
    view = make_view(make_trader("a", capital=4500), make_trader("b", capital=4500))
    assert rebalance(view, Decimal(1000)) == ()


def test_a_rebalance_is_due_by_interval_members_and_sharpe() -> None:
    rules = AccountRules(allocation_strategy=PERFORMANCE)
    view = make_view(scored("a", 1.0), scored("b", 1.0, 19), rules=rules)
    last = basis_of(view)
    assert needs_rebalance(view, None)
    assert not needs_rebalance(view, last)
    assert not needs_rebalance(make_view(scored("a", 1.2), scored("b", 9.0, 19), rules=rules), last)
    assert needs_rebalance(make_view(scored("a", 1.21), scored("b", 1.0, 19), rules=rules), last)
    assert not needs_rebalance(make_view(scored("a", 1.0), scored("b", 9.0), rules=rules), last)
    assert needs_rebalance(make_view(scored("a", 1.0), rules=rules), last)
    isolated = scored("b", 1.0, 19, state=TraderState.ISOLATED)
    assert needs_rebalance(make_view(scored("a", 1.0), isolated, rules=rules), last)
    hour = timedelta(hours=1)
    same = (scored("a", 1.0), scored("b", 1.0, 19))
    assert needs_rebalance(make_view(*same, rules=rules, at=AT + hour), last)
    assert not needs_rebalance(make_view(*same, rules=rules, at=AT + hour - timedelta(seconds=1)), last)


def test_sharpe_matters_only_to_performance() -> None:
    last = basis_of(make_view(scored("a", 1.0)))
    assert not needs_rebalance(make_view(scored("a", 9.0)), last)


def test_utilization_names_who_uses_more_than_allocated() -> None:
    view = make_view(
        make_trader("over", make_position(BTC, 10), allocated=Decimal(150)),
        make_trader("within", allocated=Decimal(650), reserved_margin=Decimal(40)),
    )
    assert utilization(view) == UtilizationReport(
        total=Decimal(10000),
        allocated=Decimal(800),
        utilized=Decimal(240),
        reserve=Decimal(1000),
        utilization_pct=Decimal(30),
        over_allocated=(TraderId("over"),),
    )


def test_an_allocation_strategy_without_a_row_is_an_error() -> None:
    assert ALLOCATIONS.keys() == set(AllocationStrategy)
    with pytest.raises(ValueError, match="'by_size' has no row; expected one of equal, custom, performance_based"):
        allocations("by_size", Decimal(1), ())  # type: ignore[arg-type]  # what a new member without a row would be


@st.composite
def funds(draw: st.DrawFn) -> tuple[AccountView, Decimal]:
    money = st.decimals(min_value=-100, max_value=4000, places=9)
    traders = []
    for name in draw(st.lists(st.sampled_from("abcdef"), unique=True)):
        held = draw(st.integers(-40, 40))
        positions = [make_position(BTC, held, price=draw(st.integers(80, 120)))] if held else []
        traders.append(
            make_trader(
                name,
                *positions,
                capital=draw(money),
                state=draw(st.sampled_from(TraderState)),
                sharpe=draw(st.none() | st.floats(-5, 5)),
                closed_trades=draw(st.integers(10, 30)),
                spec=make_spec(name, allocation_pct=Decimal(draw(st.integers(0, 16)))),
            )
        )
    unallocated = draw(st.decimals(min_value=-500, max_value=4000, places=9))
    rules = AccountRules(allocation_strategy=draw(st.sampled_from(AllocationStrategy)))
    view = make_view(*traders, rules=rules)
    equity = unallocated + sum(view.equity_of(trader.book) for trader in traders)
    return make_view(*traders, rules=rules, equity=equity), unallocated


@given(fund=funds())
def test_a_rebalance_conserves_money_and_never_cuts_into_margin(fund: tuple[AccountView, Decimal]) -> None:
    view, unallocated = fund
    moves = rebalance(view, unallocated)
    amounts = moved(moves)
    deposits = sum(amount for amount in amounts.values() if amount > 0)
    assert deposits == 0 or sum(amounts.values()) <= unallocated
    for trader_id, amount in amounts.items():
        book = view.traders[TraderId(trader_id)].book
        equity = view.equity_of(book)
        assert amount == amount.quantize(Decimal("1E-8"))
        if amount < 0:
            assert equity + amount >= view.margin_of(book)
        if amount > 0:
            assert view.traders[TraderId(trader_id)].state is TraderState.RUNNING
    running = [move.allocated for move in moves if view.traders[move.trader_id].state is TraderState.RUNNING]
    assert sum(running) <= max(view.equity, Decimal(0))


@given(fund=funds(), data=st.data())
def test_a_rebalance_does_not_depend_on_the_order_of_traders(
    fund: tuple[AccountView, Decimal], data: st.DataObject
) -> None:
    view, unallocated = fund
    shuffled = data.draw(st.permutations(list(view.traders.values())))
    assert rebalance(view, unallocated) == rebalance(
        make_view(*shuffled, rules=view.rules, equity=view.equity), unallocated
    )
