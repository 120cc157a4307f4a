"""What is known of the terminal: how wide it is, and whether it takes colour."""

import contextlib
import os
import sys
from typing import Final

from manager.cli.layout import Paint, plain

UNKNOWN_WIDTH: Final = 140
_DUMB: Final = ("dumb", "unknown")
_SGR: Final = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "magenta": "35", "cyan": "36"}


def width() -> int:
    """Return the columns there are: COLUMNS, else those of the terminal that is seen or typed at, else 140."""
    given = os.environ.get("COLUMNS", "")
    if given.isdecimal() and int(given):
        return int(given)
    for stream in (sys.stdout, sys.stderr, sys.stdin):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            return os.get_terminal_size(stream.fileno()).columns or UNKNOWN_WIDTH
    return UNKNOWN_WIDTH


def painter() -> Paint:
    """Return what puts colour on text: nothing in a pipe, on a dumb terminal or where NO_COLOR is set."""
    return _painted if sys.stdout.isatty() and not is_dumb() and not os.environ.get("NO_COLOR") else plain


def is_dumb() -> bool:
    """Tell whether the terminal knows no control sequences."""
    return os.environ.get("TERM", "").lower() in _DUMB


def _painted(text: str, style: str) -> str:
    codes = ";".join(_SGR[word] for word in style.split())
    return f"\x1b[{codes}m{text}\x1b[0m" if codes and text else text
