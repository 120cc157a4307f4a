"""What a server of decisions bears: silent and slow clients, ones without a key, a late desk, and its own end."""

import asyncio
import json
import logging
import resource
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import grpc
import httpx
import pytest

from executor.baseline.executor import BaselineExecutor
from executor.baseline.styles import Style
from executor.contract import Context, Executor, FullDecision, ItemError, Outcome, Usage
from executor.errors import ExecutorConfigError, ExecutorUnavailable
from executor.prompts.library import PromptLibrary
from executor.prompts.sample import sample_context
from executor.registry import ExecutorParts, ExecutorSpec, ExecutorType, ModelClients, build_executor
from executor.remote import http_server
from executor.remote.grpc_messages import request_of
from executor.remote.server import Listen, Serving, raise_file_limit, serve
from executor.remote.service import DecisionService, desk_of
from executor.remote.wire import context_json
from executor_servers import KEY, remote_spec, serving_any, serving_desks
from openai_endpoint import endpoint, hangs

CONTEXT = sample_context()
BODY = context_json(CONTEXT)
BASELINE = BaselineExecutor(Style.TREND)
HEAD = b"POST /api/v1/decision HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + KEY.encode() + b"\r\n"
SCHEMES = pytest.mark.parametrize("scheme", ["http", "grpc"])
Answer = Callable[[Context], Awaitable[FullDecision]]


class Told:
    """Decide as it is told, and ping as it is told."""

    def __init__(self, answer: Answer | None = None, trouble: Exception | None = None) -> None:
        self._answer = answer
        self._trouble = trouble

    async def decide(self, context: Context) -> FullDecision:
        """Return the answer."""
        return FullDecision() if self._answer is None else await self._answer(context)

    async def ping(self) -> None:
        """Answer, or raise the trouble."""
        if self._trouble is not None:
            raise self._trouble

    async def close(self) -> None:
        """Hold nothing."""


async def endless(context: Context) -> FullDecision:
    """Never decide."""
    del context
    await asyncio.Event().wait()
    return FullDecision()


@asynccontextmanager
async def asking(serving: Serving, scheme: str, trader: str = "", **spec: Any) -> AsyncIterator[Executor]:
    parts = ExecutorParts(
        prompts=PromptLibrary(), clients=ModelClients(), monotonic=asyncio.get_running_loop().time, trader=trader
    )
    yield build_executor(remote_spec(getattr(serving, scheme), **spec), parts)
    await parts.remotes.close()


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2])


