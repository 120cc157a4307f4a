"""Lives of traders: starting, pausing, stopping, dismissing; and the halt of an account."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from config_files import write_config
from desk_factory import AT, BTC
from exchanges.clock import ManualClock
from exchanges.types import OrderType, Side
from executor.contract import Action
from manager.config import load_config
from manager.desk.account_state import AccountState
from manager.errors import NotFlat, UnknownAccount, UnknownTrader
from manager.manager import Manager
from manager.roster.dismissal import Removal
from manager.roster.registration import registration_check
from manager.state.kinds import EventKind, SwitchScope
from manager.state.memory.store import MemoryStore
from manager.state.records import (
    DEFAULT_TENANT,
    UNALLOCATED,
    AccountId,
    AccountRow,
    BookRow,
    DecisionRow,
    EventRow,
    IntentRow,
    IntentStatus,
    LedgerRow,
    OrderId,
    OrderPurpose,
    OrderRow,
    PositionRow,
    RoundId,
    ScheduleRow,
    Share,
    TraderRow,
    TraderState,
    TradingState,
)
from manager.state.switches import TradingScope
from manager.views.definitions import version_of
from traders.errors import IllegalMove
from traders.spec import TraderId

PAPER = TradingScope(kind=SwitchScope.ACCOUNT, name="paper")


class Lives:
    """A synced manager on a memory store."""

    def __init__(self, folder: Path) -> None:
        self.store, self.clock = MemoryStore(), ManualClock(AT)
        self.config = load_config(write_config(folder), {})
        self.manager = Manager(self.store, self.clock, registration_check(self.config))

    async def get(self, kind: type[Any], *key: str) -> Any:
        async with self.store.transaction(DEFAULT_TENANT) as tx:
            return await tx.get(kind, *key)

    async def find(self, kind: type[Any], /, **where: Any) -> Any:
        async with self.store.transaction(DEFAULT_TENANT) as tx:
            return await tx.find(kind, where)

    async def put(self, *rows: Any) -> None:
        async with self.store.transaction(DEFAULT_TENANT) as tx:
            await tx.upsert(rows)


@pytest.fixture
async def lives(tmp_path: Path) -> Lives:
    made = Lives(tmp_path)
    await made.manager.sync(made.config)
    books = {UNALLOCATED: "1000", "one": "500"}
    for owner, capital in books.items():
        await made.put(book(owner, capital))
    return made


def book(owner: str, capital: str) -> BookRow:
    return BookRow(
        tenant_id=DEFAULT_TENANT,
        account_id=AccountId("paper"),
        trader_id=TraderId(owner),
        capital=Decimal(capital),
        realized=Decimal("10.5"),
        fees=Decimal("0.25"),
    )


def position(quantity: str = "-2") -> PositionRow:
    held = Decimal(quantity)
    return PositionRow(
        tenant_id=DEFAULT_TENANT,
        account_id=AccountId("paper"),
        trader_id=TraderId("one"),
        symbol=BTC,
        quantity=held,
        cost=held * 100,
        leverage=5,
        opened_at=AT,
    )


def resting_stop() -> OrderRow:
    return OrderRow(
        tenant_id=DEFAULT_TENANT,
        account_id=AccountId("paper"),
        order_id=OrderId("o"),
        round_id=RoundId("1"),
        symbol=BTC,
        side=Side.BUY,
        type=OrderType.STOP,
        purpose=OrderPurpose.STOP,
        quantity=Decimal(2),
        created_at=AT,
        shares=(Share(trader_id=TraderId("one"), quantity=Decimal(2)),),
    )


async def test_each_move_is_made_once_and_leaves_an_event(lives: Lives) -> None:
    manager = lives.manager
    for act, state in (
        (manager.pause, TraderState.PAUSED),
        (manager.resume, TraderState.RUNNING),
        (manager.stop, TraderState.STOPPED),
        (manager.start, TraderState.RUNNING),
        (manager.isolate, TraderState.ISOLATED),
        (manager.stop, TraderState.STOPPED),
    ):
        await act(DEFAULT_TENANT, TraderId("one"), actor="ann", reason=f"to {state}")
        row = await lives.get(TraderRow, "one")
        assert (row.state, row.state_reason) == (state, f"to {state}")
    moves = await lives.find(EventRow, trader_id="one", kind="trader_state")
    assert sorted(f"{event.before}>{event.after}" for event in moves) == sorted(
        [
            "running>paused",
            "paused>running",
            "running>stopped",
            "stopped>running",
            "running>isolated",
            "isolated>stopped",
        ]
    )
    assert {event.actor for event in moves} == {"ann"}


async def test_an_illegal_move_and_an_unknown_trader_change_nothing(lives: Lives) -> None:
    before = await lives.find(EventRow)
    with pytest.raises(IllegalMove, match="trader one is running already"):
        await lives.manager.start(DEFAULT_TENANT, TraderId("one"), actor="ann")
    with pytest.raises(UnknownTrader, match="nobody"):
        await lives.manager.pause(DEFAULT_TENANT, TraderId("nobody"), actor="ann")
    assert await lives.find(EventRow) == before


async def test_what_leads_on_is_said_with_what_an_operator_can_do(lives: Lives) -> None:
    one = TraderId("one")
    await lives.manager.isolate(DEFAULT_TENANT, one, actor="ann", reason="odd")
    way = "to let it run: `propdesk traders stop one`, then `propdesk traders start one`$"
    for act in (lives.manager.start, lives.manager.resume, lives.manager.pause):
        with pytest.raises(IllegalMove, match=way):
            await act(DEFAULT_TENANT, one, actor="ann", reason="odd")
    await lives.manager.stop(DEFAULT_TENANT, one, actor="ann", reason="odd")
    with pytest.raises(IllegalMove, match=r"cannot become paused; to let it run: `propdesk traders start one`$"):
        await lives.manager.pause(DEFAULT_TENANT, one, actor="ann", reason="odd")


async def test_a_halted_account_is_not_halted_again(lives: Lives) -> None:
    for reason in ("news", "later"):
        done = await lives.manager.set_trading(DEFAULT_TENANT, PAPER, TradingState.HALTED, actor="ann", reason=reason)
        assert (done.now.state, done.now.reason) == (TradingState.HALTED, "news")
    assert len([event for event in await lives.find(EventRow) if event.kind == EventKind.TRADING_STATE]) == 1


async def test_one_that_resumes_makes_up_for_nothing_and_never_repeats_a_slot(lives: Lives) -> None:
    decided = await lives.get(ScheduleRow, "one")
    await lives.put(replace(decided, last_decision_at=AT, failed_decisions=3))
    await lives.manager.pause(DEFAULT_TENANT, TraderId("one"), actor="ann")
    await lives.manager.resume(DEFAULT_TENANT, TraderId("one"), actor="ann")
    soon = await lives.get(ScheduleRow, "one")
    assert soon.next_due_at > AT
    assert soon.slot(soon.next_due_at) > AT
    assert soon.failed_decisions == 0
    lives.clock.set(AT + timedelta(days=2))
    await lives.manager.pause(DEFAULT_TENANT, TraderId("one"), actor="ann")
    await lives.manager.resume(DEFAULT_TENANT, TraderId("one"), actor="ann")
    late = await lives.get(ScheduleRow, "one")
    assert 0 <= (late.next_due_at - lives.clock.now()).total_seconds() < 10


async def test_a_flat_trader_leaves_and_its_money_goes_to_unallocated(lives: Lives) -> None:
    assert (
        await lives.manager.unregister(DEFAULT_TENANT, TraderId("one"), actor="ann", reason="done") is Removal.REMOVED
    )
    assert await lives.get(TraderRow, "one") is None
    assert await lives.get(ScheduleRow, "one") is None
    own, common = await lives.get(BookRow, "paper", "one"), await lives.get(BookRow, "paper", UNALLOCATED)
    assert own.cash == 0
    assert common.capital == Decimal("1510.25")
    amounts = [row.amount for row in await lives.find(LedgerRow)]
    assert sorted(amounts) == [Decimal("-510.25"), Decimal("510.25")]
    assert [event.kind for event in await lives.find(EventRow, actor="ann")] == ["trader_removed"]


@pytest.mark.parametrize("kept", [position(), resting_stop()], ids=["a position", "an order"])
async def test_one_that_is_not_flat_stays_whatever_it_holds(lives: Lives, kept: Any) -> None:
    await lives.put(kept)
    before = await lives.get(AccountRow, "paper")
    with pytest.raises(NotFlat, match="or pass --force to close it"):
        await lives.manager.unregister(DEFAULT_TENANT, TraderId("one"), actor="ann")
    assert (await lives.get(TraderRow, "one")).state is TraderState.RUNNING
    assert await lives.get(AccountRow, "paper") == before


async def test_a_forced_leave_stops_it_and_asks_for_a_close_then_removes_it_when_flat(lives: Lives) -> None:
    await lives.put(position())
    for _ in range(2):
        removal = await lives.manager.unregister(DEFAULT_TENANT, TraderId("one"), actor="ann", reason="out", force=True)
        assert removal is Removal.CLOSING
        lives.clock.set(lives.clock.now() + timedelta(seconds=1))
    assert (await lives.get(TraderRow, "one")).state is TraderState.STOPPED
    pending = await lives.find(IntentRow, status=IntentStatus.PENDING)
    assert [(intent.decision.action, intent.decision.symbol) for intent in pending] == [(Action.CLOSE_SHORT, BTC)]
    assert [row.model for row in await lives.find(DecisionRow)] == ["operator:ann"]
    async with lives.store.transaction(DEFAULT_TENANT) as tx:
        await tx.delete(PositionRow, [("paper", "one", BTC)])
    assert await lives.manager.unregister(DEFAULT_TENANT, TraderId("one"), actor="ann", force=True) is Removal.REMOVED
    assert await lives.find(IntentRow, status=IntentStatus.PENDING) == []


async def test_leaving_takes_the_account_from_a_round_under_way(lives: Lives) -> None:
    before = (await lives.get(AccountRow, "paper")).fencing_token
    await lives.manager.unregister(DEFAULT_TENANT, TraderId("one"), actor="ann")
    assert (await lives.get(AccountRow, "paper")).fencing_token == before + 1


async def test_a_halt_outlives_what_a_round_under_way_writes_of_the_account(lives: Lives) -> None:
    async with lives.store.transaction(DEFAULT_TENANT) as tx:
        state = AccountState(await tx.account_rows(AccountId("paper")), {})
    state.put_account(replace(state.account, equity=Decimal(7), updated_at=AT))
    await lives.manager.set_trading(DEFAULT_TENANT, PAPER, TradingState.HALTED, actor="ann", reason="news")
    writes = state.take()
    assert writes
    async with lives.store.transaction(DEFAULT_TENANT) as tx:
        await writes.apply(tx)
    account = await lives.get(AccountRow, "paper")
    assert (account.trading_state, account.state_reason, account.equity) == (TradingState.HALTED, "news", 7)
    with pytest.raises(UnknownAccount, match="elsewhere"):
        await lives.manager.set_trading(
            DEFAULT_TENANT, replace(PAPER, name="elsewhere"), TradingState.HALTED, actor="ann", reason=""
        )


async def test_a_trader_carries_when_it_came_and_when_it_changed(lives: Lives) -> None:
    row: TraderRow = await lives.get(TraderRow, "one")
    assert (row.created_at, row.updated_at) == (AT, AT)
    lives.clock.set(AT + timedelta(minutes=1))
    await lives.manager.pause(DEFAULT_TENANT, TraderId("one"), actor="ann", reason="")
    row = await lives.get(TraderRow, "one")
    assert (row.created_at, row.updated_at) == (AT, AT + timedelta(minutes=1))
    lives.clock.set(AT + timedelta(minutes=2))
    changes = {"description": "in and out within the day", "author": "bo"}
    changed = await lives.manager.update(DEFAULT_TENANT, TraderId("one"), changes, actor="ann")
    row = await lives.get(TraderRow, "one")
    assert (row.state, version_of(row.spec)) == (changed.state, changed.version)
    assert (row.created_at, row.updated_at) == (AT, AT + timedelta(minutes=2))
    assert (row.spec.description, row.spec.author) == ("in and out within the day", "bo")
