"""One call of a model tells what it can do; every behaviour of an endpoint has its own words."""

import asyncio
from contextlib import aclosing
from decimal import Decimal

import pytest

from executor.models.chat import Structured
from executor.models.endpoint_client import EndpointClient
from executor.models.openai_chat import OpenAIChatModel
from executor.models.probe import ProbeResult, Seen, probe
from executor.models.profile import ModelProfile, TokenPrices
from openai_endpoint import Answer, Endpoint, cuts, endpoint, fails, hangs, says, sends

GOOD = says('{"condition_of_service": "ready"}')
PRICES = TokenPrices(input=Decimal(1), cached_input=Decimal(1), output=Decimal(1))


async def babbles(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HELLO\r\n\r\n")


def probed(
    answer: Answer, structured: Structured = Structured.JSON_SCHEMA, prices: TokenPrices | None = PRICES
) -> tuple[Endpoint, ProbeResult]:
    async def run() -> tuple[Endpoint, ProbeResult]:
        async with endpoint(answer) as fake:
            at = fake.spec(0.5, structured)
            async with aclosing(EndpointClient(at)) as client:
                profile = ModelProfile(name="m", endpoint=at, prices=prices)
                return fake, await probe(OpenAIChatModel(client, at), profile, lambda: 0.0)

    return asyncio.run(run())


def test_a_model_that_follows_a_schema_is_fine() -> None:
    fake, result = probed(GOOD)
    assert (result.ok, result.seen, result.problems, result.hints) == (True, Seen.SCHEMA, (), ())
    assert (result.answered_as, result.usage.input_tokens) == ("tiny-2025", 100)
    [request] = fake.requests
    assert "condition_of_service" not in str(request["messages"])
    assert "condition_of_service" in str(request["response_format"])


@pytest.mark.parametrize(
    ("structured", "text", "seen", "hint"),
    [
        (Structured.JSON_SCHEMA, '{"message": "hello"}', Seen.JSON, "structured: json_object"),
        (Structured.JSON_SCHEMA, '{"condition_of_service": "fine"}', Seen.JSON, "structured: json_object"),
        (Structured.JSON_SCHEMA, "Hello!", Seen.TEXT, "structured: none"),
        (Structured.JSON_OBJECT, '{"message": "hello"}', Seen.JSON, ""),
        (Structured.JSON_OBJECT, '```json\n{"a": 1}\n```', Seen.TEXT, "structured: none"),
        (Structured.NONE, '{"message": "hello"}', Seen.JSON, ""),
        (Structured.NONE, "[1]", Seen.TEXT, "read tolerantly"),
    ],
)
def test_support_for_structure_is_told_as_it_was_seen(structured: Structured, text: str, seen: Seen, hint: str) -> None:
    _, result = probed(says(text), structured)
    assert (result.ok, result.seen, len(result.hints)) == (True, seen, bool(hint))
    assert hint in "".join(result.hints)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (fails(401, "bad key key-1"), "check the key"),
        (fails(404, "model `tiny` not found"), "correct the model's name"),
        (fails(404, "no such page"), "base_url usually ends in /v1"),
        (fails(402, "Insufficient Balance"), "pay in"),
        (fails(400, "response_format is not supported"), "set structured: json_object or none"),
        (fails(400, "maximum context length is 10 tokens"), "more context"),
        (fails(500, "boom"), "boom; it failed on its side"),
        (fails(520, "boom"), "boom; it failed on its side"),
        (fails(429, "slow down"), "slow down; ask less often"),
        (fails(408, "slow"), "use a faster model"),
        (sends(200, "<html>"), "no chat completion"),
        (cuts, "broke the connection off, or does not speak HTTP; check base_url"),
        (babbles, "broke the connection off, or does not speak HTTP; check base_url"),
        (hangs, "within"),
        (says(""), "answered nothing"),
        (says("{", finish="length"), "raise max_tokens"),
        (says(None, refusal="I \x1b[31mcannot"), "refused a harmless question: I [31mcannot"),
    ],
)
def test_what_is_wrong_is_told_in_plain_words_after_one_call(answer: Answer, told: str) -> None:
    fake, result = probed(answer)
    [problem] = result.problems
    assert told in problem
    assert (result.ok, len(fake.requests)) == (False, 1)
    assert "key-1" not in problem
    assert problem.isprintable()


def test_a_model_without_a_price_is_noted() -> None:
    _, result = probed(GOOD, prices=None)
    assert result.ok
    assert "no price_per_mtok" in result.hints[0]
