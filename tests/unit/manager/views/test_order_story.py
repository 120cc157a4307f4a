"""`propdesk why` and `propdesk operations` on a desk with a past."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from desk_history import (
    AT,
    BTC,
    DECISION,
    ENTRY,
    INTENT,
    ROUND,
    STOP,
    desk_with_history,
    fills,
    incident,
    orders,
)
from executor.contract import Action, Decision
from manager.errors import UnknownAccount, UnknownTrader
from manager.state.keys import Row
from manager.state.records import (
    DEFAULT_TENANT,
    AccountId,
    DecisionId,
    EventRow,
    FillPartRow,
    FillRow,
    IntentId,
    IntentRow,
    IntentStatus,
    OrderId,
    OrderPurpose,
    OrderRow,
    RoundId,
    TenantId,
)
from manager.views.operations import OperationKind, OperationQuery, read_operations
from manager.views.why import Origin, Story, read_story
from traders.spec import TraderId


def adjustment(
    intent_id: str,
    minute: int,
    *,
    action: Action = Action.ADJUST_STOP,
    symbol: str = BTC,
    status: IntentStatus = IntentStatus.DONE,
    **more: Any,
) -> IntentRow:
    """Return an intent of a minute after the entry; `more` are its levels and its round or trader, if others."""
    levels = {name: more.pop(name) for name in ("stop_loss", "take_profit") if name in more}
    row = IntentRow(
        tenant_id=DEFAULT_TENANT,
        account_id=AccountId("paper"),
        intent_id=IntentId(intent_id),
        decision_id=DecisionId(intent_id.partition("#")[0]),
        trader_id=TraderId("bull"),
        decided_at=AT + timedelta(minutes=minute),
        decision=Decision(symbol=symbol, action=action, **levels),
        status=status if action is Action.ADJUST_STOP else IntentStatus.CONSUMED,
        round_id=RoundId(f"{10 + minute:010d}"),
    )
    return replace(row, **more)


def protective(purpose: OrderPurpose) -> OrderRow:
    """Return a stop or take profit that was placed ten minutes after the entry, in round 19."""
    stop = next(row for row in orders() if isinstance(row, OrderRow) and row.order_id == STOP)
    return replace(
        stop,
        order_id=OrderId(f"bull.{purpose}.late"),
        purpose=purpose,
        round_id=RoundId("0000000019"),
        created_at=AT + timedelta(minutes=10),
        venue_order_id="",
    )


async def story_of(order: str) -> Story:
    story = await read_story(await desk_with_history(), DEFAULT_TENANT, order)
    assert story is not None
    return story


@pytest.mark.parametrize("order", [ENTRY, "v-1"])
async def test_an_order_is_found_by_its_own_and_the_venues_id(order: str) -> None:
    found = (await story_of(order)).order
    assert found is not None
    assert found.order_id == ENTRY


async def test_the_story_leads_back_to_the_models_words_and_the_market_it_saw() -> None:
    [intent] = (await story_of(ENTRY)).intents
    assert (intent.intent_id, intent.decision_id, intent.trader_id) == (INTENT, DECISION, "bull")
    assert (intent.model, intent.prompt_hash, intent.reply) == ("gpt-test", "ab12", '{"decisions": []}')
    assert intent.asked is not None
    assert intent.asked.confidence == Decimal(82)
    [seen] = intent.market
    assert (seen.symbol, seen.mark, seen.indicators["ema_20"]) == (BTC, Decimal(100_500), 100_100.5)


async def test_the_story_has_the_checks_the_conflicts_and_what_came_of_it() -> None:
    story = await story_of(ENTRY)
    assert story.round is not None
    assert story.round.round_id == ROUND
    assert [verdict.code for verdict in story.verdicts] == ["DIRECTION"]
    assert [conflict.outcome for conflict in story.conflicts] == ["bull stands, bear is denied"]
    assert [fill.trade_id for fill in story.fills] == ["t-1"]
    assert sum(part.quantity for part in story.parts) == story.fills[0].quantity


async def test_a_stop_leads_back_to_the_entry_that_set_it() -> None:
    story = await story_of(STOP)
    assert story.fills == ()
    [intent] = story.intents
    assert (intent.intent_id, intent.role, intent.reply) == (INTENT, "set the stop", '{"decisions": []}')
    assert story.origins == (
        Origin(trader_id=TraderId("bull"), leverage=5, opened_by=IntentId(INTENT), set_by=IntentId(INTENT)),
    )


async def test_a_moved_stop_leads_to_the_newest_adjustment_that_a_round_took() -> None:
    rows: list[Row] = [
        adjustment("bull@1#0", 1, stop_loss=Decimal(99_000)),
        adjustment("bull@2#0", 2, stop_loss=Decimal(99_500)),
        adjustment("bull@3#0", 3, take_profit=Decimal(107_000)),
        adjustment("bull@4#0", 4, status=IntentStatus.DENIED, stop_loss=Decimal(99_600)),
        adjustment("bull@5#0", 5, symbol="ETH/USDT:USDT", stop_loss=Decimal(99)),
        adjustment("bull@6#0", 6, round_id="0000000020", stop_loss=Decimal(99_700)),
        protective(OrderPurpose.STOP),
        protective(OrderPurpose.TAKE_PROFIT),
    ]
    store = await desk_with_history(*rows)
    for purpose, intent_id in (("stop", "bull@2#0"), ("take_profit", "bull@3#0")):
        story = await read_story(store, DEFAULT_TENANT, f"bull.{purpose}.late")
        assert story is not None
        assert [(intent.intent_id, intent.role) for intent in story.intents] == [
            (intent_id, f"set the {purpose}"),
            (INTENT, "opened the position"),
        ]
        assert [origin.leverage for origin in story.origins] == [5]


async def test_an_entry_of_which_nothing_filled_set_no_stop() -> None:
    opening = adjustment("bull@2#0", 2, action=Action.OPEN_LONG, stop_loss=Decimal(99_000))
    store = await desk_with_history(opening, protective(OrderPurpose.STOP))
    story = await read_story(store, DEFAULT_TENANT, "bull.stop.late")
    assert story is not None
    assert [intent.intent_id for intent in story.intents] == [INTENT]


@pytest.mark.parametrize(("ref", "kind"), [("t-1", "trade"), (INTENT, "intent"), ("v-1", "order")])
async def test_a_trade_and_an_intent_lead_to_their_order(ref: str, kind: str) -> None:
    story = await story_of(ref)
    assert story.order is not None
    assert (story.kind, story.order.order_id, story.other_orders) == (kind, ENTRY, ())


async def test_a_refused_intent_has_its_verdicts_and_no_order() -> None:
    refused = adjustment("bear@1748779200000#0", 0, status=IntentStatus.DENIED, round_id=ROUND, trader_id="bear")
    story = await read_story(await desk_with_history(refused), DEFAULT_TENANT, refused.intent_id)
    assert story is not None
    assert (story.order, story.kind) == (None, "intent")
    assert [intent.trader_id for intent in story.intents] == ["bear"]
    assert [verdict.code for verdict in story.verdicts] == ["DIRECTION"]


async def test_a_trade_of_another_hand_and_a_cross_have_no_order() -> None:
    [fill, part] = fills()
    assert isinstance(fill, FillRow)
    assert isinstance(part, FillPartRow)
    outside: list[Row] = [
        replace(fill, trade_id="t-9", order_id=OrderId("")),
        replace(
            part,
            trade_id="t-9",
            order_id=OrderId(""),
            intent_id=IntentId(""),
            trader_id=TraderId("EXTERNAL"),
            purpose="",
        ),
    ]
    crossed = replace(part, trade_id=f"cross/{ROUND}/3", order_id=OrderId(""))
    store = await desk_with_history(*outside, crossed)
    external = await read_story(store, DEFAULT_TENANT, "t-9")
    cross = await read_story(store, DEFAULT_TENANT, crossed.trade_id)
    assert external is not None
    assert cross is not None
    assert (external.order, external.intents, len(external.fills), len(external.parts)) == (None, (), 1, 1)
    assert (cross.order, cross.fills, [intent.intent_id for intent in cross.intents]) == (None, (), [INTENT])
    assert cross.round is not None
    assert cross.round.round_id == ROUND


async def test_an_unknown_order_and_another_tenants_are_alike() -> None:
    store = await desk_with_history()
    assert await read_story(store, DEFAULT_TENANT, "none") is None
    assert await read_story(store, TenantId("other"), ENTRY) is None


async def test_operations_come_newest_first_and_of_every_kind() -> None:
    found = (await read_operations(await desk_with_history(incident()), DEFAULT_TENANT, OperationQuery())).operations
    assert [one.kind for one in found][:3] == [OperationKind.EVENT, OperationKind.INCIDENT, OperationKind.ORDER]
    assert {one.kind for one in found} == set(OperationKind) - {OperationKind.DECISION}
    assert [one.at for one in found] == sorted((one.at for one in found), reverse=True)


@pytest.mark.parametrize(
    ("query", "kinds"),
    [
        (
            OperationQuery(trader_id=TraderId("bear")),
            {OperationKind.EVENT, OperationKind.DENIAL, OperationKind.CONFLICT},
        ),
        (OperationQuery(kinds=(OperationKind.ORDER,)), {OperationKind.ORDER}),
        (OperationQuery(trader_id=TraderId("gone")), {OperationKind.EVENT}),
    ],
)
async def test_operations_can_be_narrowed(query: OperationQuery, kinds: set[OperationKind]) -> None:
    removal = EventRow(
        tenant_id=DEFAULT_TENANT,
        event_id="e2",
        at=AT,
        actor="cli:eve",
        kind="trader_removed",
        account_id=AccountId("paper"),
        trader_id=TraderId("gone"),
    )
    found = (await read_operations(await desk_with_history(removal), DEFAULT_TENANT, query)).operations
    assert {one.kind for one in found} == kinds


async def test_an_edit_is_told_by_what_changed() -> None:
    event = EventRow(
        tenant_id=DEFAULT_TENANT,
        event_id="e2",
        at=AT,
        actor="cli:eve",
        kind="trader_updated",
        account_id=AccountId("paper"),
        trader_id=TraderId("bear"),
        after="executor.prompt_template: a -> b",
        reason="an edit",
    )
    terms = replace(
        event,
        event_id="e3",
        kind="account_terms",
        trader_id=TraderId(""),
        before='{"market": {"type": "live", "venue": "x"}}',
        after='{"market": {"type": "synthetic", "venue": "x"}}',
    )
    query = OperationQuery(kinds=(OperationKind.EVENT,))
    found = (await read_operations(await desk_with_history(event, terms), DEFAULT_TENANT, query)).operations
    assert {one.ref: (one.outcome, one.detail) for one in found if one.ref in ("e2", "e3")} == {
        "e2": ("changed", "executor.prompt_template: a -> b (cli:eve: an edit)"),
        "e3": ("changed", "market.type: live -> synthetic (cli:eve: an edit)"),
    }


async def test_operations_of_nobody_are_refused() -> None:
    store = await desk_with_history()
    with pytest.raises(UnknownAccount, match="there is no account 'other'"):
        await read_operations(store, DEFAULT_TENANT, OperationQuery(account_id=AccountId("other")))
    with pytest.raises(UnknownTrader, match="there is no trader 'nobody'"):
        await read_operations(store, DEFAULT_TENANT, OperationQuery(trader_id=TraderId("nobody")))


async def test_operations_are_limited_after_all_kinds_are_merged() -> None:
    query = OperationQuery(limit=2)
    found = (await read_operations(await desk_with_history(), DEFAULT_TENANT, query)).operations
    assert [one.kind for one in found] == [OperationKind.EVENT, OperationKind.ORDER]
