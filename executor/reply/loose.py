"""Find the one value of a loosely written reply that can be a batch of decisions, among reasoning, prose and fences.

The tolerant library (json-repair) sees brackets, commas and placeholders only: it may mend the structure, but a value
that it adds, drops or moves is noticed, and then the reply is refused. What is cut off stays cut off.

Models write drafts, examples and what they then reject in the same form as their answer. So a batch must be set apart
by nothing, by a label or by a line that has no word of a draft. Nobody can tell every explanation after it from every
change of mind: a batch that trades and is followed by words is asked for again, and stands if it is said twice; one
that is taken back in plain words never stands.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

import json_repair

from executor.errors import ReplySyntaxError
from executor.reply.lexer import TOO_LONG, Ending, Source, Token, lex
from executor.reply.text import RepeatedKeys, object_of

MAX_WORK: Final = 1_000_000
_COST_OF_A_START: Final = 300
_COST_OF_A_TOKEN: Final = 20
_UNCLEAR: Final = "commas, colons or quotes are missing so that it is unclear which value belongs to which key"
_TELLING_KEYS: Final = frozenset({"decisions", "action"})
_WRAPPERS: Final = frozenset(
    {"decision", "answer", "output", "response", "result", "trading_decision", "trading_decisions"}
    | {"final_decision", "final_decisions", "final_answer"}
)
_OPEN, _CLOSE = "<＜◁‹⟨〈", ">＞▷›⟩〉"  # noqa: RUF001 - the look-alikes that models write
_INSIDE: Final = rf"[^{_OPEN}{_CLOSE}\n{{}}]{{1,80}}"
_MARK_FORM: Final = rf"[{_OPEN}](?P<angle>{_INSIDE})[{_CLOSE}]|[\[【](?P<square>[\s/]*\w{{1,40}}\s*)[\]】]"
_TAG: Final = re.compile(rf"[{_OPEN}]{_INSIDE}[{_CLOSE}]")
_END_TAG: Final = re.compile(
    rf"[{_OPEN}] ?(?:[/|｜]|end|eo[st])[^{_OPEN}{_CLOSE}\n{{}}]{{0,80}}[{_CLOSE}]|[\[【] ?/\w{{1,40}}[\]】]"  # noqa: RUF001 - full-width bar
)
_REASONING: Final = re.compile(
    r"think|thought|reason|analy[sz]|reflect|scratch|monolog|deliberat|ponder|rational|draft|brainstorm"
    r"|chain_of|^cot$|example|sample|template|format|schema|option|alternativ|hypothe|思考|思维|推理|反思"
)
_ANSWER: Final = re.compile(r"(?:final_?)?(?:answer|decisions?|output)|决策|决定|最终决策|交易决策", re.IGNORECASE)
_ENDING: Final = re.compile(r"/|(?:end|close|stop)[ _:-]")
_CHANNEL: Final = re.compile(r"\s*(\w*)")
_NO_LETTERS: Final = re.compile(r"[^\w]+")
_COLONS: Final = (":", "：")  # noqa: RUF001 - the colon of Chinese
_SENTENCE_END: Final = re.compile(r"[.!?。！？]\s")  # noqa: RUF001 - full-width forms
_LABEL: Final = re.compile(
    r"(?:my|the|final|answer|decision|decisions|output|result|json|reply|response|here|is"
    r"|are|so|therefore|thus|hence|trading|trade|batch|plan|this|cycle|object|\s)*"
)
_ASKED_FORMAT: Final = re.compile(
    r"\b(?:in|following|per|to|with|using)(?: [\w-]+){0,4} (?:format|schema)\b", re.IGNORECASE
)
_NO_ANSWER: Final = (
    r"\b(?:example|e\.g|sample|template|draft|hypothetical\w*|illustrat\w+|alternative\w*|discard\w*|plan b|looks? like"
    r"|(?:previous|last|yesterday|earlier|other)[\w\u2019']*(?: \w+)?[\u2019']?s? (?:decisions?|batch|answer|orders?)"
    r"|(?:decid\w+|vot\w+) against|(?:i|we)(?:[\u2019']ve| have| had)? (?:reject\w*|considered)"
    r"|(?:not|never|\w+n[\u2019']t)\b[^.]{0,60}\bfollowing)\b"
)
_DRAFT: Final = re.compile(_NO_ANSWER, re.IGNORECASE)
_DOUBT: Final = re.compile(
    rf"{_NO_ANSWER}|\b(?:no|not|never|against|avoid|reject\w*|instead|rather|maybe|perhaps|might|could|would|if|unless"
    r"|format|schema|like|option|wrong|bad|previous|earlier|considered|idea|was|were)\b|n['\u2019]t\b|例|草|如果|也许|可能|不",
    re.IGNORECASE,
)
_MARK: Final = re.compile(_MARK_FORM)
_START: Final = re.compile(rf"{_MARK_FORM}|[{{\[｛［【]")  # noqa: RUF001 - full-width brackets
_LONGEST: Final = 10_000
_NO_WORD: Final = re.compile(r"[\s`*_#~\-.!,;)\]}\"']*")
_SENTENCES: Final = re.compile(r"[.!]|\n")
_COURTESY: Final = re.compile(
    r"(?:please )?let me know if (?:you|there)[\w ,'/]{0,80}|(?:please )?feel free to ask[\w ]{0,60}"
    r"|good luck(?: with[\w ]{0,40})?|happy trading|thanks|thank you|(?:i )?hope (?:this|that|it) helps"
    r"|this is (?:my |the )?(?:final )?(?:answer|decision)|(?:disclaimer: )?(?:this is )?not financial advice|done",
    re.IGNORECASE,
)
_TAKES_BACK: Final = re.compile(
    r"\b(?:instead|cancel\w*|scrap\w*|discard\w*|disregard\w*|ignor\w*|withdr[ae]w\w*|retract\w*|revis\w+|re-?consider\w*"
    r"|re-?think\w*|reflection|correction|mistaken?|wrong|actually|second thoughts?|never ?mind|forget|void|moot"
    r"|chang\w+ my mind|supersed\w+|overrid\w+|overrul\w+|veto|abandon\w*|und[oi]\w*|delete|strike|scratch|postpon\w+"
    r"|pause|oops|sorry|hmm|rather|example|draft|sample|template|illustrat\w+|hypothetical\w*|placeholder|simulat\w+)\b"
    r"|\b(?:i|we|do|please|final)\b[^.!\n]{0,60}\b(?:no|not|never|none|would|could|might|may|against)\b"
    r"|\b(?:no trades?|not (?:trade|act|do|open|close)|\w+n['\u2019]t)\b|[?？\u274c]",  # noqa: RUF001 - full-width form
    re.IGNORECASE,
)


class After(Enum):
    """Say what follows a batch; NOTHING counts fences, closing tags and courtesies as nothing."""

    NOTHING = "nothing"
    WORDS = "words"
    RETRACTION = "retraction"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Hold the one batch of a text, and what follows it."""

    value: Mapping[str, Any]
    after: After


