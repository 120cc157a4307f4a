"""What goes over the wire to an endpoint and what is taken from it: own headers only, and no answer without end."""

import asyncio
import gzip
import json
from dataclasses import replace
from typing import Any

import pytest

from executor.errors import ExecutorConfigError, ExecutorUnavailable, UnreadableAnswer
from executor.models.chat import Completion, Message, ModelEndpoint
from executor.models.lanes import MOST_BYTES, lanes_to, open_lanes
from executor.models.openai_chat import OpenAIChatModel
from openai_endpoint import Answer, Endpoint, endpoint, says, sends, trickles

KEY = "sk-proj-0123456789abcdef"
ASKED = [Message(role="user", text="hello")]
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


def answers(head: bytes, body: bytes) -> Answer:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + head + b"\r\n" + body)
        await writer.drain()

    return answer


def completion(text: str) -> bytes:
    return json.dumps({"choices": [{"message": {"content": text}}]}).encode()


def chunked(body: bytes) -> Answer:
    return answers(b"Transfer-Encoding: chunked\r\n", b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))


def sized(body: bytes) -> Answer:
    return answers(b"Content-Length: %d\r\n" % len(body), body)


def packed(body: bytes) -> Answer:
    small = gzip.compress(body)
    return answers(b"Content-Encoding: gzip\r\nContent-Length: %d\r\n" % len(small), small)


async def endless(writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"10000\r\n" + b" " * 0x10000 + b"\r\n")
        await writer.drain()


def ask(answer: Answer, **endpoint_fields: Any) -> tuple[Endpoint, Completion]:
    async def run() -> tuple[Endpoint, Completion]:
        async with endpoint(answer) as fake:
            at = replace(fake.spec(), **endpoint_fields)
            async with open_lanes(at) as lanes:
                return fake, await OpenAIChatModel(lanes, at).complete(ASKED, {})

    return asyncio.run(run())


def sized_wrongly(body: bytes) -> Answer:
    """Tell a short length beside chunks, which are what counts."""
    return answers(b"Content-Length: 9\r\nTransfer-Encoding: chunked\r\n", b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))


@pytest.mark.parametrize("form", [chunked, sized, sized_wrongly])
def test_an_answer_may_be_as_long_as_the_limit_and_no_longer(form: Any) -> None:
    most = MOST_BYTES - len(completion(""))
    assert len(ask(form(completion("x" * most)))[1].text) == most
    with pytest.raises(UnreadableAnswer, match="longer than 4000000 bytes"):
        ask(form(completion("x" * (most + 1))))


@pytest.mark.parametrize(("answer", "told"), [(endless, "longer than"), (packed(completion("x" * 10**6)), "packed")])
def test_what_would_grow_in_memory_is_not_read(answer: Answer, told: str) -> None:
    with pytest.raises(UnreadableAnswer, match=told):
        ask(answer)


def test_nothing_of_the_environment_reaches_an_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_ORG_ID", "org-private")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-private")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-private")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Gate: private\nAuthorization: Bearer private\nUser-Agent: private")
    fake, _ = ask(says("hi"))
    [headers] = fake.headers
    assert "private" not in str(headers)
    assert headers["authorization"] == "Bearer key-1"
    assert set(headers) == {
        *("host", "authorization", "accept", "accept-encoding", "user-agent", "connection"),
        *("content-type", "content-length"),
    }
    assert headers["accept-encoding"] == "identity"


def test_cookies_of_an_endpoint_are_neither_kept_nor_sent_back() -> None:
    async def run() -> None:
        good = completion("hi")
        async with endpoint(answers(b"Set-Cookie: a=1; Path=/\r\nContent-Length: %d\r\n" % len(good), good)) as fake:
            async with open_lanes(fake.spec()) as lanes:
                for _ in range(2):
                    await OpenAIChatModel(lanes, fake.spec()).complete(ASKED, {})
                with lanes.lane() as client:
                    assert not client.cookies
            assert "cookie" not in fake.headers[1]

    asyncio.run(run())


@pytest.mark.parametrize("status", [200, 500])
def test_an_answer_that_is_nested_without_end_is_no_completion(status: int) -> None:
    with pytest.raises(ExecutorUnavailable, match=f"(answered {status}|no chat completion)"):
        ask(sends(status, "[" * 100_000))


def test_an_endpoint_without_a_key_is_not_sent_another_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-private")
    assert ask(says("hi"), api_key="")[0].keys == ["Bearer none"]


def test_what_the_desk_decides_is_not_changed_by_extra_body() -> None:
    theirs = {"model": "evil", "messages": [], "response_format": {"type": "text"}, "temperature": 0.2}
    [request] = ask(says("hi"), extra_body=theirs)[0].requests
    assert (request["model"], request["temperature"], len(request["messages"])) == ("tiny", 0.2, 1)
    assert request["response_format"]["type"] == "json_schema"


@pytest.mark.parametrize(
    "answer",
    [
        says(f"the key {KEY} and more", refusal=f"your key {KEY} was refused"),
        says(KEY),
        sends(200, json.dumps({"model": f"for {KEY}", "choices": [{"message": {"content": "x"}}]})),
    ],
)
def test_a_key_that_comes_back_in_an_answer_is_blanked(answer: Answer) -> None:
    assert KEY not in repr(ask(answer, api_key=KEY)[1])


def test_a_part_without_text_is_no_part_of_a_reply() -> None:
    parts = [{"type": "thinking", "text": None}, {"type": "text", "text": "a"}, {"type": "image"}, {"text": "b"}]
    assert ask(sends(200, json.dumps({"choices": [{"message": {"content": parts}}]})))[1].text == "ab"


@pytest.mark.parametrize("key", ["k", "EMPTY", "take_profit"])
def test_a_placeholder_for_a_key_changes_no_word_of_a_reply(key: str) -> None:
    said = '{"reasoning": "EMPTY", "take_profit": 1}'
    assert ask(says(said), api_key=key)[1].text == said


async def trickles_without_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        await reader.readline()
        await trickles(writer)
    except (ConnectionError, asyncio.CancelledError):
        writer.close()


def test_a_ping_ends_in_time_though_bytes_come_in_now_and_then() -> None:
    async def run() -> None:
        server = await asyncio.start_server(trickles_without_end, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        at = ModelEndpoint(base_url=url, model="m", api_key="", timeout_s=0.2)
        async with open_lanes(at) as lanes:
            with pytest.raises(ExecutorUnavailable, match=r"did not answer within 0\.2 s"):
                await asyncio.wait_for(OpenAIChatModel(lanes, at).ping(), 5)
        server.close()
        await server.wait_closed()

    asyncio.run(run())


@pytest.mark.parametrize("key", ["sk-hidden\n", " sk-hidden", "sk-hid den", "sk-hidden\u2026", "sk-\x00hidden"])
def test_a_key_that_no_header_can_carry_is_refused_unseen(key: str) -> None:
    async def run() -> None:
        async with endpoint(says("hi")) as fake:
            with pytest.raises(ExecutorConfigError, match="environment variable that api_key names") as refused:
                lanes_to(replace(fake.spec(), api_key=key))
            assert "sk-" not in str(refused.value)

    asyncio.run(run())
