"""The openai package makes single calls and no more: nothing of its environment, retries, parsing or logging."""

import json
import os
import ssl
import subprocess
import sys
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import anyio
import httpx2
import pytest

from executor.errors import ExecutorConfigError, ModelError, ModelTimeout, ModelUnreachable, RateLimited
from executor.models.chat import Completion, Message, ModelEndpoint
from executor.models.connections import environment_proxies
from executor.models.endpoint_client import EndpointClient
from executor.models.openai_chat import OpenAIChatModel

ROOT = Path(__file__).resolve().parents[4]
AT = ModelEndpoint(base_url="http://127.0.0.1:9/v1", model="m", api_key="sk-hidden-0123456789", timeout_s=5.0)
ASKED = [Message(role="system", text="secret words"), Message(role="user", text="hello")]
GOOD = {"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 3}}
CALLED_WITH_A_LOG = """
import asyncio, httpx2
from executor.models.chat import Message, ModelEndpoint
from executor.models.endpoint_client import EndpointClient
from executor.models.openai_chat import OpenAIChatModel

async def run():
    at = ModelEndpoint(base_url="http://127.0.0.1:9/v1", model="m", api_key="sk-hidden-0123456789")
    for status in (200, 429, 500):
        answers = httpx2.MockTransport(lambda _: httpx2.Response(status, json={"choices": []}))
        try:
            await OpenAIChatModel(EndpointClient(at, answers), at).complete([Message(role="user", text="words")], {})
        except Exception as error:
            print(type(error).__name__)

asyncio.run(run())
"""
BUILT_ONLY = """
import sys
from executor.models.chat import ModelEndpoint
from executor.models.clients import ModelClients
from executor.models.profile import ModelProfile

at = ModelEndpoint(base_url="https://api.openai.com/v1", model="m", api_key="k")
ModelClients().model(ModelProfile(name="m", endpoint=at))
print("openai" in sys.modules)
"""


async def ask(handler: Callable[[httpx2.Request], httpx2.Response], at: ModelEndpoint = AT) -> Completion:
    async with aclosing(EndpointClient(at, httpx2.MockTransport(handler))) as client:
        return await OpenAIChatModel(client, at).complete(ASKED, {"type": "object"})


def run(script: str, **more: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **more}
    return subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=60)


async def test_the_body_is_sent_as_it_was_made() -> None:
    seen: list[httpx2.Request] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        seen.append(request)
        return httpx2.Response(200, json=GOOD)

    extra = {"num_ctx": 8_192, "model": "other", "temperature": 0.25, "nested": {"a": [None, 1]}}
    assert (await ask(answer, replace(AT, extra_body=extra))).text == "hi"
    [request] = seen
    assert (request.method, str(request.url)) == ("POST", "http://127.0.0.1:9/v1/chat/completions")
    assert json.loads(request.content) == {
        "num_ctx": 8_192,
        "temperature": 0.25,
        "nested": {"a": [None, 1]},
        "model": "m",
        "messages": [{"role": "system", "content": "secret words"}, {"role": "user", "content": "hello"}],
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "trading_decisions", "strict": True, "schema": {"type": "object"}},
        },
    }
    assert request.extensions["timeout"] == {"connect": 5.0, "read": 5.0, "write": 5.0, "pool": 5.0}
    assert AT.api_key not in str(request.headers)


@pytest.mark.parametrize("status", [307, 408, 409, 429, 500, 503])
async def test_the_package_tries_nothing_again(status: int) -> None:
    calls: list[int] = []

    def answer(_: httpx2.Request) -> httpx2.Response:
        calls.append(status)
        return httpx2.Response(status, json={"error": {"message": "not now"}}, headers={"retry-after-ms": "1"})

    with pytest.raises(ModelError, match=f"answered {status}: not now") as failed:
        await ask(answer)
    assert calls == [status]
    assert not isinstance(failed.value, RateLimited) or failed.value.retry_after_s == 0.001


@pytest.mark.parametrize(
    ("broken", "expected", "ran"),
    [
        (httpx2.ConnectError("refused"), ModelUnreachable, False),
        (httpx2.ConnectTimeout("late"), ModelUnreachable, False),
        (httpx2.ReadTimeout("late"), ModelTimeout, True),
        (httpx2.RemoteProtocolError("odd"), ModelUnreachable, True),
        (ssl.SSLError("cut"), ModelUnreachable, True),
        (anyio.EndOfStream(), ModelUnreachable, True),
    ],
)
async def test_a_call_without_an_answer_says_whether_it_may_have_run(
    broken: Exception, expected: type[ModelError], ran: bool
) -> None:
    def fail(_: httpx2.Request) -> httpx2.Response:
        raise broken

    with pytest.raises(expected) as failed:
        await ask(fail)
    assert failed.value.ran is ran


async def test_all_who_come_first_share_one_client_and_a_closed_one_is_opened_again() -> None:
    endpoint = EndpointClient(AT, httpx2.MockTransport(lambda _: httpx2.Response(200, json=GOOD)))
    opened: list[object] = []

    async def come() -> None:
        opened.append(await endpoint.opened())

    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(come)
    assert len(set(map(id, opened))) == 1
    await endpoint.aclose()
    await endpoint.aclose()
    assert await endpoint.opened() is not opened[0]
    assert (await OpenAIChatModel(endpoint, AT).complete(ASKED, {})).text == "hi"


@pytest.mark.parametrize("proxy", ["ftp://127.0.0.1", "http://127.0.0.1:port"])
async def test_a_proxy_that_cannot_be_used_is_told_before_any_call(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    monkeypatch.setenv("ALL_PROXY", proxy)
    with pytest.raises(ExecutorConfigError, match="is not usable"):
        await EndpointClient(AT).opened()


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, {}),
        ({"HTTPS_PROXY": "p:1", "ALL_PROXY": "socks5://q"}, {"https://": "http://p:1", "all://": "socks5://q"}),
        ({"HTTP_PROXY": "http://p:1", "NO_PROXY": "a, *"}, {}),
        ({"NO_PROXY": "localhost, LOCALHOST"}, {"all://localhost": "", "all://LOCALHOST": ""}),
        ({"NO_PROXY": "corp.example,.x.y,*.z"}, {"all://*corp.example": "", "all://*.x.y": "", "all://*.z": ""}),
        ({"NO_PROXY": "10.0.0.1, 10.0.0.0/8"}, {"all://10.0.0.1": "", "all://10.0.0.0/8": ""}),
        ({"NO_PROXY": "::1,fd00::/8,[::2]"}, {"all://[::1]": "", "all://[fd00::]/8": "", "all://[::2]": ""}),
        ({"NO_PROXY": "https://a.b"}, {"https://a.b": ""}),
        ({"NO_PROXY": "10.0.0.0/99,a:b,[::1/8"}, {}),
    ],
)
def test_proxies_are_read_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: dict[str, str]
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert environment_proxies() == expected


def test_the_log_that_the_environment_asks_of_the_package_is_not_written() -> None:
    done = run(CALLED_WITH_A_LOG, OPENAI_LOG="debug")
    assert done.stdout.split() == ["UnreadableAnswer", "RateLimited", "ModelOverloaded"], done.stderr
    assert done.stderr == ""


def test_the_package_is_not_imported_before_the_first_call() -> None:
    done = run(BUILT_ONLY)
    assert (done.stdout, done.stderr) == ("False\n", "")
