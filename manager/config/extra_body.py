"""Read `extra_body:`, what a model's endpoint is told beside the prompt."""

from collections.abc import Mapping
from decimal import Decimal
from math import isfinite
from typing import Any, Final

from manager.config.accounts import Reading
from manager.config.source import Loc, shown

_OURS: Final = frozenset({"model", "messages", "response_format", "stream", "stream_options", "n"})
_TOOLS: Final = frozenset({"tools", "tool_choice", "parallel_tool_calls", "functions", "function_call"})
_DEARER: Final = frozenset(
    {
        *("best_of", "models", "route", "plugins", "fallbacks"),
        *("web_search_options", "search_parameters", "enable_search", "audio", "modalities"),
    }
)
_CAPS: Final = ("max_tokens", "max_completion_tokens")


def read_body(reading: Reading, loc: Loc, given: Mapping[Any, Any]) -> dict[str, Any]:
    """Return the body as JSON has it; what is wrong in it is noted.

    Kept out is what the desk decides itself, tools, which would let a model act outside its decision, and what makes a
    call cost more than its tokens at the configured price.
    """
    for key, value in given.items():
        mend = _mend(key, value)
        if mend:
            reading.source.report((*loc, str(key)), shown(loc, value), mend)
    return {str(key): _plain(value) for key, value in given.items()}


def _mend(key: object, value: object) -> str:
    if key in _TOOLS:
        return "models decide by their reply only; remove it"
    if key in _OURS:
        return "is set for each call already; remove it"
    if key in _DEARER:
        return "makes a call cost more than its price_per_mtok says; remove it"
    if key in _CAPS and not (isinstance(value, int) and not isinstance(value, bool) and value > 0):
        return "expected a whole number of tokens above 0"
    if not isinstance(key, str) or not _is_json(value):
        return "cannot be sent as JSON; expected text, finite numbers, true, false, null, lists and mappings"
    return ""


def _is_json(value: object) -> bool:
    match value:
        case Decimal() | float():
            return isfinite(value)
        case dict():
            return all(isinstance(key, str) and _is_json(item) for key, item in value.items())
        case list():
            return all(map(_is_json, value))
    return value is None or isinstance(value, str | int)


def _plain(value: Any) -> Any:
    """Write numbers as JSON has them: a temperature of 0.2 is a float there."""
    match value:
        case Decimal():
            return float(value)
        case dict():
            return {key: _plain(item) for key, item in value.items()}
        case list():
            return [_plain(item) for item in value]
    return value
