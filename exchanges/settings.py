"""Read a venue's plain settings, naming the field, the value and the mend of what is wrong."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal, InvalidOperation

from exchanges.errors import ExchangeConfigError


class Settings:
    """Take fields out of a mapping one by one; `finish` refuses those that nobody took."""

    def __init__(self, where: str, values: Mapping[str, object]) -> None:
        self._where = where
        self._values = dict(values)
        self._taken: set[str] = set()

    def text(self, name: str, default: str | None = None) -> str:
        """Return a non-empty string."""
        value = self._take(name, default)
        if not isinstance(value, str) or not value:
            raise self._wrong(name, value, "a text")
        return value

    def optional_text(self, name: str) -> str | None:
        """Return a string, or None when it is not set."""
        return None if self._take(name, None) is None else self.text(name)

    def integer(self, name: str, default: int) -> int:
        """Return a whole number."""
        value = self._take(name, default)
        if not isinstance(value, int) or isinstance(value, bool):
            raise self._wrong(name, value, "a whole number")
        return value

    def decimal(self, name: str, default: Decimal) -> Decimal:
        """Return a finite decimal from a number or a text."""
        number = self.optional_decimal(name)
        return default if number is None else number

    def optional_decimal(self, name: str) -> Decimal | None:
        """Return a finite decimal, or None when it is not set."""
        value = self._take(name, None)
        if value is None:
            return None
        try:
            if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
                raise InvalidOperation
            number = Decimal(str(value))
        except InvalidOperation:
            raise self._wrong(name, value, "a number") from None
        if not number.is_finite():
            raise self._wrong(name, value, "a finite number")
        return number

    def above_zero(self, name: str, default: Decimal) -> Decimal:
        """Return a finite decimal above zero."""
        number = self.decimal(name, default)
        if number <= 0:
            raise self._wrong(name, number, "a number above zero")
        return number

    def instant(self, name: str) -> datetime | None:
        """Return an aware instant from ISO 8601 text, or None when it is not set."""
        value = self._take(name, None)
        if value is None:
            return None
        try:
            parsed = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
        except ValueError:
            raise self._wrong(name, value, "a time such as 2025-05-04T00:00:00+00:00") from None
        if parsed.tzinfo is None:
            raise self._wrong(name, value, "a time with its zone, such as 2025-05-04T00:00:00+00:00")
        return parsed

    def section(self, name: str) -> Mapping[str, object]:
        """Return a nested mapping, empty when it is not set."""
        value = self._take(name, {})
        if not isinstance(value, Mapping):
            raise self._wrong(name, value, "a mapping")
        return {str(key): inner for key, inner in value.items()}

    def finish(self) -> None:
        """Raise ExchangeConfigError for a field that was not taken."""
        for name in self._values:
            if name not in self._taken:
                known = ", ".join(sorted(self._taken))
                raise ExchangeConfigError(
                    f"{self._where}: unknown field {name}; known are {known}: remove or rename it"
                )

    def _take(self, name: str, default: object) -> object:
        self._taken.add(name)
        value = self._values.get(name)
        return default if value is None else value

    def _wrong(self, name: str, value: object, expected: str) -> ExchangeConfigError:
        shown = value if isinstance(value, Decimal) else repr(value)
        return ExchangeConfigError(f"{self._where}: {name} is {shown}, expected {expected}; change it in the config")
