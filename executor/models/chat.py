"""What the executor asks of a language model; retries, limits and fallbacks are wrappers of this protocol."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal, Protocol

from executor.contract import Usage


class Structured(StrEnum):
    """Name how an endpoint is asked for JSON; `none` leaves it to the prompt."""

    JSON_SCHEMA = "json_schema"
    JSON_OBJECT = "json_object"
    NONE = "none"


class Finish(StrEnum):
    """Name how a completion ended."""

    DONE = "done"
    LENGTH = "length"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelEndpoint:
    """Say where a model is and how to ask it; the key, empty where none is needed, stays out of every printed form.

    `timeout_s` is for one call. Private networks are reached with `allow_private` only.
    """

    base_url: str
    model: str
    api_key: str = field(repr=False)
    structured: Structured = Structured.JSON_SCHEMA
    timeout_s: float = 30.0
    allow_private: bool = False
    extra_body: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """Hold one message of a conversation."""

    role: Literal["system", "user", "assistant"]
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """Hold what a model answered; `text` may be anything, `detail` is its reason where it refused."""

    text: str
    finish: Finish = Finish.DONE
    detail: str = ""
    model: str = ""
    usage: Usage = field(default_factory=Usage)


class ChatModel(Protocol):
    """Complete a conversation; raise a ModelError, never return a made-up text.

    Whoever calls sets the deadline, as an anyio scope around the call; a wrapper that waits looks at it.
    """

    @property
    def name(self) -> str:
        """Return the model's name as configured."""
        ...

    async def complete(self, messages: Sequence[Message], schema: Mapping[str, Any]) -> Completion:
        """Return one completion, asked to follow `schema` where the endpoint can."""
        ...

    async def ping(self) -> None:
        """Raise ExecutorUnavailable if the endpoint cannot be reached or refuses the key."""
        ...

    async def close(self) -> None:
        """Release connections."""
        ...
