"""One question more: when it is asked, which reply counts, and what is kept of both."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from executor.contract import Action, Context, FullDecision, Outcome
from executor.errors import ModelTimeout, ModelUnreachable
from executor.executor import LLMExecutor
from executor.models.chat import Completion, Finish, Message
from executor.prompts.library import PromptLibrary
from executor.prompts.sample import sample_context
from executor_contexts import BTC, SOL, open_item, reply_text

PROMPTS = Path(__file__).parents[4] / "prompts"
HOLD = {"symbol": BTC, "action": "hold"}
LOST_CLOSE = reply_text(HOLD, {"symbol": BTC, "action": "close_short", "fraction": "half"})
LOST_STOP = reply_text(HOLD, {"symbol": BTC, "action": "adjust_stop", "stop_loss": "~98"})
GOOD = reply_text({"symbol": BTC, "action": "close_short", "fraction": 0.5})


@dataclass
class Scripted:
    """Give one answer after the other, or raise it."""

    answers: list[Any]
    name: str = "scripted"
    asked: list[Sequence[Message]] = field(default_factory=list)

    async def complete(self, messages: Sequence[Message], schema: Mapping[str, Any]) -> Completion:
        """Return or raise the next answer."""
        del schema
        self.asked.append(messages)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, Completion) else Completion(text=answer)

    async def ping(self) -> None:
        """Answer."""

    async def close(self) -> None:
        """Hold nothing."""


async def decide(*answers: Any, context: Context | None = None) -> tuple[Scripted, FullDecision]:
    """Ask for one decision."""
    model = Scripted([*answers])
    executor = LLMExecutor(
        models=[model], prompts=PromptLibrary(PROMPTS), template="general.md", timeout_s=5, monotonic=lambda: 0.0
    )
    return model, await executor.decide(context or sample_context())


def actions(decision: FullDecision) -> list[str]:
    """Name what was decided."""
    return [one.action for one in decision.decisions]


@pytest.mark.parametrize("first", [LOST_CLOSE, LOST_STOP])
async def test_a_lost_close_or_stop_is_asked_for_again(first: str) -> None:
    model, decision = await decide(first, GOOD)
    assert (decision.outcome, actions(decision), decision.attempts) == (Outcome.DECIDED, ["close_short"], 2)
    assert "decisions[1]." in model.asked[1][-1].text
    (error,) = decision.errors
    assert error.path.startswith("first reply: decisions[1].")
    assert decision.reply == f"{first}\n\n--- asked again ---\n\n{GOOD}"


async def test_a_lost_open_is_not_asked_for_again() -> None:
    model, decision = await decide(reply_text(HOLD, open_item(leverage=0)))
    assert (actions(decision), len(model.asked)) == (["hold"], 1)
    assert [error.path for error in decision.errors] == ["decisions[1].leverage"]


@pytest.mark.parametrize(
    "second",
    [
        LOST_STOP,
        "I would rather not say.",
        "",
        Completion(text="cut", finish=Finish.LENGTH),
        Completion(text="", finish=Finish.REFUSED, detail="no"),
        ModelTimeout("slow"),
        ModelUnreachable("down"),
    ],
)
async def test_the_first_reply_counts_where_the_second_is_no_better(second: Any) -> None:
    _, decision = await decide(LOST_CLOSE, second)
    assert (decision.outcome, actions(decision), decision.attempts) == (Outcome.DECIDED, ["hold"], 2)
    assert decision.reasoning == "because"
    assert decision.errors[0].path == "decisions[1].fraction"


async def test_no_third_question_is_asked() -> None:
    model, decision = await decide("prose", LOST_CLOSE, GOOD)
    assert (decision.outcome, actions(decision), len(model.asked)) == (Outcome.DECIDED, ["hold"], 2)


async def test_both_replies_and_their_errors_are_kept_when_neither_can_be_used() -> None:
    _, decision = await decide("I buy.", reply_text(open_item(leverage=0)))
    assert decision.outcome is Outcome.INVALID_REPLY
    assert [error.path for error in decision.errors] == ["decisions[0].leverage", "first reply: reply"]
    assert decision.reply.startswith("I buy.\n\n--- asked again ---\n\n{")


@pytest.mark.parametrize(
    ("first", "told"), [("", "nothing, twice"), ("prose", "nothing when it was asked again; its first reply")]
)
async def test_an_empty_reply_says_how_often_nothing_came(first: str, told: str) -> None:
    _, decision = await decide(first, Completion(text=" ", detail="stop"))
    assert decision.outcome is Outcome.EMPTY
    assert told in decision.errors[0].message
    assert "(finish reason stop)" in decision.errors[0].message


async def test_a_cut_reply_says_where_the_limit_is_raised() -> None:
    _, decision = await decide(Completion(text='{"reasoning"', finish=Finish.LENGTH))
    assert decision.outcome is Outcome.TRUNCATED
    assert "let the prompt ask for a shorter answer" in decision.errors[0].message
    assert "max_tokens under the model's extra_body" in decision.errors[-1].message


async def test_what_is_held_beside_the_own_symbols_can_be_closed_and_is_named() -> None:
    held = "OLD/USDT:USDT"
    context = sample_context((BTC, SOL))
    context = replace(context, positions=(replace(context.positions[0], symbol=held),))
    wrong = json.dumps({"decisions": [{"symbol": "old/usdt", "action": "close_short"}]})
    model, decision = await decide(wrong, reply_text({"symbol": held, "action": "close_short"}), context=context)
    assert [(one.symbol, one.action) for one in decision.decisions] == [(held, Action.CLOSE_SHORT)]
    assert held in model.asked[1][-1].text


CLOSE = json.dumps({"decisions": [{"symbol": BTC, "action": "close_short", "fraction": 0.5}]})
OPEN = json.dumps({"decisions": [open_item()]})
WHY = "```json\n{}\n```\n\nThe trend is down and the target is near."


@pytest.mark.parametrize("second", [CLOSE, WHY.format(CLOSE), WHY.format(CLOSE.replace("0.5", "1"))])
async def test_a_batch_with_words_after_it_stands_when_it_is_said_twice(second: str) -> None:
    model, decision = await decide(WHY.format(CLOSE), second)
    assert "words follow the JSON object" in model.asked[1][-1].text
    assert (decision.outcome, actions(decision), decision.attempts) == (Outcome.DECIDED, ["close_short"], 2)
    (closed,) = decision.decisions
    assert closed.fraction == (1 if '"fraction": 1' in second else Decimal("0.5"))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (WHY.format(CLOSE), WHY.format(OPEN)),
        (WHY.format(CLOSE), f"{CLOSE}\nScrap that."),
        (f"{CLOSE}\nScrap that.", f"{CLOSE}\nScrap that."),
        (f"{CLOSE}\nScrap that.", WHY.format(CLOSE)),
        ("no JSON", WHY.format(CLOSE)),
    ],
)
async def test_what_is_said_differently_or_taken_back_never_stands(first: str, second: str) -> None:
    _, decision = await decide(first, second)
    assert (decision.outcome, actions(decision)) == (Outcome.INVALID_REPLY, [])


async def test_words_after_a_batch_that_trades_nothing_do_not_matter() -> None:
    model, decision = await decide(WHY.format(json.dumps([HOLD])))
    assert (decision.outcome, actions(decision), len(model.asked)) == (Outcome.DECIDED, ["hold"], 1)
