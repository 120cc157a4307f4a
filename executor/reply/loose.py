"""Find the one value of a loosely written reply that can be a batch of decisions, among reasoning, prose and fences.

The tolerant library (json-repair) sees brackets, commas and placeholders only: it may mend the structure, but a value
that it adds, drops or moves is noticed, and then the reply is refused. What is cut off stays cut off.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import json_repair

from executor.errors import ReplySyntaxError
from executor.reply.json_text import RepeatedKeys, object_of
from executor.reply.loose_end import After, what_follows
from executor.reply.loose_lexer import TOO_LONG, Ending, Source, Token, lex
from executor.reply.loose_place import MARK, Mark, introduced, is_answer_heading, mark_of

MAX_WORK: Final = 1_000_000
_COST_OF_A_START: Final = 300
_COST_OF_A_TOKEN: Final = 20
_MARK: Final = re.compile(MARK)
_START: Final = re.compile(rf"{MARK}|[{{\[｛［【]")  # noqa: RUF001 - full-width brackets
_TELLING_KEYS: Final = frozenset({"decisions", "action"})
_WRAPPERS: Final = frozenset(
    {"decision", "answer", "output", "response", "result", "trading_decision", "trading_decisions"}
    | {"final_decision", "final_decisions", "final_answer"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Hold the one batch of a text, and what follows it."""

    value: Mapping[str, Any]
    after: After


@dataclass(frozen=True, slots=True, kw_only=True)
class _Batch:
    value: Mapping[str, Any]
    start: int
    end: int


@dataclass(slots=True)
class _Search:
    """Hold what was found outside of reasoning; `inside` names the reasoning that is open, `left` the work allowed.

    Work is counted in characters and tokens read, so that a value that is read again and again is paid for each time.
    """

    source: Source
    found: list[_Batch] = field(default_factory=list)
    inside: list[str] = field(default_factory=list)
    left: int = MAX_WORK


def find_batch(text: str) -> Found:
    """Return the reply object that `text` holds; raise ReplySyntaxError that says why there is none, or not one.

    A value inside reasoning, a list of numbers or any other object is never taken; two different batches are an error,
    since which one was meant is unknown, and so is a batch in the middle of a sentence.
    """
    search = _Search(Source(text))
    at = 0
    while (start := (_MARK if search.inside else _START).search(text, at)) is not None:
        at = _after_start(start, search)
    if search.inside:
        raise ReplySyntaxError(f"the reply ends inside its {search.inside[-1]} section")
    if not search.found:
        raise ReplySyntaxError("no JSON object with `decisions` was found")
    last = search.found[-1]
    if any(other.value != last.value for other in search.found):
        raise ReplySyntaxError(f"{len(search.found)} different batches of decisions were found; give exactly one")
    if not introduced(text, last.start):
        raise ReplySyntaxError("the JSON object stands in a sentence, so that it may be no more than a thought")
    return Found(value=last.value, after=what_follows(text, last.end))


def as_batch(value: object) -> Mapping[str, Any] | None:
    """Return `value` as an object with a list of `decisions`, or None if it is no batch.

    A single decision and a bare list of decisions are batches too, and so is either under a single key that calls it
    the answer.
    """
    bare = _bare_batch(value)
    if bare is not None or not isinstance(value, Mapping) or isinstance(value, RepeatedKeys):
        return bare
    names = value.keys() - {"reasoning"}
    inner = _bare_batch(value[names.pop()]) if len(names) == 1 and names <= _WRAPPERS else None
    if inner is None or isinstance(inner, RepeatedKeys) or "reasoning" not in value:
        return inner
    return {"reasoning": value["reasoning"], **inner}


def _bare_batch(value: object) -> Mapping[str, Any] | None:
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


def _after_start(start: re.Match[str], search: _Search) -> int:
    """Step over a tag or a value; a closing tag without its opening one makes reasoning of all before it."""
    text = search.source.text
    inside = start["angle"] or start["square"]
    mark = mark_of(inside, text, start.end()) if inside else Mark.OTHER
    if mark is Mark.OPENS_REASONING:
        search.inside.append(start.group())
    elif mark is Mark.CLOSES_REASONING and search.inside:
        search.inside.pop()
    elif mark in (Mark.CLOSES_REASONING, Mark.TO_ANSWER):
        search.found.clear()
        search.inside.clear()
    elif start["square"] and is_answer_heading(start["square"]) and all(map(_is_heading, search.inside)):
        search.inside.clear()
    elif not start["angle"] and not search.inside:
        return _after_value(start.start(), search)
    return start.end()


def _is_heading(opened: str) -> bool:
    """Tell a heading such as [ANALYSIS], which nothing closes, from a tag; [THINK] is closed by [/THINK]."""
    return opened[0] in "[【" and "think" not in opened.lower()


def _after_value(start: int, search: _Search) -> int:
    text = search.source.text
    lexed = lex(search.source, start)
    search.left -= lexed.end - start + _COST_OF_A_START + _COST_OF_A_TOKEN * len(lexed.tokens)
    telling = any(token.is_key and token.value in _TELLING_KEYS for token in lexed.tokens)
    if search.left <= 0:
        raise ReplySyntaxError(TOO_LONG)
    if lexed.ending is not Ending.COMPLETE:
        if not any(token.is_key for token in lexed.tokens):
            return start + 1
        line = text.count("\n", 0, lexed.end) + 1
        raise ReplySyntaxError(f"a JSON object {lexed.ending.value} at line {line}")
    try:
        batch = as_batch(_structured(lexed.tokens))
    except ReplySyntaxError:
        if telling:
            raise
        batch = None
    if batch is not None:
        search.found.append(_Batch(value=batch, start=start, end=lexed.end))
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
