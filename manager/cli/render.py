"""Print results: JSON with decimals as strings, rich tables on a terminal, plain aligned text in a pipe."""

import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

_CENT = Decimal("0.01")
_ROUGH_DIGITS = 7
_LONGEST_WORD = 20
_PADDING = 2
_FINEST = Decimal("0.0001")


def jsonable(value: Any) -> Any:
    """Return `value` as JSON knows it: decimals as strings, instants in ISO 8601, dataclasses as objects.

    Fields that a dataclass keeps out of its printed form, such as keys, are left out here too.
    """
    if isinstance(value, Enum):
        return jsonable(value.value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {str(jsonable(key)): jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [jsonable(item) for item in value]
    if dataclasses.is_dataclass(value):
        return {field.name: jsonable(getattr(value, field.name)) for field in dataclasses.fields(value) if field.repr}
    return _text(value)


def _text(value: Any) -> str:
    if isinstance(value, Decimal):
        return f"{value:f}"
    return value.isoformat() if isinstance(value, datetime) else str(value)


def print_json(value: Any) -> None:
    """Print `value` as one JSON document on stdout."""
    sys.stdout.write(f"{json.dumps(jsonable(value), indent=2, allow_nan=False)}\n")


def say(text: str, style: str = "") -> None:
    """Print a line on stdout, in colour on a terminal only; `text` is shown as it is, never as markup."""
    console = Console(soft_wrap=True, highlight=False, emoji=False)
    console.print(escape(text), style=style or None)


def write(text: str) -> None:
    """Print text on stdout to the letter, tabs included."""
    sys.stdout.write(f"{text}\n")


def show_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table; columns whose name ends in `>` are aligned right. Without rows only the title is printed."""
    if not sys.stdout.isatty():
        _plain(title, columns, rows)
        return
    names = [name.removesuffix(">") for name in columns]
    console = Console(highlight=False)
    if not rows:
        console.print(f"[bold]{escape(title)}[/]: none")
        return
    table = Table(title=escape(title), title_justify="left", title_style="bold", header_style="dim", box=None)
    widths = _widths(names, rows, console.width)
    for name, column, width in zip(names, columns, widths, strict=True):
        table.add_column(name, justify="right" if column.endswith(">") else "left", overflow="fold", width=width)
    for row in rows:
        table.add_row(*map(escape, row))
    console.print(table)


def show_entries(title: str, columns: Sequence[str], entries: Sequence[Sequence[str]]) -> None:
    """Print aligned rows, each with its last cell, for which there is no column, on a line of its own."""
    rows, notes = [entry[:-1] for entry in entries], [entry[-1] for entry in entries]
    head, *lines = _aligned(columns, rows)
    out = [title if entries else f"{title}: none", *([head] if entries else [])]
    for line, note in zip(lines, notes, strict=True):
        out += [line, f"    {note}"]
    sys.stdout.write("\n".join(out) + "\n")


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
    if value is None:
        return "-"
    return f"{Decimal(f'{value:.{_ROUGH_DIGITS}g}'):f}"


def percent(value: Decimal | float | None) -> str:
    """Return a percentage with two decimals."""
    return "-" if value is None else f"{value:.2f} %"


def instant(at: datetime | None) -> str:
    """Return an instant in UTC to the second."""
    return "-" if at is None else at.strftime("%Y-%m-%d %H:%M:%S")


def _widths(names: Sequence[str], rows: Sequence[Sequence[str]], room: int) -> list[int] | list[None]:
    """Return how wide each column is where no word but a URL is broken; None for all where that does not fit."""
    columns = list(zip(*(names, *rows), strict=True))
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


def _plain(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    out = [title, *_aligned(columns, rows)] if rows else [f"{title}: none"]
    sys.stdout.write("\n".join(out) + "\n")


def _aligned(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    cells = [
        [column.removesuffix(">") for column in columns],
        *([" ".join(cell.split()) for cell in row] for row in rows),
    ]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if column.endswith(">") else cell.ljust(width)
            for cell, width, column in zip(row, widths, columns, strict=True)
        ).rstrip()
        for row in cells
    ]
