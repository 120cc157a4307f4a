"""What every store promises: rows come back exactly, transactions are whole, tenants and fences hold."""

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from exchanges.types import ZERO, Symbol
from executor.contract import Outcome
from manager.state.errors import DuplicateRow, FenceLost, InvalidRow, StateError
from manager.state.funding import FundingRow
from manager.state.journal import EquityRow
from manager.state.keys import KEYS
from manager.state.records import (
    DEFAULT_TENANT,
    AccountId,
    AccountRow,
    BookRow,
    DecisionRow,
    EventRow,
    FillRow,
    IncidentRow,
    IntentRow,
    IntentStatus,
    LedgerRow,
    OrderRow,
    OrderState,
    PositionRow,
    RoundRow,
    ScheduleRow,
    TenantId,
    TraderRow,
    TradingState,
    VerdictRow,
)
from manager.state.store import Fence, Store
from state_rows import AT, key_of, make_account, make_intent, make_row, make_trader
from traders.spec import TraderId

OTHER = TenantId("other")
SECOND = timedelta(seconds=1)


class _Crash(Exception):
    """Stand for anything that ends a block early."""


async def _seed(store: Store, *rows: Any, tenant: TenantId = DEFAULT_TENANT) -> None:
    async with store.transaction(tenant) as transaction:
        await transaction.insert([make_account(tenant_id=tenant), *rows])


async def _read(store: Store, kind: type[Any], *key: Any, tenant: TenantId = DEFAULT_TENANT) -> Any:
    async with store.transaction(tenant) as transaction:
        return await transaction.get(kind, *key)


async def _add_tenant(store: Store) -> None:
    async with store.service() as service:
        await service.ensure_tenant(OTHER)


async def test_01_rows_of_many_types_are_inserted_together_parents_first(store: Store) -> None:
    trader, schedule, book = make_trader("t1")
    position = make_row(PositionRow, trader_id="t1")
    await _seed(store, position, schedule, book, trader)
    assert await _read(store, PositionRow, "acco", "t1", position.symbol) == position
    assert await _read(store, TraderRow, "t1") == trader


async def test_02_an_exception_takes_back_everything(store: Store) -> None:
    await _seed(store, *make_trader("t1"))
    with pytest.raises(_Crash):  # noqa: PT012 - the block ends the transaction
        async with store.transaction(DEFAULT_TENANT) as transaction:
            await transaction.insert([make_intent("i1", trader_id="t1")])
            await transaction.upsert([make_account(equity=Decimal(5))])
            await transaction.patch(TraderRow, ("t1",), state_reason="gone")
            await transaction.delete(BookRow, [("acco", "t1")])
            assert await transaction.acquire(AccountId("acco"), "me") == 1
            assert len((await transaction.account_rows(AccountId("acco"))).intents) == 1
            raise _Crash
    async with store.transaction(DEFAULT_TENANT) as transaction:
        desk = await transaction.account_rows(AccountId("acco"))
    assert desk.account == make_account()
    assert (len(desk.traders), len(desk.books), len(desk.intents)) == (1, 1, 0)
    assert desk.traders[0].state_reason == ""


async def test_03_a_key_exists_once(store: Store) -> None:
    row = make_row(LedgerRow, amount=Decimal("1.23"))
    await _seed(store, row)
    with pytest.raises(DuplicateRow):  # noqa: PT012 - the block ends the transaction
        async with store.transaction(DEFAULT_TENANT) as transaction:
            await transaction.insert([make_row(LedgerRow, ref="new")])
            await transaction.insert([replace(row, amount=Decimal(9))])
    assert await _read(store, LedgerRow, row.account_id, row.ref, row.trader_id, row.kind) == row
    assert await _read(store, LedgerRow, row.account_id, "new", row.trader_id, row.kind) is None


async def test_04_a_key_twice_in_one_batch_is_a_duplicate(store: Store) -> None:
    await _seed(store)
    with pytest.raises(DuplicateRow):
        async with store.transaction(DEFAULT_TENANT) as transaction:
            await transaction.insert([make_row(RoundRow), make_row(RoundRow)])


