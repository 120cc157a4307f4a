"""A book that lost more than it had: isolated, told once, and funded again only by an operator."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from faulty_desk import ACCOUNT, FREE_HAND, FaultyDesk, close, open_long
from manager.desk.plan.values import GlobalLimits
from manager.errors import FundingRefused, StillBankrupt
from manager.manager import Manager
from manager.roster.acts import TraderMoved
from manager.roster.dismissal import Removal
from manager.roster.registration import registration_check
from manager.state.kinds import SwitchScope
from manager.state.records import (
    DEFAULT_TENANT,
    UNALLOCATED,
    AccountRow,
    BookRow,
    EventRow,
    IncidentRow,
    LedgerKind,
    LedgerRow,
    StateCode,
    TraderRow,
    TraderState,
    TradingState,
)
from manager.state.switches import TradingScope
from traders.spec import TraderId

A, B = TraderId("a"), TraderId("b")
WIDE = GlobalLimits(
    max_symbol_exposure_pct=Decimal(5000), max_margin_usage_pct=Decimal(100), max_unrealized_loss_pct=Decimal(100)
)
RECKLESS = replace(
    FREE_HAND, stop_loss_enabled=False, max_margin_usage_pct=Decimal(100), max_position_size_usd=Decimal(10**6)
)
EXACT = Decimal("1E-8")
PAPER = TradingScope(kind=SwitchScope.ACCOUNT, name=ACCOUNT)


async def wiped_out(*, price: int = 70, usd: int = 20_000, **rules: Any) -> FaultyDesk:
    """Let a, of 5000, be long `usd` at 100 when the price falls; b holds nothing."""
    desk = await FaultyDesk.of(traders=("a", "b"), limits=RECKLESS, account_limits=WIDE, rules=rules)
    await desk.go("a", replace(open_long(usd=usd), stop_loss=None, leverage=10))
    desk.pass_time()
    desk.price(price)
    await desk.maintain(3)
    return desk


def manager_of(desk: FaultyDesk) -> Manager:
    return Manager(desk.store, desk.clock, registration_check(desk.config))


async def book(desk: FaultyDesk, trader_id: str) -> BookRow:
    [row] = await desk.find(BookRow, trader_id=trader_id)
    found: BookRow = row
    return found


async def trader(desk: FaultyDesk, trader_id: str = "a") -> TraderRow:
    [row] = await desk.find(TraderRow, trader_id=trader_id)
    found: TraderRow = row
    return found


async def events(desk: FaultyDesk, kind: str) -> list[EventRow]:
    return [event for event in await desk.find(EventRow) if event.kind == kind]


async def deposited(desk: FaultyDesk, usd: int) -> None:
    common = await book(desk, UNALLOCATED)
    async with desk.store.transaction(DEFAULT_TENANT) as tx:
        await tx.patch(BookRow, (ACCOUNT, UNALLOCATED), capital=common.capital + usd)


async def fund(desk: FaultyDesk, usd: int | str, trader_id: TraderId = A) -> TraderMoved:
    return await manager_of(desk).fund(DEFAULT_TENANT, trader_id, Decimal(usd), actor="ann", reason="second chance")


async def test_a_bankrupt_trader_is_isolated_and_its_loss_is_told_once() -> None:
    desk = await wiped_out()
    row, own = await trader(desk), await book(desk, "a")
    assert (row.state, row.state_code) == (TraderState.ISOLATED, StateCode.BANKRUPT)
    assert (own.cash, own.allocated) == (Decimal(-1000), Decimal(0))
    assert own.bankrupt_at is not None
    assert (await book(desk, "b")).cash == 4000
    assert (await book(desk, UNALLOCATED)).cash == 1000
    [told] = await desk.find(IncidentRow, code="DEFICIT")
    assert told.resolved_at is None
    assert "lack 1,000.00 USD" in told.detail
    [account] = await desk.find(AccountRow)
    assert account.utilization.deficit == 1000
    moves = [event for event in await events(desk, "trader_state") if event.actor == "desk"]
    assert [(event.before, event.after) for event in moves] == [("running", "isolated")]
    dealt = await events(desk, "rebalance")
    assert "b -1,000.00" in dealt[-1].reason
    assert (dealt[-1].before, dealt[-1].after) == ("unallocated 0.00", "unallocated 1,000.00")


async def test_its_loss_stays_in_its_book_however_often_capital_is_dealt() -> None:
    desk = await wiped_out(rebalance_interval_s=5)
    await desk.maintain(30)
    await desk.go("a", open_long(usd=100))
    assert (await book(desk, "a")).cash == -1000
    assert await desk.held("a") == 0
    assert ("a", "TRADER_ISOLATED") in await desk.denials()
    curve = (await book(desk, "a")).performance
    assert (curve.nav, curve.drawdown, curve.max_drawdown) == (0, 1, 1)


async def test_a_bankrupt_is_not_started_and_a_stop_ends_nothing() -> None:
    desk = await wiped_out()
    await manager_of(desk).stop(DEFAULT_TENANT, A, actor="ann")
    with pytest.raises(StillBankrupt, match="propdesk traders fund a AMOUNT"):
        await manager_of(desk).start(DEFAULT_TENANT, A, actor="ann")
    await desk.maintain(2)
    assert (await trader(desk)).state is TraderState.STOPPED
    assert (await book(desk, "a")).bankrupt_at is not None


async def test_an_account_below_zero_is_halted_and_not_resumed() -> None:
    desk = await wiped_out(usd=40_000)
    [account] = await desk.find(AccountRow)
    assert account.trading_state is TradingState.HALTED
    assert account.equity == -2000
    assert {"ACCOUNT_BANKRUPT", "DEFICIT"} <= await desk.open_incidents()
    assert (await book(desk, "b")).cash == 5000
    async with desk.store.transaction(DEFAULT_TENANT) as tx:
        await tx.patch(AccountRow, (ACCOUNT,), updated_at=desk.clock.now())
    switch = manager_of(desk).set_trading
    with pytest.raises(StillBankrupt, match="its equity was -2000"):
        await switch(DEFAULT_TENANT, PAPER, TradingState.ACTIVE, actor="ann", reason="")
    await switch(DEFAULT_TENANT, PAPER, TradingState.REDUCING, actor="ann", reason="")
    await desk.maintain(1)
    [account] = await desk.find(AccountRow)
    assert account.trading_state is TradingState.HALTED


async def test_an_operator_funds_it_out_of_what_is_free() -> None:
    desk = await wiped_out()
    for usd in ("1", "5000"):
        with pytest.raises(FundingRefused, match=r"book is at -1000.* the largest amount is 0 USD"):
            await fund(desk, usd)
    await deposited(desk, 3000)
    for usd in ("1000", "3000.00000001", "2000.000000001"):
        with pytest.raises(FundingRefused, match=r"is not more than 1000\S* and .* the largest amount is 3000"):
            await fund(desk, usd)
    row = await fund(desk, "2500")
    assert (row.state, row.state_code, row.trader_id) == (TraderState.STOPPED, StateCode.FUNDED, "a")
    own = await book(desk, "a")
    assert (own.cash, own.allocated, own.bankrupt_at) == (Decimal(1500), Decimal(1500), None)
    assert own.realized == -6000
    curve = own.performance
    assert (curve.nav, curve.units, curve.drawdown, curve.max_drawdown) == (1, 1500, 0, 1)
    assert (curve.trades, curve.sharpe, curve.returns) == (0, None, 0)
    entries = [entry for entry in await desk.find(LedgerRow) if entry.kind is LedgerKind.RECAPITALISE]
    assert {(row.trader_id, row.amount, row.actor, row.reason) for row in entries} == {
        ("a", Decimal(2500), "ann", "second chance"),
        (UNALLOCATED, Decimal(-2500), "ann", "second chance"),
    }
    [event] = await events(desk, "trader_funded")
    assert (event.actor, "second chance" in event.reason) == ("ann", True)
    await desk.maintain(1)
    assert (await book(desk, "a")).cash == 1500
    assert "DEFICIT" not in await desk.open_incidents()
    await manager_of(desk).start(DEFAULT_TENANT, A, actor="ann")
    await desk.go("a", open_long(usd=70, stop=60))
    assert await desk.held("a") == 1


async def test_nobody_else_is_funded() -> None:
    desk = await wiped_out()
    with pytest.raises(FundingRefused, match=r"it is not bankrupt.* the largest amount is 0 USD"):
        await fund(desk, "10", B)


async def test_one_that_still_holds_or_is_halted_is_not_funded() -> None:
    desk = await FaultyDesk.of(traders=("a", "b"), limits=RECKLESS, account_limits=WIDE)
    await desk.go("a", replace(open_long(usd=100), stop_loss=None))
    async with desk.store.transaction(DEFAULT_TENANT) as tx:
        await tx.patch(BookRow, (ACCOUNT, "a"), bankrupt_at=desk.clock.now())
    with pytest.raises(FundingRefused, match="it still holds BTC"):
        await fund(desk, "10")
    await desk.go("a", close())
    manager = manager_of(desk)
    await manager.set_trading(DEFAULT_TENANT, PAPER, TradingState.HALTED, actor="ann", reason="news")
    with pytest.raises(FundingRefused, match=r"is halted .news.; resume it first"):
        await fund(desk, "10")


async def test_one_that_is_removed_leaves_its_lack_behind_and_finds_it_again() -> None:
    """The lack is not written off against the others: it stays in the book, which a trader of that id has again."""
    desk = await wiped_out()
    manager = manager_of(desk)
    spec = (await trader(desk)).spec
    assert await manager.unregister(DEFAULT_TENANT, A, actor="ann") is Removal.REMOVED
    assert (await book(desk, "a")).cash == -1000
    await desk.maintain(2)
    assert (await book(desk, "b")).cash == 4000
    assert "DEFICIT" in await desk.open_incidents()
    await manager.register(DEFAULT_TENANT, spec, actor="ann")
    await desk.maintain(1)
    row = await trader(desk)
    assert (row.state, row.state_code) == (TraderState.ISOLATED, StateCode.BANKRUPT)
    assert (await book(desk, "a")).cash == -1000


async def test_one_that_left_without_loss_begins_anew() -> None:
    desk = await FaultyDesk.of(traders=("a", "b"))
    manager, spec = manager_of(desk), (await trader(desk)).spec
    assert await manager.unregister(DEFAULT_TENANT, A, actor="ann") is Removal.REMOVED
    await desk.maintain(2)
    await manager.register(DEFAULT_TENANT, spec, actor="ann")
    await desk.maintain(2)
    assert (await trader(desk)).state is TraderState.RUNNING
    assert abs((await book(desk, "a")).cash - 5000) <= EXACT
