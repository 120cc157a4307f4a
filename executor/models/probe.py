"""Call a model once with a tiny question and say what was seen, in plain words."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

import anyio

from executor.contract import Usage
from executor.errors import ExecutorConfigError, ModelError
from executor.models.chat import ChatModel, Completion, Finish, Message, Structured
from executor.models.profile import ModelProfile

_KEY: Final = "condition_of_service"
_STATES: Final = ("ready", "busy")
_SCHEMA: Final[Mapping[str, Any]] = {
    "type": "object",
    "properties": {_KEY: {"type": "string", "enum": list(_STATES)}},
    "required": [_KEY],
    "additionalProperties": False,
}
_MESSAGES: Final = (
    Message(role="system", text="You answer health checks. Reply with one short JSON object and nothing else."),
    Message(role="user", text="Say hello."),
)
_NO_PRICE: Final = "no price_per_mtok is configured: its calls count as free"
_SLOW_SHARE: Final = 0.5
_LONGEST: Final = 500


class Seen(StrEnum):
    """Name what a model did when it was asked for JSON: follow the schema, write other JSON, or neither."""

    SCHEMA = "schema followed"
    JSON = "json"
    TEXT = "text"
    NOTHING = "nothing"

    @classmethod
    def of(cls, text: str) -> "Seen":
        """Return what a reply to the question of `probe` shows."""
        try:
            value = json.loads(text)
        except ValueError:
            return cls.TEXT if text.strip() else cls.NOTHING
        if not isinstance(value, dict):
            return cls.TEXT
        return cls.SCHEMA if len(value) == 1 and value.get(_KEY) in _STATES else cls.JSON

    def hint(self, asked: Structured) -> str:
        """Return what to configure for a model that was `asked` so, "" if it did what it was asked."""
        if asked is Structured.JSON_SCHEMA and self is not Seen.SCHEMA:
            better = "json_object" if self is Seen.JSON else "none"
            return f"does not hold its replies to a schema; structured: {better} says what it can do"
        if asked is Structured.JSON_OBJECT and self is Seen.TEXT:
            return "does not hold its replies to JSON; structured: none says what it can do"
        if asked is Structured.NONE and self is Seen.TEXT:
            return "wrapped its JSON in other text, or wrote none; replies are read tolerantly"
        return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeResult:
    """Hold what one call showed; `problems` stop decisions, `hints` do not. The cost is in `usage`."""

    ok: bool
    latency_s: float
    answered_as: str = ""
    seen: Seen = Seen.NOTHING
    usage: Usage = field(default_factory=Usage)
    problems: tuple[str, ...] = ()
    hints: tuple[str, ...] = ()


async def probe(model: ChatModel, profile: ModelProfile, monotonic: Callable[[], float]) -> ProbeResult:
    """Ask `model` once, within the timeout of its profile; nothing is raised.

    The question does not name the keys of the schema, so that only an endpoint that enforces it can hit them.
    """
    started, timeout_s = monotonic(), profile.endpoint.timeout_s
    completion, hints = None, [] if profile.prices is not None else [_NO_PRICE]
    try:
        with anyio.fail_after(timeout_s):
            completion = await model.complete(_MESSAGES, _SCHEMA)
    except TimeoutError:
        problem = f"model {model.name!r} did not answer within its timeout of {timeout_s:g} s"
    except (ModelError, ExecutorConfigError) as error:
        problem = _line(str(error))
    except Exception as error:  # noqa: BLE001 - one model must not end the check of the others; its text may quote a key
        problem = f"failed unexpectedly ({type(error).__name__}); please report it"
    else:
        problem = _problem(completion)
    latency_s = monotonic() - started
    if completion is None:
        return ProbeResult(ok=False, latency_s=latency_s, problems=(problem,), hints=tuple(hints))
    seen = Seen.of(completion.text)
    if not problem and (hint := seen.hint(profile.endpoint.structured)):
        hints.append(hint)
    if latency_s > _SLOW_SHARE * timeout_s:
        hints.append(f"took {latency_s:.1f} s of its {timeout_s:g} s for a tiny question; decisions will take longer")
    return ProbeResult(
        ok=not problem,
        latency_s=latency_s,
        answered_as=_line(completion.model),
        seen=seen,
        usage=completion.usage,
        problems=(problem,) if problem else (),
        hints=tuple(hints),
    )


def _problem(completion: Completion) -> str:
    if completion.finish is Finish.REFUSED:
        return _line(f"refused a harmless question: {completion.detail}")
    if completion.finish is Finish.LENGTH:
        return "was cut at its output limit on a tiny question; raise max_tokens (or its like) in extra_body"
    if not completion.text.strip():
        return _line(f"answered nothing (finish reason {completion.detail or 'not given'})")
    return ""


def _line(text: str) -> str:
    """Fold what an endpoint said into one printable line."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())[:_LONGEST]
