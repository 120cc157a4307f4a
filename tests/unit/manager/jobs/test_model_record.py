"""What a model is shown of the desk's own record comes from the right rows, and only from those."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

from exchanges.types import Instrument, OrderType, Side, Symbol
from executor.contract import Context
from executor.prompts.sample import sample_context
from executor.registry import ExecutorSpec, ExecutorType
from manager.jobs.details import read_record
from manager.state.memory.store import MemoryStore
from manager.state.records import (
    DEFAULT_TENANT,
    AccountRow,
    BookRow,
    DecisionRow,
    FillPartRow,
    OrderPurpose,
    OrderRow,
    OrderState,
    PositionRow,
    ScheduleRow,
    Share,
    TraderRow,
)
from manager.state.spending import MODEL, TENANT, TRADER, BudgetRow, SpendingRow, day_of
from manager.state.store import Store
from state_rows import AT, BTC, make_row
from traders.book import EXTERNAL
from traders.details import EarlierPositions, Holding, LiveEntry, OwnRecord
from traders.spec import TraderId

INSTRUMENTS = {Symbol(BTC): Instrument(symbol=Symbol(BTC), contract_size=Decimal("0.01"))}


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
        shares=tuple(Share(trader_id=TraderId(trader), quantity=Decimal(2)) for trader in traders),
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


async def record(store: Store, *, show: bool = True, dust: bool = False) -> OwnRecord:
    trader = make_row(TraderRow, account_id="a", trader_id="t1")
    trader = replace(trader, spec=replace(trader.spec, id=TraderId("t1"), symbols=(BTC,), show_desk_exposure=show))
    books = [make_row(BookRow, account_id="a", trader_id=name) for name in ("t1", "t2", "t3", EXTERNAL)]
    async with store.service() as service:
        await service.ensure_tenant(DEFAULT_TENANT)
    async with store.transaction(DEFAULT_TENANT) as tx:
        await tx.insert([make_row(AccountRow, account_id="a"), trader, *books])
        await tx.insert([make_row(ScheduleRow, account_id="a", trader_id="t1")])
        await tx.insert([replace(held("t1", 5), dust=dust), held("t2", 3), held("t3", -1), held(EXTERNAL, 100)])
        await tx.insert(
            [
                order("1", OrderPurpose.STOP, "t1", "t2"),
                order("2", OrderPurpose.TAKE_PROFIT, "t2"),
                order("3", OrderPurpose.STOP, "t1", state=OrderState.CANCELED),
                order("4", OrderPurpose.ENTRY, "t1"),
                part("1", "t1", OrderPurpose.ENTRY, 1),
                part("2", "t1", OrderPurpose.TAKE_PROFIT, 2),
                part("3", "t2", OrderPurpose.STOP, 3),
                part("4", "t1", OrderPurpose.STOP, 4),
            ]
        )
        return await read_record(tx, await tx.trader(TraderId("t1")), INSTRUMENTS, AT)


async def test_only_own_parts_of_resting_protection_are_shown() -> None:
    found = await record(MemoryStore())
    assert [(one.purpose, one.quantity, one.trigger_price, one.state) for one in found.orders] == [
        ("stop", Decimal(-2), Decimal(95), "accepted")
    ]


async def test_own_closes_are_shown_newest_first() -> None:
    found = await record(MemoryStore())
    assert [(one.how, one.at.minute, one.quantity, one.pnl_usd) for one in found.trades] == [
        ("stop", 4, Decimal(1), Decimal(7)),
        ("take_profit", 2, Decimal(1), Decimal(7)),
    ]


async def test_others_are_summed_without_oneself_and_without_external() -> None:
    assert (await record(MemoryStore())).others == {BTC: Holding(quantity=Decimal(2), contract_size=Decimal(1))}


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
        trader = await tx.trader(TraderId("t1"))
        assert (await read_record(tx, trader, INSTRUMENTS, AT)).model_usd == 2
        sums = SpendingRow(tenant_id=DEFAULT_TENANT, day=day_of(AT), scope=TRADER, name="t1")
        await tx.add([replace(sums, spent_usd=Decimal("0.5"), unknown_usd=Decimal("0.25"))])
        assert (await read_record(tx, trader, INSTRUMENTS, AT)).model_usd == Decimal("1.25")
        await tx.add([replace(sums, spent_usd=Decimal(9))])
        assert (await read_record(tx, trader, INSTRUMENTS, AT)).model_usd == 0
        assert (await read_record(tx, trader, INSTRUMENTS, AT + timedelta(days=1))).model_usd == 2


async def test_without_a_budget_of_its_own_the_default_is_shown() -> None:
    store = MemoryStore()
    await record(store)
    async with store.transaction(DEFAULT_TENANT) as tx:
        await tx.upsert([BudgetRow(tenant_id=DEFAULT_TENANT, scope=TRADER, name="", usd=Decimal(3))])
        trader = await tx.trader(TraderId("t1"))
        assert (await read_record(tx, trader, INSTRUMENTS, AT)).model_usd == 3


async def test_own_parts_of_entries_that_may_still_fill_are_held_back() -> None:
    store = MemoryStore()
    await record(store)
    async with store.transaction(DEFAULT_TENANT) as tx:
        shares = tuple(
            Share(trader_id=TraderId(trader), quantity=Decimal(quantity), leverage=3, price=Decimal(90))
            for trader, quantity in (("t1", 5), ("t2", 2))
        )
        row = order("5", OrderPurpose.ENTRY, state=OrderState.UNKNOWN)
        await tx.insert([replace(row, shares=shares, quantity=Decimal(7), filled=Decimal(3))])
        found = await read_record(tx, await tx.trader(TraderId("t1")), INSTRUMENTS, AT)
    entry = LiveEntry(symbol=BTC, quantity=Decimal(-4), price=Decimal(90), leverage=3, contract_size=Decimal("0.01"))
    assert [one for one in found.live_entries if one.price is not None] == [entry]


async def test_dust_is_known() -> None:
    assert (await record(MemoryStore())).dust == frozenset()
    assert (await record(MemoryStore(), dust=True)).dust == frozenset({BTC})


async def test_what_was_shown_at_the_last_decision_with_a_context_is_read() -> None:
    store = MemoryStore()
    assert (await record(store)).before is None
    shown = {minute: replace(sample_context(), now=AT.replace(minute=minute)) for minute in (1, 2)}
    async with store.transaction(DEFAULT_TENANT) as tx:
        await tx.insert([_decision(1, "t1", shown[1]), _decision(2, "t1", shown[2]), _decision(3, "t1", None)])
        await tx.insert([_decision(4, "t2", sample_context())])
        found = await read_record(tx, await tx.trader(TraderId("t1")), INSTRUMENTS, AT)
    held = sample_context().positions[0]
    assert found.before == EarlierPositions(at=AT.replace(minute=2), positions={held.symbol: held})


def _decision(minute: int, trader: str, context: Context | None) -> DecisionRow:
    row = make_row(DecisionRow, account_id="a", trader_id=trader, decision_id=f"{trader}@{minute}")
    return replace(row, decided_at=AT.replace(minute=minute), due_at=AT.replace(minute=minute), context=context)


async def test_the_tightest_budget_of_the_day_is_what_is_left() -> None:
    store = MemoryStore()
    await record(store)
    asks = ExecutorSpec(type=ExecutorType.LLM, model="big", fallback=("small",))

    def budget(scope: str, name: str, usd: int) -> BudgetRow:
        return BudgetRow(tenant_id=DEFAULT_TENANT, scope=scope, name=name, usd=Decimal(usd))

    def spent(scope: str, name: str, usd: int) -> SpendingRow:
        return SpendingRow(tenant_id=DEFAULT_TENANT, day=day_of(AT), scope=scope, name=name, spent_usd=Decimal(usd))

    async with store.transaction(DEFAULT_TENANT) as tx:
        row = await tx.get(TraderRow, "t1")
        assert row is not None
        await tx.patch(TraderRow, ("t1",), spec=replace(row.spec, executor=asks))
        trader = await tx.trader(TraderId("t1"))
        for change, left in (
            ((budget(TENANT, "", 100), spent(TENANT, "", 10)), 90),
            ((budget(TRADER, "", 50), spent(TRADER, "t1", 5), spent(TRADER, "t2", 49)), 45),
            ((budget(MODEL, "big", 30), spent(MODEL, "big", 29)), 45),
            ((budget(MODEL, "small", 20),), 20),
            ((spent(MODEL, "small", 12),), 8),
            ((spent(TENANT, "", 89),), 1),
        ):
            await tx.upsert([one for one in change if isinstance(one, BudgetRow)])
            await tx.add([one for one in change if isinstance(one, SpendingRow)])
            assert (await read_record(tx, trader, INSTRUMENTS, AT)).model_usd == left
