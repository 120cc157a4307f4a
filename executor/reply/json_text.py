"""Strict JSON with exact numbers, for replies and recordings."""

import json
from collections import Counter
from decimal import Decimal, InvalidOperation
from typing import Final

from executor.errors import ReplySyntaxError

MAX_DIGITS: Final = 40


class RepeatedKeys(dict[str, object]):
    """Mark an object that names a key twice, so that which value was meant is unknown; `names` lists such keys."""

    def __init__(self, pairs: list[tuple[str, object]]) -> None:
        super().__init__(pairs)
        self.names = sorted(name for name, times in Counter(name for name, _ in pairs).items() if times > 1)


def read_json(text: str, *, strict: bool = True) -> object:
    """Return the value of a JSON text, fractions as exact Decimals; raise ReplySyntaxError.

    NaN, Infinity and numbers beyond any range become Decimals that no field accepts, so only their item is lost. Not
    `strict` allows line breaks inside strings.
    """
    try:
        return json.loads(
            text,
            parse_float=_fraction,
            parse_int=_integer,
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


def _integer(text: str) -> int | Decimal:
    return int(text) if len(text) <= MAX_DIGITS else Decimal("Infinity")
