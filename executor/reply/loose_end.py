"""Judge what follows a batch in a loosely written reply: nothing, words, or words that take it back.

Nobody can tell every explanation from every change of mind. So a batch that trades and is followed by words is asked
for again, and stands if it is said twice; one that is taken back in plain words never stands.
"""

import re
from enum import Enum
from typing import Final

from executor.reply.loose_place import END_TAG

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


def what_follows(text: str, end: int) -> After:
    """Return what stands in `text` from `end` on; a text too long to be judged counts as a retraction."""
    rest = text[end:].strip()
    if len(rest) > _LONGEST:
        return After.RETRACTION
    rest = END_TAG.sub("\n", rest)
    if all(map(_silent, _SENTENCES.split(rest))):
        return After.NOTHING
    return After.WORDS if _TAKES_BACK.search(rest) is None else After.RETRACTION


def _silent(sentence: str) -> bool:
    said = sentence.strip(" \t\r`*_#-,;\"'")
    return _NO_WORD.fullmatch(said) is not None or _COURTESY.fullmatch(said) is not None
