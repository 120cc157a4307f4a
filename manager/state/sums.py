"""How the sums of what models cost grow."""

from dataclasses import replace
from typing import Final

from manager.state.records import SpendingRow

ADDED: Final = (
    "spent_usd",
    "reserved_usd",
    "unknown_usd",
    "calls",
    "input_tokens",
    "cached_tokens",
    "output_tokens",
)


def added(one: SpendingRow, other: SpendingRow) -> SpendingRow:
    """Return `one` with the numbers of `other` added."""
    return replace(one, **{name: getattr(one, name) + getattr(other, name) for name in ADDED})
