"""What a process remembers of an account never differs from what its rows say now."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from desk_factory import AT
from exchanges.market import Snapshot
from exchanges.types import Symbol
from manager.desk.account_state import AccountState
from manager.desk.freezer import Freezer
from manager.desk.plan.values import Reservation
from manager.desk.remembered import Remembered
from manager.state.records import BookRow, IntentId, PositionKey, PositionRow, ScheduleRow, TraderRow, TraderState
from manager.state.store import AccountRows
from state_rows import make_account, make_row
from traders.spec import TraderId

NAMES = ("a", "b", "c")


def _rows() -> AccountRows:
    return AccountRows(
        account=make_account(),
        traders=[make_row(TraderRow, trader_id=name, account_id="acco") for name in NAMES],
        schedules=[make_row(ScheduleRow, trader_id=name) for name in NAMES],
        books=[make_row(BookRow, account_id="acco", trader_id=name, capital=Decimal(100)) for name in NAMES[:2]],
        positions=[make_row(PositionRow, account_id="acco", trader_id="a", symbol="BTC/USDT:USDT")],
        intents=[],
        orders=[],
        incidents=[],
    )


def _but(rows: AccountRows, kind: str, index: int, **changes: Any) -> AccountRows:
    """Return the rows with one of them changed, as a new read brings them: only lists of other kinds are the same."""
    found = list(getattr(rows, kind))
    found[index % len(found)] = replace(found[index % len(found)], **changes)
    return _with(rows, kind, found)


def _with(rows: AccountRows, kind: str, found: Any) -> AccountRows:
    lists: dict[str, Any] = {kind: found}
    return replace(rows, **lists)


CHANGES = st.one_of(
    st.tuples(st.just("traders"), st.sampled_from([{"state": one} for one in TraderState])),
    st.tuples(st.just("schedules"), st.integers(0, 5).map(lambda n: {"bad_replies": n})),
    st.tuples(st.just("books"), st.integers(1, 500).map(lambda n: {"capital": Decimal(n)})),
    st.tuples(st.just("positions"), st.integers(1, 5).map(lambda n: {"quantity": Decimal(n)})),
    st.tuples(st.just("traders"), st.just(None)),
    st.tuples(st.just("books"), st.just(None)),
    st.tuples(st.just("positions"), st.just(None)),
    st.tuples(st.just("none"), st.just(None)),
)


def _frozen(rows: AccountRows, remembered: Remembered, reserved: int) -> Any:
    state = AccountState(rows, {}, remembered)
    worst = [
        Reservation(
            trader_id=TraderId("a"),
            symbol=Symbol("BTC/USDT:USDT"),
            quantity=Decimal(1),
            notional=Decimal(1),
            margin=Decimal(reserved),
            intent_id=IntentId(""),
        )
    ]
    views = Freezer(Snapshot(AT, {})).traders(state, worst if reserved else [])
    return state.books, state.heads, state.schedules, state.traders, views


@given(st.lists(st.tuples(CHANGES, st.integers(0, 2), st.integers(0, 2)), max_size=8))
def test_it_gives_what_a_process_that_remembers_nothing_would(steps: list[tuple[Any, int, int]]) -> None:
    rows, remembered = _rows(), Remembered()
    for (kind, changes), index, reserved in steps:
        if kind != "none" and changes is None:
            rows = _with(rows, kind, getattr(rows, kind)[:1])
        elif changes is not None:
            rows = _but(rows, kind, index, **changes)
        assert _frozen(rows, remembered, reserved) == _frozen(rows, Remembered(), reserved)


def test_a_job_changes_nothing_of_what_the_next_one_finds() -> None:
    rows, remembered = _rows(), Remembered()
    state = AccountState(rows, {}, remembered)
    state.set_head(replace(state.head(TraderId("a")), allocated=Decimal(7)))
    state.note_trader(replace(state.traders[TraderId("b")], state=TraderState.PAUSED))
    state.protect(PositionKey(TraderId("a"), Symbol("BTC/USDT:USDT")), Decimal(1), None)
    again = AccountState(rows, {}, remembered)
    assert again.heads == AccountState(rows, {}).heads
    assert again.traders == AccountState(rows, {}).traders
    assert again.books == AccountState(rows, {}).books


def test_what_a_job_changes_shows_in_its_views_and_not_in_those_of_the_next_one() -> None:
    rows, remembered, freezer = _rows(), Remembered(), Freezer(Snapshot(AT, {}))
    before = freezer.traders(AccountState(rows, {}, remembered), [])
    state, key = AccountState(rows, {}, remembered), PositionKey(TraderId("a"), Symbol("BTC/USDT:USDT"))
    assert freezer.traders(state, []) is before
    state.set_head(replace(state.head(TraderId("b")), allocated=Decimal(7)))
    assert freezer.traders(state, [])[TraderId("b")].allocated == Decimal(7)
    state.note_trader(replace(state.traders[TraderId("c")], state=TraderState.PAUSED))
    assert freezer.traders(state, [])[TraderId("c")].state is TraderState.PAUSED
    state.protect(key, Decimal(1), None)
    assert freezer.traders(state, [])[TraderId("a")].book.positions[key.symbol].stop_loss == Decimal(1)
    assert freezer.traders(AccountState(rows, {}, remembered), []) == freezer.traders(AccountState(rows, {}), [])


def test_unchanged_traders_are_built_once_and_who_left_is_forgotten() -> None:
    rows, remembered = _rows(), Remembered()
    first, again = (_frozen(rows, remembered, 0)[-1] for _ in range(2))
    assert all(first[name] is again[name] for name in NAMES)
    fewer = replace(rows, traders=rows.traders[:1], books=rows.books[:1])
    _frozen(fewer, remembered, 0)
    assert remembered.views.keys() == {"a"}
