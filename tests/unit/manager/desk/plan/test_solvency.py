"""Capital flows against books of any sign: who is bankrupt, what may leave a book, and who pays for a loss."""

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from desk_factory import BTC, ETH, SOL, make_book, make_marks, make_position, make_spec, make_trader, make_view
from exchanges.types import Symbol
from manager.desk.plan.capital import CapitalMove, needs_rebalance, rebalance, utilization
from manager.desk.plan.isolation import unfit
from manager.desk.plan.liquidation import books_to_liquidate
from manager.desk.plan.solvency import deficit, free_money, is_bankrupt, withdrawable
from manager.desk.plan.values import AccountRules, AccountView, AllocationStrategy, TraderView
from manager.state.records import StateCode, TraderState, TradingState
from traders.book import EXTERNAL, Book, Position
from traders.spec import TraderId

PRICES = {BTC: Decimal(100), ETH: Decimal(50), SOL: Decimal(10)}
STEP = Decimal("1E-8")
ZERO = Decimal(0)


@st.composite
def positions(draw: st.DrawFn) -> list[Position]:
    """Return positions entered away from the mark, each with a stop on its losing side of it, or without one."""
    held = []
    for symbol in draw(st.lists(st.sampled_from(list(PRICES)), unique=True)):
        mark, side = PRICES[symbol], draw(st.sampled_from([1, -1]))
        entry = mark * draw(st.decimals("0.7", "1.3", places=3))
        size = draw(st.decimals(10, 4000, places=2)) / mark
        position = make_position(symbol, side * size, price=entry, leverage=draw(st.sampled_from([1, 2, 5, 10, 20])))
        stop = mark * (1 - side * draw(st.decimals("0", "0.3", places=3))) if draw(st.booleans()) else None
        held.append(replace(position, stop_loss=stop))
    return held


@st.composite
def funds(draw: st.DrawFn) -> tuple[AccountView, Decimal]:
    money = st.decimals(min_value=-3000, max_value=4000, places=9)
    traders = []
    for name in draw(st.lists(st.sampled_from("abcdef"), unique=True, min_size=1)):
        state = draw(st.sampled_from(TraderState))
        traders.append(
            make_trader(
                name,
                *draw(positions()),
                capital=draw(money),
                allocated=draw(st.sampled_from([ZERO, Decimal(500)])),
                state=state,
                state_code=draw(st.sampled_from([StateCode.NONE, StateCode.FUNDED])),
                bankrupt=draw(st.booleans()) and draw(st.booleans()),
                has_capital=draw(st.booleans()),
                reserved_margin=draw(st.sampled_from([ZERO, Decimal(50)])),
                spec=make_spec(name, allocation_pct=Decimal(draw(st.integers(0, 16)))),
            )
        )
    rules = AccountRules(allocation_strategy=draw(st.sampled_from(AllocationStrategy)))
    external = make_book(EXTERNAL, capital=draw(st.sampled_from([0, -700, 300])))
    view = make_view(
        *traders, rules=rules, external=external, departed_deficit=draw(st.sampled_from([ZERO, Decimal(90)]))
    )
    unallocated = draw(st.decimals(min_value=-500, max_value=9000, places=9))
    equity = unallocated + sum(view.equity_of(book) for book in (external, *(t.book for t in traders)))
    return replace(view, equity=equity - view.departed_deficit), unallocated


def at(view: AccountView, prices: dict[Symbol, Decimal]) -> AccountView:
    return replace(view, marks=make_marks({**PRICES, **prices}))


def paid(trader: TraderView, amount: Decimal) -> TraderView:
    return replace(trader, book=replace(trader.book, capital=trader.book.capital + amount))


def after(view: AccountView, moves: Sequence[CapitalMove]) -> AccountView:
    amounts = {move.trader_id: move.amount for move in moves}
    traders = {name: paid(trader, amounts.get(name, ZERO)) for name, trader in view.traders.items()}
    return replace(view, traders=traders)


@given(fund=funds())
def test_no_flow_raises_a_book_below_zero_or_one_that_is_bankrupt(fund: tuple[AccountView, Decimal]) -> None:
    view, unallocated = fund
    for move in rebalance(view, unallocated):
        trader = view.traders[move.trader_id]
        equity = view.equity_of(trader.book)
        if trader.bankrupt or equity < ZERO:
            assert move.amount <= ZERO
            assert move.allocated == ZERO
        if equity < ZERO:
            assert move.amount == ZERO


