"""Any endpoint that speaks OpenAI's chat completions."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

import anyio
import httpx2
from pydantic import BaseModel, Field, ValidationError

from executor.errors import ExecutorUnavailable, ModelError, ModelOverloaded, ModelTimeout, UnreadableAnswer
from executor.models.addresses import shown_url
from executor.models.chat import Completion, Finish, Message, ModelEndpoint, Structured
from executor.models.endpoint_client import EndpointClient
from executor.models.failures import Answered, body_of, connection_failure, error_in, retry_after_s, without
from executor.models.usage import asked_tokens, usage_in, usage_of

_FINISHES: Final[Mapping[str, Finish]] = {
    "length": Finish.LENGTH,
    "max_tokens": Finish.LENGTH,
    "model_length": Finish.LENGTH,
    "content_filter": Finish.REFUSED,
    "refusal": Finish.REFUSED,
    "safety": Finish.REFUSED,
    "sensitive": Finish.REFUSED,
}
_OUT_OF_RESOURCES: Final = "insufficient_system_resource"
_REACHABLE_WITHOUT_LIST: Final = (404, 405, 501)
_PING_TIMEOUT_S: Final = 10.0
_NOT_SENT: Final = ("ConnectError", "ConnectTimeout", "ProxyError", "UnsupportedProtocol", "LocalProtocolError")
# A placeholder such as EMPTY may be a word of a reply, which must be judged as it came.
_NO_WORD: Final = 16
_ASK_FOR_JSON: Final = "Answer with one JSON object."


class _Part(BaseModel):
    text: str | None = None


class _Message(BaseModel):
    content: str | list[_Part] | None = None
    refusal: str | None = None

    @property
    def text(self) -> str:
        content = self.content
        return "".join(part.text or "" for part in content) if isinstance(content, list) else content or ""


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None


class _Body(BaseModel):
    """The parts of a chat completion that are read; endpoints differ in the rest."""

    choices: list[_Choice] = Field(min_length=1)
    model: str | None = None
    usage: object = None


class OpenAIChatModel:
    """Ask one endpoint for completions; one call each, no retries, and what goes wrong is a named error.

    The client is given, so that the traders of one endpoint share its connections; `close` leaves it open.
    """

    def __init__(self, client: EndpointClient, endpoint: ModelEndpoint) -> None:
        self._client = client
        self._endpoint = endpoint
        self._where = f"model {endpoint.model!r} at {shown_url(endpoint.base_url)}"

    @property
    def name(self) -> str:
        """Return the model's name as the endpoint knows it."""
        return self._endpoint.model

    async def complete(self, messages: Sequence[Message], schema: Mapping[str, Any]) -> Completion:
        """Return the first choice of one call."""
        endpoint = self._endpoint
        client = await self._client.opened()
        asked = client.complete(self._body(messages, schema), endpoint.timeout_s)
        response = await self._answered(asked, endpoint.timeout_s)
        if not response.is_success:
            raise self._refused(response)
        return self._completion(response.content, lambda: asked_tokens(endpoint, messages, schema))

    async def ping(self) -> None:
        """Ask for the list of models; an endpoint that has none but answers counts as reachable."""
        timeout_s = min(_PING_TIMEOUT_S, self._endpoint.timeout_s)
        try:
            with anyio.fail_after(timeout_s):
                client = await self._client.opened()
                response = await self._answered(client.models(timeout_s), timeout_s)
        except TimeoutError:
            raise ExecutorUnavailable(f"{self._where} did not answer within {timeout_s:g} s") from None
        except ModelError as error:
            raise ExecutorUnavailable(str(error)) from error
        if not response.is_success and response.status_code not in _REACHABLE_WITHOUT_LIST:
            raise ExecutorUnavailable(str(self._refused(response)))

    async def close(self) -> None:
        """Do nothing: the client belongs to who made it."""

    def _body(self, messages: Sequence[Message], schema: Mapping[str, Any]) -> dict[str, Any]:
        """Name JSON where an endpoint refuses json_object for a prompt that does not."""
        texts, structured = [message.text for message in messages], self._endpoint.structured
        if structured is Structured.JSON_OBJECT and not any("json" in text.lower() for text in texts):
            texts[0] = f"{texts[0]}\n\n{_ASK_FOR_JSON}"
        body = {
            **self._endpoint.extra_body,
            "model": self._endpoint.model,
            "messages": [
                {"role": message.role, "content": text} for message, text in zip(messages, texts, strict=True)
            ],
        }
        if structured is Structured.JSON_SCHEMA:
            named = {"name": "trading_decisions", "strict": True, "schema": schema}
            body["response_format"] = {"type": "json_schema", "json_schema": named}
        elif structured is Structured.JSON_OBJECT:
            body["response_format"] = {"type": "json_object"}
        return body

    def _completion(self, content: bytes, asked: Callable[[], int]) -> Completion:
        try:
            body = _Body.model_validate_json(content)
        except ValidationError as error:
            failure = self._unreadable(content, error)
            usage = usage_in(content, asked)
            raise failure.told(ran=failure.ran, usage=usage) from error
        choice = body.choices[0]
        reason = (choice.finish_reason or "").lower()
        if reason == _OUT_OF_RESOURCES:
            stopped = ModelOverloaded(f"{self._where} stopped within its answer ({reason})")
            raise stopped.told(ran=True, usage=usage_in(content, asked))
        refused, text, key = choice.message.refusal, choice.message.text, self._endpoint.api_key
        return Completion(
            text=text if len(key) < _NO_WORD else without(text, key),
            finish=Finish.REFUSED if refused else _FINISHES.get(reason, Finish.DONE),
            detail=without(refused or reason, key),
            model=without(body.model or self.name, key),
            usage=usage_of(body.usage, asked),
        )

    def _unreadable(self, content: bytes, error: ValidationError) -> ModelError:
        wrapped = error_in(content)
        if wrapped is not None:
            return wrapped.failure(self._where, self._endpoint.api_key)
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        wrong = f"{place + ': ' if place else ''}{first['msg']}"
        expected = "expected an OpenAI-compatible endpoint; base_url usually ends in /v1"
        return UnreadableAnswer(f"{self._where} answered no chat completion ({wrong}); {expected}")

    async def _answered(self, call: Awaitable[httpx2.Response], timeout_s: float) -> httpx2.Response:
        """Return the whole answer, of whatever status."""
        try:
            return await call
        except (httpx2.ReadTimeout, httpx2.WriteTimeout) as error:
            raise ModelTimeout(f"{self._where} did not answer within {timeout_s:g} s") from error
        except httpx2.RequestError as error:
            broken = connection_failure(self._where, error, self._endpoint.api_key)
            raise broken.told(ran=type(error).__name__ not in _NOT_SENT) from error

    def _refused(self, response: httpx2.Response) -> ModelError:
        answered = Answered(
            status=response.status_code, body=body_of(response.content), retry_after_s=retry_after_s(response.headers)
        )
        failed = answered.failure(self._where, self._endpoint.api_key)
        return failed.told(ran=failed.ran, usage=usage_in(response.content, lambda: 0))
