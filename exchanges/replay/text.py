"""Tell what a CSV file is, where it is not the comma-separated UTF-8 text that a replay reads."""

from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Final

from exchanges.clock import to_ms
from exchanges.replay.stamps import wrong_unit

_HEAD: Final = 4096
_HUGE: Final = 10**20
_MARKS: Final = (
    (b"PAR1", "is a Parquet file; name it *.parquet"),
    (b"PK\x03\x04", "is a zip file or a spreadsheet; export it as CSV"),
    (b"\x1f\x8b", "is compressed; unpack it"),
    (b"\xff\xfe", "is UTF-16 text; save it as UTF-8"),
    (b"\xfe\xff", "is UTF-16 text; save it as UTF-8"),
)


def csv_fault(path: Path) -> str:
    """Return what the beginning of a file shows to be wrong and the mend, empty where it shows nothing."""
    with path.open("rb") as file:
        head = file.read(_HEAD)
    for mark, fault in _MARKS:
        if head.startswith(mark):
            return fault
    line = head.partition(b"\n")[0].removesuffix(b"\r")
    if b"\0" in line:
        return "holds NUL characters, as UTF-16 text does; save it as UTF-8"
    if b"\r" in line:
        return "has lines that end in a carriage return alone; save it with line feeds"
    for sign, word in ((b";", "semicolons"), (b"\t", "tabs"), (b"|", "bars")):
        if sign in line and b"," not in line:
            return f"has its columns separated by {word}; write commas between them, and a point in numbers"
    return ""


def stamp_mend(value: object) -> str:
    """Return `; write N` for a time that is a date, or a number in another form; empty for anything else."""
    if not isinstance(value, str):
        return "; repair or remove the row"
    try:
        at = datetime.fromisoformat(value.strip())
        return f"; write {to_ms(at if at.tzinfo else at.replace(tzinfo=UTC))} for this time"
    except (ValueError, OverflowError):
        pass
    try:
        number = Decimal(value)
    except InvalidOperation:
        return "; repair or remove the row"
    if not number.is_finite() or number != number.to_integral_value() or abs(number) >= _HUGE:
        return "; repair or remove the row"
    unit = wrong_unit(int(number))
    return f"; {unit.partition('; ')[2]}" if unit else f"; write {number:.0f}"