@st.composite
def holders(draw: st.DrawFn) -> TraderView:
    """Return an isolated trader with money to spare, whose positions have stops near or far beyond their margin."""
    held = []
    for symbol in draw(st.lists(st.sampled_from(list(PRICES)), unique=True, min_size=1)):
        mark, side = PRICES[symbol], draw(st.sampled_from([1, -1]))
        size, away = Decimal(draw(st.integers(100, 4000))), Decimal(draw(st.integers(1, 60))) / 100
        entry = mark * (1 + Decimal(draw(st.integers(-20, 20))) / 100)
        position = make_position(symbol, side * size / mark, price=entry, leverage=draw(st.sampled_from([2, 10, 20])))
        held.append(replace(position, stop_loss=mark * (1 - side * away)))
    capital = draw(st.integers(500, 6000))
    return make_trader("a", *held, capital=capital, state=TraderState.ISOLATED)


@given(trader=holders(), how_far=st.sampled_from([Decimal(part) / 4 for part in range(5)]))
def test_no_withdrawal_brings_a_liquidation_before_a_stop(trader: TraderView, how_far: Decimal) -> None:
    """Whatever part of the way to their stops all marks have gone, a book that paid has its maintenance margin."""
    view = make_view(trader)
    moved = after(view, rebalance(view, ZERO))
    held = trader.book.positions.values()
    reached = {p.symbol: PRICES[p.symbol] + (p.stop_loss - PRICES[p.symbol]) * how_far for p in held if p.stop_loss}
    if moved.traders[TraderId("a")].book != trader.book:
        assert books_to_liquidate(at(moved, reached)) == ()


@given(fund=funds())
def test_a_withdrawal_leaves_margin_gains_on_paper_and_what_is_reserved(fund: tuple[AccountView, Decimal]) -> None:
    view, _ = fund
    for trader in view.traders.values():
        book, most = trader.book, withdrawable(view, trader)
        at_entry = sum((abs(p.cost) / p.leverage for p in book.positions.values()), ZERO)
        margin = max(view.margin_of(book), at_entry) + trader.reserved_margin
        assert most == 0 or most <= min(view.equity_of(book), book.cash) - margin


@given(fund=funds())
def test_deposits_come_out_of_free_money_alone(fund: tuple[AccountView, Decimal]) -> None:
    view, unallocated = fund
    moves = rebalance(view, unallocated)
    given_out = sum((move.amount for move in moves if move.amount > 0), ZERO)
    returned = -sum((move.amount for move in moves if move.amount < 0), ZERO)
    assert given_out <= max(ZERO, free_money(view, unallocated) + returned)


@given(
    loss=st.decimals(0, 20_000, places=4),
    results=st.lists(st.decimals(-900, 900, places=4), min_size=1, max_size=5),
    strategy=st.sampled_from([AllocationStrategy.EQUAL, AllocationStrategy.FIXED]),
)
def test_the_solvent_pay_what_the_account_lacks_and_not_a_cent_more(
    loss: Decimal, results: list[Decimal], strategy: AllocationStrategy
) -> None:
    """Each was dealt 1000 of an account that keeps 10 % back; one loses more, the others make or lose some."""
    count = len(results) + 1
    rest = Decimal(1000 * count) / 9
    broke = make_trader("broke", capital=-loss, allocated=Decimal(1000), has_capital=True, state=TraderState.ISOLATED)
    others = [
        make_trader(f"t{n}", capital=1000 + result, allocated=Decimal(1000), has_capital=True)
        for n, result in enumerate(results)
    ]
    equity = rest - loss + sum((trader.book.cash for trader in others), ZERO)
    view = make_view(broke, *others, equity=equity, rules=AccountRules(allocation_strategy=strategy))
    moves = rebalance(view, rest)
    moved = after(view, moves)
    assert moved.traders[TraderId("broke")].book == broke.book
    solvent = sum((trader.book.cash for name, trader in moved.traders.items() if name != "broke"), ZERO)
    if strategy is AllocationStrategy.FIXED:
        assert solvent == sum((trader.book.cash for trader in others), ZERO)
    else:
        assert max(ZERO, equity * 9 / 10) - count * STEP <= solvent <= max(ZERO, equity * 9 / 10)


