"""Read a TOML file into the plain values and lines that a YAML file gives."""

import re
import tomllib
from collections.abc import Iterator
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, Final

_Loc = tuple[str | int, ...]
_HEADER: Final = re.compile(r"\s*(\[\[?)\s*([^\[\]]+?)\s*\]\]?\s*(#.*)?")
_KEY: Final = re.compile(r"\s*((?:[\w-]+|\"[^\"]*\"|'[^']*')(?:\s*\.\s*(?:[\w-]+|\"[^\"]*\"|'[^']*'))*)\s*=")
_PART: Final = re.compile(r"[\w-]+|\"[^\"]*\"|'[^']*'")
_MULTILINE: Final = ('"""', "'''")


def read_toml(text: str) -> tuple[dict[str, Any], dict[_Loc, int]]:
    """Return the values of a TOML text and the line of each table and key; raise ValueError for what is no TOML."""
    values = tomllib.loads(text, parse_float=Decimal)
    return {name: _plain(value) for name, value in values.items()}, dict(_lines(text))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return value.isoformat() if isinstance(value, datetime | date | time) else value


def _lines(text: str) -> Iterator[tuple[_Loc, int]]:
    """Yield where tables and keys are written; keys inside an inline table go by the line of the table."""
    table: _Loc = ()
    counts: dict[_Loc, int] = {}
    inside = ""
    for number, line in enumerate(text.splitlines(), start=1):
        if inside:
            inside = "" if inside in line else inside
            continue
        if header := _HEADER.fullmatch(line):
            table = _table(_parts(header[2]), counts, listed=header[1] == "[[")
            yield table, number
        elif key := _KEY.match(line):
            yield (*table, *_parts(key[1])), number
        inside = next((mark for mark in _MULTILINE if line.count(mark) % 2), "")


def _table(parts: _Loc, counts: dict[_Loc, int], *, listed: bool) -> _Loc:
    """Return the place of a table, with the number of each list of tables that it is in."""
    place: _Loc = ()
    for part in parts[:-1]:
        place = (*place, part)
        if place in counts:
            place = (*place, counts[place])
    place = (*place, parts[-1])
    if listed:
        counts[place] = counts.get(place, -1) + 1
        place = (*place, counts[place])
    return place


def _parts(name: str) -> _Loc:
    return tuple(part.strip("\"'") for part in _PART.findall(name))
