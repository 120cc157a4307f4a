"""The one statement of a view's searches, however many they are, and that of events in the order of their places."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.sql.selectable import ScalarSelect

from manager.state.keys import KEYS, TRADERS_IN
from manager.state.postgres.statements import TENANT, Command, Shape, array, as_json, equal, newest, shape_of
from manager.state.records import AccountRow, EventRow, OrderRow, TraderRow
from manager.state.store import EventPlace, Search
from manager.state.tables import TABLES
from manager.state.tables.types import INSTANT

_OLDEST_UNDER_WAY: sa.ColumnElement[Any] = sa.literal_column("pg_snapshot_xmin(pg_current_snapshot())::text::bigint")


class SearchShape(NamedTuple):
    """Hold what the statement of one search depends on; `since`, `until`, `about` tell whether they are given."""

    kind: type[Any]
    where: Shape
    newest_first: str
    each: tuple[str, ...]
    since: bool
    until: bool
    about: bool
    begins: tuple[str, ...]
    omit: tuple[str, ...]


def shapes_of(searches: Sequence[Search]) -> tuple[tuple[SearchShape, ...], dict[str, Any]]:
    """Return what the statement of some searches depends on, and its parameters."""
    shapes: list[SearchShape] = []
    parameters: dict[str, Any] = {}
    for n, one in enumerate(searches):
        where, values = shape_of(one.where)
        given = {**values, "limit": one.limit, "since": one.since, "until": one.until, "about": one.about}
        given |= {f"begins_{name}": value for name, value in one.begins.items()}
        parameters |= {f"s{n}_{name}": value for name, value in given.items()}
        since, until, about = one.since is not None, one.until is not None, bool(one.about)
        bounds = (since, until, about, tuple(one.begins))
        shapes.append(SearchShape(one.kind, where, one.newest_first, one.each, *bounds, one.omit))
    return tuple(shapes), parameters


@lru_cache(maxsize=256)
def search_command(shapes: tuple[SearchShape, ...]) -> Command:
    """Return the statement of `search`, built when its shapes are first met."""
    return Command.of(search(shapes))


@lru_cache(maxsize=16)
def events_command(where: Shape) -> Command:
    """Return the statement of `events`, built when its shape is first met."""
    return Command.of(events(where))


def search(shapes: Sequence[SearchShape]) -> sa.Select[Any]:
    """Build one read of several searches, and so one snapshot; parameters: `tenant` and those of `shapes_of`."""
    return sa.select(*(_found(shape, f"s{n}_") for n, shape in enumerate(shapes)))


def events(where: Shape) -> sa.Select[Any]:
    """Build the read of events after a place: that of each and its row; parameters: `xact`, `seq`, `tenant`, `limit`.

    Transactions end in another order than they begin: what was written beside one under way is left for later.
    """
    table = TABLES[EventRow]
    place = (table.c.xact, table.c.seq)
    after = sa.tuple_(*(sa.bindparam(name, type_=sa.BigInteger()) for name in EventPlace._fields))
    return (
        sa.select(*place, sa.cast(as_json(table), sa.Text()))
        .where(table.c.tenant_id == TENANT, sa.tuple_(*place) > after, table.c.xact < _OLDEST_UNDER_WAY)
        .where(*equal(table, where))
        .order_by(*place)
        .limit(sa.bindparam("limit", type_=sa.Integer()))
    )


def _found(shape: SearchShape, prefix: str) -> ScalarSelect[Any]:
    """Read what belongs to each owner through the index of its newest rows, or without owners as `find` does."""
    table = TABLES[shape.kind]
    clauses = equal(table, [one for one in shape.where if one[0] not in shape.each], prefix)
    if shape.since:
        clauses.append(table.c[shape.newest_first] >= sa.bindparam(f"{prefix}since", type_=INSTANT))
    if shape.until:
        clauses.append(table.c[shape.newest_first] <= sa.bindparam(f"{prefix}until", type_=INSTANT))
    if shape.about:
        clauses.append(_concerns(shape.kind, table, sa.bindparam(f"{prefix}about", type_=sa.Text())))
    for name in shape.begins:
        wanted = sa.bindparam(f"{prefix}begins_{name}", type_=sa.Text())
        clauses.append(sa.func.starts_with(table.c[name], wanted))
    row = as_json(table, [col.name for col in table.columns if col.name not in shape.omit]).label("row")
    bounded = shape.since or shape.until
    order = (*newest(table, shape.newest_first, bounded=bounded), *(table.c[name] for name in KEYS[shape.kind]))
    limit = sa.bindparam(f"{prefix}limit", type_=sa.Integer())
    rows = sa.select(row).where(table.c.tenant_id == TENANT, *clauses)
    if not shape.each:
        return array(rows.order_by(*order), limit)
    owners = TABLES[TraderRow if "trader_id" in shape.each else AccountRow].alias("owners")
    place = sa.func.row_number().over(order_by=order).label("place")
    mine = rows.add_columns(place).where(*(table.c[name] == owners.c[name] for name in shape.each))
    lateral = mine.order_by(*order).limit(limit).lateral("mine")
    narrowed = [one for one in shape.where if one[0] in shape.each]
    return array(
        sa.select(lateral.c.row)
        .select_from(owners.join(lateral, sa.true()))
        .where(owners.c.tenant_id == TENANT, *equal(owners, narrowed, prefix))
        .order_by(*owners.primary_key, lateral.c.place)
    )


def _concerns(kind: type[Any], table: sa.Table, trader: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
    if kind not in TRADERS_IN:
        return table.c.trader_id == trader
    one = sa.func.jsonb_build_object(sa.literal_column("'trader_id'"), trader) if kind is OrderRow else trader
    return table.c[TRADERS_IN[kind]].contains(sa.func.jsonb_build_array(one))
