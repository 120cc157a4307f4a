"""A remote executor that is dead, silent or talks nonsense: a named outcome in time, and nobody else waits."""

import asyncio
import json
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import anyio
import grpc
import pytest

from executor.baseline.executor import BaselineExecutor
from executor.baseline.styles import Style
from executor.contract import Executor, FullDecision, Outcome
from executor.errors import ExecutorConfigError, ExecutorUnavailable
from executor.prompts.library import PromptLibrary
from executor.prompts.sample import sample_context
from executor.registry import ExecutorParts, ModelClients, build_executor
from executor_servers import KEY, remote_spec, serving_any
from openai_endpoint import Answer, cuts, endpoint, hangs, sends, trickles

CONTEXT = sample_context()
GOOD = json.dumps({"decisions": [], "outcome": "decided"})
SCHEMES = pytest.mark.parametrize("scheme", ["http", "grpc"])
Result = TypeVar("Result")


def parts() -> ExecutorParts:
    prompts = PromptLibrary(Path(__file__).parents[3] / "prompts")
    return ExecutorParts(prompts=prompts, clients=ModelClients(), monotonic=lambda: 0.0)


async def asked(url: str, use: Callable[[Executor], Awaitable[Result]], timeout_s: float = 5.0) -> Result:
    own = parts()
    try:
        return await use(build_executor(remote_spec(url, timeout_s=timeout_s), own))
    finally:
        await own.remotes.close()


def decide(executor: Executor) -> Awaitable[FullDecision]:
    return executor.decide(CONTEXT)


async def unreachable(executor: Executor) -> str:
    with pytest.raises(ExecutorUnavailable) as refused:
        await executor.ping()
    return str(refused.value)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


@asynccontextmanager
async def deaf() -> AsyncIterator[int]:
    """Take connections and never say a word."""
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        yield listener.extra(anyio.abc.SocketAttribute.local_port)


@SCHEMES
def test_a_dead_server_is_unavailable_at_once(scheme: str) -> None:
    url = f"{scheme}://127.0.0.1:{free_port()}"
    decision = asyncio.run(asked(url, decide, timeout_s=60))
    assert decision.outcome is Outcome.UNAVAILABLE
    assert decision.errors[0].message.startswith(f"the executor at {url} cannot be reached")
    assert "cannot be reached" in asyncio.run(asked(url, unreachable))


@SCHEMES
def test_a_silent_server_is_a_timeout(scheme: str) -> None:
    async def run() -> tuple[FullDecision, str]:
        async with deaf() as port:
            url = f"{scheme}://127.0.0.1:{port}"
            return await asked(url, decide, 0.3), await asked(url, unreachable, 0.3)

    decision, refused = asyncio.run(run())
    assert decision.outcome is Outcome.TIMEOUT
    assert "raise the timeout" in decision.errors[0].message
    assert "0.3 s" in refused or "in time" in refused


STATUSES = [
    (400, "{}", Outcome.UNAVAILABLE, "refused the request (400)"),
    (302, "", Outcome.UNAVAILABLE, "refused the request (302)"),
    (401, '{"error": "no"}', Outcome.UNAUTHORIZED, "refuses the key (401: no)"),
    (403, "<html>", Outcome.UNAUTHORIZED, "refuses the key (403)"),
    (404, '{"error": "no trader"}', Outcome.UNAVAILABLE, "refused the request (404: no trader)"),
    (413, f'{{"error": "{KEY}"}}', Outcome.UNAVAILABLE, "refused the request (413: ***)"),
    (429, "", Outcome.RATE_LIMITED, "takes no more calls now"),
    (500, "Traceback", Outcome.UNAVAILABLE, "failed (500)"),
    (503, '{"error": 5}', Outcome.UNAVAILABLE, "takes no request now (503)"),
    (502, "{}", Outcome.UNAVAILABLE, "failed (502)"),
    (200, "", Outcome.UNAVAILABLE, "answered no decision"),
    (200, "<html>hello</html>", Outcome.UNAVAILABLE, "answered no decision"),
    (200, '{"decisions": [{}], "outcome": "decided"', Outcome.UNAVAILABLE, "answered no decision"),
    (200, '{"decisions": [{}], "outcome": "decided"}', Outcome.INVALID_REPLY, "required"),
    (200, " " * (5 * 1024 * 1024), Outcome.UNAVAILABLE, "answered more than"),
    (200, GOOD, Outcome.DECIDED, ""),
]


