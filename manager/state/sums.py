"""The sums of what models cost: their scopes, their days, and how they grow."""

from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Final

from manager.state.records import SpendingRow

TENANT: Final = "tenant"
MODEL: Final = "model"
TRADER: Final = "trader"
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


def day_of(at: datetime) -> datetime:
    """Return the UTC midnight at which the day of `at` began."""
    return at.replace(hour=0, minute=0, second=0, microsecond=0)


def used_usd(row: SpendingRow) -> Decimal:
    """Return what counts against a budget: spent, set aside, and not known."""
    return row.spent_usd + row.reserved_usd + row.unknown_usd
