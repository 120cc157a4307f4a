"""What a remote executor's HTTP server answers, or fails to answer, becomes a decision or one named error."""

import gzip
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import anyio
import httpx
import pytest
import respx

from executor.contract import Action, Outcome
from executor.errors import (
    CallRejected,
    ModelError,
    ModelOverloaded,
    ModelUnreachable,
    RateLimited,
    Unauthorized,
    UnreadableAnswer,
)
from executor.prompts.sample import sample_context
from executor.remote.endpoint import MAX_BYTES, RemoteEndpoint
from executor.remote.http_client import HttpAsking, HttpClients
from executor_contexts import open_item

KEY = "sk-remote-0123456789"
AT = RemoteEndpoint(url="https://executor.example.com/desk", key=KEY, allow_private=True)
CONTEXT = sample_context()
ANSWER = {"decisions": [open_item()], "outcome": "decided", "usage": {"input_tokens": 3, "cost_usd": "0.5"}}
DECISION = f"{AT.url}/api/v1/decision"
PING = f"{AT.url}/api/v1/ping"


@pytest.fixture
async def connections() -> AsyncIterator[HttpClients]:
    opened = HttpClients()
    yield opened
    await opened.close()


@pytest.fixture
def asking(connections: HttpClients) -> HttpAsking:
    return HttpAsking(AT, connections)


async def failure(asking: HttpAsking) -> ModelError:
    """Return the error of one question; whatever it is, it does not show the key."""
    with pytest.raises(ModelError) as failed:
        await asking.ask(CONTEXT)
    assert KEY not in str(failed.value)
    return failed.value


async def test_a_decision_is_asked_for_with_the_key_and_the_time_that_is_left(
    asking: HttpAsking, respx_mock: respx.MockRouter
) -> None:
    route = respx_mock.post(DECISION).respond(json=ANSWER)
    with anyio.fail_after(20):
        decision = await asking.ask(CONTEXT)
    assert (decision.outcome, [one.action for one in decision.decisions]) == (Outcome.DECIDED, [Action.OPEN_LONG])
    request = route.calls.last.request
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert (request.headers["content-type"], request.headers["accept-encoding"]) == ("application/json", "identity")
    assert 15 < float(request.headers["decision-timeout"]) <= 20
    assert json.loads(request.content)["context"]["trader_id"] == CONTEXT.trader_id


async def test_a_question_without_a_deadline_names_none(asking: HttpAsking, respx_mock: respx.MockRouter) -> None:
    route = respx_mock.post(DECISION).respond(json=ANSWER)
    await asking.ask(CONTEXT)
    assert "decision-timeout" not in route.calls.last.request.headers


@pytest.mark.parametrize(
    ("status", "expected", "ran"),
    [
        (401, Unauthorized, False),
        (403, Unauthorized, False),
        (429, RateLimited, False),
        (503, ModelUnreachable, False),
        (500, ModelOverloaded, True),
        (502, ModelOverloaded, True),
        (504, ModelOverloaded, True),
        (400, CallRejected, False),
        (404, CallRejected, False),
        (413, CallRejected, False),
        (204, CallRejected, False),
        (206, CallRejected, False),
    ],
)
async def test_a_status_is_one_named_error_with_what_our_own_server_says(
    asking: HttpAsking, respx_mock: respx.MockRouter, status: int, expected: type[ModelError], ran: bool
) -> None:
    respx_mock.post(DECISION).respond(status, json={"error": "no trader of this name"})
    error = await failure(asking)
    assert (type(error), error.ran) == (expected, ran)
    assert f"({status}: no trader of this name)" in str(error)


async def test_words_that_are_not_our_own_servers_are_not_passed_on(
    asking: HttpAsking, respx_mock: respx.MockRouter
) -> None:
    for content in (
        b"<html>nginx</html>",
        b'{"error": {"message": "nginx"}}',
        b'["nginx"]',
        b"\xffnginx",
        b"[" * 10_000,
    ):
        respx_mock.post(DECISION).respond(500, content=content)
        assert str(await failure(asking)) == "failed (500); its log says why"


async def test_the_key_follows_no_redirect(asking: HttpAsking, respx_mock: respx.MockRouter) -> None:
    there = respx_mock.route(host="other.example.com").respond(json=ANSWER)
    respx_mock.post(DECISION).respond(307, headers={"Location": "https://other.example.com/"})
    assert type(await failure(asking)) is CallRejected
    assert not there.called


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>",
        b"\xff",
        b"[1]",
        b"{}",
        b'{"decisions": [',
        b"[" * 100_000,
        json.dumps({**ANSWER, "outcome": "perhaps"}).encode(),
        json.dumps({**ANSWER, "outcome": "timeout"}).encode(),
        json.dumps({**ANSWER, "usage": {"cost_usd": "NaN"}}).encode(),
    ],
)
async def test_an_answer_that_is_no_decision_is_unreadable(
    asking: HttpAsking, respx_mock: respx.MockRouter, content: bytes
) -> None:
    respx_mock.post(DECISION).respond(content=content)
    error = await failure(asking)
    assert (type(error), error.ran) == (UnreadableAnswer, True)


