"""Which flattens are under way."""

from collections.abc import Mapping, Sequence
from typing import Any

from manager.errors import NoFlatten
from manager.state.acts import FlattenId, FlattenRow
from manager.state.kinds import FlattenState
from manager.state.records import TenantId
from manager.state.store import Search, Store


def open_flattens(where: Mapping[str, Any]) -> Search:
    """Return the search for the flattens under way."""
    return Search(kind=FlattenRow, where={**where, "state": FlattenState.OPEN})


def told_flatten(row: FlattenRow) -> str:
    """Say in a line that a flatten is under way."""
    of = f"trader {row.trader_id}" if row.trader_id else "all traders"
    told = f": {row.reason}" if row.reason else ""
    return f"flatten of {of} under way since {row.at:%Y-%m-%d %H:%M:%S} UTC by {row.actor}{told}"


async def read_parts(store: Store, tenant: TenantId, flatten_id: FlattenId) -> Sequence[FlattenRow]:
    """Return the parts that a flatten began, one an account, ended ones too; raise NoFlatten where there is none."""
    async with store.transaction(tenant) as tx:
        parts = await tx.find(FlattenRow, {"flatten_id": flatten_id}, limit=None)
    if not parts:
        raise NoFlatten(f"there is no flatten {flatten_id!r}")
    return parts
