"""Any endpoint that speaks OpenAI's chat completions, through the `openai` package."""

from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from openai import APIConnectionError, APIStatusError, APITimeoutError, AsyncOpenAI, OpenAIError
from pydantic import BaseModel, Field, ValidationError

from executor.contract import Usage
from executor.errors import ExecutorConfigError, ExecutorUnavailable, ModelTimeout
from executor.models.chat import Completion, Finish, Message, ModelEndpoint, Structured

_FINISHES: Final = {"length": Finish.LENGTH, "content_filter": Finish.REFUSED}
_REACHABLE_WITHOUT_LIST: Final = (404, 405, 501)
_PING_TIMEOUT_S: Final = 10.0


class _Message(BaseModel):
    content: str | None = None
    refusal: str | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None


class _CachedTokens(BaseModel):
    cached_tokens: int | None = Field(None, ge=0)


class _Tokens(BaseModel):
    prompt_tokens: int | None = Field(None, ge=0)
    completion_tokens: int | None = Field(None, ge=0)
    prompt_tokens_details: _CachedTokens | None = None


class _Body(BaseModel):
    """The parts of a chat completion that are read; endpoints differ in the rest."""

    choices: list[_Choice] = Field(min_length=1)
    model: str | None = None
    usage: _Tokens | None = None


class OpenAIChatModel:
    """Ask one endpoint for completions; it makes no retries, the caller owns the deadline.

    The client is given, so that the traders of one endpoint share its connections; `close` leaves it open.
    """

    def __init__(self, client: AsyncOpenAI, endpoint: ModelEndpoint) -> None:
        self._client = client
        self._endpoint = endpoint

    @property
    def name(self) -> str:
        """Return the model's name as configured."""
        return self._endpoint.model

    async def complete(self, messages: Sequence[Message], schema: Mapping[str, Any]) -> Completion:
        """Return the first choice of one call."""
        body: dict[str, Any] = {**self._endpoint.extra_body, **_response_format(self._endpoint.structured, schema)}
        try:
            response = await self._client.chat.completions.with_raw_response.create(
                model=self._endpoint.model,
                messages=[{"role": message.role, "content": message.text} for message in messages],  # type: ignore[misc]  # a role is one of three literals
                extra_body=body,
                timeout=self._endpoint.timeout_s,
            )
        except OpenAIError as error:
            raise self._named(error) from error
        return self._completion(response.content)

    async def ping(self) -> None:
        """Ask for the list of models; an endpoint that has none but answers counts as reachable."""
        try:
            await self._client.models.with_raw_response.list(timeout=min(_PING_TIMEOUT_S, self._endpoint.timeout_s))
        except APIStatusError as error:
            if error.status_code not in _REACHABLE_WITHOUT_LIST:
                raise self._named(error) from error
        except OpenAIError as error:
            raise ExecutorUnavailable(str(self._named(error))) from error

    async def close(self) -> None:
        """Do nothing: the client belongs to who made it."""

    def _completion(self, content: bytes) -> Completion:
        try:
            body = _Body.model_validate_json(content)
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            place = ".".join(str(part) for part in first["loc"])
            wrong = f"{place + ': ' if place else ''}{first['msg']}"
            expected = "expected an OpenAI-compatible endpoint; base_url usually ends in /v1"
            raise ExecutorUnavailable(f"{self._where()} answered no chat completion ({wrong}); {expected}") from error
        choice = body.choices[0]
        finish = _FINISHES.get(choice.finish_reason or "", Finish.DONE)
        if choice.message.refusal:
            finish = Finish.REFUSED
        return Completion(
            text=choice.message.content or "",
            finish=finish,
            detail=choice.message.refusal or choice.finish_reason or "",
            model=body.model or self.name,
            usage=_usage(body.usage),
        )

    def _where(self) -> str:
        url = urlsplit(self._endpoint.base_url)
        return f"model {self.name!r} at {url.scheme}://{url.netloc.rpartition('@')[2]}{url.path}"

    def _named(self, error: OpenAIError) -> ModelTimeout | ExecutorUnavailable:
        match error:
            case APITimeoutError():
                return ModelTimeout(f"{self._where()} did not answer within {self._endpoint.timeout_s:g} s")
            case APIConnectionError():
                cause = error.__cause__ or error
                return ExecutorUnavailable(f"{self._where()} cannot be reached ({type(cause).__name__}: {cause})")
            case APIStatusError():
                said = _without(error.message, self._endpoint.api_key)[:300]
                return ExecutorUnavailable(f"{self._where()} answered {error.status_code}: {said}")
            case _:
                said = _without(str(error), self._endpoint.api_key)[:300]
                return ExecutorUnavailable(f"{self._where()} failed ({type(error).__name__}: {said})")


def open_client(endpoint: ModelEndpoint) -> AsyncOpenAI:
    """Return a client for `endpoint` that never retries on its own; raise ExecutorConfigError for a malformed URL."""
    if not endpoint.base_url.startswith(("http://", "https://")):
        expected = "expected a URL such as https://api.openai.com/v1"
        raise ExecutorConfigError(f"base_url is {endpoint.base_url!r}; {expected}")
    if not endpoint.api_key:
        raise ExecutorConfigError(
            f"api_key of model {endpoint.model!r} is empty; name an environment variable with a key"
        )
    try:
        return AsyncOpenAI(
            base_url=endpoint.base_url, api_key=endpoint.api_key, timeout=endpoint.timeout_s, max_retries=0
        )
    except (OpenAIError, ValueError) as error:
        raise ExecutorConfigError(f"base_url {endpoint.base_url!r} is not usable: {error}; correct it") from error


def _response_format(structured: Structured, schema: Mapping[str, Any]) -> dict[str, Any]:
    match structured:
        case Structured.JSON_SCHEMA:
            named = {"name": "trading_decisions", "strict": True, "schema": dict(schema)}
            return {"response_format": {"type": "json_schema", "json_schema": named}}
        case Structured.JSON_OBJECT:
            return {"response_format": {"type": "json_object"}}
        case Structured.NONE:
            return {}


def _usage(tokens: _Tokens | None) -> Usage:
    if tokens is None:
        return Usage()
    cached = tokens.prompt_tokens_details.cached_tokens if tokens.prompt_tokens_details else None
    return Usage(
        input_tokens=tokens.prompt_tokens or 0, cached_tokens=cached or 0, output_tokens=tokens.completion_tokens or 0
    )


def _without(text: str, secret: str) -> str:
    return text.replace(secret, "***") if secret else text