async def test_an_answer_without_end_is_not_kept(asking: HttpAsking, respx_mock: respx.MockRouter) -> None:
    read = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal read
        while True:
            read += 0x100000
            yield b" " * 0x100000

    respx_mock.post(DECISION).mock(return_value=httpx.Response(200, stream=Chunks(body())))
    error = await failure(asking)
    assert (type(error), "answered more than" in str(error)) == (UnreadableAnswer, True)
    assert read <= MAX_BYTES + 0x100000


async def test_a_packed_answer_is_measured_unpacked(asking: HttpAsking, respx_mock: respx.MockRouter) -> None:
    small = gzip.compress(b" " * (MAX_BYTES + 1))
    respx_mock.post(DECISION).respond(headers={"Content-Encoding": "gzip"}, stream=Chunks(aiter_of(small)))
    error = await failure(asking)
    assert (type(error), "answered more than" in str(error)) == (UnreadableAnswer, True)


async def aiter_of(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


class Chunks(httpx.AsyncByteStream):
    """Stream what a generator yields."""

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self._chunks = chunks

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Return the chunks."""
        return self._chunks


@pytest.mark.parametrize(
    ("broken", "ran", "told"),
    [
        (httpx.ConnectTimeout("late"), False, "cannot be reached (no connection in time)"),
        (httpx.ConnectError("refused"), False, "cannot be reached (refused)"),
        (httpx.UnsupportedProtocol("odd"), False, "cannot be reached (odd)"),
        (httpx.ReadTimeout("late"), True, "was lost before it answered (ReadTimeout: late)"),
        (httpx.WriteTimeout("late"), True, "was lost before it answered (WriteTimeout: late)"),
        (httpx.ReadError("cut"), True, "was lost before it answered (ReadError: cut)"),
        (httpx.RemoteProtocolError("odd"), True, "was lost before it answered (RemoteProtocolError: odd)"),
    ],
)
async def test_a_connection_that_fails_says_whether_the_decision_may_have_been_made(
    asking: HttpAsking, respx_mock: respx.MockRouter, broken: Exception, ran: bool, told: str
) -> None:
    respx_mock.post(DECISION).mock(side_effect=broken)
    error = await failure(asking)
    assert (type(error), error.ran, str(error)) == (ModelUnreachable, ran, told)


async def test_a_deadline_of_whoever_asks_ends_the_wait(asking: HttpAsking, respx_mock: respx.MockRouter) -> None:
    async def silent(_: httpx.Request) -> Any:
        await anyio.sleep_forever()

    respx_mock.post(DECISION).mock(side_effect=silent)
    with pytest.raises(TimeoutError), anyio.fail_after(0.05):
        await asking.ask(CONTEXT)


@pytest.mark.parametrize(("trader", "asked"), [("", PING), ("a b&c", f"{PING}?trader=a+b%26c")])
async def test_a_greeting_names_the_trader(
    asking: HttpAsking, respx_mock: respx.MockRouter, trader: str, asked: str
) -> None:
    route = respx_mock.get(url__startswith=PING).respond(json={})
    await asking.greet(trader)
    assert str(route.calls.last.request.url) == asked


@pytest.mark.parametrize(("status", "expected"), [(401, Unauthorized), (404, CallRejected), (503, ModelUnreachable)])
async def test_a_greeting_that_is_turned_away_is_told(
    asking: HttpAsking, respx_mock: respx.MockRouter, status: int, expected: type[ModelError]
) -> None:
    respx_mock.get(url__startswith=PING).respond(status, json={"error": "no"})
    with pytest.raises(expected):
        await asking.greet("one")


async def test_traders_with_other_keys_share_no_connection(
    connections: HttpClients, respx_mock: respx.MockRouter
) -> None:
    route = respx_mock.post(DECISION).respond(json=ANSWER)
    for key in ("one", "two", "one"):
        await HttpAsking(replace(AT, key=key), connections).ask(CONTEXT)
    assert [call.request.headers["authorization"] for call in route.calls] == ["Bearer one", "Bearer two", "Bearer one"]
    assert connections.client(replace(AT, key="one")) is not connections.client(replace(AT, key="two"))
