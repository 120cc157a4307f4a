"""Sums that many writers add to, on every store: exact, whole, one tenant's, and held until the transaction ends."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from manager.state.errors import InvalidRow
from manager.state.records import DEFAULT_TENANT, TenantId
from manager.state.spending import HoldRow, SpendingRow
from manager.state.store import Store
from state_rows import make_row

OTHER = TenantId("other")
CENT = Decimal("0.01")
DAY = make_row(SpendingRow).day


class _Crash(Exception):
    """Stand for anything that ends a block early."""


def spending(name: str = "t1", **values: Any) -> SpendingRow:
    return replace(make_row(SpendingRow, scope="trader", name=name), **values)


async def add(store: Store, *rows: SpendingRow, tenant: TenantId = DEFAULT_TENANT) -> list[SpendingRow]:
    async with store.transaction(tenant) as tx:
        return list(await tx.add(rows))


async def read(store: Store) -> list[SpendingRow]:
    async with store.transaction(DEFAULT_TENANT) as tx:
        return list(await tx.find(SpendingRow, {}))


async def test_sums_are_exact_and_come_back_in_key_order(store: Store) -> None:
    first = spending("b", spent_usd=Decimal("0.1"), calls=1, input_tokens=100)
    again = spending("b", spent_usd=Decimal("0.2"), reserved_usd=Decimal(-5), calls=2, output_tokens=7)
    assert await add(store, first, spending("a")) == [spending("a"), first]
    (summed,) = await add(store, again)
    assert summed == first.plus(again)
    assert (summed.spent_usd, summed.calls, summed.input_tokens) == (Decimal("0.3"), 3, 100)
    assert await read(store) == [spending("a"), summed]


async def test_a_key_twice_in_one_call_is_added_twice(store: Store) -> None:
    assert await add(store, spending(calls=1), spending(calls=2)) == [spending(calls=3)]
    assert await add(store) == []


async def test_an_exception_takes_back_what_was_added(store: Store) -> None:
    await add(store, spending(spent_usd=CENT))
    with pytest.raises(_Crash):  # noqa: PT012 - the block ends the transaction
        async with store.transaction(DEFAULT_TENANT) as tx:
            await tx.add([spending(spent_usd=CENT), spending("new")])
            raise _Crash
    assert await read(store) == [spending(spent_usd=CENT)]


async def test_what_is_no_money_is_refused(store: Store) -> None:
    with pytest.raises(InvalidRow, match="spent_usd"):
        await add(store, spending(spent_usd=Decimal("NaN")))
    with pytest.raises(InvalidRow, match="tenant"):
        await add(store, spending(tenant_id=OTHER))
    assert await read(store) == []


async def test_tenants_have_their_own_sums(store: Store) -> None:
    async with store.service() as service:
        await service.ensure_tenant(OTHER)
    await add(store, spending(calls=1))
    assert await add(store, spending(tenant_id=OTHER, calls=5), tenant=OTHER) == [spending(tenant_id=OTHER, calls=5)]
    assert await read(store) == [spending(calls=1)]


async def test_who_adds_meanwhile_waits_and_loses_nothing(store: Store) -> None:
    names = [f"t{n}" for n in range(5)]

    async def spend(turn: int) -> None:
        order = names if turn % 2 else names[::-1]
        async with store.transaction(DEFAULT_TENANT) as tx:
            found = await tx.add([spending(name, calls=1, spent_usd=CENT) for name in order])
            await asyncio.sleep(0)
            assert await tx.add([spending(name) for name in order]) == found

    await asyncio.gather(*(spend(turn) for turn in range(40)))
    assert await read(store) == [spending(name, calls=40, spent_usd=40 * CENT) for name in names]


async def test_a_row_is_deleted_by_one_of_many(store: Store) -> None:
    async with store.transaction(DEFAULT_TENANT) as tx:
        await tx.insert([make_row(HoldRow, hold_id="h")])

    async def take() -> int:
        async with store.transaction(DEFAULT_TENANT) as tx:
            return await tx.delete(HoldRow, [("h",), ("missing",)])

    assert sorted(await asyncio.gather(*(take() for _ in range(4)))) == [0, 0, 0, 1]


async def test_sums_of_old_days_are_forgotten_for_every_tenant(store: Store) -> None:
    async with store.service() as service:
        await service.ensure_tenant(OTHER)
    old = spending(day=DAY - timedelta(days=1), calls=1)
    await add(store, old, spending(calls=2))
    await add(store, replace(old, tenant_id=OTHER), tenant=OTHER)
    async with store.service() as service:
        assert await service.forget_spending(old.day) == 0
        assert await service.forget_spending(DAY) == 2
        assert await service.forget_spending(DAY) == 0
    assert await read(store) == [spending(calls=2)]
