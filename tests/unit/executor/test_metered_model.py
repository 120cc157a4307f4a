"""What a call costs and who is told: set aside before it, settled after it however it ends."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from executor.budget import ASSUMED_OUTPUT_TOKENS, Charge, Hold, MeteredModel, Quote
from executor.contract import Usage
from executor.errors import BudgetExhausted, ModelError, ModelTimeout, ModelUnreachable, RateLimited, UnreadableAnswer
from executor.models.chain import Asked, ModelChain
from executor.models.chat import Completion, Message, ModelEndpoint
from executor.models.gate import EndpointGate, GateSettings, Pacing
from executor.models.guarded import GuardedModel
from executor.models.profile import ModelProfile, TokenPrices

PRICES = TokenPrices(input=Decimal(3), cached_input=Decimal("0.3"), output=Decimal(15))
USAGE = Usage(input_tokens=100, cached_tokens=40, output_tokens=10)
COST = Decimal("0.000342")
ASK = (Message(role="system", text="one two three four"), Message(role="user", text="five six"))
MILLION = Decimal(1_000_000)


@dataclass
class Model:
    """Answer, fail or hang, as told."""

    does: Completion | BaseException | None = None
    asked: int = 0
    name: str = "tiny"

    async def complete(self, messages: Sequence[Message], schema: Mapping[str, Any]) -> Completion:
        """Do it."""
        self.asked += 1
        if self.does is None:
            await anyio.sleep_forever()
        if isinstance(self.does, BaseException):
            raise self.does
        assert self.does is not None
        return self.does

    async def ping(self) -> None:
        """Answer."""

    async def close(self) -> None:
        """Hold nothing."""


@dataclass
class Meter:
    """Remember what was set aside and settled; refuse if told so."""

    refuses: ModelError | None = None
    quotes: list[Decimal] = field(default_factory=list)
    settled: list[Charge] = field(default_factory=list)

    async def reserve(self, quote: Quote) -> Hold:
        """Note the worst case."""
        if self.refuses is not None:
            raise self.refuses
        self.quotes.append(quote.worst_usd)
        return Hold(model=quote.model, id=f"{len(self.quotes)}")

    async def settle(self, hold: Hold, charge: Charge) -> None:
        """Note the charge, after giving way, as a database would."""
        await anyio.lowlevel.checkpoint()
        self.settled.append(charge)


def profile(prices: TokenPrices | None = PRICES, **extra_body: Any) -> ModelProfile:
    endpoint = ModelEndpoint(base_url="http://127.0.0.1:1/v1", model="tiny", api_key="", extra_body=extra_body)
    return ModelProfile(name="a", endpoint=endpoint, prices=prices)


def metered(model: Model, meter: Meter, one: ModelProfile | None = None) -> MeteredModel:
    return MeteredModel(model, one or profile(), meter)


def test_an_answer_is_charged_what_its_tokens_cost() -> None:
    async def run() -> None:
        meter = Meter()
        completion = await metered(Model(Completion(text="{}", usage=USAGE)), meter).complete(ASK, {})
        assert completion.usage.cost_usd == COST
        assert meter.settled == [Charge(calls=1, usage=completion.usage)]

    asyncio.run(run())


@pytest.mark.parametrize(
    ("extra_body", "output"),
    [
        ({}, ASSUMED_OUTPUT_TOKENS),
        ({"max_tokens": 500}, 500),
        ({"max_completion_tokens": 900, "max_tokens": 500}, 900),
        ({"max_tokens": "many"}, ASSUMED_OUTPUT_TOKENS),
    ],
)
def test_the_worst_case_is_the_prompt_and_the_longest_reply(extra_body: dict[str, Any], output: int) -> None:
    worst = Quote(profile(**extra_body), ASK).worst_usd
    prompt = worst - output * Decimal(15) / MILLION
    assert Decimal(6) * 3 / MILLION <= prompt <= Decimal(20) * 3 / MILLION


def test_without_a_price_the_worst_case_is_nothing_and_so_is_the_cost() -> None:
    async def run() -> None:
        meter = Meter()
        completion = await metered(Model(Completion(text="{}", usage=USAGE)), meter, profile(None)).complete(ASK, {})
        assert (meter.quotes, completion.usage.cost_usd) == ([Decimal(0)], Decimal(0))
        assert meter.settled[0].usage.input_tokens == 100

    asyncio.run(run())


def test_tokens_that_an_endpoint_does_not_count_are_estimated() -> None:
    async def run() -> None:
        completion = await metered(Model(Completion(text="one two")), Meter()).complete(ASK, {})
        assert completion.usage.input_tokens > 0
        assert completion.usage.output_tokens > 0
        assert completion.usage.cost_usd > 0

    asyncio.run(run())


@pytest.mark.parametrize(
    ("error", "charged"), [(ModelUnreachable("x"), False), (UnreadableAnswer("x"), False), (ModelTimeout("x"), True)]
)
def test_a_call_that_nobody_answered_is_charged_its_worst_case_apart(error: ModelError, charged: bool) -> None:
    async def run() -> None:
        meter = Meter()
        with pytest.raises(type(error)):
            await metered(Model(error), meter).complete(ASK, {})
        assert meter.settled == [Charge(unknown_usd=meter.quotes[0] if charged else Decimal(0))]
        assert meter.settled[0].nothing is not charged

    asyncio.run(run())


def test_a_deadline_in_the_middle_still_settles() -> None:
    async def run() -> None:
        meter = Meter()
        with anyio.move_on_after(0.01):
            await metered(Model(), meter).complete(ASK, {})
        assert meter.settled == [Charge(unknown_usd=meter.quotes[0])]

    asyncio.run(run())


def test_a_refused_call_is_not_made_and_not_settled() -> None:
    async def run() -> None:
        model, meter = Model(Completion(text="{}")), Meter(refuses=BudgetExhausted("no"))
        with pytest.raises(BudgetExhausted):
            await metered(model, meter).complete(ASK, {})
        assert (model.asked, meter.settled) == (0, [])

    asyncio.run(run())


def test_each_retry_is_a_call_of_its_own() -> None:
    async def run() -> None:
        async def at_once(_: float) -> None:
            return None

        meter, pacing = Meter(), Pacing(sleep=at_once)
        gate = EndpointGate("a", GateSettings(max_concurrency=1), pacing)
        guarded = GuardedModel(metered(Model(RateLimited("slow")), meter), profile(), gate, pacing)
        with pytest.raises(RateLimited):
            await guarded.complete(ASK, {})
        assert (len(meter.quotes), len(meter.settled)) == (3, 3)
        assert all(charge.nothing for charge in meter.settled)

    asyncio.run(run())


def test_a_refusal_tells_the_breaker_nothing() -> None:
    async def run() -> None:
        pacing = Pacing()
        gate = EndpointGate("a", GateSettings(max_concurrency=1), pacing)
        model = Model(ModelTimeout("x"))
        asks = GuardedModel(metered(model, Meter()), profile(), gate, pacing)
        refused = GuardedModel(metered(model, Meter(refuses=BudgetExhausted("no"))), profile(), gate, pacing)
        for _ in range(4):
            with pytest.raises(ModelTimeout):
                await asks.complete(ASK, {})
            with pytest.raises(BudgetExhausted):
                await refused.complete(ASK, {})
        assert gate.circuit == "closed"
        with pytest.raises(ModelTimeout):
            await asks.complete(ASK, {})
        assert gate.circuit == "open"

    asyncio.run(run())


@pytest.mark.parametrize(("of_model", "asked"), [(True, 1), (False, 0)])
def test_the_next_model_is_asked_only_if_the_budget_is_the_models(of_model: bool, asked: int) -> None:
    async def run() -> None:
        second = Model(Completion(text="{}"))
        first = metered(Model(), Meter(refuses=BudgetExhausted("no", of_model=of_model)))
        try:
            await ModelChain([first, second]).complete(ASK, {}, Asked())
        except BudgetExhausted:
            assert not of_model
        assert second.asked == asked

    asyncio.run(run())
