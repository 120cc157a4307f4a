"""`propdesk why` and `propdesk operations` on a desk with a past."""

from decimal import Decimal

import pytest

from desk_history import BTC, DECISION, ENTRY, INTENT, ROUND, STOP, desk_with_history, incident
from manager.cli.operation_log import OperationKind, OperationQuery, read_operations
from manager.cli.order_story import OrderStory, read_story
from manager.state.records import DEFAULT_TENANT, TenantId


async def story_of(order: str) -> OrderStory:
    story = await read_story(await desk_with_history(), DEFAULT_TENANT, order)
    assert story is not None
    return story


@pytest.mark.parametrize("order", [ENTRY, "v-1"])
async def test_an_order_is_found_by_its_own_and_the_venues_id(order: str) -> None:
    assert (await story_of(order)).order.order_id == ENTRY


async def test_the_story_leads_back_to_the_models_words_and_the_market_it_saw() -> None:
    [wish] = (await story_of(ENTRY)).wishes
    assert (wish.intent_id, wish.decision_id, wish.trader_id) == (INTENT, DECISION, "bull")
    assert (wish.model, wish.prompt_hash, wish.reply) == ("gpt-test", "ab12", '{"decisions": []}')
    assert wish.asked is not None
    assert wish.asked.confidence == Decimal(82)
    [seen] = wish.market
    assert (seen.symbol, seen.mark, seen.indicators["ema_20"]) == (BTC, Decimal(100_500), 100_100.5)


async def test_the_story_has_the_checks_the_conflicts_and_what_came_of_it() -> None:
    story = await story_of(ENTRY)
    assert story.round is not None
    assert story.round.round_id == ROUND
    assert [verdict.code for verdict in story.verdicts] == ["DIRECTION"]
    assert [conflict.outcome for conflict in story.conflicts] == ["bull stands, bear is dropped"]
    assert [fill.trade_id for fill in story.fills] == ["t-1"]
    assert sum(part.quantity for part in story.parts) == story.fills[0].quantity


async def test_a_protective_order_has_no_wishes() -> None:
    story = await story_of(STOP)
    assert (story.wishes, story.fills) == ((), ())


async def test_an_unknown_order_and_another_tenants_are_alike() -> None:
    store = await desk_with_history()
    assert await read_story(store, DEFAULT_TENANT, "none") is None
    assert await read_story(store, TenantId("other"), ENTRY) is None


async def test_operations_come_newest_first_and_of_every_kind() -> None:
    found = await read_operations(await desk_with_history(incident()), DEFAULT_TENANT, OperationQuery())
    assert [one.kind for one in found][:3] == [OperationKind.EVENT, OperationKind.INCIDENT, OperationKind.ORDER]
    assert {one.kind for one in found} == set(OperationKind)
    assert [one.at for one in found] == sorted((one.at for one in found), reverse=True)


@pytest.mark.parametrize(
    ("query", "kinds"),
    [
        (OperationQuery(trader_id="bear"), {OperationKind.EVENT, OperationKind.REFUSAL, OperationKind.CONFLICT}),
        (OperationQuery(kinds=(OperationKind.ORDER,)), {OperationKind.ORDER}),
        (OperationQuery(account_id="other"), set()),
    ],
)
async def test_operations_can_be_narrowed(query: OperationQuery, kinds: set[OperationKind]) -> None:
    found = await read_operations(await desk_with_history(), DEFAULT_TENANT, query)
    assert {one.kind for one in found} == kinds


async def test_operations_are_limited_after_all_kinds_are_merged() -> None:
    query = OperationQuery(limit=2)
    found = await read_operations(await desk_with_history(), DEFAULT_TENANT, query)
    assert [one.kind for one in found] == [OperationKind.EVENT, OperationKind.ORDER]
