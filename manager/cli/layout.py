"""Lay out text so that no line is wider than the terminal and nothing is cut: rows of a table, and plain lines."""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

from manager.cli.printable import printable

NARROWEST: Final = 20
_GAP: Final = "  "
_INDENT: Final = "    "
_HANGING: Final = "  "

Paint = Callable[[str, str], str]


class Styled(str):
    """Hold text with the style it has on a terminal, such as `bold red`."""

    __slots__ = ("style",)
    style: str

    def __new__(cls, text: str, style: str) -> "Styled":
        """Return `text` in `style`."""
        made = super().__new__(cls, text)
        made.style = style
        return made


def plain(text: str, style: str) -> str:
    """Return text as it is, as in a pipe."""
    del style
    return text


def columns_of(text: str) -> int:
    """Count the columns of a terminal that text takes at most; wide characters take two."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    # Terminals differ on joined emoji: some draw one, some each of its parts.
    return max(cell_len(text), sum(map(cell_len, text)))


def wrapped(text: str, width: int) -> list[str]:
    """Return the lines of text broken at blanks, later ones indented below the first; a word is broken if it must."""
    lines = [part for line in printable(text).split("\n") for part in _broken(line.expandtabs(), width)]
    return lines or [""]


class Layout:
    """Lay out rows of cells under named columns, each row on one line where all columns fit.

    A column with nothing in any row is left out. Where they do not fit, columns leave the grid and stand below their
    row as `name value`: first those of long text, then those whose name ends in `?`, then the last ones. A name that
    ends in `>` is of a column aligned right, and a column without a name always stands below, on a line of its own. The
    first column stays.
    """

    def __init__(self, columns: Sequence[str], rows: Sequence[Sequence[str]], width: int, paint: Paint = plain) -> None:
        filled = [at for at in range(len(columns)) if not at or any(row[at].strip() for row in rows)]
        self._columns = [_Column.of(columns[at]) for at in filled]
        self._rows = [[_Cell.of(row[at]) for at in filled] for row in rows]
        self._width = max(width, NARROWEST)
        self._paint = paint
        self._widths = [
            max(map(columns_of, (column.name, *(row[at].text for row in self._rows))))
            for at, column in enumerate(self._columns)
        ]
        self._grid = self._kept()

    def lines(self) -> list[str]:
        """Return the head and the rows, each row followed by what stands below it."""
        head = [_Cell(column.name, "dim") for column in self._columns]
        return [*self._in_grid(head), *(line for row in self._rows for line in self._row(row))]

    def _kept(self) -> list[int]:
        kept = [at for at, column in enumerate(self._columns) if column.name or not at]
        while len(kept) > 1 and self._needed(kept) > self._width:
            long = [at for at in kept[1:] if self._widths[at] > self._width // 2]
            minor = [at for at in kept[1:] if self._columns[at].minor]
            kept.remove((long or minor or kept)[-1])
        return kept

    def _needed(self, kept: Sequence[int]) -> int:
        return sum(self._widths[at] for at in kept) + len(_GAP) * (len(kept) - 1)

    def _row(self, row: Sequence["_Cell"]) -> Iterator[str]:
        yield from self._in_grid(row)
        below = [at for at in range(len(row)) if at not in self._grid and row[at].text]
        named = [(self._columns[at].name, row[at]) for at in below if self._columns[at].name]
        yield from self._flowing(named)
        for at in below:
            if not self._columns[at].name:
                yield from self._indented(row[at].text, row[at].style)

    def _in_grid(self, row: Sequence["_Cell"]) -> list[str]:
        if len(self._grid) == 1:
            text, style = row[self._grid[0]]
            return [self._paint(line, style) for line in _broken(text, self._width)] or [""]
        parts = []
        for at in self._grid:
            text, style = row[at]
            blanks = " " * (self._widths[at] - columns_of(text))
            shown = self._paint(text, style)
            parts.append(blanks + shown if self._columns[at].right else shown + blanks)
        return [_GAP.join(parts).rstrip()]

    def _flowing(self, named: Sequence[tuple[str, "_Cell"]]) -> Iterator[str]:
        """Put `name value` pairs one after another, on the next line where there is no room left."""
        room, used = self._width - len(_INDENT), 0
        line: list[str] = []
        for name, cell in named:
            needed = columns_of(f"{name} {cell.text}")
            if line and used + len(_GAP) + needed > room:
                yield _INDENT + _GAP.join(line)
                line, used = [], 0
            if needed > room:
                yield from self._indented(f"{name} {cell.text}", cell.style)
                continue
            used += needed + (len(_GAP) if line else 0)
            line.append(f"{self._paint(name, 'dim')} {self._paint(cell.text, cell.style)}")
        if line:
            yield _INDENT + _GAP.join(line)

    def _indented(self, text: str, style: str) -> Iterator[str]:
        for line in _broken(text, self._width - len(_INDENT)):
            yield _INDENT + self._paint(line, style)


class _Column(NamedTuple):
    name: str
    right: bool
    minor: bool

    @classmethod
    def of(cls, given: str) -> "_Column":
        marks = given[len(given.rstrip(">?")) :]
        return cls(given.rstrip(">?"), ">" in marks, "?" in marks)


class _Cell(NamedTuple):
    text: str
    style: str = ""

    @classmethod
    def of(cls, given: str) -> "_Cell":
        return cls(" ".join(printable(given).split()), given.style if isinstance(given, Styled) else "")


def _broken(text: str, width: int) -> Iterator[str]:
    if columns_of(text) <= width:
        yield text
        return
    indent = re.match(" *", text[: width // 2]).group()  # type: ignore[union-attr]  # it matches nothing too
    line = indent
    for word in text[len(indent) :].split(" "):
        blank = " " if line.strip() else ""
        if columns_of(f"{line}{blank}{word}") <= width:
            line += blank + word
            continue
        if line.strip():
            yield line.rstrip()
            line = indent + _HANGING
        rest = word
        while columns_of(line + rest) > width:
            fitting = next(n for n in range(min(len(rest), width), 0, -1) if columns_of(line + rest[:n]) <= width)
            yield line + rest[:fitting]
            line, rest = indent + _HANGING, rest[fitting:]
        line += rest
    if line.strip():
        yield line.rstrip()