def test_the_book_of_the_rules_is_not_liquidated_before_its_stop() -> None:
    """1000 USD, 10x long 100 at 100 with a stop at 91, isolated at 105: an unrealized gain is not free."""
    held = replace(make_position(BTC, 100, price=100, leverage=10), stop_loss=Decimal(91))
    trader = make_trader("a", held, capital=1000, state=TraderState.ISOLATED)
    view = at(make_view(trader, equity=Decimal(1500)), {BTC: Decimal(105)})
    moved = after(view, rebalance(view, ZERO))
    assert moved.traders[TraderId("a")].book.capital == 1000
    assert books_to_liquidate(at(moved, {BTC: Decimal(91)})) == ()
    assert books_to_liquidate(at(moved, {BTC: Decimal(90)})) != ()


def test_of_a_book_with_room_all_but_what_its_stop_may_cost_is_free() -> None:
    """10 at 100, 10x: 100 of margin. Its stop at 80 costs 200 and there 4 of maintenance are needed, so 204 stay."""
    held = replace(make_position(BTC, 10, price=100, leverage=10), stop_loss=Decimal(80))
    view = make_view(trader := make_trader("a", held, capital=1000))
    assert withdrawable(view, trader) == 796
    assert withdrawable(view, replace(trader, reserved_margin=Decimal(96))) == 700


@pytest.mark.parametrize(
    ("changes", "broke"),
    [
        ({"capital": "-0.01"}, True),
        ({"capital": 0, "allocated": Decimal(0), "has_capital": False}, False),
        ({"capital": 0, "allocated": Decimal(900), "has_capital": False}, False),
        ({"capital": 0, "allocated": Decimal(0), "has_capital": True}, False),
        ({"capital": 0, "allocated": Decimal(900), "has_capital": True}, True),
        ({"capital": "0.01", "has_capital": True}, False),
        ({"capital": 500, "bankrupt": True}, True),
    ],
)
def test_a_book_is_bankrupt_by_its_own_results_and_stays_so(changes: dict[str, object], broke: bool) -> None:
    trader = make_trader("a", **changes)  # type: ignore[arg-type]  # of several kinds
    assert is_bankrupt(make_view(trader), trader) is broke


def test_a_bankrupt_is_isolated_from_any_state_once() -> None:
    def codes(**changes: object) -> list[StateCode]:
        return [one.code for one in unfit(make_view(make_trader("a", **changes)))]  # type: ignore[arg-type]  # of several kinds

    for state in TraderState:
        assert codes(capital=-1, state=state) == [StateCode.BANKRUPT]
    assert codes(capital=-1, bankrupt=True, state=TraderState.ISOLATED, state_code=StateCode.BANKRUPT) == []
    assert codes(capital=-1, bankrupt=True, state=TraderState.ISOLATED, state_code=StateCode.SHARPE) != []
    assert codes(capital=-1, bankrupt=True) == [StateCode.BANKRUPT]
    assert codes(capital=-1, bankrupt=True, state=TraderState.STOPPED) == []


def test_the_deficit_is_that_of_all_books_below_zero() -> None:
    view = make_view(make_trader("a", capital=-300), make_trader("b", capital=-50), make_trader("c", capital=700))
    view = replace(view, departed_deficit=Decimal(20))
    assert deficit(view) == utilization(view).deficit == 370
    assert free_money(view, Decimal(2000)) == 630
    assert free_money(replace(view, external=Book(trader_id=EXTERNAL, capital=Decimal(-30))), Decimal(2000)) == 600


def test_a_halted_account_is_not_rebalanced() -> None:
    assert needs_rebalance(make_view(make_trader("a")), None)
    assert not needs_rebalance(make_view(make_trader("a"), trading_state=TradingState.HALTED), None)


def test_a_funded_trader_keeps_its_capital_until_it_is_started() -> None:
    trader = make_trader("a", state=TraderState.STOPPED, state_code=StateCode.FUNDED)
    assert rebalance(make_view(trader), ZERO) == ()
