"""Text from outside: cut and cleaned to be kept, or read as strict JSON with exact numbers."""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Final

from executor.contract import ZERO
from executor.errors import ReplySyntaxError

MAX_TEXT: Final = 8_000
MAX_DIGITS: Final = 40
_LARGEST: Final = Decimal(10) ** 15
_SMALLEST: Final = Decimal(10) ** -18
_PLAIN_NUMBER: Final = re.compile(r"-?\d{1,40}(\.\d{1,40})?([eE][+-]?\d{1,3})?", re.ASCII)


def clean_text(text: str, limit: int = MAX_TEXT) -> str:
    """Return `text` cut to `limit` characters, without NUL and lone surrogates, which UTF-8 text columns refuse."""
    return encodable(text[:limit].replace("\x00", ""))


def encodable(text: str) -> str:
    """Return `text` with a question mark for each lone surrogate, which UTF-8 cannot carry."""
    return text.encode("utf-8", "replace").decode("utf-8")


def shown(value: object) -> str:
    """Return a value as a message quotes it: short, and of lists and objects the size only."""
    match value:
        case str():
            return clean_text(json.dumps(value[:80], ensure_ascii=False))
        case list():
            return f"a list of {len(value)}"
        case Mapping():
            return f"an object of {len(value)} keys"
        case _:
            return str(value)[:80] if isinstance(value, Decimal) else repr(value)[:80]


def listed(names: Sequence[str]) -> str:
    """Return the first names as a message lists them, and how many more there are."""
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(clean_text(name, 60) for name in names[:5]) + more


def exact_number(value: object) -> Decimal:
    """Return a number, or the plain text of one, exactly; raise ValueError for what no field of a decision takes."""
    plain = _PLAIN_NUMBER.fullmatch(value) if isinstance(value, str) else not isinstance(value, bool)
    if isinstance(value, str | int) and plain:
        value = Decimal(value)
    if not isinstance(value, Decimal):
        raise ValueError("expected a plain number such as 1250.5, without words, separators or units")
    if not value.is_finite() or value.copy_abs() > _LARGEST or len(value.as_tuple().digits) > MAX_DIGITS:
        raise ValueError("expected a finite number of at most 1e15 and 40 digits")
    if not value:
        return ZERO
    if value.copy_abs() < _SMALLEST:
        raise ValueError("expected 0 or a number of at least 1e-18")
    return value


class RepeatedKeys(dict[str, object]):
    """Mark an object that names a key twice, so that which value was meant is unknown; `names` lists such keys."""

    def __init__(self, pairs: list[tuple[str, object]]) -> None:
        super().__init__(pairs)
        self.names = sorted(name for name, times in Counter(name for name, _ in pairs).items() if times > 1)


def read_json(text: str, *, strict: bool = True) -> object:
    """Return the value of a JSON text, fractions as exact Decimals; raise ReplySyntaxError.

    NaN, Infinity and numbers beyond any range become Decimals that no field accepts, so only their item is lost.
    `strict=False` allows line breaks inside strings.
    """
    try:
        return json.loads(
            text,
            parse_float=_fraction,
            parse_int=lambda digits: int(digits) if len(digits) <= MAX_DIGITS else Decimal("Infinity"),
            parse_constant=Decimal,
            object_pairs_hook=object_of,
            strict=strict,
        )
    except json.JSONDecodeError as error:
        raise ReplySyntaxError(f"not JSON: {error.msg} at line {error.lineno} column {error.colno}") from error
    except (ValueError, RecursionError) as error:
        raise ReplySyntaxError(f"not usable JSON: {error}") from error


def object_of(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Return the object of some pairs, as RepeatedKeys when a key is named twice."""
    plain = dict(pairs)
    return plain if len(plain) == len(pairs) else RepeatedKeys(pairs)


def _fraction(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        return Decimal("Infinity")