async def test_05_a_caught_error_still_ends_the_transaction(store: Store) -> None:
    await _seed(store, make_row(RoundRow))
    with pytest.raises(DuplicateRow):  # noqa: PT012 - the block ends the transaction
        async with store.transaction(DEFAULT_TENANT) as transaction:
            await transaction.insert([make_intent("i1")])
            with pytest.raises(DuplicateRow):
                await transaction.insert([make_row(RoundRow)])
            with pytest.raises(DuplicateRow):
                await transaction.insert([make_intent("i2")])
    assert await _read(store, IntentRow, "i1") is None


async def test_06_another_tenants_rows_are_neither_read_nor_written(store: Store) -> None:
    await _add_tenant(store)
    mine = make_account(equity=Decimal(7))
    async with store.transaction(DEFAULT_TENANT) as transaction:
        await transaction.insert([mine, *make_trader("t1"), make_intent("i1", trader_id="t1")])
    async with store.transaction(OTHER) as transaction:
        assert await transaction.get(AccountRow, "acco") is None
        assert await transaction.find(IntentRow, {}) == type(await transaction.find(IntentRow, {}))()
        await transaction.delete(IntentRow, [("i1",)])
        with pytest.raises(KeyError):
            await transaction.account_rows(AccountId("acco"))
        with pytest.raises(KeyError):
            await transaction.patch(AccountRow, ("acco",), equity=ZERO)
        with pytest.raises(KeyError):
            await transaction.acquire(AccountId("acco"), "me")
    with pytest.raises(InvalidRow, match="tenant"):
        async with store.transaction(OTHER) as transaction:
            await transaction.upsert([mine])
    assert await _read(store, AccountRow, "acco") == mine
    assert await _read(store, IntentRow, "i1") is not None


async def test_07_two_tenants_may_use_the_same_keys(store: Store) -> None:
    await _add_tenant(store)
    await _seed(store)
    await _seed(store, tenant=OTHER)
    async with store.transaction(OTHER) as transaction:
        await transaction.patch(AccountRow, ("acco",), venue="changed")
    assert (await _read(store, AccountRow, "acco")).venue == "paper"
    assert (await _read(store, AccountRow, "acco", tenant=OTHER)).venue == "changed"


async def test_08_a_newer_token_voids_the_fence(store: Store) -> None:
    await _seed(store)
    async with store.transaction(DEFAULT_TENANT) as transaction:
        first = await transaction.acquire(AccountId("acco"), "first")
    fence = Fence(account_id=AccountId("acco"), token=first)
    async with store.transaction(DEFAULT_TENANT, fence=fence) as transaction:
        await transaction.insert([make_row(RoundRow, round_id="1")])
    async with store.transaction(DEFAULT_TENANT) as transaction:
        assert await transaction.acquire(AccountId("acco"), "second") == first + 1
    with pytest.raises(FenceLost, match="second"):
        async with store.transaction(DEFAULT_TENANT, fence=fence) as transaction:
            await transaction.insert([make_row(RoundRow, round_id="2")])
    with pytest.raises(FenceLost, match="unknown"):
        async with store.transaction(DEFAULT_TENANT, fence=Fence(account_id=AccountId("none"), token=1)):
            pass
    assert await _read(store, RoundRow, "acco", "2") is None


async def test_09_acquire_waits_for_a_fenced_transaction_to_end(store: Store) -> None:
    await _seed(store)
    async with store.transaction(DEFAULT_TENANT) as transaction:
        token = await transaction.acquire(AccountId("acco"), "first")
    order: list[str] = []

    async def take() -> None:
        async with store.transaction(DEFAULT_TENANT) as transaction:
            await transaction.acquire(AccountId("acco"), "second")
            order.append("taken")

    async with store.transaction(DEFAULT_TENANT, fence=Fence(account_id=AccountId("acco"), token=token)) as transaction:
        taking = asyncio.create_task(take())
        await asyncio.sleep(0.05)
        await transaction.insert([make_row(RoundRow)])
        order.append("written")
    await taking
    assert order == ["written", "taken"]


