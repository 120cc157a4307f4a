"""What a decision says it cost is what its trader is charged: failed attempts too, here and elsewhere."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from executor.contract import FullDecision, Outcome, Usage
from executor.models.chat import ModelEndpoint
from executor.models.clients import ModelClients
from executor.models.gate import Pacing
from executor.models.metering import Charge, Hold, Meter, Quote, billed
from executor.models.profile import ModelProfile, TokenPrices
from executor.prompts.library import PromptLibrary
from executor.prompts.sample import sample_context
from executor.proto import decision_pb2 as pb
from executor.registry import ExecutorParts, ExecutorSpec, ExecutorType, build_executor
from executor.remote.grpc_messages import decision_of
from executor_contexts import reply_text
from executor_servers import remote_spec, serving_any
from openai_endpoint import Answer, Endpoint, endpoint, sends

CONTEXT = sample_context()
PRICES = TokenPrices(input=Decimal(1_000_000), cached_input=Decimal(0), output=Decimal(1_000_000))
COSTS_12 = {"prompt_tokens": 10, "completion_tokens": 2}
PROMPTS = Path(__file__).parents[3] / "prompts"


def replies(content: str | None) -> Answer:
    choices = [] if content is None else [{"message": {"content": content}, "finish_reason": "stop"}]
    return sends(200, json.dumps({"choices": choices, "usage": COSTS_12}))


GOOD, EMPTY, BROKEN = replies(reply_text()), replies(None), sends(500, "boom")


class Booked:
    """Remember what is charged."""

    def __init__(self) -> None:
        self.charges: list[Charge] = []

    async def reserve(self, quote: Quote) -> Hold:
        """Set nothing aside."""
        return Hold(model=quote.model)

    async def settle(self, hold: Hold, charge: Charge) -> None:
        """Note the charge."""
        self.charges.append(charge)


async def at_once(_: float) -> None:
    await asyncio.sleep(0)


@asynccontextmanager
async def parts(fake: Endpoint, meter: Meter | None) -> AsyncIterator[ExecutorParts]:
    """Give what a trader is built from that asks the endpoint at a price of 1 USD a token."""
    where = ModelEndpoint(base_url=fake.base_url, model="t", api_key="k", extra_body={"max_tokens": 100})
    clients = ModelClients(Pacing(sleep=at_once))
    own = ExecutorParts(prompts=PromptLibrary(PROMPTS), clients=clients, monotonic=lambda: 0.0, meter=meter)
    yield replace(own, models={"m": ModelProfile(name="m", endpoint=where, prices=PRICES)})
    await clients.close()
    await own.remotes.close()


SPEC = ExecutorSpec(type=ExecutorType.LLM, model="m", prompt_template="general.md")


async def decided_here(*answers: Answer) -> tuple[FullDecision, Usage]:
    meter = Booked()
    async with endpoint(*answers) as fake, parts(fake, meter) as own:
        return await build_executor(SPEC, own).decide(CONTEXT), billed(meter.charges)


async def decided_there(scheme: str, *answers: Answer) -> tuple[FullDecision, Usage]:
    meter = Booked()
    async with (
        endpoint(*answers) as fake,
        parts(fake, None) as there,
        parts(fake, meter) as here,
        serving_any(build_executor(SPEC, there)) as serving,
    ):
        decision = await build_executor(remote_spec(getattr(serving, scheme)), here).decide(CONTEXT)
    return decision, billed(meter.charges)


@pytest.mark.parametrize("scheme", ["here", "http", "grpc"])
def test_attempts_that_failed_are_part_of_the_bill(scheme: str) -> None:
    def asked(*answers: Answer) -> tuple[FullDecision, Usage]:
        return asyncio.run(decided_here(*answers) if scheme == "here" else decided_there(scheme, *answers))

    decision, charged = asked(BROKEN, GOOD)
    assert (decision.outcome, decision.usage) == (Outcome.DECIDED, charged)
    assert charged.cost_usd == 12
    assert charged.unknown_usd > 100

    decision, charged = asked(EMPTY)
    assert (decision.outcome, decision.usage) == (Outcome.UNAVAILABLE, charged)
    assert charged == Usage(input_tokens=10, output_tokens=2, cost_usd=Decimal(12))


def test_decisions_at_the_same_time_have_a_bill_each() -> None:
    async def run() -> list[Usage]:
        async with endpoint(GOOD) as fake, parts(fake, Booked()) as own:
            executor = build_executor(SPEC, own)
            decisions = await asyncio.gather(*(executor.decide(CONTEXT) for _ in range(5)))
        return [decision.usage for decision in decisions]

    assert [usage.cost_usd for usage in asyncio.run(run())] == [12] * 5


def test_a_message_that_tells_no_cost_tells_none() -> None:
    silent = pb.FullDecision(outcome="decided", attempts=1)
    assert decision_of(silent, CONTEXT).usage == Usage()
    counted = pb.FullDecision(outcome="decided", attempts=1, usage=pb.Usage(input_tokens=3, cost_usd="0.5"))
    assert decision_of(counted, CONTEXT).usage == Usage(input_tokens=3, cost_usd=Decimal("0.5"))
