"""Searches in plain SQL fit the tables that are declared: names, columns, money, and what may be empty."""

from dataclasses import fields
from typing import Any

import pytest
from sqlalchemy.dialects.postgresql import DOMAIN

from manager.state.keys import KEYS
from manager.state.postgres import reads
from manager.state.records import BookRow, EventRow, OrderRow
from manager.state.tables import TABLES

OF_THE_TABLE_ALONE: dict[type[Any], set[str]] = {BookRow: {"sharpe"}, EventRow: {"xact", "seq"}}


@pytest.mark.parametrize("kind", KEYS, ids=lambda kind: kind.__name__)
def test_a_row_is_read_from_the_table_that_is_declared_for_it(kind: type[Any]) -> None:
    table = TABLES[kind]
    alone = OF_THE_TABLE_ALONE.get(kind, set())
    columns = {column.name: column for column in table.columns if column.name not in alone}
    assert reads.NAMES[kind] == table.name
    assert set(columns) == {one.name for one in fields(kind)}
    for name, column in columns.items():
        money = f"'{name}', {table.name}.{name}::text" in reads.find_command(reads.SearchShape(kind, ())).sql.decode()
        assert money == isinstance(column.type, DOMAIN), name
        may_lack = f"{name} DESC NULLS LAST" in reads.find_command(reads.SearchShape(kind, (), name)).sql.decode()
        assert may_lack == bool(column.nullable), name


@pytest.mark.parametrize(
    "shape",
    [
        reads.SearchShape(OrderRow, (("state = '' OR true --", object),), ""),
        reads.SearchShape(OrderRow, (), "created_at; DROP TABLE orders"),
        reads.SearchShape(OrderRow, (), "", each=("1=1",)),
        reads.SearchShape(OrderRow, (), "", begins=("x",)),
    ],
)
def test_what_is_no_field_of_the_row_never_becomes_a_part_of_a_statement(shape: reads.SearchShape) -> None:
    with pytest.raises(KeyError):
        reads.search_command((shape,))