def find_batch(text: str) -> Found:
    """Return the reply object that `text` holds; raise ReplySyntaxError that says why there is none, or not one.

    A value inside reasoning, a list of numbers or any other object is never taken; two different batches are an error,
    since which one was meant is unknown, and so is a batch in the middle of a sentence.
    """
    last = _Search(text).only_batch()
    if not _introduced(text, last.start):
        raise ReplySyntaxError("the JSON object stands in a sentence, so that it may be no more than a thought")
    return Found(value=last.value, after=_what_follows(text, last.end))


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


class _Mark(Enum):
    """Say what a tag does to what follows it; OTHER tags, such as <answer>, do nothing."""

    OPENS_REASONING = "opens"
    CLOSES_REASONING = "closes"
    TO_ANSWER = "to the answer"
    OTHER = "other"

    @staticmethod
    def of(inside: str, text: str, end: int) -> "_Mark":
        """Return what the tag with the name and attributes `inside` does; it ends at `end` of `text`.

        A channel, as in <|channel|>analysis<|message|>, is reasoning until the channel named final.
        """
        bare = inside.strip(" |｜")  # noqa: RUF001 - full-width bar
        words = bare.lstrip("/ ").lower().split()
        name = words[0] if words else ""
        if name == "channel":
            channel = _CHANNEL.match(text, end)
            final = channel is not None and channel.group(1).lower() == "final"
            return _Mark.TO_ANSWER if final else _Mark.OPENS_REASONING
        if _REASONING.search(name) is None or bare.endswith("/"):
            return _Mark.OTHER
        return _Mark.CLOSES_REASONING if _ENDING.match(bare.lower()) else _Mark.OPENS_REASONING


@dataclass(frozen=True, slots=True, kw_only=True)
class _Batch:
    value: Mapping[str, Any]
    start: int
    end: int


