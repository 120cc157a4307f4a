"""Incidents with a duration: raised once, open as long as they last, over when a pass finds them over."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from exchanges.types import Capabilities, Fill, FillKind, OrderType, Side
from faulty_desk import (
    ACCOUNT,
    AT,
    BTC,
    ETH,
    SECOND,
    Fault,
    FaultyDesk,
    adjust,
    close,
    is_type,
    no_faults,
    open_long,
    when,
)
from manager.desk.account_state import AccountState
from manager.desk.incidents.log import IncidentLog, Subject
from manager.state.records import (
    DEFAULT_TENANT,
    AccountId,
    AccountRow,
    IncidentRow,
    IntentRow,
    IntentStatus,
    OrderPurpose,
    OrderRow,
    OrderState,
    RoundId,
    TradingState,
)
from manager.state.store import AccountRows

DOWN = when(Fault.DOWN, "fetch_positions")
REFUSE_STOPS = when(Fault.REFUSED, "create_order", is_type(OrderType.STOP))
LOSE_TAKE_PROFIT_CANCELS = when(Fault.LOST, "cancel_order", is_type(OrderType.TAKE_PROFIT))
Span = tuple[datetime, datetime | None]


async def spans(desk: FaultyDesk, code: str, **where: Any) -> list[Span]:
    """Return from when to when each incident of a code lasted, the first one first."""
    rows: Sequence[IncidentRow] = await desk.find(IncidentRow, code=code, **where)
    return sorted((row.at, row.resolved_at) for row in rows)


def after(seconds: int) -> datetime:
    return AT + seconds * SECOND


async def test_an_outage_is_one_incident_that_ends_and_another_one_is_another() -> None:
    desk = await FaultyDesk.of()
    for begin in (0, 10):
        desk.venue.plan = DOWN
        await desk.maintain(2)
        desk.new_process("other")
        await desk.maintain(2)
        assert (await spans(desk, "VENUE_UNAVAILABLE"))[-1] == (after(begin + 1), None)
        desk.venue.plan = no_faults
        desk.new_process()
        await desk.maintain(6)
    assert await spans(desk, "VENUE_UNAVAILABLE") == [(after(1), after(5)), (after(11), after(15))]


async def test_a_lasting_incident_has_its_newest_detail() -> None:
    desk = await FaultyDesk.of()
    desk.venue.plan = DOWN
    await desk.maintain(1)
    desk.venue.plan = when(Fault.DOWN, "fetch_balance")
    await desk.maintain(1)
    assert [row.detail for row in await desk.find(IncidentRow)] == ["fetch_balance is down"]
    assert await spans(desk, "VENUE_UNAVAILABLE") == [(after(1), None)]


async def test_what_lasts_unchanged_is_not_written_again(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = await FaultyDesk.of()
    desk.venue.plan = DOWN
    await desk.maintain(1)
    writes = count_fenced(desk, monkeypatch)
    await desk.maintain(3)
    assert writes == []
    desk.venue.plan = no_faults
    await desk.maintain(1)
    assert len(writes) == 1
    await desk.maintain(3)
    assert len(writes) == 1


def count_fenced(desk: FaultyDesk, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that grows by each fenced transaction."""
    opened: list[str] = []
    inner: Callable[..., Any] = desk.store.transaction

    def transaction(tenant: Any, *, fence: Any = None) -> Any:
        if fence is not None:
            opened.append(fence.account_id)
        return inner(tenant, fence=fence)

    monkeypatch.setattr(desk.store, "transaction", transaction)
    return opened


async def test_a_market_that_cannot_be_read_ends_when_it_can() -> None:
    desk = await FaultyDesk.of()
    desk.feed.down = True
    await desk.maintain(3)
    desk.feed.down = False
    await desk.maintain(2)
    assert await spans(desk, "MARKET_UNAVAILABLE") == [(after(1), after(4))]


async def test_each_unknown_order_has_an_incident_until_its_outcome_is_known() -> None:
    desk = await FaultyDesk.of()
    for symbol, seconds in ((BTC, 20), (ETH, 1)):
        desk.venue.plan = when(Fault.LOST, "create_order", lambda r, s=symbol: r.symbol == s)  # type: ignore[misc]  # the default binds it
        await desk.go("a", open_long(symbol))
        desk.venue.plan = no_faults
        await desk.maintain(seconds)
    assert len(await spans(desk, "ORDER_UNKNOWN")) == len(await desk.unresolved()) == 2
    await desk.maintain(20)
    assert [end is None for _, end in await spans(desk, "ORDER_UNKNOWN", symbol=BTC)] == [False]
    assert [end is None for _, end in await spans(desk, "ORDER_UNKNOWN", symbol=ETH)] == [True]
    desk.new_process()
    await desk.maintain(30)
    assert await desk.open_incidents() == set()


