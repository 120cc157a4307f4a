"""Which flattens are under way."""

from collections.abc import Mapping
from typing import Any

from manager.state.acts import FlattenRow
from manager.state.kinds import FlattenState
from manager.state.store import Search


def open_flattens(where: Mapping[str, Any]) -> Search:
    """Return the search for the flattens under way."""
    return Search(kind=FlattenRow, where={**where, "state": FlattenState.OPEN})


def told_flatten(row: FlattenRow) -> str:
    """Say in a line that a flatten is under way."""
    of = f"trader {row.trader_id}" if row.trader_id else "all traders"
    told = f": {row.reason}" if row.reason else ""
    return f"flatten of {of} under way since {row.at:%Y-%m-%d %H:%M:%S} UTC by {row.actor}{told}"
