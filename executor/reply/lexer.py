"""Cut loosely written JSON into tokens: every scalar stands in the text as it is, nothing is completed.

Understood beside JSON: single and typographic quotes, full-width punctuation, bare keys, comments, line breaks in
strings. A value that is no clean literal, such as ~100, 1,000 or 75%, becomes text, which no number field accepts. A
comment that names a field of a decision may be the field itself, taken out: such an object is not read.
"""

import re
from dataclasses import dataclass
from enum import Enum
from typing import Final

from executor.contract import Decision
from executor.errors import ReplySyntaxError
from executor.reply.text import read_json

MAX_DEPTH: Final = 32
MAX_TOKENS: Final = 20_000
TOO_LONG: Final = "too long to be searched for decisions"
_ASCII: Final = dict(zip("：，、｛｝［］【】", ":,,{}[][]", strict=True))  # noqa: RUF001 - the full-width forms themselves
_PUNCTUATION: Final = "{}[]:," + "".join(_ASCII)
_STOP: Final = re.escape(_PUNCTUATION) + '"“”\n\r'
_SPACE: Final = re.compile(r"[\s\ufeff]+")
_REST_OF_LINE: Final = re.compile(r"[^\n]*")
_FIELD: Final = re.compile(rf"\b(?:{'|'.join(('decisions', *Decision.__dataclass_fields__))})\b", re.IGNORECASE)
_STRING: Final = re.compile(
    r'"(?:[^"\\]|\\.)*"' r"|'(?:[^'\\]|\\.)*'" r"|“[^”]*”|‘[^’]*’|＂[^＂]*＂",  # noqa: RUF001 - typographic quotes
    re.DOTALL,
)
_OPENING_QUOTES: Final = "\"'“‘＂"  # noqa: RUF001 - typographic quotes
_ENDED: Final = rf"(?=[ \t]*(?:[{_STOP}]|\Z)|[ \t]+(?://|/\*|\#))"
_LITERAL: Final = re.compile(
    rf"(?:-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null|True|False|None|NaN|-?Infinity){_ENDED}", re.ASCII
)
_GROUPED: Final = re.compile(rf"[^\s\d{_STOP}]*\d{{1,3}}(?:[,，]\d{{3}})+(?!\d)[^{_STOP}]*")  # noqa: RUF001 - full-width comma
_PHRASE: Final = re.compile(rf"[^{_STOP}]+")
_WORD: Final = re.compile(rf"[^\s{_STOP}]+")
_PYTHON: Final = {"True": "true", "False": "false", "None": "null"}
_CLOSES: Final = {"{": "}", "[": "]"}


class Ending(Enum):
    """Say how the reading of one value ended."""

    COMPLETE = "is complete"
    CUT = "is cut off"
    BROKEN = "cannot be read"
    HIDING = "names a field in a comment"


class Source:
    """Hold the text to be read; where its last comment ends is looked for once, not from each bracket on."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.last_comment_end = text.rfind("*/")

    def skip(self, at: int) -> int | None:
        """Return the place after space and comments; None for a comment that names a field."""
        text = self.text
        while True:
            space = _SPACE.match(text, at)
            at = space.end() if space else at
            if text.startswith(("//", "#"), at):
                line = _REST_OF_LINE.match(text, at)
                end = line.end() if line else at
            elif text.startswith("/*", at) and at + 2 <= self.last_comment_end:
                end = text.index("*/", at + 2) + 2
            else:
                return at
            if _FIELD.search(text, at, end) is not None:
                return None
            at = end

    def scalar(self, at: int, before: str) -> "tuple[Token, int] | None":
        """Return a scalar and its end; a bare word only where a value or a key may stand, so that prose is no JSON."""
        text = self.text
        quoted = _STRING.match(text, at)
        if quoted is not None:
            return Token("", _unquoted(quoted.group())), quoted.end()
        if text[at] in _OPENING_QUOTES or not before:
            return None
        for pattern in (_GROUPED, _LITERAL, _PHRASE) if before == ":" else (_LITERAL, _WORD):
            bare = pattern.match(text, at)
            if bare is not None:
                word = bare.group().strip()
                value = read_json(_PYTHON.get(word, word)) if pattern is _LITERAL else word
                return Token("", value), bare.end()
        return None


@dataclass(slots=True)
class Token:
    """Hold a punctuation mark, or a scalar with its value; `is_key` marks one that a colon follows."""

    mark: str
    value: object = None
    is_key: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Lexed:
    """Hold the tokens of one value that begins with a bracket, and where it ends."""

    ending: Ending
    tokens: tuple[Token, ...]
    end: int


def lex(source: Source, start: int) -> Lexed:
    """Return the tokens from the bracket at `start` to its counterpart, or as far as it reads.

    Raises ReplySyntaxError past MAX_TOKENS.
    """
    text = source.text
    tokens: list[Token] = []
    depth: list[str] = []
    at = start
    while len(tokens) < MAX_TOKENS:
        after = source.skip(at)
        if after is None:
            return Lexed(ending=Ending.HIDING, tokens=tuple(tokens), end=at)
        at = after
        if at >= len(text):
            return Lexed(ending=Ending.CUT, tokens=tuple(tokens), end=at)
        mark = _ASCII.get(text[at], text[at])
        if mark in "{}[]:,":
            if not _fits(mark, tokens, depth):
                return Lexed(ending=Ending.BROKEN, tokens=tuple(tokens), end=at)
            tokens.append(Token(mark))
            at += 1
            if not depth:
                return Lexed(ending=Ending.COMPLETE, tokens=tuple(tokens), end=at)
            continue
        found = source.scalar(at, tokens[-1].mark if tokens else "")
        if found is None:
            cut = text[at] in _OPENING_QUOTES and _STRING.match(text, at) is None
            ending, end = (Ending.CUT, len(text)) if cut else (Ending.BROKEN, at)
            return Lexed(ending=ending, tokens=tuple(tokens), end=end)
        token, at = found
        tokens.append(token)
    raise ReplySyntaxError(TOO_LONG)


def _fits(mark: str, tokens: list[Token], depth: list[str]) -> bool:
    """Follow the nesting; False for what can be no JSON, however loose."""
    if mark in _CLOSES:
        depth.append(_CLOSES[mark])
        return len(depth) <= MAX_DEPTH
    if mark in "}]":
        return depth.pop() == mark
    if mark == ":":
        if not tokens or tokens[-1].mark or not isinstance(tokens[-1].value, str) or tokens[-1].is_key:
            return False
        tokens[-1].is_key = True
    return True


def _unquoted(quoted: str) -> str:
    """Decode the escapes of a string; with an escape that JSON lacks it stays as written."""
    inner = quoted[1:-1]
    if quoted[0] == "'":
        inner = inner.replace("\\'", "'").replace('"', '\\"')
    elif quoted[0] != '"':
        return inner
    try:
        return str(read_json(f'"{inner}"', strict=False))
    except ReplySyntaxError:
        return inner