async def test_an_unknown_order_without_an_open_incident_is_told_again() -> None:
    desk = await FaultyDesk.of()
    desk.venue.plan = when(Fault.LOST, "create_order")
    await desk.go("a", open_long())
    async with desk.store.transaction(DEFAULT_TENANT) as tx:
        for row in await tx.find(IncidentRow, {}):
            await tx.delete(IncidentRow, [(row.incident_id,)])
    await desk.maintain(1)
    [row] = await desk.find(IncidentRow, code="ORDER_UNKNOWN")
    assert row.detail.endswith("create_order timed out")
    assert row.resolved_at is None


async def test_a_mismatch_stays_open_while_an_order_hides_it() -> None:
    desk = await FaultyDesk.of()
    await desk.go("a", open_long())
    desk.venue.plan = when(Fault.CUT, "fetch_positions")
    await desk.maintain(2)
    assert await spans(desk, "POSITION_MISMATCH") == [(after(1), None)]
    cut = desk.venue.plan
    desk.venue.plan = lambda call, argument: Fault.LOST if call == "create_order" else cut(call, argument)
    await desk.go("a", close())
    desk.venue.plan = cut
    await desk.maintain(2)
    assert len(await desk.unresolved()) == 1
    assert await spans(desk, "POSITION_MISMATCH") == [(after(1), None)]
    desk.venue.plan = no_faults
    await desk.maintain(1)
    assert await spans(desk, "POSITION_MISMATCH") == [(after(1), after(5))]


async def a_close_whose_take_profit_stays() -> FaultyDesk:
    """Let `a` ask for a close that waits, because the cancel of its take-profit has no outcome."""
    desk = await FaultyDesk.of(traders=("a", "b"))
    await desk.go("a", open_long(take_profit=200))
    await desk.go("b", open_long())
    desk.venue.plan = LOSE_TAKE_PROFIT_CANCELS
    desk.pass_time()
    await desk.go("a", close())
    assert await spans(desk, "CANCEL_UNKNOWN") == [(after(1), None)]
    return desk


async def test_a_cancel_without_an_outcome_stands_between_the_rounds_that_try_it() -> None:
    desk = await a_close_whose_take_profit_stays()
    await desk.maintain(2)
    await desk.round()
    await desk.maintain(2)
    assert await spans(desk, "CANCEL_UNKNOWN") == [(after(1), None)]
    desk.venue.plan = no_faults
    await desk.round()
    await desk.maintain(1)
    assert await desk.held("a") == 0
    assert await spans(desk, "CANCEL_UNKNOWN") == [(after(1), after(6))]


async def test_a_cancel_that_nobody_wants_any_more_is_over() -> None:
    desk = await a_close_whose_take_profit_stays()
    async with desk.store.transaction(DEFAULT_TENANT) as tx:
        for intent in (await tx.account_rows(AccountId(ACCOUNT))).intents:
            await tx.patch(IntentRow, (intent.intent_id,), status=IntentStatus.SUPERSEDED)
    await desk.maintain(1)
    assert len(await desk.resting(OrderType.TAKE_PROFIT)) == 1
    assert await spans(desk, "CANCEL_UNKNOWN") == [(after(1), after(2))]


async def test_a_refused_stop_is_told_once_until_one_stands() -> None:
    desk = await FaultyDesk.of()
    await desk.go("a", open_long())
    desk.venue.plan = REFUSE_STOPS
    desk.pass_time()
    await desk.go("a", adjust(stop=95))
    await desk.maintain(8)
    assert await spans(desk, "PROTECTION_REFUSED") == [(after(1), None)]
    desk.venue.plan = no_faults
    await desk.maintain(6)
    assert await spans(desk, "PROTECTION_REFUSED") == [(after(1), after(14))]


async def test_a_unprotected_position_is_told_once_until_its_stop_stands() -> None:
    desk = await FaultyDesk.of(traders=("a", "b"))
    for trader_id in "ab":
        await desk.go(trader_id, open_long())
    desk.venue.plan = when(Fault.LOST, "create_order", is_type(OrderType.MARKET))
    desk.pass_time()
    await desk.go("a", close())
    await desk.maintain(10)
    desk.venue.plan = when(Fault.REFUSED, "create_order")
    desk.new_process()
    await desk.maintain(40)
    assert await desk.unresolved() == []
    assert OrderState.REJECTED in {order.state for order in await desk.find(OrderRow, purpose=OrderPurpose.REDUCE)}
    [(_, end)] = await spans(desk, "NAKED_POSITION")
    assert end is None
    desk.venue.plan = no_faults
    await desk.maintain(6)
    [(_, end)] = await spans(desk, "NAKED_POSITION")
    assert end is not None
    assert await desk.open_incidents() == set()


