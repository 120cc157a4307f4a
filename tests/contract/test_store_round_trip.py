"""Every row type comes back from every store exactly as it was written, whatever it holds."""

from dataclasses import fields, replace
from typing import Any

import pytest

from executor.contract import Context
from executor.prompts.values import SeenMarket
from manager.state.keys import APPEND_ONLY, FIXED, KEYS
from manager.state.records import DEFAULT_TENANT, AccountRow, DecisionRow
from manager.state.store import Store
from state_rows import examples_of, key_of, make_row, parents_of, rows_of, values_of


@pytest.mark.parametrize("kind", KEYS, ids=lambda kind: kind.__name__)
async def test_a_row_is_read_as_it_was_written(store: Store, kind: type[Any]) -> None:
    rows = {key_of(row): row for row in examples_of(rows_of(kind), 40)}
    async with store.transaction(DEFAULT_TENANT) as transaction:
        parents = {(type(parent), key_of(parent)): parent for row in rows.values() for parent in parents_of(row)}
        await transaction.insert(list(parents.values()))
        await transaction.insert(list(rows.values()))
    async with store.transaction(DEFAULT_TENANT) as transaction:
        for key, row in rows.items():
            assert await transaction.get(kind, *key) == row
        found = await transaction.find(kind, {})
        assert [key_of(row) for row in found] == sorted(rows)
        assert {key_of(row): row for row in found} == rows


@pytest.mark.parametrize("kind", [kind for kind in KEYS if kind not in APPEND_ONLY], ids=lambda kind: kind.__name__)
async def test_a_row_is_replaced_and_patched_whole(store: Store, kind: type[Any]) -> None:
    old, new = examples_of(rows_of(kind), 12)[-2:]
    kept = {name: getattr(old, name) for name in {*KEYS[kind], "account_id"} if hasattr(old, name)}
    if kind is AccountRow:
        kept |= {"fencing_token": old.fencing_token, "holder": old.holder}
    kept |= {name: getattr(old, name) for name in FIXED.get(kind, ())}
    new = replace(new, **kept)
    async with store.transaction(DEFAULT_TENANT) as transaction:
        await transaction.insert([*parents_of(old), old])
        await transaction.upsert([new])
        assert await transaction.get(kind, *key_of(old)) == new
        values = {item.name: getattr(old, item.name) for item in fields(kind)}
        await transaction.patch(kind, key_of(old), **{n: v for n, v in values.items() if n not in (*kept, "tenant_id")})
        assert await transaction.get(kind, *key_of(old)) == old


async def test_the_market_of_a_context_is_recorded(store: Store) -> None:
    contexts = examples_of(values_of(Context), 20)
    rows = [make_row(DecisionRow, decision_id=f"{n}", context=context) for n, context in enumerate(contexts)]
    async with store.transaction(DEFAULT_TENANT) as transaction:
        await transaction.insert([*parents_of(rows[0]), *rows])
        found = [await transaction.get(DecisionRow, row.decision_id) for row in rows]
    assert [row and row.context for row in found] == contexts
    markets = [market for context in contexts for market in context.market.values()]
    assert markets
    for market in markets:
        assert isinstance(market, SeenMarket)
        assert market.closes(1) == market.last_closes[-1:]
        assert market.closes(0) == ()
