"""What a request must satisfy beyond its types: each value is said once and plainly, and there are not too many."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from decimal import Decimal
from typing import Any, Final

from executor.contract import Context
from executor.errors import RequestInvalid
from executor.reply.json_text import RepeatedKeys
from executor.reply.parser import clean_text

MAX_SYMBOLS: Final = 64
MAX_ROWS: Final = 256
_PLAIN: Final = re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d{1,3})?", re.ASCII)
_WIDEST: Final = 999
_SERIES: Final = ("last_closes", "last_candles", "long_candles")
_SHOWN: Final = 300


def check_request(raw: Mapping[str, Any], context: Context) -> None:
    """Raise RequestInvalid, which names the place, for the first fault of what was read out of `raw`."""
    for place, count, most in _sizes(context):
        if count > most:
            raise RequestInvalid(f"context.{place}: has {count} entries; at most {most} are taken at once")
    for fault in _faults(raw["context"], context, "context"):
        raise RequestInvalid(clean_text(fault, _SHOWN))


def _sizes(context: Context) -> Iterator[tuple[str, int, int]]:
    for name in ("symbols", "positions", "market"):
        yield name, len(getattr(context, name)), MAX_SYMBOLS
    yield "denials", len(context.denials), MAX_ROWS
    details = context.details
    if details is not None:
        for name in ("orders", "trades", "others"):
            yield f"details.{name}", len(getattr(details, name) or ()), MAX_ROWS
    for symbol, view in context.market.items():
        for name in _SERIES:
            yield f"market.{clean_text(symbol, 60)}.{name}", len(getattr(view, name)), MAX_ROWS


def _faults(raw: Any, value: Any, place: str) -> Iterator[str]:
    """Walk what was sent beside what it was read as: only there is seen how a number was written."""
    if isinstance(raw, RepeatedKeys):
        yield _twice(place, raw)
    if isinstance(value, Decimal):
        written_plainly = not isinstance(raw, str) or _PLAIN.fullmatch(raw)
        if not written_plainly or abs(value.adjusted()) > _WIDEST:
            yield f"{place}: expected a plain number such as 1250.5, without spaces or separators"
    elif is_dataclass(value):
        yield from _of_fields(raw, value, place)
    elif isinstance(value, Mapping):
        for symbol, view in value.items():
            if view.symbol != symbol:
                yield f"{place}.{symbol}: holds the market of {view.symbol}; send each symbol its own"
            yield from _faults(raw[symbol], view, f"{place}.{symbol}")
    elif isinstance(value, tuple):
        for index, (sent, item) in enumerate(zip(raw, value, strict=True)):
            yield from _faults(sent, item, f"{place}.{index}")


def _of_fields(raw: Mapping[str, Any], value: Any, place: str) -> Iterator[str]:
    for field in fields(value):
        here = f"{place}.{field.name}"
        if field.name in raw and field.name in _SERIES:
            yield from _repeats(raw[field.name], here)
        elif field.name in raw:
            yield from _faults(raw[field.name], getattr(value, field.name), here)


def _repeats(series: Sequence[Any], place: str) -> Iterator[str]:
    for index, item in enumerate(series):
        if isinstance(item, RepeatedKeys):
            yield _twice(f"{place}.{index}", item)


def _twice(place: str, raw: RepeatedKeys) -> str:
    return f"{place}: {', '.join(raw.names)} given twice; name each field once"