async def test_10_an_upsert_moves_neither_token_nor_holder(store: Store) -> None:
    await _seed(store)
    async with store.transaction(DEFAULT_TENANT) as transaction:
        await transaction.acquire(AccountId("acco"), "holder")
        await transaction.upsert([make_account(equity=Decimal("0.10"), fencing_token=0, holder="")])
    row = await _read(store, AccountRow, "acco")
    assert (row.fencing_token, row.holder, row.equity) == (1, "holder", Decimal("0.10"))


async def test_11_patch_changes_only_what_it_names(store: Store) -> None:
    await _seed(store, *make_trader("t1"))
    async with store.transaction(DEFAULT_TENANT) as transaction:
        await transaction.patch(AccountRow, ("acco",), trading_state=TradingState.HALTED, state_reason="why")
        await transaction.patch(BookRow, ("acco", "t1"), capital=Decimal("1E-12"), last_stop_at=AT)
    account = await _read(store, AccountRow, "acco")
    assert account == make_account(trading_state=TradingState.HALTED, state_reason="why")
    assert await _read(store, BookRow, "acco", "t1") == make_row(
        BookRow, trader_id="t1", capital=Decimal("1E-12"), last_stop_at=AT
    )


async def test_11_each_of_several_rows_is_patched_or_none(store: Store) -> None:
    await _seed(store, *make_trader("t1"), *make_trader("t2"), *make_trader("t3"))
    async with store.transaction(DEFAULT_TENANT) as transaction:
        await transaction.patch_each(TraderRow, [("t1",), ("t3",), ("t1",)], state_reason="why")
        await transaction.patch_each(TraderRow, [], state_reason="nobody")
    rows = [await _read(store, TraderRow, f"t{n}") for n in (1, 2, 3)]
    assert [row.state_reason == "why" for row in rows] == [True, False, True]
    with pytest.raises(KeyError):
        async with store.transaction(DEFAULT_TENANT) as transaction:
            await transaction.patch_each(TraderRow, [("t2",), ("nobody",)], state_reason="gone")
    assert await _read(store, TraderRow, "t2") == rows[1]


@pytest.mark.parametrize(
    "row",
    [
        make_row(EquityRow, equity=Decimal("NaN")),
        make_row(EquityRow, equity=Decimal("Infinity")),
        make_row(EquityRow, equity=Decimal("-Infinity")),
        make_row(EquityRow, equity=1.5),
        make_row(EquityRow, at=datetime(2025, 1, 1)),  # noqa: DTZ001 - the naive time to refuse
        make_row(DecisionRow, latency_s=float("inf")),
        make_row(IntentRow, decision=replace(make_intent("i").decision, stop_loss=Decimal("NaN"))),
        make_row(RoundRow, round_id="a\0b"),
        make_row(ScheduleRow, interval_s=0),
    ],
    ids=["nan", "infinity", "minus-infinity", "float", "naive", "float-infinity", "nested-nan", "nul", "no-interval"],
)
async def test_12_values_that_must_not_be_stored_are_refused(store: Store, row: Any) -> None:
    await _seed(store, make_trader("trad")[0])
    with pytest.raises(InvalidRow, match=type(row).__name__):
        async with store.transaction(DEFAULT_TENANT) as transaction:
            await transaction.insert([row])
    with pytest.raises(InvalidRow, match=type(row).__name__):
        async with store.transaction(DEFAULT_TENANT) as transaction:
            await transaction.upsert([row])


async def test_13_a_patch_is_checked_too(store: Store) -> None:
    await _seed(store)
    for values in ({"equity": Decimal("NaN")}, {"updated_at": datetime(2025, 1, 1)}, {"account_id": "x"}, {"no": 1}):  # noqa: DTZ001 - the naive time to refuse
        with pytest.raises(InvalidRow):
            async with store.transaction(DEFAULT_TENANT) as transaction:
                await transaction.patch(AccountRow, ("acco",), **values)
    assert await _read(store, AccountRow, "acco") == make_account()


@pytest.mark.parametrize(
    "number", ["0.1", "1E+30", "-0.000000000000000000000001", "123456789012345678901234567890.123456789012345678901"]
)
async def test_14_decimals_are_exact(store: Store, number: str) -> None:
    await _seed(store, make_row(EquityRow, equity=Decimal(number)))
    assert (await _read(store, EquityRow, "acco", "trad", AT)).equity == Decimal(number)


