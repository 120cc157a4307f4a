"""What a server of decisions refuses, by HTTP and by gRPC: whoever has no key, and whatever is no context."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import grpc
import httpx
import pytest

from executor.baseline.executor import BaselineExecutor
from executor.baseline.styles import Style
from executor.contract import Context, Executor, FullDecision, Outcome
from executor.errors import ExecutorConfigError, ExecutorUnavailable
from executor.prompts.library import PromptLibrary
from executor.prompts.sample import sample_context
from executor.proto import decision_pb2, decision_pb2_grpc
from executor.registry import ExecutorParts, ModelClients, build_executor
from executor.remote.endpoint import MAX_BYTES
from executor.remote.grpc_messages import request_of
from executor.remote.server import Listen, Serving, serve
from executor.remote.service import DecisionService, desk_of
from executor.remote.wire import context_json
from executor_servers import KEY, remote_spec, serving_any, serving_desks

PROMPTS = Path(__file__).parents[3] / "prompts"
CONTEXT = sample_context()
BODY = context_json(CONTEXT)
BASELINE = BaselineExecutor(Style.TREND)
OTHER_KEY = "another-key-of-a-test"
DESKS = {KEY: {"sample": BASELINE}, OTHER_KEY: {"stranger": BASELINE}}
SCHEMES = pytest.mark.parametrize("scheme", ["http", "grpc"])
Result = TypeVar("Result")


class Broken:
    """Break the contract of an executor."""

    async def decide(self, context: Context) -> FullDecision:
        """Raise what no executor should."""
        raise RuntimeError(f"a secret of {context.trader_id}")

    async def ping(self) -> None:
        """Do nothing."""

    async def close(self) -> None:
        """Do nothing."""


class Waiting(Broken):
    """Decide when told to; `ended` is set when it stops waiting."""

    def __init__(self) -> None:
        self.begun, self.ended = asyncio.Event(), asyncio.Event()

    async def decide(self, context: Context) -> FullDecision:
        """Wait for ever."""
        self.begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.ended.set()
        return FullDecision()


def with_client(use: Callable[[httpx.AsyncClient], Awaitable[Result]]) -> Result:
    async def run() -> Result:
        async with serving_desks(DESKS) as serving, httpx.AsyncClient(base_url=serving.http) as client:
            return await use(client)

    return asyncio.run(run())


def post(body: bytes, authorization: str | None = f"Bearer {KEY}") -> httpx.Response:
    headers = {"Authorization": authorization} if authorization is not None else {}
    return with_client(lambda client: client.post("/api/v1/decision", content=body, headers=headers))


def called(request: Any, key: str | None = KEY) -> grpc.StatusCode:
    async def run() -> grpc.StatusCode:
        async with (
            serving_desks(DESKS) as serving,
            grpc.aio.insecure_channel(serving.grpc.removeprefix("grpc://")) as channel,
        ):
            metadata = (("authorization", f"Bearer {key}"),) if key is not None else ()
            try:
                await decision_pb2_grpc.ExecutorStub(channel).Decide(request, metadata=metadata, timeout=5)
            except grpc.aio.AioRpcError as error:
                return error.code()
            return grpc.StatusCode.OK

    return asyncio.run(run())


def remote(serving: Serving, scheme: str, **changes: Any) -> tuple[Executor, ExecutorParts]:
    parts = ExecutorParts(prompts=PromptLibrary(PROMPTS), clients=ModelClients(), monotonic=lambda: 0.0)
    return build_executor(remote_spec(getattr(serving, scheme), **changes), parts), parts


@pytest.mark.parametrize(
    "authorization", [None, "", KEY, "Bearer", f"Basic {KEY}", f"Bearer {KEY}x", f"Bearer {KEY[:-1]}"]
)
def test_nobody_decides_without_the_key(authorization: str | None) -> None:
    answer = post(b"not even JSON", authorization)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert KEY not in answer.text


@pytest.mark.parametrize("key", [None, "", "wrong-key-of-somebody"])
def test_nobody_calls_without_the_key(key: str | None) -> None:
    assert called(request_of(CONTEXT), key) is grpc.StatusCode.UNAUTHENTICATED


def test_only_the_life_sign_needs_no_key() -> None:
    async def look(client: httpx.AsyncClient) -> dict[str, int]:
        paths = ("/healthz", "/api/v1/ping", "/docs", "/openapi.json", "/")
        return {path: (await client.get(path)).status_code for path in paths}

    answers = with_client(look)
    assert answers == {"/healthz": 200, "/api/v1/ping": 401, "/docs": 404, "/openapi.json": 404, "/": 404}


def test_the_right_key_decides() -> None:
    answer = post(BODY, f"bearer {KEY}")
    assert answer.status_code == 200
    assert answer.json()["outcome"] == "decided"
    assert called(request_of(CONTEXT)) is grpc.StatusCode.OK


def test_a_key_opens_its_own_traders_only() -> None:
    stranger = replace(CONTEXT, trader_id="stranger")
    answer = post(context_json(stranger))
    assert (answer.status_code, "no trader 'stranger' under this key" in answer.text) == (404, True)
    assert post(context_json(stranger), f"Bearer {OTHER_KEY}").status_code == 200
    assert called(request_of(stranger)) is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"", 422), (b"{}", 422), (BODY[:-1], 422), (BODY.replace(b'"now":"2025', b'"now":"x'), 422), (BODY, 200)],
)
def test_what_is_no_context_is_refused(body: bytes, status: int) -> None:
    answer = post(body)
    assert answer.status_code == status
    assert status == 200 or answer.json()["error"]


def test_an_incomplete_message_is_refused() -> None:
    assert called(decision_pb2.DecisionRequest()) is grpc.StatusCode.INVALID_ARGUMENT


def test_a_corrupt_message_ends_its_own_call_only() -> None:
    async def run() -> grpc.StatusCode:
        async with (
            serving_desks(DESKS) as serving,
            grpc.aio.insecure_channel(serving.grpc.removeprefix("grpc://")) as channel,
        ):
            stub, metadata = decision_pb2_grpc.ExecutorStub(channel), (("authorization", f"Bearer {KEY}"),)
            call: Any = channel.unary_unary("/propdesk.executor.v1.Executor/Decide")
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await call(b"\xff\xff", metadata=metadata, timeout=5)
            await stub.Decide(request_of(CONTEXT), metadata=metadata, timeout=5)
            return refused.value.code()

    assert asyncio.run(run()) is grpc.StatusCode.UNKNOWN


def test_a_request_may_not_be_longer_than_is_taken() -> None:
    long = replace(CONTEXT, trader_name="x" * MAX_BYTES)
    answer = post(context_json(long))
    assert (answer.status_code, str(MAX_BYTES) in answer.text) == (413, True)
    assert called(request_of(long)) is grpc.StatusCode.RESOURCE_EXHAUSTED


@SCHEMES
def test_an_executor_that_breaks_is_no_new_risk(scheme: str) -> None:
    async def run() -> FullDecision:
        async with serving_any(Broken()) as serving:
            executor, parts = remote(serving, scheme)
            decision = await executor.decide(CONTEXT)
            await parts.remotes.close()
            return decision

    decision = asyncio.run(run())
    assert decision.outcome is Outcome.UNAVAILABLE
    assert "secret" not in str(decision)


@SCHEMES
def test_a_decision_nobody_waits_for_is_given_up(scheme: str) -> None:
    async def run() -> Outcome:
        waiting = Waiting()
        async with serving_any(waiting) as serving:
            executor, parts = remote(serving, scheme, timeout_s=0.5)
            decision = await executor.decide(CONTEXT)
            assert waiting.begun.is_set()
            await asyncio.wait_for(waiting.ended.wait(), 5)
            await parts.remotes.close()
            return decision.outcome

    assert asyncio.run(run()) is Outcome.TIMEOUT


@SCHEMES
def test_a_wrong_key_is_an_outcome_and_stays_hidden(scheme: str) -> None:
    async def run() -> tuple[FullDecision, str]:
        async with serving_desks(DESKS) as serving:
            executor, parts = remote(serving, scheme, api_key="a-wrong-key-to-hide")
            decision = await executor.decide(CONTEXT)
            with pytest.raises(ExecutorUnavailable) as refused:
                await executor.ping()
            await parts.remotes.close()
            return decision, str(refused.value)

    decision, refused = asyncio.run(run())
    assert decision.outcome is Outcome.UNAUTHORIZED
    assert "refuses the key" in refused
    assert "a-wrong-key-to-hide" not in f"{decision} {refused}"


@pytest.mark.parametrize("keys", [[], ["short"], ["sixteen-letters-\u00e9"], [KEY, KEY]])
def test_a_server_without_good_keys_does_not_start(keys: list[str]) -> None:
    with pytest.raises(ExecutorConfigError) as refused:
        DecisionService([desk_of(key, {}) for key in keys])
    assert not any(key in str(refused.value) for key in keys)


@pytest.mark.parametrize("option", ["http_port", "grpc_port"])
def test_a_port_that_is_taken_is_named(option: str) -> None:
    async def run() -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            ports = {"http_port": 0, "grpc_port": 0, option: taken.getsockname()[1]}
            listen = Listen(**ports)
            with pytest.raises(ExecutorConfigError, match=f"pass another --{option.replace('_', '-')}"):
                async with serve(DecisionService([desk_of(KEY, {})]), listen):
                    raise AssertionError("it started")

    asyncio.run(run())


def test_a_ping_names_the_traders_of_the_key() -> None:
    async def look(client: httpx.AsyncClient) -> Any:
        return (await client.get("/api/v1/ping", headers={"Authorization": f"Bearer {OTHER_KEY}"})).json()

    assert with_client(look) == {"traders": ["stranger"]}
