"""What a model is shown of the desk's own record comes from the right rows, and only from those."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

from exchanges.types import OrderType, Side
from executor.registry import ExecutorSpec, ExecutorType
from manager.jobs.details import read_record
from manager.state.memory import MemoryStore
from manager.state.records import (
    DEFAULT_TENANT,
    AccountRow,
    BookRow,
    FillPartRow,
    OrderPurpose,
    OrderRow,
    OrderState,
    PositionRow,
    ScheduleRow,
    Share,
    SpendingRow,
    TraderRow,
)
from manager.state.store import Store
from manager.state.sums import TRADER, day_of
from state_rows import AT, BTC, make_row
from traders.book import EXTERNAL
from traders.details import OwnRecord


def order(order_id: str, purpose: OrderPurpose, *traders: str, state: OrderState = OrderState.ACCEPTED) -> OrderRow:
    return make_row(
        OrderRow,
        account_id="a",
        order_id=order_id,
        symbol=BTC,
        side=Side.SELL,
        type=OrderType.STOP,
        purpose=purpose,
        trigger_price=Decimal(95),
        state=state,
        shares=tuple(Share(trader_id=trader, quantity=Decimal(2)) for trader in traders),
    )


def part(trade_id: str, trader: str, purpose: str, minute: int) -> FillPartRow:
    return make_row(
        FillPartRow,
        account_id="a",
        trade_id=trade_id,
        trader_id=trader,
        purpose=purpose,
        quantity=Decimal(-1),
        realized=Decimal(7),
        at=AT.replace(minute=minute),
    )


def held(trader: str, quantity: int) -> PositionRow:
    return make_row(PositionRow, account_id="a", trader_id=trader, symbol=BTC, quantity=Decimal(quantity))


async def record(store: Store, *, show: bool = True) -> OwnRecord:
    trader = make_row(TraderRow, account_id="a", trader_id="t1")
    trader = replace(trader, spec=replace(trader.spec, id="t1", symbols=(BTC,), show_desk_exposure=show))
    books = [make_row(BookRow, account_id="a", trader_id=name) for name in ("t1", "t2", "t3", EXTERNAL)]
    async with store.service() as service:
        await service.ensure_tenant(DEFAULT_TENANT)
    async with store.transaction(DEFAULT_TENANT) as tx:
        await tx.insert([make_row(AccountRow, account_id="a"), trader, *books])
        await tx.insert([make_row(ScheduleRow, account_id="a", trader_id="t1")])
        await tx.insert([held("t1", 5), held("t2", 3), held("t3", -1), held(EXTERNAL, 100)])
        await tx.insert(
            [
                order("1", OrderPurpose.STOP, "t1", "t2"),
                order("2", OrderPurpose.TARGET, "t2"),
                order("3", OrderPurpose.STOP, "t1", state=OrderState.CANCELED),
                order("4", OrderPurpose.ENTRY, "t1"),
                part("1", "t1", OrderPurpose.ENTRY, 1),
                part("2", "t1", OrderPurpose.TARGET, 2),
                part("3", "t2", OrderPurpose.STOP, 3),
                part("4", "t1", OrderPurpose.STOP, 4),
            ]
        )
        return await read_record(tx, await tx.trader("t1"), AT)


async def test_only_own_parts_of_resting_protection_are_shown() -> None:
    found = await record(MemoryStore())
    assert [(one.purpose, one.quantity, one.trigger_price, one.state) for one in found.orders] == [
        ("stop", Decimal(-2), Decimal(95), "accepted")
    ]


async def test_own_closes_are_shown_newest_first() -> None:
    found = await record(MemoryStore())
    assert [(one.how, one.at.minute, one.quantity, one.pnl_usd) for one in found.trades] == [
        ("stop", 4, Decimal(1), Decimal(7)),
        ("target", 2, Decimal(1), Decimal(7)),
    ]


async def test_others_are_summed_without_oneself_and_without_external() -> None:
    assert (await record(MemoryStore())).others == {BTC: Decimal(2)}


async def test_others_are_not_read_where_they_are_not_shown() -> None:
    assert (await record(MemoryStore(), show=False)).others is None


async def test_what_is_left_for_models_is_shown_to_who_has_a_budget() -> None:
    store = MemoryStore()
    assert (await record(store)).model_usd is None
    asks = ExecutorSpec(type=ExecutorType.LLM, budget_usd_per_day=Decimal(2))
    async with store.transaction(DEFAULT_TENANT) as tx:
        row = await tx.get(TraderRow, "t1")
        assert row is not None
        await tx.patch(TraderRow, ("t1",), spec=replace(row.spec, executor=asks))
        trader = await tx.trader("t1")
        assert (await read_record(tx, trader, AT)).model_usd == 2
        sums = SpendingRow(tenant_id=DEFAULT_TENANT, day=day_of(AT), scope=TRADER, name="t1")
        await tx.add([replace(sums, spent_usd=Decimal("0.5"), unknown_usd=Decimal("0.25"))])
        assert (await read_record(tx, trader, AT)).model_usd == Decimal("1.25")
        await tx.add([replace(sums, spent_usd=Decimal(9))])
        assert (await read_record(tx, trader, AT)).model_usd == 0
        assert (await read_record(tx, trader, AT + timedelta(days=1))).model_usd == 2
