"""A failed decision, and one of which a part is invalid, reach the user by name: status, operations and why."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from desk_history import AT, DECISION, INTENT, desk_with_history
from exchanges.types import Symbol
from executor.contract import ItemError, Outcome
from manager.cli.status import decided_text
from manager.cli.why import StoryText
from manager.desk.plan.operator_closes import OperatorAsk, close_rows
from manager.jobs.handlers import invalid_parts
from manager.processes.plain import Counts
from manager.state.records import DEFAULT_TENANT, DecisionId, DecisionRow, TraderRow
from manager.state.store import Store
from manager.views.operations import OperationKind, OperationQuery, read_operations
from manager.views.status import LastDecision, invalid_items
from manager.views.why import read_story
from state_rows import make_row
from traders.spec import TraderId

FAILED, PARTIAL = "bull@failed", "bull@partial"
CUT = ItemError(path="reply", message="the reply was cut")
LOST = (ItemError(path="decisions[1].leverage", message="got 0"), ItemError(path="decisions[1].symbol", message="no"))


@pytest.fixture
async def store() -> Store:
    found = await desk_with_history()
    async with found.transaction(DEFAULT_TENANT) as tx:
        sound = await tx.get(DecisionRow, DECISION)
        assert sound is not None
        failed = replace(
            sound,
            decision_id=DecisionId(FAILED),
            due_at=AT + timedelta(hours=1),
            decided_at=AT + timedelta(hours=1),
            outcome=Outcome.TRUNCATED,
            decisions=(),
            errors=(CUT,),
            reply="half an ans",
        )
        partial = replace(
            sound,
            decision_id=DecisionId(PARTIAL),
            due_at=AT + timedelta(hours=2),
            decided_at=AT + timedelta(hours=2),
            decisions=(),
            errors=LOST,
        )
        await tx.insert([failed, partial, *invalid_parts(partial), *invalid_parts(failed)])
    return found


async def test_operations_list_them_and_only_as_decisions(store: Store) -> None:
    found = (await read_operations(store, DEFAULT_TENANT, OperationQuery(kinds=(OperationKind.DECISION,)))).operations
    assert [(one.ref, one.what, one.outcome) for one in found] == [
        (PARTIAL, "partly invalid", "INVALID_ITEM"),
        (FAILED, "no decision", "truncated"),
    ]
    assert [one.detail for one in found][1] == "reply: the reply was cut"
    assert "decisions[1].leverage: got 0 and 1 more" in found[0].detail
    denied = (await read_operations(store, DEFAULT_TENANT, OperationQuery(kinds=(OperationKind.DENIAL,)))).operations
    assert "INVALID_ITEM" not in {one.outcome for one in denied}
    assert denied
    mine = OperationQuery(trader_id=TraderId("bear"), kinds=(OperationKind.DECISION,))
    assert (await read_operations(store, DEFAULT_TENANT, mine)).operations == ()


async def test_sound_decisions_are_listed_when_asked_for(store: Store) -> None:
    kinds = (OperationKind.DECISION,)
    found = (await read_operations(store, DEFAULT_TENANT, OperationQuery(kinds=kinds, sound_decisions=True))).operations
    assert [(one.ref, one.what, one.outcome) for one in found] == [
        (PARTIAL, "partly invalid", "INVALID_ITEM"),
        (FAILED, "no decision", "truncated"),
        (DECISION, "decision", "decided"),
    ]
    assert found[-1].detail == "open_long BTC/USDT:USDT"


async def test_why_takes_a_trader_for_its_newest_decision(store: Store) -> None:
    story = await read_story(store, DEFAULT_TENANT, "bull")
    assert story is not None
    assert (story.kind, story.intents[0].decision_id) == ("decision", PARTIAL)
    assert await read_story(store, DEFAULT_TENANT, "bear") is None


async def test_why_takes_a_failed_decision_and_shows_reply_and_errors(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    story = await read_story(store, DEFAULT_TENANT, FAILED)
    assert story is not None
    (intent,) = story.intents
    assert (story.kind, story.order, intent.outcome, intent.reply, intent.errors) == (
        "decision",
        None,
        "truncated",
        "half an ans",
        (CUT,),
    )
    StoryText(story).show()
    shown = capsys.readouterr().out
    for words in (FAILED, "bull", "truncated", "half an ans", "failed: reply: the reply was cut"):
        assert words in shown


async def test_why_takes_a_decision_with_its_intents_and_what_is_invalid(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    story = await read_story(store, DEFAULT_TENANT, DECISION)
    assert story is not None
    assert [intent.intent_id for intent in story.intents] == ["", INTENT]
    assert (story.intents[0].reply, story.intents[1].reply) == ('{"decisions": []}', "")
    partial = await read_story(store, DEFAULT_TENANT, PARTIAL)
    assert partial is not None
    assert [verdict.code for verdict in partial.verdicts] == ["INVALID_ITEM"] * 2
    StoryText(partial).show()
    shown = capsys.readouterr().out
    assert "INVALID_ITEM" in shown
    assert "Conflicts" not in shown


@pytest.mark.parametrize(
    ("outcome", "errors", "actions", "text"),
    [
        ("decided", [], [], "nothing to do"),
        ("decided", [], ["hold BTC"], "hold BTC"),
        ("decided", ["decisions[1].leverage: got 0"], ["hold BTC"], "hold BTC (1 invalid)"),
        ("truncated", ["reply: cut"], [], "truncated: reply: cut"),
        ("timeout", [], [], "timeout: no reason is known"),
        ("invalid_reply", ["reply: " + "x" * 500], [], "invalid_reply: reply: " + "x" * 38 + "..."),
    ],
)
def test_an_outcome_is_told_in_a_few_words(outcome: str, errors: list[str], actions: list[str], text: str) -> None:
    count = invalid_items([ItemError(path=error.partition(": ")[0], message="") for error in errors])
    last = LastDecision(
        decision_id=DecisionId("d"),
        at=AT,
        outcome=outcome,
        actions=tuple(actions),
        errors=tuple(errors),
        invalid=count,
    )
    assert decided_text(last) == text


def test_an_operators_close_is_not_told_as_the_traders_own() -> None:
    held = {Symbol("BTC/USDT:USDT"): Decimal(2)}
    row, _ = close_rows(make_row(TraderRow), held, OperatorAsk(actor="cli:ann", reason="storm", at=AT, ref="1"))
    assert decided_text(LastDecision.of(row)) == "by cli:ann: close_long BTC/USDT:USDT"
    counts = Counts()
    counts.count([row])
    assert counts.decisions == 0


def test_an_item_with_two_faults_counts_once_and_an_earlier_reply_does_not_count() -> None:
    earlier = ItemError(path="first reply: decisions[0].symbol", message="no")
    assert invalid_items([*LOST, earlier]) == 1