async def test_15_a_row_needs_its_parent(store: Store) -> None:
    with pytest.raises(InvalidRow):
        async with store.transaction(DEFAULT_TENANT) as transaction:
            await transaction.insert([make_row(OrderRow)])
    with pytest.raises(InvalidRow):
        async with store.transaction(TenantId("nobody")) as transaction:
            await transaction.insert([make_account(tenant_id=TenantId("nobody"))])


async def test_16_deleting_a_trader_deletes_its_schedule_and_a_parent_is_kept(store: Store) -> None:
    await _seed(store, *make_trader("t1"), make_row(PositionRow, trader_id="t1"))
    async with store.transaction(DEFAULT_TENANT) as transaction:
        await transaction.delete(TraderRow, [("t1",), ("never",)])
    assert await _read(store, ScheduleRow, "t1") is None
    for kind, key in ((BookRow, ("acco", "t1")), (AccountRow, ("acco",))):
        with pytest.raises(InvalidRow):
            async with store.transaction(DEFAULT_TENANT) as transaction:
                await transaction.delete(kind, [key])
    assert await _read(store, BookRow, "acco", "t1") is not None


async def test_17_the_journal_is_append_only(store: Store) -> None:
    await _seed(store, make_row(LedgerRow), make_row(EventRow))
    event = make_row(EventRow)
    with pytest.raises(InvalidRow, match="append-only"):
        async with store.transaction(DEFAULT_TENANT) as transaction:
            await transaction.upsert([event])
    with pytest.raises(InvalidRow, match="append-only"):
        async with store.transaction(DEFAULT_TENANT) as transaction:
            await transaction.delete(EventRow, [(event.event_id,)])
    with pytest.raises(InvalidRow, match="append-only"):
        async with store.transaction(DEFAULT_TENANT) as transaction:
            await transaction.patch(EventRow, (event.event_id,), reason="other")


async def test_17_decisions_verdicts_and_orders_are_never_deleted_or_rewritten(store: Store) -> None:
    order: OrderRow = make_row(OrderRow)
    kept: list[Any] = [make_row(DecisionRow), make_row(VerdictRow), order]
    await _seed(store, *kept)
    for row in kept:
        key = key_of(row)
        with pytest.raises(InvalidRow, match="append-only"):
            async with store.transaction(DEFAULT_TENANT) as transaction:
                await transaction.delete(type(row), [key])
        changed = {"model": "other"} if isinstance(row, DecisionRow) else {"symbol": Symbol("X")}
        with pytest.raises(InvalidRow, match="append-only"):
            async with store.transaction(DEFAULT_TENANT) as transaction:
                await transaction.patch(type(row), key, **changed)
        if not isinstance(row, OrderRow):
            with pytest.raises(InvalidRow, match="append-only"):
                async with store.transaction(DEFAULT_TENANT) as transaction:
                    await transaction.upsert([row])
    async with store.transaction(DEFAULT_TENANT) as transaction:
        await transaction.upsert([replace(order, quantity=order.quantity + 1, state=OrderState.FILLED)])
    stored = await _read(store, OrderRow, *key_of(order))
    assert stored == replace(order, state=OrderState.FILLED)


async def test_18_find_matches_orders_and_limits(store: Store) -> None:
    rounds = [make_row(RoundRow, round_id=f"{n:03}", at=AT + SECOND * (n % 3), equity=Decimal(n)) for n in range(9)]
    await _seed(store, *reversed(rounds))
    async with store.transaction(DEFAULT_TENANT) as transaction:
        assert [r.round_id for r in await transaction.find(RoundRow, {"account_id": "acco"}, limit=3)] == [
            "000",
            "001",
            "002",
        ]
        newest = await transaction.find(RoundRow, {}, newest_first="at", limit=4)
        assert [r.round_id for r in newest] == ["002", "005", "008", "001"]
        some = await transaction.find(RoundRow, {"round_id": ("001", "007", "nine"), "equity": Decimal(7)})
        assert list(some) == [rounds[7]]
        assert len(await transaction.find(RoundRow, {"round_id": ()})) == 0


