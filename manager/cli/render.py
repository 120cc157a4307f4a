"""Print results: JSON with decimals as strings, rich tables on a terminal, plain aligned text in a pipe."""

import json
import sys
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from manager.cli.printable import printable
from manager.views.pages import jsonable

_CENT = Decimal("0.01")
_ROUGH_DIGITS = 7
_LONGEST_WORD = 20
_PADDING = 2
_FINEST = Decimal("0.0001")


def print_json(value: Any) -> None:
    """Print `value` as one JSON document on stdout."""
    sys.stdout.write(f"{json.dumps(jsonable(value), indent=2, allow_nan=False)}\n")


def say(text: str, style: str = "") -> None:
    """Print a line on stdout, in colour on a terminal only; `text` is shown as it is, never as markup."""
    if not sys.stdout.isatty():
        write(text)
        return
    from rich.console import Console
    from rich.markup import escape

    console = Console(soft_wrap=True, highlight=False, emoji=False)
    console.print(escape(printable(text)), style=style or None)


def write(text: str) -> None:
    """Print text on stdout as it is, tabs included, but for what would steer the terminal."""
    sys.stdout.write(f"{printable(text)}\n")


def show_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table; columns whose name ends in `>` are aligned right. Without rows only the title is printed."""
    if sys.stdout.isatty():
        _Grid(columns, rows).draw(title)
    else:
        write("\n".join([title, *_Grid(columns, rows).lines()]) if rows else f"{title}: none")


def show_entries(title: str, columns: Sequence[str], entries: Sequence[Sequence[str]]) -> None:
    """Print aligned rows, each with its last cell, for which there is no column, on a line of its own."""
    head, *lines = _Grid(columns, [entry[:-1] for entry in entries]).lines()
    told = [f"{line}\n    {entry[-1]}" for line, entry in zip(lines, entries, strict=True)]
    write("\n".join([title, head, *told]) if entries else f"{title}: none")


def short(text: str, longest: int) -> str:
    """Return text on one line, cut to `longest` characters."""
    line = " ".join(text.split())
    return line if len(line) <= longest else f"{line[: longest - 3]}..."


def usd(amount: Decimal | None) -> str:
    """Return dollars and cents, with a dash for what is not known."""
    return "-" if amount is None else f"{amount.quantize(_CENT):,f}"


def fine_usd(amount: Decimal | None) -> str:
    """Return dollars to a hundredth of a cent, as one call of a model may cost less than a cent."""
    if amount is None:
        return "-"
    return f"<{_FINEST}" if 0 < amount < _FINEST else f"{amount:,.4f}"


def price(value: Decimal | None) -> str:
    """Return a price or quantity plainly, to seven significant digits."""
    return "-" if value is None else f"{Decimal(f'{value:.{_ROUGH_DIGITS}g}'):f}"


def percent(value: Decimal | float | None) -> str:
    """Return a percentage with two decimals."""
    return "-" if value is None else f"{value:.2f} %"


def instant(at: datetime | None) -> str:
    """Return an instant in UTC to the second."""
    return "-" if at is None else at.strftime("%Y-%m-%d %H:%M:%S")


class _Grid:
    """Lay out rows of cells under named columns."""

    def __init__(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        self._names = [column.removesuffix(">") for column in columns]
        self._right = [column.endswith(">") for column in columns]
        self._rows = rows

    def draw(self, title: str) -> None:
        """Draw it on a terminal; a cell that has no room is folded."""
        from rich.console import Console
        from rich.markup import escape
        from rich.table import Table

        console = Console(highlight=False)
        if not self._rows:
            console.print(f"[bold]{escape(title)}[/]: none")
            return
        table = Table(title=escape(title), title_justify="left", title_style="bold", header_style="dim", box=None)
        for name, right, width in zip(self._names, self._right, self._widths(console.width), strict=True):
            table.add_column(name, justify="right" if right else "left", overflow="fold", width=width)
        for row in self._rows:
            table.add_row(*(escape(printable(cell)) for cell in row))
        console.print(table)

    def lines(self) -> list[str]:
        """Return it as aligned lines, the head first; nothing is cut."""
        cells = [self._names, *([" ".join(cell.split()) for cell in row] for row in self._rows)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        return [
            "  ".join(
                cell.rjust(width) if right else cell.ljust(width)
                for cell, width, right in zip(row, widths, self._right, strict=True)
            ).rstrip()
            for row in cells
        ]

    def _widths(self, room: int) -> list[int] | list[None]:
        """Return how wide each column is where no word but a URL is broken; None for all where that does not fit."""
        columns = list(zip(self._names, *self._rows, strict=True))
        least = [
            max(min(len(word), _LONGEST_WORD) for cell in column for word in ("", *cell.split())) for column in columns
        ]
        widths = [max(map(len, column)) for column in columns]
        room -= _PADDING * len(widths)
        if sum(least) > room:
            return [None] * len(widths)
        while sum(widths) > room:
            spare = [width - needed for width, needed in zip(widths, least, strict=True)]
            widths[spare.index(max(spare))] -= 1
        return widths
