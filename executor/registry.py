"""Which executor a trader gets: the one place that maps a configured type to a class."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from math import inf
from typing import Any, TypeVar

from executor.baseline.executor import BaselineExecutor
from executor.baseline.styles import Style
from executor.contract import Executor
from executor.errors import ExecutorConfigError
from executor.executor import LLMExecutor
from executor.models.addresses import shown_url
from executor.models.chat import ModelEndpoint, Structured
from executor.models.clients import ModelClients, ModelSource
from executor.models.metering import Meter
from executor.models.profile import ModelProfile
from executor.prompts.library import PromptLibrary
from executor.recordings.decisions import RecordedBatch, RecordedExecutor
from executor.remote.connections import RemoteConnections
from executor.remote.endpoint import RemoteEndpoint, RemoteSource, check_ca_file, check_grpc, check_remote_url

__all__ = ["ExecutorParts", "ExecutorSpec", "ExecutorType", "ModelClients", "build_executor"]

_Kind = TypeVar("_Kind", bound=StrEnum)


class ExecutorType(StrEnum):
    """Name the kinds of executor."""

    BASELINE = "baseline"
    LLM = "llm"
    RECORDED = "recorded"
    REMOTE = "remote"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorSpec:
    """Say what decides for a trader; the fields of other types are ignored.

    `model` names a profile of the tenant's, or with a `base_url` the endpoint's own model; `fallback` names profiles.
    A remote executor has its URL in `base_url`, its server's key in `api_key`, and costs at most
    `max_usd_per_decision`.
    `timeout_s` is for a whole decision, the budget for a UTC day, `prompt_template` a path below the prompt library's
    folders.
    """

    type: ExecutorType = ExecutorType.BASELINE
    style: str = Style.TREND
    base_url: str = ""
    api_key: str = field(default="", repr=False)
    model: str = ""
    fallback: tuple[str, ...] = ()
    structured: str = Structured.JSON_SCHEMA
    timeout_s: float = 30.0
    prompt_template: str = ""
    extra_body: Mapping[str, Any] = field(default_factory=dict, repr=False)
    allow_private: bool = False
    allow_unencrypted: bool = False
    ca_file: str = ""
    max_usd_per_decision: Decimal | None = None
    budget_usd_per_day: Decimal | None = None

    def check(self, *needed: str) -> None:
        """Raise ExecutorConfigError if the duration makes no sense or one of the `needed` fields is empty."""
        for name in needed:
            if not getattr(self, name):
                raise ExecutorConfigError(
                    f"executor {name} is empty; an executor of type {self.type.value!r} needs one"
                )
        if not 0 < self.timeout_s < inf:
            raise ExecutorConfigError(
                f"executor timeout is {self.timeout_s} s; expected a duration above 0, such as 30s"
            )

    @property
    def gate(self) -> str:
        """Name the endpoint that decides within a tenant, empty where nothing is called; no secret is in it."""
        if self.type is ExecutorType.REMOTE:
            return shown_url(self.base_url)
        if self.type is ExecutorType.LLM:
            return f"{self.model} at {shown_url(self.base_url)}" if self.base_url else self.model
        return ""

    def inline_profile(self) -> ModelProfile:
        """Return the profile of an executor that names its endpoint itself; raise ExecutorConfigError without a key.

        Its costs go by the model and its address, so that they are never those of a configured model of the same name.
        """
        if not self.api_key:
            told = f"api_key of model {self.model!r} is empty; name an environment variable with a key"
            raise ExecutorConfigError(told)
        endpoint = ModelEndpoint(
            base_url=self.base_url,
            model=self.model,
            api_key=self.api_key,
            structured=_member(Structured, "structured", self.structured),
            timeout_s=self.timeout_s,
            extra_body=self.extra_body,
        )
        return ModelProfile(name=self.gate, endpoint=endpoint)

    def remote_endpoint(self) -> RemoteEndpoint:
        """Return where a remote executor is; raise ExecutorConfigError if it may not or cannot be asked there."""
        try:
            check_remote_url(self.base_url, allow_private=self.allow_private, allow_unencrypted=self.allow_unencrypted)
        except ExecutorConfigError as error:
            raise ExecutorConfigError(f"executor url {shown_url(self.base_url)!r}: {error}") from None
        try:
            check_ca_file(self.base_url, self.ca_file)
        except ExecutorConfigError as error:
            raise ExecutorConfigError(f"executor ca_file {self.ca_file!r}: {error}") from None
        if not self.api_key:
            raise ExecutorConfigError("executor key is empty; name an environment variable with the key of its server")
        self.check()
        endpoint = RemoteEndpoint(
            url=self.base_url,
            key=self.api_key,
            timeout_s=self.timeout_s,
            allow_private=self.allow_private,
            allow_unencrypted=self.allow_unencrypted,
            ca_file=self.ca_file,
            max_usd_per_decision=self.max_usd_per_decision,
        )
        if endpoint.is_grpc:
            check_grpc()
        return endpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorParts:
    """Hold what executors are built from; `monotonic` returns seconds, `models` are one tenant's, with their keys.

    The meter is that of `trader`, an id.
    """

    prompts: PromptLibrary
    clients: ModelSource
    monotonic: Callable[[], float]
    models: Mapping[str, ModelProfile] = field(default_factory=dict, repr=False)
    recorded: Mapping[str, Sequence[RecordedBatch]] | None = None
    remotes: RemoteSource = field(default_factory=RemoteConnections)
    meter: Meter | None = None
    trader: str = ""

    def profiles(self, spec: ExecutorSpec) -> Sequence[ModelProfile]:
        """Return the models of `spec` in order; raise ExecutorConfigError for one that is not configured."""
        named = list(spec.fallback) if spec.base_url else [spec.model, *spec.fallback]
        missing = next((name for name in named if name not in self.models), None)
        own = [spec.inline_profile()] if spec.base_url else []
        if missing is not None:
            known = ", ".join(sorted(self.models)) or "none"
            raise ExecutorConfigError(f"model {missing!r} is not under models of the config; expected one of: {known}")
        return [*own, *(self.models[name] for name in named)]


def build_executor(spec: ExecutorSpec, parts: ExecutorParts) -> Executor:
    """Return the executor that `spec` names; raise ExecutorConfigError or PromptError before anything runs."""
    match _member(ExecutorType, "type", spec.type):
        case ExecutorType.BASELINE:
            return BaselineExecutor(_member(Style, "style", spec.style))
        case ExecutorType.RECORDED:
            if parts.recorded is None:
                raise ExecutorConfigError(
                    "executor type is 'recorded' but no recording is given; pass --decisions FILE"
                )
            return RecordedExecutor(parts.recorded)
        case ExecutorType.LLM:
            spec.check("model", "prompt_template")
            profiles = parts.profiles(spec)
            parts.prompts.header(spec.prompt_template)
            return LLMExecutor(
                models=[parts.clients.model(profile, parts.meter) for profile in profiles],
                prompts=parts.prompts,
                template=spec.prompt_template,
                timeout_s=spec.timeout_s,
                monotonic=parts.monotonic,
                turn=parts.clients.turn,
            )
        case ExecutorType.REMOTE:
            from executor.remote.executor import RemoteExecutor

            endpoint = spec.remote_endpoint()
            return RemoteExecutor(endpoint, parts.remotes, parts.monotonic, meter=parts.meter, trader=parts.trader)


def _member(kind: type[_Kind], name: str, value: str) -> _Kind:
    try:
        return kind(value)
    except ValueError:
        told = f"executor {name} is {value!r}; expected one of {', '.join(kind)}"
        raise ExecutorConfigError(told) from None
