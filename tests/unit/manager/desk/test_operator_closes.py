"""What an operator closes: in any state, once, before what the trader wants; a flatten goes on until all is flat."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from exchanges.types import Capabilities, OrderReport, OrderRequest, OrderType, Side, Symbol
from executor.contract import Decision, Outcome
from faulty_desk import (
    ACCOUNT,
    BTC,
    ETH,
    Fault,
    FaultyDesk,
    adjust,
    close,
    is_type,
    no_faults,
    open_long,
    open_short,
    when,
)
from manager.errors import ActKeyRefused, NoFlatten, NothingHeld, UnknownAccount, UnknownTrader
from manager.manager import Manager
from manager.roster.acts import CloseAsked, Earlier, FlattenAsked
from manager.roster.registration import registration_check
from manager.state.acts import ActKey, ActRow, FlattenRow, FlattenScope
from manager.state.kinds import Afterwards, EventKind, FlattenState, OrderState, ScopeKind, WhyLeft
from manager.state.records import (
    DEFAULT_TENANT,
    AccountId,
    AccountRow,
    DecisionId,
    DecisionRow,
    EventRow,
    FillPartRow,
    IncidentRow,
    IntentId,
    IntentRow,
    IntentStatus,
    OrderRow,
    ScheduleRow,
    TraderRow,
    TraderState,
    TradingState,
)
from manager.state.store import Conclusion
from manager.views.closing import CloseProgress, read_preview, read_progress
from traders.book import EXTERNAL
from traders.spec import TraderId

D = Decimal
A, B = TraderId("a"), TraderId("b")
BY: dict[str, Any] = {"actor": "ann", "reason": "news"}
ALL = FlattenScope(kind=ScopeKind.TENANT)
OF_ACCOUNT = FlattenScope(kind=ScopeKind.ACCOUNT, name=ACCOUNT)
OF_A = FlattenScope(kind=ScopeKind.TRADER, name="a")
MARKET = is_type(OrderType.MARKET)


def manager_of(desk: FaultyDesk) -> Manager:
    return Manager(desk.store, desk.clock, registration_check(desk.config))


async def holding(**scene: Any) -> FaultyDesk:
    """Return a desk whose trader a is long 10 BTC and 5 ETH."""
    desk = await FaultyDesk.of(**scene)
    await desk.go("a", open_long(), open_long(ETH, 500))
    assert (await desk.held("a"), await desk.held("a", ETH)) == (D(10), D(5))
    return desk


async def asked_close(desk: FaultyDesk, symbol: Symbol | None = None, **more: Any) -> CloseAsked:
    return await manager_of(desk).close(DEFAULT_TENANT, A, symbol, **BY | more)


async def flatten(
    desk: FaultyDesk, scope: FlattenScope = OF_ACCOUNT, afterwards: Afterwards = Afterwards.STAND_BY, **more: Any
) -> FlattenAsked:
    return await manager_of(desk).flatten(DEFAULT_TENANT, scope, afterwards, **BY | more)


async def progress(desk: FaultyDesk, asked: CloseAsked | FlattenAsked) -> CloseProgress:
    return await read_progress(desk.store, DEFAULT_TENANT, asked.watches)


async def state_of(desk: FaultyDesk) -> FlattenState:
    [row] = await desk.find(FlattenRow)
    state: FlattenState = row.state
    return state


async def run(desk: FaultyDesk, seconds: int) -> None:
    """Let upkeep and rounds go on."""
    for _ in range(seconds):
        desk.pass_time()
        await desk.maintain()
        await desk.round()


@pytest.mark.parametrize("state", list(TraderState))
@pytest.mark.parametrize("trading", list(TradingState))
async def test_a_close_works_in_every_state(state: TraderState, trading: TradingState) -> None:
    desk = await holding()
    async with desk.store.transaction(DEFAULT_TENANT) as tx:
        await tx.patch(TraderRow, (A,), state=state)
        await tx.patch(AccountRow, (ACCOUNT,), trading_state=trading)
    asked = await asked_close(desk, BTC)
    assert [(one.symbol, one.quantity) for one in asked.positions] == [(BTC, D(10))]
    assert not (await progress(desk, asked)).done
    await desk.round()
    assert (await desk.held("a"), await desk.held("a", ETH)) == (D(0), D(5))
    found = await progress(desk, asked)
    assert (found.done, found.left, [one.symbol for one in found.held]) == (True, (), [ETH])
    assert [(part.symbol, part.quantity) for part in found.closed] == [(BTC, D(10))]
    assert [row.actor for row in await desk.find(EventRow) if row.kind == EventKind.CLOSE_ASKED] == ["ann"]


async def test_a_close_of_all_has_an_order_for_each_position_that_answers_why() -> None:
    desk = await holding()
    asked = await asked_close(desk)
    await desk.round()
    intents = {share.intent_id for row in await desk.find(OrderRow, purpose="reduce") for share in row.shares}
    assert intents == {one.intent_id for one in asked.positions}
    decided = [row for row in await desk.find(DecisionRow) if row.model == "operator:ann"]
    assert [row.reasoning for row in decided] == ["news"]


async def test_what_cannot_be_closed_is_an_error() -> None:
    desk = await holding()
    with pytest.raises(UnknownTrader):
        await manager_of(desk).close(DEFAULT_TENANT, TraderId("nobody"), None, **BY)
    with pytest.raises(NothingHeld, match=f"no position in SOL to close: it holds {BTC}, {ETH}"):
        await asked_close(desk, Symbol("SOL"))
    await asked_close(desk)
    await desk.round()
    with pytest.raises(NothingHeld, match="it holds nothing"):
        await asked_close(desk)


async def test_the_same_key_acts_once_and_other_arguments_are_refused() -> None:
    desk = await holding()
    key = ActKey("k1")
    first = await asked_close(desk, BTC, key=key)
    await desk.round()
    await desk.go("a", open_long())
    again = await asked_close(desk, BTC, key=key, actor="bob")
    assert again == replace(first, repeated_of=Earlier(at=first.at, actor="ann"))
    found = await progress(desk, again)
    assert (found.done, found.left, [(one.symbol, one.quantity) for one in found.held]) == (
        True,
        (),
        [(BTC, D(10)), (ETH, D(5))],
    )
    await desk.round()
    assert await desk.held("a") == 10
    assert len(await desk.find(ActRow)) == 1
    with pytest.raises(ActKeyRefused, match="'k1' stands for another act"):
        await asked_close(desk, ETH, key=key)
    with pytest.raises(ActKeyRefused, match="stands for another act"):
        await manager_of(desk).isolate(DEFAULT_TENANT, A, **BY, key=key)
    for bad in ("", "x" * 201, "a\nb"):
        with pytest.raises(ActKeyRefused, match="is none"):
            await asked_close(desk, BTC, key=ActKey(bad))


@pytest.mark.parametrize("act", [asked_close, flatten])
async def test_what_was_closed_stays_as_it_was_when_a_key_is_asked_again(act: Callable[..., Any]) -> None:
    desk = await holding()
    first = await act(desk, key=ActKey("k"))
    await run(desk, 3)
    closed = (await progress(desk, first)).closed
    assert [(one.symbol, one.quantity) for one in closed] == [(BTC, D(10)), (ETH, D(5))]
    for _ in range(2):
        desk.pass_time()
        await desk.go("a", open_long(BTC, 300))
        desk.pass_time()
        await desk.go("a", close(BTC))
    assert (await progress(desk, await act(desk, key=ActKey("k")))).closed == closed


async def test_a_stop_that_closes_it_first_is_told_and_one_before_is_not() -> None:
    desk = await holding()
    await desk.go("a", close(BTC, "0.5"))
    desk.pass_time()
    asked = await asked_close(desk, BTC)
    desk.price(80)
    await run(desk, 3)
    found = await progress(desk, asked)
    assert (found.done, await desk.held("a")) == (True, D(0))
    [closed] = found.closed
    assert (closed.symbol, closed.quantity) == (BTC, D(5))
    assert {row.purpose for row in await desk.find(FillPartRow, symbol=BTC)} == {"entry", "reduce", "stop"}


async def test_a_key_of_an_act_that_failed_may_be_used_again() -> None:
    desk = await FaultyDesk.of()
    with pytest.raises(NothingHeld):
        await asked_close(desk, key=ActKey("k"))
    await desk.go("a", open_long())
    assert (await asked_close(desk, key=ActKey("k"))).positions


async def test_two_operators_close_a_position_once() -> None:
    desk = await holding()
    first, second = await asked_close(desk, BTC), await asked_close(desk)
    assert [one.asked_before for one in second.positions] == [True, False]
    assert second.positions[0].intent_id == first.positions[0].intent_id
    await desk.round()
    assert len(await desk.find(OrderRow, purpose="reduce")) == 2


async def late_decision(desk: FaultyDesk, *decisions: Decision) -> None:
    """Let a decision that was under way conclude now, in time for its claim."""
    now = desk.clock.now()
    names: dict[str, Any] = {"tenant_id": DEFAULT_TENANT, "account_id": AccountId(ACCOUNT), "trader_id": A}
    names |= {"decision_id": DecisionId(f"a@{now.isoformat()}"), "decided_at": now}
    decision = DecisionRow(**names, due_at=now, outcome=Outcome.DECIDED, decisions=decisions)
    intents = [
        IntentRow(**names, intent_id=IntentId(f"{decision.decision_id}#{n}"), decision=one, n=n)
        for n, one in enumerate(decisions)
    ]
    async with desk.store.transaction(DEFAULT_TENANT) as tx:
        await tx.patch(ScheduleRow, (A,), in_flight_due_at=now, claimed_at=now)
        assert await tx.conclude(Conclusion(decision=decision, prompts=[], intents=intents, failed=False, at=now))


async def test_no_decision_of_the_trader_takes_a_close_back_or_opens_beside_it() -> None:
    desk = await holding()
    await desk.decide("a", open_long(BTC, 300), open_long(ETH, 300))
    asked = await asked_close(desk, BTC)
    assert asked.superseded == 1
    desk.pass_time()
    await late_decision(desk, adjust(BTC, stop=80), open_long(BTC, 400))
    await desk.round()
    assert await desk.held("a") == 0
    assert ("a", "BEING_CLOSED") in await desk.denials()
    assert (await progress(desk, asked)).done


@pytest.mark.parametrize("afterwards", list(Afterwards))
@pytest.mark.parametrize("scope", [ALL, OF_ACCOUNT, OF_A], ids=lambda scope: scope.kind)
async def test_a_flatten_blocks_entries_from_its_beginning_closes_all_and_ends(
    scope: FlattenScope, afterwards: Afterwards
) -> None:
    desk = await holding(traders=("a", "b"))
    await desk.go("b", open_long(ETH, 300))
    await desk.decide("a", open_long(BTC, 200))
    asked = await flatten(desk, scope, afterwards)
    assert (asked.joined, asked.superseded) == (False, 1)
    await desk.decide("a", open_long(BTC, 200))
    await run(desk, 1)
    assert "a" not in {row.trader_id for row in await desk.find(OrderRow, purpose="entry", state=OrderState.PENDING)}
    assert (await desk.held("a"), await desk.held("a", ETH)) == (D(0), D(0))
    await run(desk, 2)
    assert await desk.held("b", ETH) == (3 if scope is OF_A else 0)
    assert await state_of(desk) is FlattenState.FLAT
    found = await progress(desk, asked)
    assert (found.done, found.left) == (True, ())
    [account], [a, b] = await desk.find(AccountRow), await desk.find(TraderRow)
    halted = afterwards is Afterwards.HALT and scope is not OF_A
    stopped = afterwards is Afterwards.STOP or (afterwards is Afterwards.HALT and scope is OF_A)
    assert (account.trading_state is TradingState.HALTED) == halted
    assert (a.state is TraderState.STOPPED) == stopped
    assert (b.state is TraderState.STOPPED) == (stopped and scope is not OF_A)
    told = [row.after for row in await desk.find(EventRow) if row.kind.startswith("flatten_")]
    assert sorted(told) == ["flat", "open"]
    await desk.go("a", open_long(BTC, 200))
    assert (await desk.held("a") == 2) == (afterwards is Afterwards.STAND_BY)


async def test_opposite_books_are_crossed_inside_not_traded_twice() -> None:
    desk = await FaultyDesk.of(traders=("a", "b"), strategy="net", rules={"conflict_strategy": "net"})
    await desk.go("a", open_long())
    await desk.go("b", open_short())
    assert (await desk.held("a"), await desk.held("b"), await desk.net()) == (D(10), D(-10), D(0))
    sent = len(desk.venue.sent)
    await flatten(desk)
    await run(desk, 2)
    assert (await desk.held("a"), await desk.held("b")) == (D(0), D(0))
    assert [one for one in desk.venue.sent[sent:] if one.type is OrderType.MARKET] == []


async def test_the_same_scope_is_joined_and_what_stays_can_only_grow() -> None:
    desk = await holding()
    first = await flatten(desk)
    second = await flatten(desk, afterwards=Afterwards.HALT)
    assert (second.joined, second.parts, second.halted) == (True, first.parts, (ACCOUNT,))
    assert all(one.asked_before for one in second.positions)
    await run(desk, 2)
    assert len(await desk.find(OrderRow, purpose="reduce")) == 2
    assert len(await desk.find(FlattenRow)) == 1


async def test_a_refused_close_is_tried_again_told_and_ended_when_it_is_through() -> None:
    desk = await holding()
    desk.venue.plan = when(Fault.REFUSED, "create_order", lambda one: MARKET(one) and one.symbol == BTC)
    asked = await flatten(desk)
    await run(desk, 12)
    assert (await desk.held("a"), await desk.held("a", ETH)) == (D(10), D(0))
    [left] = (await progress(desk, asked)).left
    assert (left.why, left.quantity, "PRICE_BAND" in left.detail) == (WhyLeft.REFUSED, D(10), True)
    assert "FLATTEN_INCOMPLETE" in await desk.open_incidents()
    await desk.go("a", open_long(ETH, 200))
    assert await desk.held("a", ETH) == 0
    assert await state_of(desk) is FlattenState.OPEN
    desk.venue.plan = no_faults
    await run(desk, 3)
    assert await state_of(desk) is FlattenState.FLAT
    assert "FLATTEN_INCOMPLETE" not in await desk.open_incidents()
    assert await desk.net() == 0


async def test_an_entry_under_way_that_fills_late_is_closed_too() -> None:
    desk = await FaultyDesk.of()
    await desk.decide("a", open_long())
    desk.venue.plan = when(Fault.LOST, "create_order", MARKET)
    await desk.round()
    asked = await flatten(desk)
    await run(desk, 2)
    assert await state_of(desk) is FlattenState.OPEN
    [entry] = [one for one in desk.venue.sent if one.type is OrderType.MARKET]
    await desk.paper.create_order(entry)
    assert await desk.net() == 10
    desk.venue.plan = no_faults
    await run(desk, 4)
    assert (await desk.held("a"), await desk.net()) == (D(0), D(0))
    assert (await progress(desk, asked)).done


@pytest.mark.parametrize("holds", [True, False])
async def test_a_close_is_not_done_while_an_entry_of_its_position_may_fill(holds: bool) -> None:
    desk = await FaultyDesk.of()
    if holds:
        await desk.go("a", open_long(BTC, 300))
    await desk.decide("a", open_long())
    desk.venue.plan = when(Fault.LOST, "create_order", MARKET)
    await desk.round()
    [entry] = [one for one in desk.venue.sent if one.type is OrderType.MARKET][-1:]
    desk.venue.plan = no_faults
    asked = await asked_close(desk)
    assert [one.quantity for one in asked.positions] == [D(3) if holds else D(10)]
    await run(desk, 2)
    found = await progress(desk, asked)
    assert (await desk.held("a"), found.done, len(found.waits_for)) == (D(0), False, 1)
    await desk.paper.create_order(entry)
    await run(desk, 6)
    assert (await desk.held("a"), await desk.net()) == (D(0), D(0))
    assert (await progress(desk, asked)).done


async def test_a_round_under_way_sends_no_further_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = await FaultyDesk.of()
    await desk.decide("a", open_long(), open_long(ETH, 500))
    create = desk.paper.create_order
    asked: list[FlattenAsked] = []

    async def flattened_meanwhile(request: OrderRequest) -> OrderReport:
        if not asked:
            asked.append(await flatten(desk))
        return await create(request)

    monkeypatch.setattr(desk.paper, "create_order", flattened_meanwhile)
    await desk.round()
    assert len([one for one in desk.venue.sent if one.type is OrderType.MARKET]) == 1
    await run(desk, 30)
    found = await progress(desk, asked[0])
    assert (found.done, found.left) == (False, ())
    assert [told.startswith("entry of a: buy 5") for told in found.waits_for] == [True]
    [told] = [row.detail for row in await desk.find(IncidentRow) if row.code == "FLATTEN_INCOMPLETE"]
    assert told.endswith(f"not closed yet: waits for an order: {found.waits_for[0]}")
    await run(desk, 30)
    assert (await desk.net(), await desk.net(ETH)) == (D(0), D(0))
    assert (await progress(desk, asked[0])).done
    assert [one.symbol for one in desk.venue.sent if one.type is OrderType.MARKET and not one.reduce_only] == [BTC]


async def test_external_is_never_touched_and_an_overlap_is_told() -> None:
    desk = await holding()
    await desk.by_hand("hand", Side.SELL, 25)
    await desk.by_hand("hand-eth", Side.BUY, 3, ETH)
    await desk.maintain()
    asked = await flatten(desk)
    await run(desk, 12)
    assert (await desk.held(EXTERNAL), await desk.held(EXTERNAL, ETH)) == (D(-25), D(3))
    assert (await desk.held("a"), await desk.held("a", ETH), await desk.net(ETH)) == (D(10), D(0), D(3))
    [left] = (await progress(desk, asked)).left
    assert (left.symbol, left.why) == (BTC, WhyLeft.EXTERNAL_OVERLAP)
    preview = await read_preview(desk.store, DEFAULT_TENANT, OF_ACCOUNT)
    assert [(one.symbol, one.side, one.quantity) for one in preview.closes] == [(BTC, Side.SELL, D(10))]
    assert [(one.trader_id, one.why) for one in preview.stays] == [(EXTERNAL, WhyLeft.EXTERNAL)] * 2
    assert preview.under_way
    await desk.by_hand("back", Side.BUY, 25)
    await run(desk, 3)
    assert (await desk.held("a"), await desk.net()) == (D(0), D(0))


async def test_dust_is_left_and_told_and_its_close_takes_nothing_of_what_is_opened_later() -> None:
    desk = await holding(capabilities=Capabilities(reduce_below_minimum=False))
    await desk.go("a", close(BTC, "0.999"))
    assert await desk.held("a") == Decimal("0.01")
    asked = await flatten(desk)
    await run(desk, 3)
    found = await progress(desk, asked)
    assert (found.done, [(one.symbol, one.why) for one in found.left]) == (True, [(BTC, WhyLeft.DUST)])
    assert await state_of(desk) is FlattenState.LEFT
    assert await desk.find(IntentRow, status=IntentStatus.PENDING) == []
    await desk.go("a", open_long())
    await run(desk, 2)
    assert await desk.held("a") == Decimal("10.01")


async def test_a_canceled_flatten_frees_entries_and_what_it_asked_for_is_closed_still() -> None:
    desk = await holding()
    await flatten(desk)
    await manager_of(desk).cancel_flatten(DEFAULT_TENANT, OF_ACCOUNT, **BY)
    assert await state_of(desk) is FlattenState.CANCELED
    await desk.round()
    assert await desk.held("a") == 0
    await desk.go("a", open_long())
    await run(desk, 2)
    assert await desk.held("a") == 10
    with pytest.raises(NoFlatten, match="no flatten of account paper is under way"):
        await manager_of(desk).cancel_flatten(DEFAULT_TENANT, OF_ACCOUNT, **BY)


async def test_unknown_scopes_are_named() -> None:
    desk = await FaultyDesk.of()
    with pytest.raises(UnknownTrader):
        await flatten(desk, FlattenScope(kind=ScopeKind.TRADER, name="x"))
    with pytest.raises(UnknownAccount, match="no account 'x'"):
        await flatten(desk, FlattenScope(kind=ScopeKind.ACCOUNT, name="x"))
