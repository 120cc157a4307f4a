"""The `openai` package, through which every model call goes: none of its environment, retries or parsing.

Importing it takes over a second of CPU, so nothing imports this file before the first call.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import httpx2
import openai

from executor.errors import ExecutorConfigError
from executor.models.addresses import shown_url
from executor.models.chat import ModelEndpoint
from executor.models.connections import http_client

_CONNECT_TIMEOUT_S: Final = 10.0
_NO_KEY: Final = "the connections write the key"
logging.getLogger("openai").setLevel(logging.WARNING)  # the package lets OPENAI_LOG say what it logs of every call


class _Package(openai.AsyncOpenAI):
    """The package's client without headers: it takes some from OPENAI_CUSTOM_HEADERS, whatever else is passed."""

    @property
    def default_headers(self) -> dict[str, str | openai.Omit]:
        return {}


class OpenAIClient:
    """Make single calls of one endpoint and return their answers of any status; `transport` is for tests.

    Raises ExecutorConfigError for a base_url, or a proxy of the environment, that cannot be used.
    """

    def __init__(self, endpoint: ModelEndpoint, transport: httpx2.AsyncBaseTransport | None = None) -> None:
        try:
            http = http_client(endpoint) if transport is None else httpx2.AsyncClient(transport=transport)
            package = _Package(
                api_key=_NO_KEY,
                admin_api_key="",
                organization="",
                project="",
                webhook_secret="",
                base_url=endpoint.base_url,
                max_retries=0,
                http_client=http,
            )
        except (httpx2.InvalidURL, ValueError) as error:
            shown = shown_url(endpoint.base_url)
            raise ExecutorConfigError(f"base_url {shown!r} is not usable: {error}; correct it") from error
        self._http = http
        self._completions = package.chat.completions.with_raw_response
        self._models = package.models.with_raw_response

    async def complete(self, body: Mapping[str, Any], timeout_s: float) -> httpx2.Response:
        """Return what chat/completions answers; raise httpx2.RequestError where no answer came.

        All of `body` goes as `extra_body`, which the package sends as it is: to walk through typed messages takes it
        longer than the rest of the call.
        """
        asked = {"model": body["model"], "messages": [], "extra_body": body}
        return await self._answer(self._completions.create, timeout_s, **asked)

    async def models(self, timeout_s: float) -> httpx2.Response:
        """Return what the list of models answers; raise httpx2.RequestError where no answer came."""
        return await self._answer(self._models.list, timeout_s)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    @staticmethod
    async def _answer(call: Callable[..., Awaitable[Any]], timeout_s: float, **options: Any) -> httpx2.Response:
        limits = httpx2.Timeout(timeout_s, connect=min(_CONNECT_TIMEOUT_S, timeout_s))
        try:
            answered: httpx2.Response = (await call(timeout=limits, **options)).http_response
        except openai.APIStatusError as error:
            return error.response
        except openai.APIConnectionError as error:
            cause = error.__cause__
            raise (cause if isinstance(cause, httpx2.RequestError) else httpx2.ReadError(str(cause))) from None
        return answered
