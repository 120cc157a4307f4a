"""How calls are spread over connections, where a public name may lead, and that many calls leave the loop free."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpcore2
import httpx2
import pytest

from executor.contract import Context, Outcome, RenderedPrompt
from executor.errors import CallRejected, ExecutorConfigError
from executor.models.chat import Message, ModelEndpoint
from executor.models.clients import ModelClients
from executor.models.connections import Connections
from executor.models.endpoint_client import EndpointClient
from executor.models.openai_chat import OpenAIChatModel
from executor.models.profile import ModelProfile
from executor.prompts.library import PromptLibrary
from executor.prompts.sample import sample_context
from executor.registry import ExecutorParts, ExecutorSpec, ExecutorType, build_executor
from executor_contexts import open_item, reply_text
from openai_endpoint import endpoint, says

PROMPTS = Path(__file__).parents[3] / "prompts"
ASKED = [Message(role="user", text="hello")]


class Pool:
    """Keep every call until it is let go, and say how many came."""

    def __init__(self) -> None:
        self.calls = 0

    async def handle_async_request(self, request: httpcore2.Request) -> httpcore2.Response:
        """Answer with a body that is still to be read; fail for a call of /broken."""
        self.calls += 1
        if request.url.target == b"/broken":
            raise httpcore2.ConnectError("refused")

        async def body() -> AsyncIterator[bytes]:
            yield b"{}"

        return httpcore2.Response(200, content=body())


async def test_a_pool_gets_no_more_calls_than_its_width_and_the_first_with_room_is_taken() -> None:
    pools: list[Any] = []

    def opener() -> Any:
        pools.append(Pool())
        return pools[-1]

    async def call(path: str = "") -> httpx2.Response:
        return await connections.handle_async_request(httpx2.Request("GET", f"http://127.0.0.1{path}"))

    connections = Connections(opener, "k", width=2)
    one, two, three = [await call() for _ in range(3)]
    assert [pool.calls for pool in pools] == [2, 1]
    await three.aclose()
    await call()
    assert [pool.calls for pool in pools] == [2, 2]
    await one.aread()
    await one.aclose()
    with pytest.raises(httpx2.ConnectError, match="refused"):
        await call("/broken")
    await call()
    assert [pool.calls for pool in pools] == [4, 2]
    await call()
    assert [pool.calls for pool in pools] == [4, 3]
    await two.aclose()


def test_connections_are_used_again() -> None:
    async def run() -> None:
        async with endpoint(says("hi")) as fake, aclosing(EndpointClient(fake.spec())) as client:
            model = OpenAIChatModel(client, fake.spec())
            for _ in range(3):
                await model.complete(ASKED, {})
            assert (fake.connections, len(fake.requests)) == (1, 3)

    asyncio.run(run())


def test_an_address_that_may_not_be_called_is_refused_before_any_call() -> None:
    with pytest.raises(
        ExecutorConfigError, match=r"base_url 'http://10\.0\.0\.1/v1': host 10\.0\.0\.1 is in a private"
    ):
        EndpointClient(ModelEndpoint(base_url="http://10.0.0.1/v1", model="m", api_key="k"))


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
            async with aclosing(EndpointClient(at)) as client:
                with pytest.raises(CallRejected, match=r"resolves to the private address 127\.0\.0\.1"):
                    await OpenAIChatModel(client, at).complete(ASKED, {})
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
