"""Make text safe to print: what comes from files, models and venues must not steer a terminal."""

import unicodedata
from typing import Final

_STEERING: Final = ("Cc", "Cf", "Cs", "Zl", "Zp")
_HARMLESS: Final = "\n\t\u200c\u200d"


def printable(text: str) -> str:
    """Return text with control characters, turns of the writing direction and odd line ends written as escapes.

    Newlines, tabs and the joiners that scripts and emoji need stay.
    """
    return text if text.isascii() and text.isprintable() else "".join(map(_shown, text))


def _shown(character: str) -> str:
    if unicodedata.category(character) not in _STEERING or character in _HARMLESS:
        return character
    return character.encode("unicode_escape").decode("ascii")
