"""What a call costs and who is told: set aside before it, settled after it however it ends."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from structlog.testing import capture_logs

from executor.contract import Usage
from executor.errors import (
    BudgetExhausted,
    CallRejected,
    CircuitOpen,
    ContextOverflow,
    ExecutorUnavailable,
    ModelError,
    ModelOverloaded,
    ModelTimeout,
    ModelUnreachable,
    OutOfCredit,
    RateLimited,
    Unauthorized,
    UnknownModel,
    UnreadableAnswer,
)
from executor.models import metering
from executor.models.chain import Asked, GuardedModel, ModelChain
from executor.models.chat import Completion, Message, ModelEndpoint, Structured
from executor.models.gate import EndpointGate, GateSettings, Pacing
from executor.models.metering import ASSUMED_OUTPUT_TOKENS, CallQuote, Charge, Hold, MeteredModel, Quote
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
        ({"max_tokens": -1}, ASSUMED_OUTPUT_TOKENS),
        ({"max_tokens": True}, ASSUMED_OUTPUT_TOKENS),
        ({"max_tokens": 100, "max_completion_tokens": -1}, 100),
    ],
)
def test_the_worst_case_is_the_prompt_and_the_longest_reply(extra_body: dict[str, Any], output: int) -> None:
    worst = CallQuote(profile(**extra_body), ASK).worst_usd
    prompt = worst - output * Decimal(15) / MILLION
    assert Decimal(6) * 3 / MILLION <= prompt <= Decimal(20) * 3 / MILLION


def test_the_schema_counts_where_it_is_sent() -> None:
    schema = {"type": "object", "properties": {name: {"type": "string"} for name in "abcdefgh"}}
    sent = replace(profile().endpoint, structured=Structured.JSON_SCHEMA)
    kept = replace(sent, structured=Structured.JSON_OBJECT)
    without = CallQuote(profile(), ASK).input_tokens
    assert CallQuote(replace(profile(), endpoint=sent), ASK, schema).input_tokens > without + 50
    assert CallQuote(replace(profile(), endpoint=kept), ASK, schema).input_tokens < without


def test_the_schema_counts_before_a_call_and_in_an_estimate() -> None:
    schema = {"enum": list("abcdefgh")}

    async def run() -> None:
        meter = Meter()
        completion = await metered(Model(Completion(text="")), meter).complete(ASK, schema)
        quote = CallQuote(profile(), ASK, schema)
        assert (meter.quotes, completion.usage.input_tokens) == ([quote.worst_usd], quote.input_tokens)

    asyncio.run(run())


def test_the_worst_case_takes_the_dearer_price_of_the_input() -> None:
    dear = replace(PRICES, cached_input=Decimal(30))
    assert dear.worst(100, 0) == 100 * Decimal(30) / MILLION
    assert PRICES.worst(100, 0) == 100 * Decimal(3) / MILLION


def test_cached_tokens_are_a_part_of_the_input() -> None:
    told = Usage(input_tokens=100, cached_tokens=1000)
    assert PRICES.cost(told) == 100 * PRICES.cached_input / MILLION


@pytest.mark.parametrize(
    ("told", "given", "cached", "output"),
    [
        (Usage(input_tokens=100, cached_tokens=1000, output_tokens=10), 100, 100, 10),
        (Usage(input_tokens=100), 100, 0, 2),
        (Usage(output_tokens=10), None, 0, 10),
    ],
)
def test_each_side_that_is_not_counted_is_estimated(told: Usage, given: int | None, cached: int, output: int) -> None:
    async def run() -> None:
        found = (await metered(Model(Completion(text="one two", usage=told)), Meter()).complete(ASK, {})).usage
        expected = CallQuote(profile(), ASK, {}).input_tokens if given is None else given
        assert (found.input_tokens, found.cached_tokens, found.output_tokens) == (expected, cached, output)
        assert found.cost_usd == PRICES.cost(found)

    asyncio.run(run())


def test_a_slow_booking_is_told_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metering, "SETTLE_S", 0.01)

    async def run() -> None:
        free = asyncio.Event()

        class Slow(Meter):
            async def settle(self, hold: Hold, charge: Charge) -> None:
                await free.wait()
                await super().settle(hold, charge)

        meter = Slow()
        with capture_logs() as logs:
            completion = await metered(Model(Completion(text="{}", usage=USAGE)), meter).complete(ASK, {})
        assert meter.settled == []
        (told,) = logs
        assert (told["event"], told["log_level"], told["usd"]) == ("model_cost_not_booked", "error", COST)
        free.set()
        await asyncio.sleep(0.01)
        assert meter.settled == [Charge(calls=1, usage=completion.usage)]

    asyncio.run(run())


def test_a_booking_that_breaks_keeps_the_reply_and_is_told() -> None:
    class Broken(Meter):
        async def settle(self, hold: Hold, charge: Charge) -> None:
            raise RuntimeError("odd")

    async def run() -> None:
        with capture_logs() as logs:
            completion = await metered(Model(Completion(text="{}", usage=USAGE)), Broken()).complete(ASK, {})
        assert completion.text == "{}"
        assert [(told["event"], told["usd"]) for told in logs] == [("model_cost_not_booked", COST)]

    asyncio.run(run())


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


FREE = [
    ModelUnreachable("x"),
    RateLimited("x"),
    CallRejected("x"),
    Unauthorized("x"),
    UnknownModel("x"),
    OutOfCredit("x"),
    ContextOverflow("x"),
    CircuitOpen("x"),
    ModelOverloaded("x").told(ran=False),
]
RAN = [
    ModelTimeout("x"),
    UnreadableAnswer("x"),
    ModelOverloaded("x"),
    ExecutorUnavailable("x"),
    ModelError("x"),
    ModelUnreachable("x").told(ran=True),
    RuntimeError("x"),
]


@pytest.mark.parametrize(("error", "charged"), [*((one, False) for one in FREE), *((one, True) for one in RAN)])
def test_free_is_only_what_surely_never_ran(error: Exception, charged: bool) -> None:
    async def run() -> None:
        meter = Meter()
        with pytest.raises(type(error)):
            await metered(Model(error), meter).complete(ASK, {})
        assert meter.settled == [Charge(unknown_usd=meter.quotes[0] if charged else Decimal(0))]
        assert meter.settled[0].nothing is not charged

    asyncio.run(run())


def test_a_failure_that_tells_its_tokens_is_charged_them() -> None:
    async def run() -> None:
        meter = Meter()
        with pytest.raises(UnreadableAnswer):
            await metered(Model(UnreadableAnswer("x").told(ran=True, usage=USAGE)), meter).complete(ASK, {})
        assert meter.settled == [Charge(calls=1, usage=replace(USAGE, cost_usd=COST))]

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


def test_a_refused_call_tells_the_breaker_nothing() -> None:
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
