"""Why a model stopped, in the words of each provider, and the outcome that comes of it."""

import asyncio
from contextlib import aclosing

import pytest

from executor.models.chat import Finish, Message
from executor.models.endpoint_client import EndpointClient
from executor.models.openai_chat import OpenAIChatModel
from openai_endpoint import endpoint, says


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("length", Finish.LENGTH),
        ("max_tokens", Finish.LENGTH),
        ("model_length", Finish.LENGTH),
        ("MAX_TOKENS", Finish.LENGTH),
        ("content_filter", Finish.REFUSED),
        ("refusal", Finish.REFUSED),
        ("safety", Finish.REFUSED),
        ("sensitive", Finish.REFUSED),
        ("SAFETY", Finish.REFUSED),
        ("stop", Finish.DONE),
        ("end_turn", Finish.DONE),
        ("eos", Finish.DONE),
    ],
)
def test_a_finish_reason_is_read_in_any_dialect(reason: str, finish: Finish) -> None:
    async def run() -> Finish:
        async with endpoint(says('{"decisions": []}', finish=reason)) as fake:
            at = fake.spec()
            async with aclosing(EndpointClient(at)) as client:
                model = OpenAIChatModel(client, at)
                return (await model.complete([Message(role="user", text="decide")], {})).finish

    assert asyncio.run(run()) is finish