async def until_closed(port: int, sent: bytes) -> bytes:
    """Send what is given, then wait for the server to end the connection; return what it said."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    try:
        return await asyncio.wait_for(reader.read(), 10)
    except ConnectionError:
        return b""
    finally:
        writer.close()


@pytest.mark.parametrize("sent", [b"", HEAD, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /he"])
def test_a_connection_without_a_whole_request_is_closed(monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    monkeypatch.setattr("executor.remote.server.HEADER_TIMEOUT_S", 0.2)

    async def run() -> bytes:
        async with serving_any(BASELINE) as serving:
            return await until_closed(port_of(serving.http), sent)

    assert (b"200 OK" in asyncio.run(run())) == (b"healthz" in sent)


def test_silent_connections_make_room_and_requests_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("executor.remote.server.room", lambda: 20)

    async def slow(context: Context) -> FullDecision:
        del context
        await asyncio.sleep(1)
        return FullDecision()

    async def run() -> tuple[list[Outcome], int]:
        async with serving_any(Told(slow)) as serving, asking(serving, "http") as client:
            first = asyncio.create_task(client.decide(CONTEXT))
            await asyncio.sleep(0.3)
            silent = [await asyncio.open_connection("127.0.0.1", port_of(serving.http)) for _ in range(50)]
            decisions = [await client.decide(CONTEXT), await first]
            closed = sum(reader.at_eof() or reader.exception() is not None for reader, _ in silent)
            for _, writer in silent:
                writer.close()
            return [decision.outcome for decision in decisions], closed

    outcomes, closed = asyncio.run(run())
    assert outcomes == [Outcome.DECIDED] * 2
    assert 30 <= closed < 50


def test_a_body_that_does_not_come_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "BODY_TIMEOUT_S", 0.2)

    async def run() -> bytes:
        async with serving_any(BASELINE) as serving:
            head = HEAD + b"Connection: close\r\nContent-Length: 1000\r\n\r\n{"
            return await until_closed(port_of(serving.http), head)

    answer = asyncio.run(run())
    assert b"422" in answer
    assert b"did not arrive within 0.2 s" in answer


def test_a_client_that_leaves_amid_its_body_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        async with serving_any(BASELINE) as serving:
            _, writer = await asyncio.open_connection("127.0.0.1", port_of(serving.http))
            writer.write(HEAD + b"Content-Length: 1000\r\n\r\n{")
            await writer.drain()
            await asyncio.sleep(0.1)
            writer.close()
            async with asking(serving, "http") as client:
                assert (await client.decide(CONTEXT)).outcome is Outcome.DECIDED

    asyncio.run(run())
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


def test_a_call_without_the_key_ends_before_its_message() -> None:
    async def run() -> grpc.StatusCode:
        async with (
            serving_any(BASELINE) as serving,
            grpc.aio.insecure_channel(serving.grpc.removeprefix("grpc://")) as channel,
        ):
            method: Any = channel.stream_unary("/propdesk.executor.v1.Executor/Decide")
            never = asyncio.Event()

            async def messages() -> AsyncIterator[bytes]:
                await never.wait()
                yield b""

            call = method(messages(), metadata=(("authorization", "Bearer wrong-key-of-somebody"),), timeout=5)
            code: grpc.StatusCode = await call.code()
            return code

    assert asyncio.run(run()) is grpc.StatusCode.UNAUTHENTICATED


@SCHEMES
def test_the_server_knows_how_long_its_desk_waits(scheme: str) -> None:
    left: list[float] = []

    async def answer(context: Context) -> FullDecision:
        del context
        left.append(anyio.current_effective_deadline() - anyio.current_time())
        return FullDecision()

    async def run() -> Outcome:
        async with serving_any(Told(answer)) as serving, asking(serving, scheme, timeout_s=7.0) as client:
            return (await client.decide(CONTEXT)).outcome

    assert asyncio.run(run()) is Outcome.DECIDED
    assert 5 < left[0] <= 7


@SCHEMES
def test_a_slow_model_is_a_timeout_with_its_prompt(scheme: str) -> None:
    """Both sides have the same timeout, and the desk's clock starts first."""

    async def run() -> FullDecision:
        async with endpoint(hangs) as fake:
            clients = ModelClients()
            spec = ExecutorSpec(
                type=ExecutorType.LLM,
                base_url=fake.base_url,
                model="tiny",
                api_key="k",
                prompt_template="general.md",
                timeout_s=1.0,
            )
            shipped = PromptLibrary(Path(__file__).parents[3] / "prompts")
            parts = ExecutorParts(prompts=shipped, clients=clients, monotonic=lambda: 0.0)
            async with (
                serving_any(build_executor(spec, parts)) as serving,
                asking(serving, scheme, timeout_s=1.0) as client,
            ):
                decision = await client.decide(CONTEXT)
            await clients.close()
            return decision

    decision = asyncio.run(run())
    assert decision.outcome is Outcome.TIMEOUT
    assert decision.prompt is not None
    assert (decision.prompt_hash, decision.attempts) == (decision.prompt.sha256, 1)


def test_a_time_that_is_none_is_refused() -> None:
    async def run(given: str) -> httpx.Response:
        async with serving_any(Told(endless)) as serving, httpx.AsyncClient(base_url=serving.http) as client:
            headers = {"Authorization": f"Bearer {KEY}", "Decision-Timeout": given}
            return await client.post("/api/v1/decision", content=BODY, headers=headers)

    for given in ("soon", "-1", "nan"):
        answer = asyncio.run(run(given))
        assert (answer.status_code, "seconds" in answer.text) == (422, True)
    late = asyncio.run(run("0.1"))
    assert (late.status_code, late.json()["outcome"]) == (200, "timeout")


@SCHEMES
def test_a_ping_asks_for_the_trader(scheme: str) -> None:
    trouble = ExecutorUnavailable("the model at its endpoint cannot be reached")
    traders: dict[str, Executor] = {
        "sound": BASELINE,
        "ill": Told(trouble=trouble),
        "odd": Told(trouble=OSError("/srv/x")),
    }

    async def run(trader: str) -> str:
        async with serving_desks({KEY: traders}) as serving, asking(serving, scheme, trader) as client:
            try:
                await client.ping()
            except ExecutorUnavailable as error:
                return str(error)
            return ""

    said = {trader: asyncio.run(run(trader)) for trader in ("", "sound", "strange", "ill", "odd")}
    assert (said[""], said["sound"]) == ("", "")
    assert "no trader 'strange' under this key" in said["strange"]
    assert "the model at its endpoint cannot be reached" in said["ill"]
    assert "the log of its server says why" in said["odd"]
    assert "/srv/x" not in said["odd"]


def test_paths_of_the_server_stay_there() -> None:
    async def answer(context: Context) -> FullDecision:
        del context
        error = ItemError(path="prompt", message="/srv/prompts/x.md, line 3: no such filter")
        return FullDecision(outcome=Outcome.UNAVAILABLE, errors=(error,))

    async def run() -> FullDecision:
        async with serving_any(Told(answer)) as serving, asking(serving, "http") as client:
            return await client.decide(CONTEXT)

    decision = asyncio.run(run())
    assert "/srv" not in str(decision)
    assert "the log of the executor server says why" in decision.errors[0].message


