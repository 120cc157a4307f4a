"""What goes over the wire to an endpoint and what is taken from it: own headers only, and no answer without end."""

import asyncio
import gzip
import json
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest

from executor.errors import ExecutorConfigError, ExecutorUnavailable, UnreadableAnswer
from executor.models.chat import Completion, Message, ModelEndpoint
from executor.models.connections import MOST_BYTES, http_client
from executor.models.endpoint_client import EndpointClient
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
            async with aclosing(EndpointClient(at)) as client:
                return fake, await OpenAIChatModel(client, at).complete(ASKED, {})

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


ENVIRONMENT = {
    "OPENAI_ORG_ID": "org-private",
    "OPENAI_PROJECT_ID": "proj-private",
    "OPENAI_API_KEY": "sk-private",
    "OPENAI_ADMIN_KEY": "sk-admin-private",
    "OPENAI_WEBHOOK_SECRET": "whsec-private",
    "OPENAI_BASE_URL": "http://127.0.0.1:9/private",
}
RAW = "X-Stainless-Raw-Response: private"
CUSTOM = "X-Gate: private\nAuthorization: Bearer private\nUser-Agent: private\nHost: private\nContent-Length: 1"


@pytest.mark.parametrize(
    "custom", [CUSTOM, f"{CUSTOM}\nContent-Type: priv\u00e4t", "X-Stainless-Raw-Response: private"]
)
def test_nothing_of_the_environment_reaches_an_endpoint(monkeypatch: pytest.MonkeyPatch, custom: str) -> None:
    for name, value in {**ENVIRONMENT, "OPENAI_CUSTOM_HEADERS": custom}.items():
        monkeypatch.setenv(name, value)
    fake, _ = ask(says("hi"))
    [headers] = fake.headers
    assert "priv" not in str(headers)
    assert headers["authorization"] == "Bearer key-1"
    assert set(headers) == {
        *("host", "authorization", "accept", "accept-encoding", "user-agent", "connection"),
        *("content-type", "content-length"),
    }
    assert (headers["accept-encoding"], headers["user-agent"]) == ("identity", "propdesk")
    assert headers["content-type"] == "application/json"


def test_a_client_of_httpx_adds_nothing_to_what_is_sent_and_hears_nothing_but_what_is_read() -> None:
    """Whatever a package above asks for, the connections write every header and follow no address."""
    kept = {"Retry-After": "3"}
    refused = {"Location": "http://127.0.0.1:9/", "Set-Cookie": "a=1", "Content-Type": "text/html; charset=hex"}

    async def run() -> None:
        async with endpoint(sends(307, "moved", {**kept, **refused})) as fake, http_client(fake.spec()) as client:
            headers = {"Authorization": "Bearer other", "X-More": "private"}
            answered = await client.get(f"{fake.base_url}/models", headers=headers, follow_redirects=True)
            assert (answered.status_code, dict(answered.headers)) == (200, {})
            answered = await client.post(f"{fake.base_url}/any", json={}, headers=headers, follow_redirects=True)
            assert (answered.status_code, dict(answered.headers)) == (307, {"retry-after": "3"})
            assert (not client.cookies, fake.keys, fake.headers[1].get("x-more")) == (True, ["Bearer key-1"] * 2, None)

    asyncio.run(run())


def test_cookies_of_an_endpoint_are_neither_kept_nor_sent_back() -> None:
    async def run() -> None:
        good = completion("hi")
        async with endpoint(answers(b"Set-Cookie: a=1; Path=/\r\nContent-Length: %d\r\n" % len(good), good)) as fake:
            async with aclosing(EndpointClient(fake.spec())) as client:
                for _ in range(2):
                    await OpenAIChatModel(client, fake.spec()).complete(ASKED, {})
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
        async with aclosing(EndpointClient(at)) as client:
            with pytest.raises(ExecutorUnavailable, match=r"did not answer within 0\.2 s"):
                await asyncio.wait_for(OpenAIChatModel(client, at).ping(), 5)
        server.close()
        await server.wait_closed()

    asyncio.run(run())


@pytest.mark.parametrize("key", ["sk-hidden\n", " sk-hidden", "sk-hid den", "sk-hidden\u2026", "sk-\x00hidden"])
def test_a_key_that_no_header_can_carry_is_refused_unseen(key: str) -> None:
    async def run() -> None:
        async with endpoint(says("hi")) as fake:
            with pytest.raises(ExecutorConfigError, match="environment variable that api_key names") as refused:
                EndpointClient(replace(fake.spec(), api_key=key))
            assert "sk-" not in str(refused.value)

    asyncio.run(run())
