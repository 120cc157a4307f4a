"""What an endpoint says that a call took, read leniently: a count that makes no sense loses no reply.

A count of 0 stands for one that is not known; who books the call estimates it (executor/models/metering.py).
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from executor.contract import Usage
from executor.models.chat import Message, ModelEndpoint, Structured
from executor.prompts.tokens import estimate_tokens

MOST_TOKENS: Final = 100_000_000


def usage_of(raw: object, asked: Callable[[], int]) -> Usage:
    """Return the tokens of `usage` as an endpoint sent it; `asked` estimates those of the prompt.

    The total counts too, because some endpoints leave the tokens of reasoning out of those of the completion. What is
    negative, no whole number or over MOST_TOKENS is not known.
    """
    told: Mapping[str, Any] = raw if isinstance(raw, Mapping) else {}
    details = told.get("prompt_tokens_details")
    cached = _first(details if isinstance(details, Mapping) else {}, "cached_tokens")
    given, total = _first(told, "prompt_tokens", "input_tokens"), _first(told, "total_tokens")
    output = _first(told, "completion_tokens", "output_tokens")
    if total > output:
        output = max(output, total - (given or min(asked(), total)))
    cached = cached or _first(told, "prompt_cache_hit_tokens")
    return Usage(input_tokens=given, cached_tokens=cached, output_tokens=output)


def usage_in(content: bytes, asked: Callable[[], int]) -> Usage | None:
    """Return the tokens that an answer of any kind tells, None if it tells none."""
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        return None
    raw = body.get("usage") if isinstance(body, dict) else None
    usage = usage_of(raw, asked)
    return usage if usage.input_tokens or usage.output_tokens else None


def asked_tokens(endpoint: ModelEndpoint, messages: Sequence[Message], schema: Mapping[str, Any]) -> int:
    """Return an estimate of the tokens that a call sends: its messages, and the schema where it goes along."""
    texts = [message.text for message in messages]
    if endpoint.structured is Structured.JSON_SCHEMA:
        texts.append(json.dumps(schema))
    return sum(map(estimate_tokens, texts))


def _first(told: Mapping[str, Any], *names: str) -> int:
    """Return the first count that makes sense, 0 without one."""
    return next((count for name in names if (count := _count(told.get(name)))), 0)


def _count(value: object) -> int:
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 20:
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    usable = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_TOKENS
    return value if usable and isinstance(value, int) else 0
