"""Print results: JSON with decimals as strings, tables and lines no wider than the terminal, plain in a pipe."""

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from manager.cli.layout import Layout, wrapped
from manager.cli.printable import printable
from manager.cli.terminal import painter, width
from manager.views.pages import jsonable

_CENT = Decimal("0.01")
_ROUGH_DIGITS = 7
_FINEST = Decimal("0.0001")


def print_json(value: Any) -> None:
    """Print `value` as one JSON document on stdout."""
    sys.stdout.write(f"{json.dumps(jsonable(value), indent=2, allow_nan=False)}\n")


def say(text: str, style: str = "") -> None:
    """Print text on stdout, in colour on a terminal only, broken at blanks where it is wider than the terminal."""
    paint = painter()
    _out(paint(line, style) for line in wrapped(text, width()))


def write(text: str) -> None:
    """Print text on stdout as it is, tabs included, but for what would steer the terminal."""
    sys.stdout.write(f"{printable(text)}\n")


def show_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table as `Layout` lays it out, in the width of the terminal. Without rows only the title is printed."""
    say(title if rows else f"{title}: none", "bold")
    if rows:
        _out(Layout(columns, rows, width(), painter()).lines())


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


def span(seconds: float | None) -> str:
    """Return a duration in its two largest units, such as `2d 3h`."""
    if seconds is None:
        return "-"
    days, rest = divmod(timedelta(seconds=round(seconds)), timedelta(days=1))
    hours, minutes, left = rest.seconds // 3600, rest.seconds // 60 % 60, rest.seconds % 60
    parts = [(days, "d"), (hours, "h"), (minutes, "m"), (left, "s")]
    first = next((n for n, (count, _) in enumerate(parts) if count), len(parts) - 1)
    return " ".join(f"{count}{unit}" for count, unit in parts[first : first + 2])


def instant(at: datetime | None) -> str:
    """Return an instant in UTC to the second."""
    return "-" if at is None else at.strftime("%Y-%m-%d %H:%M:%S")


def _out(lines: Iterable[str]) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))
