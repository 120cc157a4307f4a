"""What all views share: values as JSON, pages, and the opaque cursors that say where a page ended."""

import dataclasses
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Any, TypeVar

from manager.errors import UnknownCursor

V = TypeVar("V")
_LARGEST = 2**63 - 1


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
    plain = value.isoformat() if isinstance(value, datetime) else str(value)
    return f"{value:f}" if isinstance(value, Decimal) else plain


def cursor_of(*parts: str | int) -> str:
    """Return the text that stands for a place in a view; only `parts_of` reads it."""
    return urlsafe_b64encode(json.dumps(parts).encode()).decode().rstrip("=")


def parts_of(cursor: str, *kinds: type[str] | type[int]) -> tuple[Any, ...]:
    """Return what a cursor was made of; raise UnknownCursor for a text that this view has not given out."""
    try:
        found = json.loads(urlsafe_b64decode(f"{cursor}{'=' * (-len(cursor) % 4)}"))
    except (ValueError, RecursionError):
        found = None
    sound = isinstance(found, list) and [type(part) for part in found] == list(kinds)
    if not sound or any(type(part) is int and not 0 <= part <= _LARGEST for part in found):
        raise _unknown(cursor)
    return tuple(found)


def _unknown(cursor: str) -> UnknownCursor:
    return UnknownCursor(f"{cursor!r} is no cursor of this view; give the `next` of the page before, or none")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """Say where a page ended, the newest first: at which instant, and how many rows of that instant were told.

    Rows of one instant keep their order, so that those told are the first of them; None is before the newest.
    """

    at: datetime | None = None
    told: int = 0

    @classmethod
    def of(cls, cursor: str) -> "Moment":
        """Return the place that a cursor stands for; raise UnknownCursor."""
        if not cursor:
            return cls()
        text, told = parts_of(cursor, str, int)
        try:
            return cls(at=datetime.fromisoformat(text).astimezone(UTC), told=told)
        except (ValueError, OverflowError):
            raise _unknown(cursor) from None

    def wanted(self, limit: int) -> int:
        """Return how many rows up to `at` are to be read for a page of `limit` and to see whether there are more."""
        return self.told + limit + 1

    def cut(self, rows: Sequence[V], at: Callable[[V], datetime], limit: int) -> tuple[tuple[V, ...], str]:
        """Return a page of the rows up to `at`, the newest first, and the cursor of the next, empty at the end."""
        end = self.told + limit
        page = tuple(rows[self.told : end])
        if len(rows) <= end:
            return page, ""
        last = at(rows[end - 1])
        told = sum(at(row) == last for row in rows[:end])
        return page, cursor_of(last.isoformat(), told)