@SCHEMES
def test_the_server_logs_what_a_decision_cost(scheme: str, caplog: pytest.LogCaptureFixture) -> None:
    async def answer(context: Context) -> FullDecision:
        del context
        return FullDecision(usage=Usage(input_tokens=7, cost_usd=FullDecision().usage.cost_usd + 3))

    async def run() -> None:
        async with serving_any(Told(answer)) as serving, asking(serving, scheme) as client:
            await client.decide(CONTEXT)

    with caplog.at_level(logging.INFO, logger="executor.remote.service"):
        asyncio.run(run())
    (record,) = [one for one in caplog.records if one.message == "decided"]
    told = vars(record)
    assert (told["trader"], told["usd"], told["input_tokens"], told["outcome"]) == ("sample", "3", 7, "decided")


async def stopped(scheme: str, answer: Answer, grace_s: int) -> tuple[FullDecision, FullDecision]:
    """Stop a server amid a decision; return that one, and one that was asked for while it stopped."""
    begun = asyncio.Event()

    async def noted(context: Context) -> FullDecision:
        begun.set()
        return await answer(context)

    service = DecisionService([desk_of(KEY, {"sample": Told(noted)})])
    ending = asyncio.Event()
    addresses: asyncio.Future[Serving] = asyncio.get_running_loop().create_future()

    async def run() -> None:
        async with serve(service, Listen(http_port=0, grpc_port=0, grace_s=grace_s)) as serving:
            addresses.set_result(serving)
            await ending.wait()

    running = asyncio.create_task(run())
    async with asking(await addresses, scheme, timeout_s=20.0) as client:
        first = asyncio.create_task(client.decide(CONTEXT))
        await begun.wait()
        ending.set()
        await asyncio.sleep(0.1)
        second = await client.decide(CONTEXT)
        decisions = await first, second
    await running
    return decisions


@SCHEMES
def test_decisions_under_way_are_finished_at_the_end(scheme: str) -> None:
    async def slow(context: Context) -> FullDecision:
        del context
        await asyncio.sleep(0.6)
        return FullDecision(reasoning="finished")

    first, second = asyncio.run(stopped(scheme, slow, grace_s=20))
    assert (first.outcome, first.reasoning) == (Outcome.DECIDED, "finished")
    assert second.outcome is Outcome.UNAVAILABLE
    assert "the server is stopping" in second.errors[0].message


@SCHEMES
def test_what_outlasts_the_grace_is_given_up_in_words(scheme: str, caplog: pytest.LogCaptureFixture) -> None:
    first, _ = asyncio.run(stopped(scheme, endless, grace_s=1))
    assert first.outcome is Outcome.UNAVAILABLE
    assert "the decision was given up, and what it cost is not known" in first.errors[0].message
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


@pytest.mark.parametrize(
    ("limits", "raised"), [((256, 4096), (4096, 4096)), ((4096, 4096), None), ((64, -1), (65536, -1))]
)
def test_a_server_may_open_as_many_files_as_there_are(
    monkeypatch: pytest.MonkeyPatch, limits: tuple[int, int], raised: tuple[int, int] | None
) -> None:
    given: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits)
    monkeypatch.setattr(resource, "setrlimit", lambda _, wanted: given.append(wanted))
    raise_file_limit()
    assert given == ([raised] if raised else [])


def test_one_port_is_no_two() -> None:
    async def run() -> None:
        async with serve(DecisionService([desk_of(KEY, {})]), Listen(http_port=9, grpc_port=9)):
            raise AssertionError("it started")

    with pytest.raises(ExecutorConfigError, match="--http-port and --grpc-port are both 9"):
        asyncio.run(run())


@pytest.mark.parametrize(
    ("key", "fault"), [(KEY + "\n", "a line break"), (KEY + " ", "a space at its end"), ("short", "5 characters")]
)
def test_a_key_is_refused_for_what_is_wrong_with_it(key: str, fault: str) -> None:
    with pytest.raises(ExecutorConfigError, match=fault):
        DecisionService([desk_of(key, {})])


def test_a_context_beyond_the_caps_is_refused_by_both() -> None:
    symbols = [f"S{number}/USDT:USDT" for number in range(65)]
    sent = json.loads(BODY)
    sent["context"]["symbols"] = symbols

    async def run() -> tuple[int, grpc.StatusCode]:
        message = request_of(CONTEXT)
        message.context.symbols[:] = symbols
        async with serving_any(BASELINE) as serving, httpx.AsyncClient(base_url=serving.http) as client:
            headers = {"Authorization": f"Bearer {KEY}"}
            answer = await client.post("/api/v1/decision", json=sent, headers=headers)
            async with grpc.aio.insecure_channel(serving.grpc.removeprefix("grpc://")) as channel:
                method: Any = channel.unary_unary("/propdesk.executor.v1.Executor/Decide")
                metadata = (("authorization", f"Bearer {KEY}"),)
                code = await method(message.SerializeToString(), metadata=metadata, timeout=5).code()
        return answer.status_code, code

    assert asyncio.run(run()) == (422, grpc.StatusCode.INVALID_ARGUMENT)
