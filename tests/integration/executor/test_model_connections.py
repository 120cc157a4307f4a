"""How calls are spread over connections, where a public name may lead, and that many calls leave the loop free."""

import asyncio
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from executor.contract import Context, Outcome, RenderedPrompt
from executor.errors import CallRejected, ExecutorConfigError
from executor.models.chat import Message, ModelEndpoint
from executor.models.clients import ModelClients
from executor.models.lanes import Lanes, lanes_to, open_lanes
from executor.models.openai_chat import OpenAIChatModel
from executor.models.profile import ModelProfile
from executor.prompts.library import PromptLibrary
from executor.prompts.sample import sample_context
from executor.registry import ExecutorParts, ExecutorSpec, ExecutorType, build_executor
from executor_contexts import open_item, reply_text
from openai_endpoint import endpoint, says

PROMPTS = Path(__file__).parents[3] / "prompts"
ASKED = [Message(role="user", text="hello")]


def test_a_client_gets_no_more_calls_than_its_width_and_the_first_free_one_is_taken() -> None:
    async def run() -> None:
        opened: list[object] = []

        def opener() -> Any:
            opened.append(object())
            return opened[-1]

        lanes = Lanes(opener, width=2)
        with lanes.lane() as one, lanes.lane() as two:
            with lanes.lane() as three:
                assert (one is two, one is three, lanes.count) == (True, False, 2)
            with lanes.lane() as again:
                assert again is three
        with lanes.lane() as first:
            assert (first is one, lanes.count) == (True, 2)

    asyncio.run(run())


def test_connections_are_used_again() -> None:
    async def run() -> None:
        async with endpoint(says("hi")) as fake, open_lanes(fake.spec()) as lanes:
            model = OpenAIChatModel(lanes, fake.spec())
            for _ in range(3):
                await model.complete(ASKED, {})
            assert (fake.connections, len(fake.requests), lanes.count) == (1, 3, 1)

    asyncio.run(run())


def test_an_address_that_may_not_be_called_is_refused_before_any_call() -> None:
    with pytest.raises(
        ExecutorConfigError, match=r"base_url 'http://10\.0\.0\.1/v1': host 10\.0\.0\.1 is in a private"
    ):
        lanes_to(ModelEndpoint(base_url="http://10.0.0.1/v1", model="m", api_key="k"))


def test_a_public_name_that_leads_to_this_machine_gets_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection is cut before TLS begins, so nothing of the request is sent."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)

    def resolve(host: Any, port: Any, *_: Any, **__: Any) -> list[Any]:
        assert host in ("llm.example.com", b"llm.example.com")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    async def run() -> None:
        async with endpoint(says("hi")) as fake:
            at = replace(fake.spec(), base_url=fake.base_url.replace("http://127.0.0.1", "https://llm.example.com"))
            monkeypatch.setattr(socket, "getaddrinfo", resolve)
            async with open_lanes(at) as lanes:
                with pytest.raises(CallRejected, match=r"resolves to the private address 127\.0\.0\.1"):
                    await OpenAIChatModel(lanes, at).complete(ASKED, {})
            assert (fake.requests, fake.keys) == ([], [])

    asyncio.run(run())


class CountingPrompts(PromptLibrary):
    """Note how far the loop had come at each rendering."""

    def __init__(self) -> None:
        super().__init__(PROMPTS)
        self.turns = 0
        self.rendered_at: list[int] = []

    def render(self, template: str, context: Context, **more: Any) -> RenderedPrompt:
        """Render and note the turn of the loop."""
        self.rendered_at.append(self.turns)
        return super().render(template, context, **more)

    async def count(self) -> None:
        """Count the turns of the loop for ever."""
        while True:
            self.turns += 1
            await asyncio.sleep(0)


def test_the_loop_serves_others_between_the_prompts_of_many_traders() -> None:
    async def run() -> None:
        prompts, clients = CountingPrompts(), ModelClients()
        async with endpoint(says(reply_text(open_item()))) as fake:
            profile = ModelProfile(name="m", endpoint=fake.spec())
            parts = ExecutorParts(prompts=prompts, clients=clients, monotonic=lambda: 0.0, models={"m": profile})
            spec = ExecutorSpec(type=ExecutorType.LLM, model="m", prompt_template="general.md")
            executors = [build_executor(spec, parts) for _ in range(30)]
            prompts.rendered_at.clear()
            counting = asyncio.create_task(prompts.count())
            decisions = await asyncio.gather(*(one.decide(sample_context()) for one in executors))
            counting.cancel()
            await clients.close()
        assert {decision.outcome for decision in decisions} == {Outcome.DECIDED}
        at = prompts.rendered_at
        assert len(set(at)) == len(at) == 30

    asyncio.run(run())