@pytest.mark.parametrize(("status", "body", "outcome", "said"), STATUSES)
def test_each_answer_is_a_named_outcome(status: int, body: str, outcome: Outcome, said: str) -> None:
    decision = asyncio.run(answered(sends(status, body, {"Location": "http://127.0.0.1:1/"})))
    assert decision.outcome is outcome
    assert said in " ".join(error.message for error in decision.errors)
    assert decision.decisions == ()
    assert KEY not in str(decision)


@pytest.mark.parametrize(
    ("answer", "outcome"), [(hangs, Outcome.TIMEOUT), (trickles, Outcome.TIMEOUT), (cuts, Outcome.UNAVAILABLE)]
)
def test_an_answer_that_never_ends_is_no_decision(answer: Answer, outcome: Outcome) -> None:
    assert asyncio.run(answered(answer, 0.5)).outcome is outcome


async def answered(answer: Answer, timeout_s: float = 5.0) -> FullDecision:
    async with endpoint(answer) as fake:
        return await asked(fake.base_url.removesuffix("/v1"), decide, timeout_s)


@pytest.mark.parametrize("content", [b"\xff\xff\xff", b"", b"\x0a\x02{}"])
def test_a_message_that_is_no_decision_is_unavailable(content: bytes) -> None:
    async def run() -> FullDecision:
        async def answer(request: bytes, call: Any) -> bytes:
            del request, call
            return content

        server = grpc.aio.server()
        method: Any = grpc.unary_unary_rpc_method_handler(answer)
        handlers = grpc.method_handlers_generic_handler("propdesk.executor.v1.Executor", {"Decide": method})
        server.add_generic_rpc_handlers((handlers,))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            return await asked(f"grpc://127.0.0.1:{port}", decide)
        finally:
            await server.stop(0)

    decision = asyncio.run(run())
    assert decision.outcome is Outcome.UNAVAILABLE
    assert "answered no" in decision.errors[0].message


def test_code_that_was_not_generated_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "executor.proto.decision_pb2_grpc", None)
    with pytest.raises(ExecutorConfigError, match="run `make setup`"):
        build_executor(remote_spec("grpc://127.0.0.1:8201"), parts())


@SCHEMES
def test_a_context_that_cannot_travel_is_an_outcome(scheme: str) -> None:
    odd = replace(CONTEXT, trader_name="\ud800")
    decision = asyncio.run(asked(f"{scheme}://127.0.0.1:{free_port()}", lambda executor: executor.decide(odd)))
    assert decision.outcome is Outcome.UNAVAILABLE
    assert "cannot be sent" in decision.errors[0].message


@SCHEMES
def test_a_cancelled_scope_ends_a_decision(scheme: str) -> None:
    async def run() -> bool:
        async with deaf() as port:

            async def shortly(executor: Executor) -> bool:
                with anyio.move_on_after(0.2) as scope:
                    await executor.decide(CONTEXT)
                return scope.cancelled_caught

            return await asked(f"{scheme}://127.0.0.1:{port}", shortly)

    assert asyncio.run(run())


@SCHEMES
def test_a_silent_server_delays_no_trader_of_another(scheme: str) -> None:
    async def run() -> list[str]:
        finished: list[str] = []
        own = parts()

        async def one(name: str, url: str) -> FullDecision:
            executor = build_executor(remote_spec(url, timeout_s=3.0), own)
            decision = await executor.decide(replace(CONTEXT, trader_id=name))
            finished.append(name)
            return decision

        async with deaf() as port, serving_any(BaselineExecutor(Style.TREND)) as serving:
            silent = [one("silent", f"{scheme}://127.0.0.1:{port}") for _ in range(10)]
            quick = [one("quick", getattr(serving, scheme)) for _ in range(40)]
            decisions = await asyncio.gather(*silent, *quick)
        await own.remotes.close()
        assert [decision.outcome for decision in decisions] == [Outcome.TIMEOUT] * 10 + [Outcome.DECIDED] * 40
        return finished

    assert asyncio.run(run()) == ["quick"] * 40 + ["silent"] * 10


@SCHEMES
def test_a_server_that_goes_away_is_unavailable(scheme: str) -> None:
    async def run() -> list[Outcome]:
        own = parts()
        async with serving_any(BaselineExecutor(Style.TREND)) as serving:
            executor = build_executor(remote_spec(getattr(serving, scheme)), own)
            first = await executor.decide(CONTEXT)
            await executor.ping()
        gone = await executor.decide(CONTEXT)
        await own.remotes.close()
        return [first.outcome, gone.outcome]

    assert asyncio.run(run()) == [Outcome.DECIDED, Outcome.UNAVAILABLE]