async def test_an_overlap_stands_until_the_external_position_is_gone_its_fills_are_events() -> None:
    desk = await FaultyDesk.of()
    await desk.go("a", open_long())
    await desk.by_hand("h1", Side.SELL, 4)
    await desk.maintain(3)
    assert await desk.open_incidents() == {"EXTERNAL_OVERLAP"}
    await desk.by_hand("h2", Side.BUY, 4)
    await desk.maintain(2)
    assert await spans(desk, "EXTERNAL_OVERLAP") == [(after(1), after(4))]
    assert await spans(desk, "EXTERNAL_FILL") == [(after(1), after(1)), (after(4), after(4))]


async def test_a_liquidation_stands_until_the_account_is_resumed(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = await FaultyDesk.of()
    await desk.go("a", open_long())
    inner = desk.paper.fetch_fills

    async def fetch_fills(since: datetime) -> Sequence[Fill]:
        fills = await inner(since)
        return [fill if fill.side is Side.BUY else replace(fill, kind=FillKind.LIQUIDATION) for fill in fills]

    monkeypatch.setattr(desk.paper, "fetch_fills", fetch_fills)
    await desk.by_hand("venue", Side.SELL, 10)
    await desk.maintain(4)
    assert await spans(desk, "ACCOUNT_LIQUIDATION") == [(after(1), None)]
    async with desk.store.transaction(DEFAULT_TENANT) as tx:
        await tx.patch(AccountRow, (ACCOUNT,), trading_state=TradingState.ACTIVE)
    await desk.maintain(1)
    assert await spans(desk, "ACCOUNT_LIQUIDATION") == [(after(1), after(5))]


async def test_dust_is_low_and_stands_until_the_position_grows() -> None:
    desk = await FaultyDesk.of(capabilities=Capabilities(reduce_below_minimum=False))
    await desk.go("a", open_long())
    for fraction in ("0.997", "1", "1"):
        desk.pass_time()
        await desk.go("a", close(fraction=fraction))
    await desk.maintain(1)
    [row] = await desk.find(IncidentRow, code="DUST")
    assert (row.at, row.severity, row.resolved_at) == (after(2), "low", None)
    await desk.go("a", open_long(usd=2000))
    await desk.maintain(2)
    assert [end is None for _, end in await spans(desk, "DUST")] == [False]


async def test_a_failed_stop_is_an_event() -> None:
    desk = await FaultyDesk.of()
    desk.venue.plan = REFUSE_STOPS
    await desk.go("a", open_long())
    await desk.maintain(7)
    assert await spans(desk, "STOP_FAILED") == [(after(6), after(6))]


async def test_rows_of_older_versions_end_and_those_of_others_do_not() -> None:
    desk = await FaultyDesk.of()
    desk.venue.plan = DOWN
    old = IncidentRow(
        tenant_id=DEFAULT_TENANT,
        incident_id=f"{ACCOUNT}/standing/VENUE_UNAVAILABLE//",
        account_id=AccountId(ACCOUNT),
        code="VENUE_UNAVAILABLE",
        severity="high",
        detail="fetch_positions is down",
        at=AT - SECOND,
    )
    event = replace(old, incident_id=f"{ACCOUNT}/0000000001/STOP_FAILED/a/{BTC}", code="STOP_FAILED")
    other = replace(old, incident_id="safe_mode/a@1", code="SAFE_MODE")
    async with desk.store.transaction(DEFAULT_TENANT) as tx:
        await tx.insert([old, event, replace(event, incident_id=event.incident_id.replace("1/", "2/")), other])
    await desk.maintain(2)
    assert await spans(desk, "VENUE_UNAVAILABLE") == [(AT - SECOND, None)]
    desk.venue.plan = no_faults
    await desk.maintain(1)
    assert await spans(desk, "VENUE_UNAVAILABLE") == [(AT - SECOND, after(3))]
    assert await spans(desk, "STOP_FAILED") == [(AT - SECOND, after(3))] * 2
    assert await desk.open_incidents() == {"SAFE_MODE"}


def test_what_ends_and_comes_back_within_one_pass_never_ended() -> None:
    log, state = log_of()
    overlap = Subject(code="EXTERNAL_OVERLAP", symbol=BTC)
    log.tell(overlap, "first", AT)
    [row] = state.take().upserts
    assert isinstance(row, IncidentRow)
    log, state = log_of(row)
    log.end(AT + SECOND)
    log.tell(overlap, "again", AT + SECOND)
    assert state.take().upserts[-1] == replace(row, detail="again")


def test_a_code_that_nobody_documented_is_refused() -> None:
    log, _ = log_of()
    with pytest.raises(KeyError):
        log.tell(Subject(code="MADE_UP"), "", AT)


def log_of(*rows: Any) -> tuple[IncidentLog, AccountState]:
    account = AccountRow(tenant_id=DEFAULT_TENANT, account_id=AccountId(ACCOUNT), venue=ACCOUNT)
    nothing: dict[str, Any] = dict.fromkeys(("traders", "schedules", "books", "positions", "intents", "orders"), ())
    state = AccountState(AccountRows(account=account, incidents=rows, **nothing), {})
    return IncidentLog(state, RoundId("0000000007"), rows), state
