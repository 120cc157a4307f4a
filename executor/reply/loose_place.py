"""Judge the place of a batch in a loosely written reply: whether it stands in reasoning, and how it is introduced.

Models write drafts, examples and what they then reject in the same form as their answer. So a batch must be set apart
by nothing, by a label or by a line that has no word of a draft.
"""

import re
from enum import Enum
from typing import Final

_OPEN, _CLOSE = "<＜◁‹⟨〈", ">＞▷›⟩〉"  # noqa: RUF001 - the look-alikes that models write
_INSIDE: Final = rf"[^{_OPEN}{_CLOSE}\n{{}}]{{1,80}}"
MARK: Final = rf"[{_OPEN}](?P<angle>{_INSIDE})[{_CLOSE}]|[\[【](?P<square>[\s/]*\w{{1,40}}\s*)[\]】]"
_TAG: Final = re.compile(rf"[{_OPEN}]{_INSIDE}[{_CLOSE}]")
END_TAG: Final = re.compile(
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


class Mark(Enum):
    """Say what a tag does to what follows it; OTHER tags, such as <answer>, do nothing."""

    OPENS_REASONING = "opens"
    CLOSES_REASONING = "closes"
    TO_ANSWER = "to the answer"
    OTHER = "other"


def mark_of(inside: str, text: str, end: int) -> Mark:
    """Return what the tag with the name and attributes `inside` does; it ends at `end` of `text`.

    A channel, as in <|channel|>analysis<|message|>, is reasoning until the channel named final.
    """
    bare = inside.strip(" |｜")  # noqa: RUF001 - full-width bar
    words = bare.lstrip("/ ").lower().split()
    name = words[0] if words else ""
    if name == "channel":
        channel = _CHANNEL.match(text, end)
        return Mark.TO_ANSWER if channel and channel.group(1).lower() == "final" else Mark.OPENS_REASONING
    if _REASONING.search(name) is None or bare.endswith("/"):
        return Mark.OTHER
    return Mark.CLOSES_REASONING if _ENDING.match(bare.lower()) else Mark.OPENS_REASONING


def is_answer_heading(inside: str) -> bool:
    """Tell whether a name in square brackets heads the answer, as [DECISION] does after [ANALYSIS]."""
    return _ANSWER.fullmatch(inside.strip()) is not None


def introduced(text: str, start: int) -> bool:
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
