"""Calls over the wire that end badly: each is booked by what it may have cost, and no reply is lost over its count."""

import asyncio
import json
from decimal import Decimal
from typing import Any

import pytest

from executor.errors import ModelError
from executor.models.chat import Message, ModelEndpoint
from executor.models.clients import ModelClients
from executor.models.gate import Pacing
from executor.models.metering import Charge, Hold, Quote
from executor.models.profile import ModelProfile, TokenPrices
from openai_endpoint import Answer, cuts, endpoint, sends

PRICES = TokenPrices(input=Decimal(3), cached_input=Decimal("0.3"), output=Decimal(15))
ASK = (Message(role="system", text="rules"), Message(role="user", text="prices"))
USAGE = {"prompt_tokens": 10_000, "completion_tokens": 2_000}
COST = Decimal("0.06")
TEXT = json.dumps({"reasoning": "x", "decisions": []})


class Meter:
    """Remember the worst cases and the charges."""

    def __init__(self) -> None:
        self.worst: list[Decimal] = []
        self.settled: list[Charge] = []

    async def reserve(self, quote: Quote) -> Hold:
        """Note the worst case."""
        self.worst.append(quote.worst_usd)
        return Hold(model=quote.model)

    async def settle(self, hold: Hold, charge: Charge) -> None:
        """Note the charge."""
        self.settled.append(charge)


async def at_once(_: float) -> None:
    await asyncio.sleep(0)


def answer(usage: object = None, *, reason: str = "stop", status: int = 200, **changed: Any) -> Answer:
    choice = {"message": {"role": "assistant", "content": TEXT}, "finish_reason": reason}
    body = {"choices": [choice], **({} if usage is None else {"usage": usage}), **changed}
    return sends(status, json.dumps(body))


async def ask(one: Answer) -> tuple[str, Meter]:
    """Return the reply, or the name of the error, and what the meter saw."""
    async with endpoint(one) as fake:
        clients, meter = ModelClients(Pacing(sleep=at_once)), Meter()
        where = ModelEndpoint(base_url=fake.base_url, model="t", api_key="k", extra_body={"max_tokens": 2_000})
        try:
            reply = (
                await clients.model(ModelProfile(name="a", endpoint=where, prices=PRICES), meter).complete(ASK, {})
            ).text
        except ModelError as error:
            reply = type(error).__name__
        finally:
            await clients.close()
        assert len(fake.requests) == len(meter.settled)
        return reply, meter


@pytest.mark.parametrize(
    ("one", "error", "calls"),
    [
        (answer(USAGE, choices=[]), "UnreadableAnswer", 1),
        (answer(USAGE, reason="insufficient_system_resource"), "ModelOverloaded", 3),
        (answer(USAGE, status=500), "ModelOverloaded", 3),
        (answer(USAGE, choices=[], error={"message": "busy", "code": 500}), "ModelOverloaded", 3),
    ],
)
async def test_a_broken_answer_that_tells_its_tokens_costs_them(one: Answer, error: str, calls: int) -> None:
    reply, meter = await ask(one)
    assert reply == error
    assert [(charge.calls, charge.usage.cost_usd, charge.unknown_usd) for charge in meter.settled] == [
        (1, COST, Decimal(0))
    ] * calls


@pytest.mark.parametrize(
    ("one", "error"),
    [
        (answer(choices=[]), "UnreadableAnswer"),
        (answer(reason="insufficient_system_resource"), "ModelOverloaded"),
        (sends(200, "<html>"), "UnreadableAnswer"),
        (sends(500, "{}"), "ModelOverloaded"),
        (sends(502, "{}"), "ModelOverloaded"),
        (sends(504, "{}"), "ModelOverloaded"),
        (cuts, "ModelUnreachable"),
    ],
)
async def test_what_may_have_run_costs_its_worst_case_each_time(one: Answer, error: str) -> None:
    reply, meter = await ask(one)
    assert reply == error
    assert [charge.unknown_usd for charge in meter.settled] == meter.worst
    assert all(meter.worst)


@pytest.mark.parametrize("status", [400, 401, 404, 422, 429, 503, 529])
async def test_what_was_turned_away_is_free(status: int) -> None:
    _, meter = await ask(sends(status, "{}"))
    assert meter.settled
    assert all(charge.nothing for charge in meter.settled)


async def test_no_connection_is_free() -> None:
    clients, meter = ModelClients(Pacing(sleep=at_once)), Meter()
    where = ModelEndpoint(base_url="http://127.0.0.1:9/v1", model="t", api_key="k")
    with pytest.raises(ModelError):
        await clients.model(ModelProfile(name="a", endpoint=where, prices=PRICES), meter).complete(ASK, {})
    await clients.close()
    assert meter.settled
    assert all(charge.nothing for charge in meter.settled)


@pytest.mark.parametrize(
    "usage",
    [{"prompt_tokens": -1}, {"prompt_tokens": 100.5}, {"completion_tokens": "many"}, [1], "odd", {"total_tokens": {}}],
)
async def test_a_usage_that_makes_no_sense_loses_no_reply(usage: object) -> None:
    reply, meter = await ask(answer(usage))
    assert reply == TEXT
    (charge,) = meter.settled
    assert charge.calls == 1
    assert charge.usage.input_tokens > 0
    assert charge.usage.output_tokens > 0