async def test_18b_find_without_a_limit_returns_every_row(store: Store) -> None:
    await _seed(store, *(make_row(RoundRow, round_id=f"{n:04}") for n in range(1001)))
    async with store.transaction(DEFAULT_TENANT) as transaction:
        assert len(await transaction.find(RoundRow, {})) == 1000
        assert len(await transaction.find(RoundRow, {}, limit=None)) == 1001


async def test_19_find_reads_nulls_and_states(store: Store) -> None:
    orders = [make_row(OrderRow, order_id=state.value, state=state) for state in OrderState]
    await _seed(store, *orders, make_row(OrderRow, order_id="updated", updated_at=AT, state=OrderState.DENIED))
    async with store.transaction(DEFAULT_TENANT) as transaction:
        states = (OrderState.UNKNOWN, OrderState.FILLED)
        found = await transaction.find(OrderRow, {"account_id": "acco", "state": states})
        assert [o.state for o in found] == [OrderState.FILLED, OrderState.UNKNOWN]
        unset = await transaction.find(OrderRow, {"updated_at": None, "state": OrderState.DENIED})
        assert [o.order_id for o in unset] == ["denied"]
        first = await transaction.find(OrderRow, {}, newest_first="updated_at", limit=1)
        assert first[0].order_id == "updated"


async def test_20_desk_holds_pending_intents_and_live_orders_of_the_account(store: Store) -> None:
    rows = [row for name in ("t2", "t1") for row in make_trader(name)]
    rows += [make_row(BookRow, trader_id="EXTERNAL"), make_account("else"), *make_trader("t3", account_id="else")]
    rows += [make_intent(f"i{n}-{status}", status=status) for n in (2, 1) for status in IntentStatus]
    rows += [make_row(OrderRow, order_id=f"o-{state}", state=state) for state in OrderState]
    rows += [make_row(PositionRow, trader_id="t1"), make_intent("x", account_id="else")]
    await _seed(store, *rows)
    async with store.transaction(DEFAULT_TENANT) as transaction:
        desk = await transaction.account_rows(AccountId("acco"))
        assert [t.trader_id for t in desk.traders] == ["t1", "t2"]
        assert [s.trader_id for s in desk.schedules] == ["t1", "t2"]
        assert [b.trader_id for b in desk.books] == ["EXTERNAL", "t1", "t2"]
        assert [p.trader_id for p in desk.positions] == ["t1"]
        assert [i.intent_id for i in desk.intents] == ["i1-pending", "i2-pending"]
        assert [o.order_id for o in desk.orders] == ["o-accepted", "o-pending", "o-unknown"]
        await transaction.upsert([make_intent("i1-pending", status=IntentStatus.CONSUMED)])
        await transaction.patch(OrderRow, ("acco", "o-pending"), state=OrderState.FILLED)
        await transaction.delete(PositionRow, [("acco", "t1", desk.positions[0].symbol)])
        desk = await transaction.account_rows(AccountId("acco"))
    assert [i.intent_id for i in desk.intents] == ["i2-pending"]
    assert [o.order_id for o in desk.orders] == ["o-accepted", "o-unknown"]
    assert len(desk.positions) == 0


async def test_21_trader_holds_the_verdicts_it_was_not_told(store: Store) -> None:
    verdicts = [make_row(VerdictRow, trader_id="t1", round_id=f"{n}", at=AT + n * SECOND, n=n) for n in range(4)]
    trader, schedule, book = make_trader("t1", told_at=AT + SECOND)
    other = make_row(VerdictRow, trader_id="t2", round_id="9", at=AT + 9 * SECOND)
    await _seed(store, trader, schedule, book, make_row(PositionRow, trader_id="t1"), *verdicts, other)
    async with store.transaction(DEFAULT_TENANT) as transaction:
        found = await transaction.trader(TraderId("t1"))
        assert (found.trader, found.schedule, found.book) == (trader, schedule, book)
        assert len(found.positions) == 1
        assert list(found.verdicts) == verdicts[1:]
        await transaction.patch(ScheduleRow, ("t1",), told_at=None)
        assert list((await transaction.trader(TraderId("t1"))).verdicts) == verdicts
        with pytest.raises(KeyError):
            await transaction.trader(TraderId("t2"))


