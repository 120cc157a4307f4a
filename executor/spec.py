"""What a trader's definition says of its executor: the type and the settings of each."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from math import inf
from typing import Any, TypeVar

from executor.baseline.styles import Style
from executor.errors import ExecutorConfigError
from executor.models.addresses import shown_url
from executor.models.chat import ModelEndpoint, Structured
from executor.models.profile import ModelProfile
from executor.remote.endpoint import RemoteEndpoint, check_ca_file, check_grpc, check_remote_url

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
            structured=member(Structured, "structured", self.structured),
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


def member(kind: type[_Kind], name: str, value: str) -> _Kind:
    """Return the member of `kind` with that value; raise ExecutorConfigError, which lists them, if there is none."""
    try:
        return kind(value)
    except ValueError:
        told = f"executor {name} is {value!r}; expected one of {', '.join(kind)}"
        raise ExecutorConfigError(told) from None
