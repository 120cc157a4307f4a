"""The terminal: how wide it is, whether it takes colour, and how to draw on it in place."""

import contextlib
import io
import os
import sys
from collections.abc import Callable
from typing import Final, TextIO

from manager.cli.layout import Paint, plain

UNKNOWN_WIDTH: Final = 140
_FEWEST_ROWS: Final = 10
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


def redraw(show: Callable[[], None]) -> None:
    """Let `show` print in place of what is on the terminal, from its top; in a pipe what it prints follows.

    What has no room is counted in the last line.
    """
    out = sys.stdout
    if not redraws():
        show()
        out.flush()
        return
    frame = _Frame(out)
    with contextlib.redirect_stdout(frame):
        show()
    lines, room = frame.getvalue().splitlines(), _rows() - 1
    if len(lines) > room:
        lines[room - 1 :] = [f"({len(lines) - room + 1} more lines: a taller window or a pipe shows them)"]
    out.write("\x1b[H" + "".join(f"{line}\x1b[K\n" for line in lines) + "\x1b[J")
    out.flush()


def redraws() -> bool:
    """Tell whether `redraw` draws in place."""
    return sys.stdout.isatty() and not is_dumb()


def is_dumb() -> bool:
    """Tell whether the terminal knows no control sequences."""
    return os.environ.get("TERM", "").lower() in _DUMB


class _Frame(io.StringIO):
    """Take what is printed as if it went to the terminal."""

    def __init__(self, out: TextIO) -> None:
        super().__init__()
        self._out = out

    def isatty(self) -> bool:
        """Tell what the terminal does."""
        return self._out.isatty()

    def fileno(self) -> int:
        """Return the terminal's, of which the width is asked."""
        return self._out.fileno()


def _rows() -> int:
    with contextlib.suppress(OSError, ValueError):
        return max(os.get_terminal_size(sys.stdout.fileno()).lines, _FEWEST_ROWS)
    return _FEWEST_ROWS


def _painted(text: str, style: str) -> str:
    codes = ";".join(_SGR[word] for word in style.split())
    return f"\x1b[{codes}m{text}\x1b[0m" if codes and text else text
