"""Judge the place of a batch in a loosely written reply: whether the words around it let it stand.

Models write drafts, examples and what they then reject in the same form as their answer. So a batch must be set apart
by nothing, by a label or by a line that ends in a colon; and after it only fences, tags, a closing courtesy or an
explanation may follow, which cannot take it back.
"""

import re
from enum import Enum
from typing import Final

_OPEN, _CLOSE = "<＜◁‹⟨〈", ">＞▷›⟩〉"  # noqa: RUF001 - the look-alikes that models write
_INSIDE: Final = rf"[^{_OPEN}{_CLOSE}\n{{}}]{{1,80}}"
MARK: Final = rf"[{_OPEN}](?P<angle>{_INSIDE})[{_CLOSE}]|[\[【](?P<square>[\s/]*\w{{1,40}}\s*)[\]】]"
_TAG: Final = re.compile(rf"[{_OPEN}]{_INSIDE}[{_CLOSE}]")
_END_TAG: Final = re.compile(rf"[{_OPEN}] ?(?:[/|｜]|end|eo[st])[^{_OPEN}{_CLOSE}\n{{}}]{{0,80}}[{_CLOSE}]")  # noqa: RUF001 - full-width bar
_REASONING: Final = re.compile(
    r"think|thought|reason|analy[sz]|reflect|scratch|monolog|deliberat|ponder|rational|draft|brainstorm"
    r"|chain_of|^cot$|example|sample|template|format|schema|option|alternativ|hypothe|思考|思维|推理|反思"
)
_ENDING: Final = re.compile(r"/|(?:end|close|stop)[ _:-]")
_CHANNEL: Final = re.compile(r"\s*(\w*)")

_COURTESY: Final = re.compile(
    r"(?:please )?let me know if (?:you|there)[\w ,'/]{0,80}|(?:please )?feel free to ask[\w ]{0,60}"
    r"|good luck(?: with[\w ]{0,40})?|happy trading|thanks|thank you|(?:i )?hope (?:this|that|it) helps"
    r"|this is (?:my |the )?(?:final )?(?:answer|decision)|(?:this is )?not financial advice|done",
    re.IGNORECASE,
)
_NO_WORD: Final = re.compile(r"[\s`*_#~\-.!,;)\]}\"']*")
_NO_LETTERS: Final = re.compile(r"[^\w]+")
_SENTENCE_END: Final = re.compile(r"[.!?。！？]\s")  # noqa: RUF001 - full-width forms
_EMPHASIS: Final = re.compile(r"[*_`]+")
_SENTENCES: Final = re.compile(r"[.!](?=\s|$)|\n")
_HEADING: Final = re.compile(
    r"(?:the |my |key )?(?:why|reasons?|reasoning|rationale|explanation|justification|analysis|notes?|summary"
    r"|points|context|market|technicals?|risk|risk management|setup)",
    re.IGNORECASE,
)
_BULLET: Final = re.compile(r"\s*(?:[-*•]|\d{1,2}[.)])\s+\S+(?:\s+\S+)+")
_ENGLISH: Final = re.compile(
    r"\b(?:the|is|are|was|has|have|of|and|this|these|with|based|because|due|since|for|above|below)\b",
    re.IGNORECASE,
)
_TAKES_BACK: Final = re.compile(
    r"\b(?:instead|rather|wait\w*|hold(?:ing|s)?|flat|stay\w*|keep\w*|skip\w*|cancel\w*|scrap\w*|discard\w*|disregard\w*"
    r"|ignor\w*|withdr[ae]w\w*|retract\w*|revis\w+|reconsider\w*|reflection|correct(?:ion|ed)|mistake\w*|wrong|actually"
    r"|second thoughts?|never ?mind|mind|no longer|no trad\w+|final|answer|example|draft|sample|template|illustrat\w+"
    r"|hypothetical\w*|placeholder\w*|maybe|perhaps|alternativ\w+|option\w*|better|oops|sorry|hmm)\b"
    r"|\b(?:i|we)\b[^.!\n]{0,60}(?:\b(?:no|not|never|would|could|might|may|prefer|but)\b|n['\u2019]t\b|['\u2019]d\b)"
    r"|^\W*(?:no|not|never|but|do|don['\u2019]t|please)\b|[?<>{}\[\]]|[^\x00-\u024f\u2010-\u2027\u20ac\u2190-\u2193\u2248\u2264\u2265]",
    re.IGNORECASE,
)
_LABEL: Final = re.compile(
    r"(?:my|the|final|answer|decision|decisions|output|result|json|reply|response|here|is"
    r"|are|so|therefore|thus|hence|trading|trade|batch|plan|this|cycle|object|\s)*"
)
_DOUBT: Final = re.compile(
    r"\b(?:no|not|never|against|avoid|reject\w*|instead|rather|maybe|perhaps|might|could|would|if|unless|example|e\.g"
    r"|sample|format|schema|template|like|draft|option|alternative\w*|hypothetical\w*|wrong|bad|previous|earlier"
    r"|considered|idea)\b|n['\u2019]t\b|例|草|如果|也许|可能|不",
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


def introduced(text: str, start: int) -> bool:
    """Tell whether what stands before the value at `start` presents it as the answer, and not as part of a sentence."""
    *above, line = _TAG.sub("\n", text[max(0, start - 2_000) : start]).split("\n")
    lead = "" if line.lstrip().startswith("```") else _SENTENCE_END.split(line)[-1].strip(" \t\r`*_#>-•")
    if not lead:
        heads = (other.strip() for other in reversed(above) if not other.lstrip().startswith("```"))
        head = next((head for head in heads if head), "")
        presents = head.startswith(("#", "**")) or head.rstrip(" *_").endswith((":", "："))  # noqa: RUF001 - the colon of Chinese
        return not presents or _DOUBT.search(_SENTENCE_END.split(head)[-1]) is None
    if lead.endswith((":", "：")):  # noqa: RUF001 - full-width colon
        return _DOUBT.search(lead) is None
    return _LABEL.fullmatch(_NO_LETTERS.sub(" ", lead.lower())) is not None


def may_be_taken_back(text: str, end: int) -> bool:
    """Tell whether what follows the value that ends at `end` may take it back.

    Fences, tags and closing courtesies cannot, nor can an explanation on lines of its own: English sentences or points
    without a word that doubts, refuses or decides anew. What cannot be judged, another language too, may.
    """
    same_line, *below = _END_TAG.sub("\n", text[end:]).split("\n")
    if not all(_silent(sentence) for sentence in _SENTENCES.split(same_line)):
        return True
    return not all(_silent(line) or _explains(line) for line in below)


def _explains(line: str) -> bool:
    if _TAKES_BACK.search(line) is not None:
        return False
    if _BULLET.fullmatch(line.rstrip()) is not None:
        return True
    return all(_explaining(sentence) for sentence in _SENTENCES.split(line))


def _explaining(sentence: str) -> bool:
    words = sentence.strip(" \t\r`*_#-,;:\"'")
    return _silent(sentence) or _HEADING.fullmatch(words) is not None or len(_ENGLISH.findall(words)) > 1


def _silent(sentence: str) -> bool:
    sentence = _EMPHASIS.sub("", sentence).strip()
    if _NO_WORD.fullmatch(sentence):
        return True
    parts = (part.strip(" \t\r`*_#-,;\"'") for part in _SENTENCES.split(sentence))
    return all(not part or _COURTESY.fullmatch(part) is not None for part in parts)
