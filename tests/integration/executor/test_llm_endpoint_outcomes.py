"""What an endpoint does on the wire becomes an outcome of the decision, and delays nobody else."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from executor.contract import Action, FullDecision, Outcome, Usage
from executor.errors import ExecutorUnavailable, PromptError
from executor.executor import LLMExecutor
from executor.models.chat import ModelEndpoint, Structured
from executor.models.endpoint_client import EndpointClient
from executor.models.metering import MeteredModel, Unmetered
from executor.models.openai_chat import OpenAIChatModel
from executor.models.probe import ProbeResult, probe
from executor.models.profile import ModelProfile
from executor.prompts.library import PromptLibrary
from executor.prompts.sample import sample_context
from executor_contexts import open_item, reply_text
from openai_endpoint import Answer, Endpoint, after, cuts, endpoint, hangs, says, sends, trickles

PROMPTS = Path(__file__).parents[3] / "prompts"
GOOD = says(reply_text(open_item()))
ONCE = Usage(input_tokens=100, cached_tokens=40, output_tokens=10)
TWICE = Usage(input_tokens=200, cached_tokens=80, output_tokens=20)


def llm(client: EndpointClient, at: ModelEndpoint, template: str = "general.md") -> LLMExecutor:
    ticks = count()
    return LLMExecutor(
        models=[MeteredModel(OpenAIChatModel(client, at), ModelProfile(name="a", endpoint=at), Unmetered())],
        prompts=PromptLibrary(PROMPTS),
        template=template,
        timeout_s=at.timeout_s,
        monotonic=lambda: float(next(ticks)),
    )


@asynccontextmanager
async def served(*answers: Answer, timeout_s: float = 5.0) -> AsyncIterator[tuple[Endpoint, LLMExecutor]]:
    async with endpoint(*answers) as fake:
        at = fake.spec(timeout_s)
        async with aclosing(EndpointClient(at)) as client:
            yield fake, llm(client, at)


def decide(*answers: Answer, timeout_s: float = 5.0) -> tuple[Endpoint, FullDecision]:
    async def run() -> tuple[Endpoint, FullDecision]:
        async with served(*answers, timeout_s=timeout_s) as (fake, executor):
            return fake, await executor.decide(sample_context())

    return asyncio.run(run())


def with_executor(use: Callable[[LLMExecutor], Awaitable[None]], *answers: Answer) -> None:
    async def run() -> None:
        async with served(*answers) as (_, executor):
            await use(executor)

    asyncio.run(run())


def test_a_valid_reply_decides() -> None:
    fake, decision = decide(GOOD)
    assert decision.outcome is Outcome.DECIDED
    assert [asked.symbol for asked in decision.decisions] == ["BTC/USDT:USDT"]
    assert (decision.reasoning, decision.model, decision.attempts) == ("because", "tiny-2025", 1)
    assert (decision.usage, decision.latency_s, len(decision.prompt_hash)) == (ONCE, 1.0, 64)
    assert json.loads(decision.reply)["reasoning"] == "because"
    (request,) = fake.requests
    assert request["model"] == "tiny"
    assert [message["role"] for message in request["messages"]] == ["system", "user"]
    assert request["response_format"]["json_schema"]["strict"] is True
    assert fake.keys == ["Bearer key-1"]


@pytest.mark.parametrize(
    ("structured", "asked"), [(Structured.JSON_OBJECT, {"type": "json_object"}), (Structured.NONE, None)]
)
def test_structured_output_is_asked_as_configured(structured: Structured, asked: object) -> None:
    async def run() -> Endpoint:
        async with endpoint(GOOD) as fake:
            at = fake.spec(structured=structured)
            async with aclosing(EndpointClient(at)) as client:
                assert (await llm(client, at).decide(sample_context())).outcome is Outcome.DECIDED
            return fake

    assert asyncio.run(run()).requests[0].get("response_format") == asked


@pytest.mark.parametrize(
    "first", [says("no idea"), says(""), says(None), says("[]"), says(reply_text(open_item(leverage=0)))]
)
def test_an_invalid_reply_is_asked_for_again_once(first: Answer) -> None:
    fake, decision = decide(first, GOOD)
    assert (decision.outcome, decision.attempts, decision.usage) == (Outcome.DECIDED, 2, TWICE)
    assert len(decision.decisions) == 1
    assert {error.path.partition(":")[0] for error in decision.errors} == {"first reply"}
    assert "--- asked again ---" in decision.reply
    assert [message["role"] for message in fake.requests[1]["messages"]] == ["system", "user", "assistant", "user"]


def test_the_second_question_quotes_the_errors() -> None:
    fake, _ = decide(says(reply_text(open_item(stop_loss="~98"))), GOOD)
    asked = fake.requests[1]["messages"][-1]["content"]
    assert "decisions[0].stop_loss: " in asked
    assert '"~98"' in asked
    assert fake.requests[1]["messages"][-2]["content"] == reply_text(open_item(stop_loss="~98"))


def test_what_is_held_can_be_closed_though_no_longer_traded() -> None:
    context = replace(sample_context(), symbols=("SOL/USDT:USDT",))
    closing = says(reply_text({"symbol": "BTC/USDT:USDT", "action": "close_short"}))

    async def check(executor: LLMExecutor) -> None:
        (asked,) = (await executor.decide(context)).decisions
        assert (asked.symbol, asked.action) == ("BTC/USDT:USDT", Action.CLOSE_SHORT)

    with_executor(check, closing)


def test_two_invalid_replies_are_no_decision() -> None:
    fake, decision = decide(says("no idea"), says(reply_text(open_item(confidence=101))), GOOD)
    assert (decision.outcome, decision.decisions, decision.attempts) == (Outcome.INVALID_REPLY, (), 2)
    assert [error.path for error in decision.errors] == ["decisions[0].confidence", "first reply: reply"]
    assert decision.reply.startswith("no idea\n")
    assert "101" in decision.reply
    assert (len(fake.requests), decision.usage) == (2, TWICE)


def test_a_partly_valid_reply_stands_without_asking_again() -> None:
    fake, decision = decide(says(reply_text(open_item(), open_item(action="buy"))))
    assert (decision.outcome, decision.attempts, len(fake.requests)) == (Outcome.DECIDED, 1, 1)
    assert len(decision.decisions) == 1
    assert [error.path for error in decision.errors] == ["decisions[1].action"]


@pytest.mark.parametrize(
    ("spoilt", "told"),
    [
        ({"extra_body": {"temperature": float("nan")}}, "failed unexpectedly (ValueError)"),
        ({"extra_body": {"seed": {1, 2}}}, "failed unexpectedly (TypeError)"),
    ],
)
def test_whatever_goes_wrong_is_a_decision_that_says_so(spoilt: dict[str, Any], told: str) -> None:
    async def run() -> tuple[FullDecision, ProbeResult]:
        async with endpoint(GOOD) as fake, aclosing(EndpointClient(fake.spec())) as client:
            at = replace(fake.spec(), **spoilt)
            probed = await probe(OpenAIChatModel(client, at), ModelProfile(name="m", endpoint=at), lambda: 0.0)
            return await llm(client, at).decide(sample_context()), probed

    decision, probed = asyncio.run(run())
    assert (decision.outcome, decision.decisions) == (Outcome.UNAVAILABLE, ())
    assert decision.errors[-1].message.startswith(told)
    assert not probed.ok
    assert told in probed.problems[0]


@pytest.mark.parametrize(
    ("answer", "outcome", "told"),
    [
        (says(None, refusal="I cannot advise on trades."), Outcome.REFUSED, "I cannot advise"),
        (says(None, finish="content_filter"), Outcome.REFUSED, "content_filter"),
        (says('{"reasoning": "a long', finish="length"), Outcome.TRUNCATED, "output limit"),
        (says(reply_text(open_item()), finish="length"), Outcome.TRUNCATED, "output limit"),
        (sends(500, '{"error": {"message": "boom"}}'), Outcome.UNAVAILABLE, "500"),
        (sends(429, '{"error": {"message": "slow down"}}'), Outcome.RATE_LIMITED, "slow down"),
        (sends(401, '{"error": {"message": "bad key key-1"}}'), Outcome.UNAUTHORIZED, "bad key ***"),
        (sends(404, '{"error": {"message": "no model tiny"}}'), Outcome.UNKNOWN_MODEL, "no model tiny"),
        (sends(400, '{"error": {"message": "maximum context length"}}'), Outcome.CONTEXT_OVERFLOW, "maximum context"),
        (sends(200, "<html>welcome</html>"), Outcome.UNAVAILABLE, "no chat completion"),
        (sends(200, '{"choices": [{"mess'), Outcome.UNAVAILABLE, "no chat completion"),
        (sends(200, '{"choices": []}'), Outcome.UNAVAILABLE, "choices"),
        (sends(200, '{"error": "overloaded"}'), Outcome.UNAVAILABLE, "overloaded"),
        (sends(200, ""), Outcome.UNAVAILABLE, "no chat completion"),
        (cuts, Outcome.UNAVAILABLE, "broke the connection off"),
    ],
)
def test_what_brings_no_reply_is_named_and_not_asked_again(answer: Answer, outcome: Outcome, told: str) -> None:
    fake, decision = decide(answer)
    assert (decision.outcome, decision.decisions, decision.attempts) == (outcome, (), 1)
    assert told in decision.errors[-1].message
    assert "key-1" not in str(decision)
    assert len(fake.requests) == 1


@pytest.mark.parametrize("answer", [hangs, trickles])
def test_a_slow_endpoint_is_a_timeout(answer: Answer) -> None:
    _, decision = decide(answer, timeout_s=0.2)
    assert (decision.outcome, decision.decisions, decision.attempts) == (Outcome.TIMEOUT, (), 1)
    assert "0.2 s" in decision.errors[-1].message


def test_the_deadline_covers_both_attempts_and_keeps_what_was_paid() -> None:
    _, decision = decide(says("no idea"), hangs, timeout_s=1.5)
    assert (decision.outcome, decision.attempts) == (Outcome.TIMEOUT, 2)
    assert (decision.reply, decision.usage) == ("no idea", ONCE)
    assert [error.path for error in decision.errors] == ["deadline", "reply"]


def test_an_endpoint_that_is_not_there_is_unavailable() -> None:
    async def run() -> FullDecision:
        async with endpoint(GOOD) as fake:
            at = fake.spec()
        async with aclosing(EndpointClient(at)) as client:
            executor = llm(client, at)
            with pytest.raises(ExecutorUnavailable, match="cannot be reached"):
                await executor.ping()
            return await executor.decide(sample_context())

    decision = asyncio.run(run())
    assert (decision.outcome, decision.decisions) == (Outcome.UNAVAILABLE, ())
    assert "cannot be reached" in decision.errors[0].message


def test_a_template_lost_while_running_is_an_outcome() -> None:
    async def run() -> FullDecision:
        async with endpoint(GOOD) as fake, aclosing(EndpointClient(fake.spec())) as client:
            executor = llm(client, fake.spec(), template="gone.md")
            with pytest.raises(PromptError):
                await executor.ping()
            return await executor.decide(sample_context())

    decision = asyncio.run(run())
    assert (decision.outcome, decision.attempts) == (Outcome.UNAVAILABLE, 0)
    assert decision.errors[0].path == "prompt"


def test_an_endpoint_that_keeps_silent_delays_no_other_trader() -> None:
    async def run() -> list[FullDecision]:
        others_done = asyncio.Event()

        async with served(after(others_done, GOOD)) as (_, slow), served(GOOD) as (_, quick):
            waiting = asyncio.ensure_future(slow.decide(sample_context()))
            others = await asyncio.gather(*(quick.decide(sample_context()) for _ in range(10)))
            assert not waiting.done()
            others_done.set()
            return [await waiting, *others]

    assert [decision.outcome for decision in asyncio.run(run())] == [Outcome.DECIDED] * 11


def test_cancelling_a_decision_is_not_a_timeout() -> None:
    async def run() -> None:
        arrived = asyncio.Event()

        async def arrives(writer: asyncio.StreamWriter) -> None:
            arrived.set()
            await hangs(writer)

        async with served(arrives) as (_, executor):
            task = asyncio.ensure_future(executor.decide(sample_context()))
            await arrived.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(run())


@pytest.mark.parametrize(("status", "reachable"), [(200, True), (404, True), (401, False), (503, False)])
def test_ping_tells_whether_the_endpoint_answers(status: int, reachable: bool) -> None:
    async def run() -> None:
        async with served(GOOD) as (fake, executor):
            fake.models_status = status
            if reachable:
                await executor.ping()
            else:
                with pytest.raises(ExecutorUnavailable, match=str(status)):
                    await executor.ping()

    asyncio.run(run())
