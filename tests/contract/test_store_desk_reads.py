"""What a round reads is what is stored, whoever wrote it last: a process that remembers rows sees every change."""

import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from database_fixtures import Database
from manager.state.postgres.store import PostgresStore
from manager.state.records import (
    DEFAULT_TENANT,
    AccountId,
    AccountRow,
    BookRow,
    IncidentRow,
    IntentRow,
    IntentStatus,
    OrderRow,
    OrderState,
    PositionRow,
    ScheduleRow,
    TraderRow,
    TradingState,
)
from manager.state.store import AccountRows, Store
from manager.state.switches import Switch
from state_rows import AT, make_account, make_intent, make_row, make_trader

pytestmark = [pytest.mark.database]

ACCOUNT = AccountId("acco")


async def _read(store: Store) -> AccountRows:
    async with store.transaction(DEFAULT_TENANT) as tx:
        await tx.acquire(ACCOUNT, "reader")
        return await tx.account_rows(ACCOUNT)


@asynccontextmanager
async def _fresh(database: Database) -> AsyncIterator[PostgresStore]:
    store = PostgresStore.open(database.dsn)
    try:
        yield store
    finally:
        await store.close()


def _bare(rows: AccountRows) -> list[Any]:
    account = replace(rows.account, fencing_token=0, holder="")
    single = ("account", "paper_revision", "switches")
    many = [sorted(map(repr, getattr(rows, name))) for name in rows.__slots__ if name not in single]
    return [account, rows.paper_revision, rows.switches, *many]


async def _change(tx: Any, number: int, draw: random.Random) -> None:
    """Write something of the account, or take it away."""
    name = draw.choice(["t0", "t1", "t2"])
    match draw.randrange(9):
        case 0:
            await tx.patch(TraderRow, (name,), state_reason=f"reason {number}")
        case 1:
            await tx.patch(ScheduleRow, (name,), next_due_at=AT + timedelta(seconds=number))
        case 2:
            await tx.patch(BookRow, (ACCOUNT, name), allocated=Decimal(number))
        case 3:
            await tx.insert([make_intent(f"i{number}", trader_id=name)])
        case 4:
            for row in (await tx.find(IntentRow, {"status": IntentStatus.PENDING}))[:1]:
                await tx.patch(IntentRow, (row.intent_id,), status=IntentStatus.SUPERSEDED)
        case 5:
            await tx.insert([make_row(OrderRow, order_id=f"o{number}", account_id=ACCOUNT, state=OrderState.ACCEPTED)])
        case 6:
            for row in (await tx.find(OrderRow, {"state": OrderState.ACCEPTED}))[:1]:
                await tx.patch(OrderRow, (ACCOUNT, row.order_id), state=OrderState.CANCELED)
        case 7:
            await tx.upsert([make_row(PositionRow, trader_id=name, account_id=ACCOUNT, quantity=Decimal(number + 1))])
        case 8:
            held: Sequence[PositionRow] = await tx.find(PositionRow, {})
            await tx.delete(PositionRow, [(row.account_id, row.trader_id, row.symbol) for row in held[:1]])


@pytest.mark.parametrize("seed", range(2))
async def test_a_store_that_remembers_reads_what_a_fresh_one_reads(
    postgres_store: PostgresStore, database: Database, seed: int
) -> None:
    draw = random.Random(seed)
    async with postgres_store.service() as service:
        await service.ensure_tenant(DEFAULT_TENANT)
    async with postgres_store.transaction(DEFAULT_TENANT) as tx:
        await tx.insert([make_account(), *(row for n in range(3) for row in make_trader(f"t{n}"))])
    async with _fresh(database) as other:
        for number in range(20):
            writer = draw.choice([postgres_store, other])
            with suppress(RuntimeError):
                async with writer.transaction(DEFAULT_TENANT) as tx:
                    if draw.random() < 0.3:
                        await tx.account_rows(ACCOUNT)
                    for part in range(draw.randrange(1, 4)):
                        await _change(tx, 1000 * part + number, draw)
                    if draw.random() < 0.2:
                        await tx.switch(Switch(state=draw.choice(list(TradingState)), reason=f"reason {number}"))
                    if draw.random() < 0.3:
                        await tx.account_rows(ACCOUNT)
                    if draw.random() < 0.2:
                        raise RuntimeError("rolled back")
            async with _fresh(database) as fresh:
                expected = _bare(await _read(fresh))
            assert _bare(await _read(postgres_store)) == expected
            assert _bare(await _read(other)) == expected


async def test_rows_that_nobody_wrote_are_the_very_same(postgres_store: PostgresStore) -> None:
    async with postgres_store.service() as service:
        await service.ensure_tenant(DEFAULT_TENANT)
    async with postgres_store.transaction(DEFAULT_TENANT) as tx:
        incident = make_row(IncidentRow, incident_id="i", account_id=ACCOUNT, resolved_at=None)
        await tx.insert([make_account(), *make_trader("t1"), incident])
    first = await _read(postgres_store)
    async with postgres_store.transaction(DEFAULT_TENANT) as tx:
        await tx.patch(ScheduleRow, ("t1",), phase_s=7)
        await tx.patch(AccountRow, (ACCOUNT,), state_reason="changed")
    second = await _read(postgres_store)
    assert second.traders is first.traders
    assert second.incidents is first.incidents
    assert [row.phase_s for row in second.schedules] == [7]
    assert second.account.state_reason == "changed"
