"""Which executor a trader gets: the one place that maps a configured type to a class."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeVar

from executor.baseline import BaselineExecutor
from executor.baseline_styles import Style
from executor.contract import Executor
from executor.errors import ExecutorConfigError
from executor.executor import LLMExecutor
from executor.models.chat import ModelEndpoint, Structured
from executor.prompts import PromptLibrary
from executor.recorded import RecordedBatch, RecordedExecutor

if TYPE_CHECKING:
    from openai import AsyncOpenAI

_Kind = TypeVar("_Kind", bound=StrEnum)


class ExecutorType(StrEnum):
    """Name the kinds of executor."""

    BASELINE = "baseline"
    LLM = "llm"
    RECORDED = "recorded"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorSpec:
    """Say what decides for a trader; the fields of other types are ignored.

    `prompt_template` is a path below the prompt library's folders.
    """

    type: ExecutorType = ExecutorType.BASELINE
    style: str = Style.TREND
    base_url: str = ""
    api_key: str = field(default="", repr=False)
    model: str = ""
    structured: str = Structured.JSON_SCHEMA
    timeout_s: float = 30.0
    prompt_template: str = ""
    extra_body: Mapping[str, Any] = field(default_factory=dict, repr=False)


class ModelClients:
    """Share one client, and so its connections, among the traders of an endpoint; belongs to one event loop."""

    def __init__(self) -> None:
        self._clients: dict[tuple[str, str], AsyncOpenAI] = {}

    def client(self, endpoint: ModelEndpoint) -> "AsyncOpenAI":
        """Return the client for the endpoint's URL and key, opened at first use."""
        key = (endpoint.base_url, endpoint.api_key)
        if key not in self._clients:
            from executor.models.openai_chat import open_client

            self._clients[key] = open_client(endpoint)
        return self._clients[key]

    async def close(self) -> None:
        """Close every client."""
        clients = list(self._clients.values())
        self._clients.clear()
        for client in clients:
            await client.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorParts:
    """Hold what executors are built from; `monotonic` returns seconds."""

    prompts: PromptLibrary
    clients: ModelClients
    monotonic: Callable[[], float]
    recorded: Mapping[str, Sequence[RecordedBatch]] | None = None


def build_executor(spec: ExecutorSpec, parts: ExecutorParts) -> Executor:
    """Return the executor that `spec` names; raise ExecutorConfigError or PromptError before anything runs."""
    match spec.type:
        case ExecutorType.BASELINE:
            return BaselineExecutor(_member(Style, "style", spec.style))
        case ExecutorType.RECORDED:
            if parts.recorded is None:
                raise ExecutorConfigError(
                    "executor type is 'recorded' but no recording is given; pass --decisions FILE"
                )
            return RecordedExecutor(parts.recorded)
        case ExecutorType.LLM:
            return _llm(spec, parts)
        case _:
            raise ExecutorConfigError(_expected(ExecutorType, "type", str(spec.type)))


def _llm(spec: ExecutorSpec, parts: ExecutorParts) -> LLMExecutor:
    from executor.models.openai_chat import OpenAIChatModel

    for name in ("base_url", "model", "prompt_template"):
        if not getattr(spec, name):
            raise ExecutorConfigError(f"executor {name} is empty; an executor of type 'llm' needs one")
    if not 0 < spec.timeout_s < float("inf"):
        raise ExecutorConfigError(f"executor timeout is {spec.timeout_s} s; expected a duration above 0, such as 30s")
    endpoint = ModelEndpoint(
        base_url=spec.base_url,
        model=spec.model,
        api_key=spec.api_key,
        structured=_member(Structured, "structured", spec.structured),
        timeout_s=spec.timeout_s,
        extra_body=spec.extra_body,
    )
    parts.prompts.check(spec.prompt_template)
    return LLMExecutor(
        model=OpenAIChatModel(parts.clients.client(endpoint), endpoint),
        prompts=parts.prompts,
        template=spec.prompt_template,
        timeout_s=spec.timeout_s,
        monotonic=parts.monotonic,
    )


def _member(kind: type[_Kind], name: str, value: str) -> _Kind:
    try:
        return kind(value)
    except ValueError as error:
        raise ExecutorConfigError(_expected(kind, name, value)) from error


def _expected(kind: type[StrEnum], name: str, value: str) -> str:
    return f"executor {name} is {value!r}; expected one of {', '.join(kind)}"
