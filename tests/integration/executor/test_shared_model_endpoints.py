"""Traders that share endpoints: retries, fallbacks, limits and breakers, as the wire shows them."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from executor.contract import FullDecision, Outcome
from executor.executor import LLMExecutor
from executor.models.clients import ModelClients
from executor.models.gate import Circuit
from executor.models.profile import ModelProfile, TokenPrices
from executor.prompts.library import PromptLibrary
from executor.prompts.sample import sample_context
from executor.registry import ExecutorParts, ExecutorSpec, ExecutorType, build_executor
from executor_contexts import open_item, reply_text
from job_handlers import eventually
from manual_pacing import ManualPacing
from openai_endpoint import Answer, Endpoint, after, cuts, endpoint, fails, hangs, says, sends

PROMPTS = PromptLibrary(Path(__file__).parents[3] / "prompts")
GOOD = says(reply_text(open_item()))
PRICES = TokenPrices(input=Decimal(3), cached_input=Decimal("0.3"), output=Decimal(15))


@dataclass
class Desk:
    """Build executors over fake endpoints, one profile each, named in order: a, b, c."""

    fakes: Sequence[Endpoint]
    clients: ModelClients
    time: ManualPacing
    profiles: dict[str, ModelProfile]

    def trader(self, *names: str, timeout_s: float = 5.0) -> LLMExecutor:
        spec = ExecutorSpec(
            type=ExecutorType.LLM,
            model=names[0],
            fallback=names[1:],
            timeout_s=timeout_s,
            prompt_template="general.md",
        )
        parts = ExecutorParts(
            prompts=PROMPTS, clients=self.clients, monotonic=lambda: self.time.now, models=self.profiles
        )
        executor = build_executor(spec, parts)
        assert isinstance(executor, LLMExecutor)
        return executor

    async def decide(self, *names: str, timeout_s: float = 5.0) -> FullDecision:
        return await self.trader(*names, timeout_s=timeout_s).decide(sample_context())

    def asked(self) -> list[int]:
        return [len(fake.requests) for fake in self.fakes]


@asynccontextmanager
async def desk(*scripts: Sequence[Answer], call_s: float = 5.0, **limits: Any) -> AsyncIterator[Desk]:
    time = ManualPacing()
    clients = ModelClients(time.pacing())
    opened = [endpoint(*script) for script in scripts]
    fakes = [await one.__aenter__() for one in opened]
    profiles = {
        name: ModelProfile(name=name, endpoint=fake.spec(call_s), prices=PRICES, **limits)
        for name, fake in zip("abc", fakes, strict=False)
    }
    try:
        yield Desk(fakes, clients, time, profiles)
    finally:
        await clients.close()
        for one in opened:
            await one.__aexit__(None, None, None)


@pytest.mark.parametrize(
    ("first", "waits_s"),
    [
        (fails(429, "slow down", Retry_After="3"), 3.0),
        (fails(429, "slow down"), 0.5),
        (fails(500, "boom"), 0.5),
        (fails(502, "boom"), 0.5),
        (fails(503, "busy", Retry_After="2"), 2.0),
        (fails(504, "boom"), 0.5),
        (cuts, 0.5),
    ],
)
def test_a_passing_failure_is_tried_again_after_what_is_asked(first: Answer, waits_s: float) -> None:
    async def run() -> None:
        async with desk([first, GOOD]) as made:
            decision = await made.decide("a")
            assert (decision.outcome, decision.attempts, decision.errors) == (Outcome.DECIDED, 1, ())
            assert made.asked() == [2]
            assert waits_s <= sum(made.time.slept) <= waits_s + 1.0

    asyncio.run(run())


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (fails(400, "temperature is out of range"), Outcome.UNAVAILABLE),
        (fails(400, "maximum context length is 4096 tokens"), Outcome.CONTEXT_OVERFLOW),
        (fails(401, "bad key"), Outcome.UNAUTHORIZED),
        (fails(402, "Insufficient Balance"), Outcome.OUT_OF_CREDIT),
        (fails(403, "not for you"), Outcome.UNAUTHORIZED),
        (fails(404, "The model `tiny` does not exist"), Outcome.UNKNOWN_MODEL),
        (fails(404, "no such page"), Outcome.UNAVAILABLE),
        (fails(307, "elsewhere", Location="http://127.0.0.1:9/v1"), Outcome.UNAVAILABLE),
        (fails(429, "You exceeded your current quota", Retry_After="1"), Outcome.OUT_OF_CREDIT),
        (sends(200, "<html>"), Outcome.UNAVAILABLE),
        (sends(200, '{"error": {"code": 401, "message": "no"}}'), Outcome.UNAUTHORIZED),
        (says("x", finish="length"), Outcome.TRUNCATED),
        (says(None, refusal="no"), Outcome.REFUSED),
    ],
)
def test_what_will_not_pass_is_asked_once(answer: Answer, outcome: Outcome) -> None:
    async def run() -> None:
        async with desk([answer]) as made:
            decision = await made.decide("a")
            assert (decision.outcome, decision.decisions, made.asked()) == (outcome, (), [1])
            assert made.time.slept == []

    asyncio.run(run())


def test_three_tries_are_all() -> None:
    async def run() -> None:
        async with desk([fails(500, "boom")]) as made:
            decision = await made.decide("a")
            assert (decision.outcome, made.asked()) == (Outcome.UNAVAILABLE, [3])
            assert "boom" in decision.errors[-1].message

    asyncio.run(run())


def test_nothing_is_waited_for_past_the_deadline() -> None:
    async def run() -> None:
        async with desk([fails(429, "slow down", Retry_After="60"), GOOD]) as made:
            decision = await made.decide("a", timeout_s=30.0)
            assert (decision.outcome, made.asked(), made.time.slept) == (Outcome.RATE_LIMITED, [1], [])

    asyncio.run(run())


def test_what_one_trader_is_asked_to_wait_holds_for_all_of_the_endpoint() -> None:
    async def run() -> None:
        async with desk([fails(429, "slow down", Retry_After="60"), GOOD], [GOOD]) as made:
            await made.decide("a", timeout_s=30.0)
            held, other = await made.decide("a", timeout_s=30.0), await made.decide("b")
            assert (held.outcome, other.outcome, made.asked()) == (Outcome.RATE_LIMITED, Outcome.DECIDED, [1, 1])
            assert "asked to be left alone for 60 s" in held.errors[0].message
            made.time.now += 60.0
            assert (await made.decide("a")).outcome is Outcome.DECIDED

    asyncio.run(run())


def test_an_empty_reply_twice_has_its_own_name() -> None:
    async def run() -> None:
        async with desk([says("")]) as made:
            decision = await made.decide("a")
            assert (decision.outcome, decision.attempts, made.asked()) == (Outcome.EMPTY, 2, [2])
            assert "finish reason stop" in decision.errors[0].message

    asyncio.run(run())


@pytest.mark.parametrize(
    "broken",
    [
        fails(500, "boom"),
        fails(401, "bad key"),
        fails(404, "model not found"),
        fails(400, "maximum context length"),
        fails(429, "slow down", Retry_After="900"),
        cuts,
        sends(200, "<html>"),
    ],
)
def test_the_next_model_decides_when_one_brings_no_reply(broken: Answer) -> None:
    async def run() -> None:
        async with desk([broken], [fails(503, "busy", Retry_After="900")], [GOOD]) as made:
            decision = await made.decide("a", "b", "c", timeout_s=30.0)
            assert (decision.outcome, len(decision.decisions)) == (Outcome.DECIDED, 1)
            assert [error.path for error in decision.errors] == ["model", "model"]
            assert "busy" in decision.errors[1].message

    asyncio.run(run())


def test_a_silent_model_leaves_time_for_the_next() -> None:
    async def run() -> None:
        async with desk([hangs], [GOOD], call_s=60.0) as made:
            decision = await made.decide("a", "b", timeout_s=1.0)
            assert (decision.outcome, made.asked()) == (Outcome.DECIDED, [1, 1])
            assert "its part of the time, 0.5 s" in decision.errors[0].message

    asyncio.run(run())


def test_a_bad_reply_is_put_right_by_the_model_that_gave_it() -> None:
    async def run() -> None:
        async with desk([fails(401, "bad key")], [says("no idea"), GOOD], [GOOD]) as made:
            decision = await made.decide("a", "b", "c")
            assert (decision.outcome, decision.attempts, made.asked()) == (Outcome.DECIDED, 2, [1, 2, 0])

    asyncio.run(run())


def test_a_model_that_refuses_has_answered_and_no_other_is_asked() -> None:
    async def run() -> None:
        async with desk([says(None, refusal="no")], [GOOD]) as made:
            assert ((await made.decide("a", "b")).outcome, made.asked()) == (Outcome.REFUSED, [1, 0])

    asyncio.run(run())


def test_all_attempts_are_paid_for_exactly() -> None:
    async def run() -> None:
        async with desk([says("no idea"), GOOD]) as made:
            usage = (await made.decide("a")).usage
            assert (usage.input_tokens, usage.cached_tokens, usage.output_tokens) == (200, 80, 20)
            assert usage.cost_usd == (120 * 3 + 80 * Decimal("0.3") + 20 * 15) / Decimal(1_000_000)

    asyncio.run(run())


def test_no_more_calls_are_under_way_than_the_endpoint_has_places() -> None:
    async def run() -> None:
        full, released = asyncio.Event(), asyncio.Event()
        async with desk([after(released, GOOD)], max_concurrency=3) as made:
            fake, gate = made.fakes[0], made.clients.gate(made.profiles["a"])

            async def others_wait() -> bool:
                return gate.waiting == 17

            def choose(_: dict[str, Any]) -> Answer:
                if fake.in_flight == 3:
                    full.set()
                return fake.answers[0]

            fake.choose = choose
            jobs = [asyncio.ensure_future(made.decide("a")) for _ in range(20)]
            await full.wait()
            await eventually(others_wait)
            released.set()
            assert {decision.outcome for decision in await asyncio.gather(*jobs)} == {Outcome.DECIDED}
            assert (fake.most_at_once, len(fake.requests), gate.waiting) == (3, 20, 0)

    asyncio.run(run())


def test_no_more_calls_are_made_in_a_minute_than_configured() -> None:
    async def run() -> None:
        async with desk([GOOD], requests_per_minute=4) as made:
            executors = [made.trader("a", timeout_s=30.0) for _ in range(6)]
            outcomes = [(await one.decide(sample_context())).outcome for one in executors]
            assert outcomes == [Outcome.DECIDED] * 4 + [Outcome.RATE_LIMITED] * 2
            made.time.now += 60.0
            assert (await made.decide("a")).outcome is Outcome.DECIDED
            assert made.asked() == [5]

    asyncio.run(run())


def test_an_endpoint_that_keeps_failing_is_left_alone_until_it_is_back() -> None:
    async def run() -> None:
        async with desk([*[fails(500, "boom")] * 5, GOOD], [GOOD]) as made:
            gate = made.clients.gate(made.profiles["a"])
            await made.decide("a")
            await made.decide("a")
            assert (gate.circuit, made.asked()) == (Circuit.OPEN, [5, 0])
            alone, helped = await made.decide("a"), await made.decide("a", "b")
            assert (alone.outcome, helped.outcome, made.asked()) == (Outcome.UNAVAILABLE, Outcome.DECIDED, [5, 1])
            assert "left alone for another" in alone.errors[0].message
            made.time.now += 30.0
            assert (await made.decide("a")).outcome is Outcome.DECIDED
            assert (gate.circuit, made.asked()) == (Circuit.CLOSED, [6, 1])

    asyncio.run(run())


def test_a_refused_key_does_not_look_like_an_outage() -> None:
    async def run() -> None:
        async with desk([fails(401, "bad key")]) as made:
            for _ in range(7):
                await made.decide("a")
            assert made.clients.gate(made.profiles["a"]).circuit is Circuit.CLOSED

    asyncio.run(run())


def test_names_for_one_model_share_its_limits_and_connections() -> None:
    async def run() -> None:
        async with desk([GOOD]) as made:
            one = made.profiles["a"]
            alias = replace(one, name="alias", prices=None)
            other = replace(one, endpoint=replace(one.endpoint, model="other"))
            third = replace(one, endpoint=replace(one.endpoint, api_key="key-2"))
            spelt = replace(
                one, endpoint=replace(one.endpoint, base_url=f"{one.endpoint.base_url}/"), max_concurrency=3
            )
            assert made.clients.gate(one) is made.clients.gate(alias) is made.clients.gate(spelt)
            assert made.clients.gate(one) is not made.clients.gate(other)
            assert made.clients.client(one.endpoint) is made.clients.client(other.endpoint)
            assert made.clients.client(one.endpoint) is not made.clients.client(third.endpoint)

    asyncio.run(run())


def test_names_for_one_endpoint_have_the_lowest_of_their_limits_together() -> None:
    async def slowly(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.02)
        await GOOD(writer)

    async def run() -> None:
        async with desk([slowly]) as made:
            one, fake = made.profiles["a"], made.fakes[0]
            slash = replace(one.endpoint, base_url=f"{one.endpoint.base_url}/")
            made.profiles["b"] = replace(one, name="b", max_concurrency=3)
            made.profiles["c"] = replace(one, name="c", endpoint=slash, max_concurrency=2)
            traders = [made.trader(name) for name in "abc" for _ in range(6)]
            decisions = await asyncio.gather(*(trader.decide(sample_context()) for trader in traders))
            assert {decision.outcome for decision in decisions} == {Outcome.DECIDED}
            assert fake.most_at_once == 2

    asyncio.run(run())
