"""How the terms of an account, kept as JSON in its row and in events, differ from others."""

import json
from collections.abc import Mapping
from typing import Any


def differing_terms(before: str, after: str) -> list[tuple[str, Any, Any]]:
    """Return field by field what differs: its name and both values, `unset` where there is none."""
    old, new = _flat(json.loads(before)), _flat(json.loads(after))
    both = [(name, old.get(name, "unset"), new.get(name, "unset")) for name in sorted(old.keys() | new.keys())]
    return [one for one in both if one[1] != one[2]]


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return flat