class _Search:
    """Walk through a text and keep the batches outside of reasoning; `inside` names the reasoning that is open.

    Work is counted in characters and tokens read, so that a value that is read again and again is paid for each time.
    """

    def __init__(self, text: str) -> None:
        self._source = Source(text)
        self._found: list[_Batch] = []
        self._inside: list[str] = []
        self._left = MAX_WORK

    def only_batch(self) -> _Batch:
        """Return the batch, the last of its kind if it is said several times; raise ReplySyntaxError."""
        at = 0
        while (start := (_MARK if self._inside else _START).search(self._source.text, at)) is not None:
            at = self._after_start(start)
        if self._inside:
            raise ReplySyntaxError(f"the reply ends inside its {self._inside[-1]} section")
        if not self._found:
            raise ReplySyntaxError("no JSON object with `decisions` was found")
        last = self._found[-1]
        if any(other.value != last.value for other in self._found):
            raise ReplySyntaxError(f"{len(self._found)} different batches of decisions were found; give exactly one")
        return last

    def _after_start(self, start: re.Match[str]) -> int:
        """Step over a tag or a value; a closing tag without its opening one makes reasoning of all before it.

        [DECISION] heads the answer after [ANALYSIS], which nothing closes; [THINK] is closed by [/THINK].
        """
        inside = start["angle"] or start["square"]
        mark = _Mark.of(inside, self._source.text, start.end()) if inside else _Mark.OTHER
        if mark is _Mark.OPENS_REASONING:
            self._inside.append(start.group())
        elif mark is _Mark.CLOSES_REASONING and self._inside:
            self._inside.pop()
        elif mark in (_Mark.CLOSES_REASONING, _Mark.TO_ANSWER):
            self._found.clear()
            self._inside.clear()
        elif (
            start["square"]
            and _ANSWER.fullmatch(start["square"].strip())
            and all(opened[0] in "[【" and "think" not in opened.lower() for opened in self._inside)
        ):
            self._inside.clear()
        elif not start["angle"] and not self._inside:
            return self._after_value(start.start())
        return start.end()

    def _after_value(self, start: int) -> int:
        lexed = lex(self._source, start)
        self._left -= lexed.end - start + _COST_OF_A_START + _COST_OF_A_TOKEN * len(lexed.tokens)
        telling = any(token.is_key and token.value in _TELLING_KEYS for token in lexed.tokens)
        if self._left <= 0:
            raise ReplySyntaxError(TOO_LONG)
        if lexed.ending is not Ending.COMPLETE:
            if not any(token.is_key for token in lexed.tokens):
                return start + 1
            line = self._source.text.count("\n", 0, lexed.end) + 1
            raise ReplySyntaxError(f"a JSON object {lexed.ending.value} at line {line}")
        try:
            batch = as_batch(_Filled(lexed.tokens).value())
        except ReplySyntaxError:
            if telling:
                raise
            batch = None
        if batch is not None:
            self._found.append(_Batch(value=batch, start=start, end=lexed.end))
        return lexed.end


class _Filled:
    """Put the scalars of the text in the places of the placeholders, each once and in its order."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self._tokens = tokens
        self._scalars = [token for token in tokens if not token.mark]
        self._used = 0

    def value(self) -> object:
        """Return the value of the tokens; the library decides the structure of the placeholders."""
        numbers = iter(range(len(self._scalars)))
        skeleton = " ".join(token.mark or f'"s{next(numbers)}"' for token in self._tokens)
        try:
            repaired = json_repair.loads(skeleton)
        except (ValueError, RecursionError) as error:
            raise ReplySyntaxError(f"the structure cannot be read: {error}") from error
        value = self._fill(repaired)
        if self._used != len(self._scalars):
            raise ReplySyntaxError(_UNCLEAR)
        return value

    def _fill(self, shape: object) -> object:
        if isinstance(shape, dict):
            return object_of([(str(self._take(key, is_key=True)), self._fill(inner)) for key, inner in shape.items()])
        if isinstance(shape, list):
            return [self._fill(inner) for inner in shape]
        return self._take(shape, is_key=False)

    def _take(self, placeholder: object, *, is_key: bool) -> object:
        if placeholder != f"s{self._used}" or self._scalars[self._used].is_key is not is_key:
            raise ReplySyntaxError(_UNCLEAR)
        self._used += 1
        return self._scalars[self._used - 1].value


def _introduced(text: str, start: int) -> bool:
    """Tell whether what stands before the value at `start` presents it as the answer, and not as part of a sentence."""
    *above, line = _TAG.sub("\n", text[max(0, start - 2_000) : start]).split("\n")
    lead = "" if line.lstrip().startswith("```") else _last_sentence(line).strip(" \t\r`*_#>-•")
    if not lead:
        heads = (other.strip() for other in reversed(above) if not other.lstrip().startswith("```"))
        head = next((head for head in heads if head), "")
        presents = head.startswith(("#", "**")) or head.rstrip(" *_").endswith(_COLONS)
        return (_DOUBT if presents else _DRAFT).search(_last_sentence(head)) is None
    if lead.endswith(_COLONS):
        return _DOUBT.search(lead) is None
    return _LABEL.fullmatch(_NO_LETTERS.sub(" ", lead.lower())) is not None


def _last_sentence(line: str) -> str:
    return _ASKED_FORMAT.sub("", _SENTENCE_END.split(line)[-1])


def _what_follows(text: str, end: int) -> After:
    """Judge what stands in `text` from `end` on; a text too long to be judged counts as a retraction."""
    rest = text[end:].strip()
    if len(rest) > _LONGEST:
        return After.RETRACTION
    rest = _END_TAG.sub("\n", rest)
    sentences = [sentence.strip(" \t\r`*_#-,;\"'") for sentence in _SENTENCES.split(rest)]
    if all(_NO_WORD.fullmatch(said) or _COURTESY.fullmatch(said) for said in sentences):
        return After.NOTHING
    return After.WORDS if _TAKES_BACK.search(rest) is None else After.RETRACTION
