"""A replay's store drops contexts and passive decisions, and still counts and guards them."""

from dataclasses import replace

import pytest

from executor.contract import Action, Context, Decision, Outcome
from manager.state.errors import DuplicateRow
from manager.state.memory.store import MemoryStore
from manager.state.records import DEFAULT_TENANT, DecisionRow
from state_rows import BTC, examples_of, make_account, make_row, values_of

HOLD = (Decision(symbol=BTC, action=Action.HOLD),)
OPEN = (*HOLD, Decision(symbol=BTC, action=Action.OPEN_LONG))


def _row(n: int, trader_id: str = "t1", decisions: tuple[Decision, ...] = HOLD) -> DecisionRow:
    (context,) = examples_of(values_of(Context), 1)
    return make_row(
        DecisionRow, decision_id=f"{trader_id}@{n}", trader_id=trader_id, decisions=decisions, context=context
    )


async def _store(*rows: DecisionRow, keep_contexts: bool) -> MemoryStore:
    store = MemoryStore(keep_contexts=keep_contexts)
    async with store.service() as service:
        await service.ensure_tenant(DEFAULT_TENANT)
    async with store.transaction(DEFAULT_TENANT) as transaction:
        await transaction.insert([make_account()])
    for row in rows:
        async with store.transaction(DEFAULT_TENANT) as transaction:
            await transaction.insert([row])
    return store


async def _kept(store: MemoryStore) -> dict[str, DecisionRow]:
    async with store.transaction(DEFAULT_TENANT) as transaction:
        return {row.decision_id: row for row in await transaction.find(DecisionRow, {})}


async def test_only_the_latest_passive_decision_of_a_trader_is_kept() -> None:
    rows = [_row(1), _row(2, decisions=OPEN), _row(3), _row(4), _row(9, "t2")]
    failed = replace(_row(5), decisions=(), outcome=Outcome.TIMEOUT)
    store = await _store(*rows, failed, keep_contexts=False)
    kept = await _kept(store)
    assert set(kept) == {"t1@2", "t1@4", "t1@5", "t2@9"}
    assert {row.context for row in kept.values()} == {None}
    assert store.decision_counts(DEFAULT_TENANT) == {"t1": 5, "t2": 1}


async def test_everything_is_kept_otherwise() -> None:
    rows = [_row(1), _row(2), _row(3, decisions=OPEN)]
    store = await _store(*rows, keep_contexts=True)
    assert await _kept(store) == {row.decision_id: row for row in rows}
    assert store.decision_counts(DEFAULT_TENANT) == {"t1": 3}


async def test_a_rollback_brings_the_replaced_decision_and_the_count_back() -> None:
    store = await _store(_row(1), keep_contexts=False)
    with pytest.raises(RuntimeError):  # noqa: PT012 - the block ends the transaction
        async with store.transaction(DEFAULT_TENANT) as transaction:
            await transaction.insert([_row(2), _row(3)])
            raise RuntimeError
    assert set(await _kept(store)) == {"t1@1"}
    assert store.decision_counts(DEFAULT_TENANT) == {"t1": 1}


async def test_the_latest_decision_cannot_be_taken_twice() -> None:
    store = await _store(_row(1), _row(2), keep_contexts=False)
    with pytest.raises(DuplicateRow):
        async with store.transaction(DEFAULT_TENANT) as transaction:
            await transaction.insert([_row(2)])
    assert store.decision_counts(DEFAULT_TENANT) == {"t1": 2}
