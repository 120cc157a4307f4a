"""Make text safe to print: what comes from files, models and venues must not steer a terminal."""

import shutil
import textwrap
import unicodedata
from typing import Final, TextIO

_STEERING: Final = ("Cc", "Cf", "Cs", "Zl", "Zp")
_HARMLESS: Final = "\n\t\u200c\u200d"
_INDENT: Final = " " * 10  # as wide as the time before a line
_NARROWEST: Final = 40


def printable(text: str) -> str:
    """Return text with control characters, turns of the writing direction and odd line ends written as escapes.

    Newlines, tabs and the joiners that scripts and emoji need stay.
    """
    return text if text.isascii() and text.isprintable() else "".join(map(_shown, text))


def _shown(character: str) -> str:
    if unicodedata.category(character) not in _STEERING or character in _HARMLESS:
        return character
    return character.encode("unicode_escape").decode("ascii")


def broken(line: str, stream: TextIO) -> str:
    """Return a line that is safe to print, broken between words where it is wider than the terminal behind `stream`."""
    line = printable(line)
    if not stream.isatty():
        return " ".join(line.splitlines())
    width = max(shutil.get_terminal_size().columns, _NARROWEST)
    return textwrap.fill(line, width, subsequent_indent=_INDENT, break_long_words=False, break_on_hyphens=False)
