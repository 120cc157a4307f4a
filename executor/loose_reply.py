"""Find the one value of a loosely written reply that can be a batch of decisions, among reasoning, prose and fences.

The tolerant library (json-repair) sees brackets, commas and placeholders only: it may mend the structure, but a value
that it adds, drops or moves is noticed, and then the reply is refused. What is cut off stays cut off.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import json_repair

from executor.errors import ReplySyntaxError
from executor.json_text import RepeatedKeys, object_of
from executor.loose_lexer import Ending, Token, lex

MAX_TOKENS: Final = 60_000
_COST_OF_A_START: Final = 100
_TAG: Final = r"think|thinking|thoughts?|reasoning|reflection|analysis|scratchpad|chain_of_thought|cot"
_START: Final = re.compile(rf"<(?P<close>/?)(?P<tag>{_TAG})\b[^<>]*>|[{{\[｛［【]", re.IGNORECASE)  # noqa: RUF001 - full-width brackets
_TELLING_KEYS: Final = frozenset({"decisions", "action"})


@dataclass(slots=True)
class _Search:
    found: list[object] = field(default_factory=list)
    left: int = MAX_TOKENS


def find_batch(text: str) -> object:
    """Return the reply object that `text` holds; raise ReplySyntaxError that says why there is none, or not one.

    A value inside reasoning tags, a list of numbers or any other object is never taken; two different batches are an
    error, since which one was meant is unknown.
    """
    search = _Search()
    at = 0
    while (start := _START.search(text, at)) is not None:
        at = _after_tag(text, start, search) if start["tag"] else _after_value(text, start.start(), search)
    if not search.found:
        raise ReplySyntaxError("no JSON object with `decisions` was found")
    if any(other != search.found[0] for other in search.found[1:]):
        raise ReplySyntaxError(f"{len(search.found)} different batches of decisions were found; give exactly one")
    return search.found[0]


def as_batch(value: object) -> object | None:
    """Return `value` as an object with a list of `decisions`, or None if it is no batch.

    A single decision and a bare list of decisions are batches too.
    """
    if isinstance(value, Mapping):
        if "decisions" in value and not isinstance(value, RepeatedKeys):
            inner = value["decisions"]
            return {**value, "decisions": [inner]} if isinstance(inner, Mapping) and "action" in inner else value
        if "decisions" in value:
            return value
        return {"decisions": [value]} if "action" in value else None
    if isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value):
        return {"decisions": value} if any("action" in item for item in value) else None
    return None


def _after_tag(text: str, start: re.Match[str], search: _Search) -> int:
    """Step over reasoning; a closing tag without its opening one makes reasoning of all before it."""
    if start["close"]:
        search.found.clear()
        return start.end()
    end = re.compile(rf"</{start['tag']}\s*>", re.IGNORECASE).search(text, start.end())
    if end is None:
        raise ReplySyntaxError(f"the reply ends inside its <{start['tag']}> section")
    return end.end()


def _after_value(text: str, start: int, search: _Search) -> int:
    lexed = lex(text, start, search.left)
    search.left -= len(lexed.tokens) + _COST_OF_A_START
    telling = any(token.is_key and token.value in _TELLING_KEYS for token in lexed.tokens)
    if search.left <= 0:
        raise ReplySyntaxError("too long to be searched for decisions")
    if lexed.ending is not Ending.COMPLETE:
        if not any(token.is_key for token in lexed.tokens):
            return start + 1
        line = text.count("\n", 0, lexed.end) + 1
        broken = "is cut off" if lexed.ending is Ending.CUT else "cannot be read"
        raise ReplySyntaxError(f"a JSON object {broken} at line {line}")
    try:
        batch = as_batch(_structured(lexed.tokens))
    except ReplySyntaxError:
        if telling:
            raise
        batch = None
    if batch is not None:
        search.found.append(batch)
    return lexed.end


def _structured(tokens: Sequence[Token]) -> object:
    """Return the value of the tokens; the library decides the structure of placeholders."""
    scalars = [token for token in tokens if not token.mark]
    numbers = iter(range(len(scalars)))
    skeleton = " ".join(token.mark or f'"s{next(numbers)}"' for token in tokens)
    try:
        repaired = json_repair.loads(skeleton)
    except (ValueError, RecursionError) as error:
        raise ReplySyntaxError(f"the structure cannot be read: {error}") from error
    filled = _Filled(scalars)
    value = filled.fill(repaired)
    if filled.used != len(scalars):
        raise ReplySyntaxError(_UNCLEAR)
    return value


_UNCLEAR: Final = "commas, colons or quotes are missing so that it is unclear which value belongs to which key"


@dataclass(slots=True)
class _Filled:
    """Put the scalars of the text in the places of the placeholders, each once and in its order."""

    scalars: Sequence[Token]
    used: int = 0

    def fill(self, shape: object) -> object:
        if isinstance(shape, dict):
            return object_of([(str(self._take(key, is_key=True)), self.fill(inner)) for key, inner in shape.items()])
        if isinstance(shape, list):
            return [self.fill(inner) for inner in shape]
        return self._take(shape, is_key=False)

    def _take(self, placeholder: object, *, is_key: bool) -> object:
        if placeholder != f"s{self.used}" or self.scalars[self.used].is_key is not is_key:
            raise ReplySyntaxError(_UNCLEAR)
        self.used += 1
        return self.scalars[self.used - 1].value