async def test_22_known_trades_are_those_booked_on_the_account(store: Store) -> None:
    await _seed(
        store, make_row(FillRow, trade_id="a"), make_account("else"), make_row(FillRow, account_id="else", trade_id="b")
    )
    async with store.transaction(DEFAULT_TENANT) as transaction:
        assert await transaction.known_trades(AccountId("acco"), ["a", "b", "c"]) == {"a"}
        assert await transaction.known_trades(AccountId("acco"), []) == set()


async def test_22_known_payments_are_those_booked_on_the_account(store: Store) -> None:
    await _seed(
        store,
        make_row(FundingRow, payment="a"),
        make_account("else"),
        make_row(FundingRow, account_id="else", payment="b"),
    )
    async with store.transaction(DEFAULT_TENANT) as transaction:
        assert await transaction.known_payments(AccountId("acco"), ["a", "b", "c"]) == {"a"}
        assert await transaction.known_payments(AccountId("acco"), []) == set()


async def test_23_a_decision_is_written_once(store: Store) -> None:
    row = make_row(DecisionRow, decision_id="t1@1", outcome=Outcome.DECIDED)
    await _seed(store, row)
    with pytest.raises(DuplicateRow):
        async with store.transaction(DEFAULT_TENANT) as transaction:
            await transaction.insert([replace(row, decided_at=AT + SECOND)])
    assert await _read(store, DecisionRow, "t1@1") == row


async def test_24_a_model_key_is_never_stored(store: Store) -> None:
    trader = make_trader("t1")[0]
    spec = replace(trader.spec, executor=replace(trader.spec.executor, api_key="secret"))
    with pytest.raises(InvalidRow, match="api_key") as refused:
        await _seed(store, replace(trader, spec=spec))
    assert "secret" not in str(refused.value)
    await _seed(store, trader)
    with pytest.raises(InvalidRow, match="api_key"):
        async with store.transaction(DEFAULT_TENANT) as transaction:
            await transaction.patch(TraderRow, ("t1",), spec=spec)
    assert await _read(store, TraderRow, "t1") == trader


async def test_25_concurrent_writers_lose_nothing(store: Store) -> None:
    await _seed(store)

    async def write(n: int) -> int:
        async with store.transaction(DEFAULT_TENANT) as transaction:
            await transaction.insert([make_row(RoundRow, round_id=f"{n}")])
            return await transaction.acquire(AccountId("acco"), f"{n}")

    assert sorted(await asyncio.gather(*(write(n) for n in range(6)))) == [1, 2, 3, 4, 5, 6]
    async with store.transaction(DEFAULT_TENANT) as transaction:
        assert len(await transaction.find(RoundRow, {})) == 6


async def test_26_what_is_no_row_or_field_is_refused(store: Store) -> None:
    with pytest.raises(InvalidRow, match="no field"):
        async with store.transaction(DEFAULT_TENANT) as transaction:
            await transaction.find(RoundRow, {"colour": "red"})
    with pytest.raises(InvalidRow):
        async with store.transaction(DEFAULT_TENANT) as transaction:
            await transaction.find(Fence, {})
    assert issubclass(InvalidRow, StateError)
    assert len(KEYS) == 27


async def test_27_desk_holds_the_open_incidents_of_the_account(store: Store) -> None:
    row = replace(make_row(IncidentRow), account_id=AccountId("acco"), resolved_at=None)
    others = [
        replace(row, incident_id="over", resolved_at=AT),
        replace(row, incident_id="else", account_id=AccountId("other")),
    ]
    await _seed(store, row, *others)
    async with store.transaction(DEFAULT_TENANT) as tx:
        assert list((await tx.account_rows(AccountId("acco"))).incidents) == [row]
        await tx.upsert([replace(row, resolved_at=AT)])
        assert list((await tx.account_rows(AccountId("acco"))).incidents) == []
        await tx.upsert([row])
        assert list((await tx.account_rows(AccountId("acco"))).incidents) == [row]
