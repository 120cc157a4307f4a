"""What every paper ledger promises: all of a transaction or nothing, one at a time, history as it was booked."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from exchanges.errors import ExchangeConfigError, ExchangeError, OutcomeUnknown, VenueUnavailable
from exchanges.paper.ledger import MemoryPaperLedger, PaperLedger
from exchanges.paper.state import PaperAccountId, PaperOrder, PaperPosition, PaperState, Phase
from exchanges.types import (
    BracketId,
    ClientOrderId,
    Fill,
    FundingPayment,
    Liquidity,
    OrderStatus,
    OrderType,
    Side,
    Symbol,
    TimeInForce,
)
from manager.state.postgres.paper_ledger import PostgresPaperLedger
from manager.state.postgres.store import PostgresStore
from manager.state.records import DEFAULT_TENANT, TenantId

AT = datetime(2025, 1, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
ACCOUNT = PaperAccountId("desk")
BTC, ETH = Symbol("BTC/USDT:USDT"), Symbol("ETH/USDT:USDT")


@pytest.fixture
def memory_ledger() -> MemoryPaperLedger:
    return MemoryPaperLedger()


@pytest.fixture
async def postgres_ledger(postgres_store: PostgresStore) -> PostgresPaperLedger:
    return PostgresPaperLedger(postgres_store.engine, DEFAULT_TENANT)


@pytest.fixture(params=["memory", pytest.param("postgres", marks=pytest.mark.database)])
def ledger(request: Any) -> PaperLedger:
    found: PaperLedger = request.getfixturevalue(f"{request.param}_ledger")
    return found


def _order(state: PaperState, name: str, status: OrderStatus = OrderStatus.OPEN) -> PaperOrder:
    return PaperOrder(
        client_order_id=ClientOrderId(name),
        venue_order_id=state.next_order_id(),
        symbol=BTC,
        side=Side.SELL,
        type=OrderType.STOP,
        quantity=Decimal("0.300"),
        limit_price=None,
        trigger_price=Decimal("90.000000000000000000001"),
        reduce_only=True,
        time_in_force=TimeInForce.GTC,
        status=status,
        filled=Decimal(0),
        created_at=AT,
        updated_at=AT + SECOND,
        live_from=AT,
        triggered=True,
        reason="why",
        bracket=BracketId("a.BTC"),
    )


def _fill(state: PaperState, at: datetime) -> Fill:
    return Fill(
        trade_id=state.next_trade_id(),
        client_order_id=None,
        venue_order_id=None,
        symbol=BTC,
        side=Side.BUY,
        quantity=Decimal("0.1"),
        price=Decimal("100.01"),
        fee=Decimal("0.00450045"),
        liquidity=Liquidity.TAKER,
        at=at,
    )


def _funding(symbol: Symbol, at: datetime) -> FundingPayment:
    return FundingPayment(symbol=symbol, at=at, rate=Decimal("-0.0001"), mark=Decimal(3), amount=Decimal("1E-12"))


async def test_01_everything_of_a_state_comes_back(ledger: PaperLedger) -> None:
    await ledger.open(ACCOUNT, Decimal("1000.10"), AT)
    async with ledger.transaction(ACCOUNT) as state:
        stop = state.put_order(_order(state, "stop"))
        other = state.put_order(_order(state, "other"))
        state.book_fill(_fill(state, AT), Decimal(1))
        state.positions[ETH] = PaperPosition(Decimal(-2), Decimal("-1.5"))
        state.leverage[BTC] = 7
        state.advanced_to, state.phase = AT + SECOND, Phase.TOUCHED
        state.liquidated_at = AT
        saved = state.copy()
    async with ledger.transaction(ACCOUNT) as state:
        assert state == saved
        assert list(state.orders.values()) == [stop, other]
        assert state.looked_up is None


async def test_02_opening_again_changes_nothing(ledger: PaperLedger) -> None:
    await ledger.open(ACCOUNT, Decimal(5), AT)
    await ledger.open(ACCOUNT, Decimal(9), AT + SECOND)
    async with ledger.transaction(ACCOUNT) as state:
        assert (state.cash, state.advanced_to) == (Decimal(5), AT)


async def test_03_an_exception_leaves_nothing(ledger: PaperLedger) -> None:
    await ledger.open(ACCOUNT, Decimal(5), AT)
    with pytest.raises(RuntimeError):  # noqa: PT012 - the block ends the transaction
        async with ledger.transaction(ACCOUNT) as state:
            state.put_order(_order(state, "stop"))
            state.book_fill(_fill(state, AT), Decimal(1))
            state.book_funding(_funding(BTC, AT))
            raise RuntimeError
    assert await ledger.find_order(ACCOUNT, ClientOrderId("stop")) is None
    assert not await ledger.fills_since(ACCOUNT, AT)
    assert not await ledger.funding_since(ACCOUNT, AT)
    async with ledger.transaction(ACCOUNT) as state:
        assert (state.cash, state.orders, state.order_sequence) == (Decimal(5), {}, 0)


async def test_04_an_order_is_found_open_terminal_and_rejected(ledger: PaperLedger) -> None:
    await ledger.open(ACCOUNT, Decimal(5), AT)
    async with ledger.transaction(ACCOUNT) as state:
        stop = state.put_order(_order(state, "stop"))
        rejected = state.put_order(_order(state, "rejected", OrderStatus.REJECTED))
    async with ledger.transaction(ACCOUNT, order_id=stop.client_order_id) as state:
        assert state.looked_up == stop
        ended = state.end_order(stop, OrderStatus.CANCELED, AT + SECOND, "asked")
    async with ledger.transaction(ACCOUNT, order_id=stop.client_order_id) as state:
        assert state.looked_up == ended
        assert state.orders == {}
    assert await ledger.find_order(ACCOUNT, rejected.client_order_id) == rejected
    assert await ledger.find_order(ACCOUNT, ClientOrderId("never")) is None
    async with ledger.transaction(ACCOUNT, order_id=ClientOrderId("never")) as state:
        assert state.looked_up is None


async def test_05_history_comes_back_as_booked(ledger: PaperLedger) -> None:
    await ledger.open(ACCOUNT, Decimal(5), AT)
    fills, funding = [], []
    for second in (0, 1, 1, 2):
        async with ledger.transaction(ACCOUNT) as state:
            state.book_fill(fill := _fill(state, AT + second * SECOND), Decimal(1))
            for symbol in (ETH, BTC):
                state.book_funding(payment := _funding(symbol, AT + second * SECOND))
                funding.append(payment)
            fills.append(fill)
    assert list(await ledger.fills_since(ACCOUNT, AT)) == fills
    assert list(await ledger.fills_since(ACCOUNT, AT + SECOND)) == fills[1:]
    assert list(await ledger.funding_since(ACCOUNT, AT + SECOND)) == funding[2:]
    assert not await ledger.fills_since(ACCOUNT, AT + 3 * SECOND)


async def test_06_transactions_of_one_account_wait_for_each_other(ledger: PaperLedger) -> None:
    await ledger.open(ACCOUNT, Decimal(0), AT)

    async def add(name: str) -> int:
        async with ledger.transaction(ACCOUNT) as state:
            seen = state.cash
            await asyncio.sleep(0)
            state.put_order(_order(state, name))
            state.cash = seen + 1
            return len(state.orders)

    assert sorted(await asyncio.gather(*(add(f"o{n}") for n in range(8)))) == list(range(1, 9))
    async with ledger.transaction(ACCOUNT) as state:
        assert (state.cash, state.order_sequence) == (Decimal(8), 8)


async def test_07_an_account_that_was_never_opened_is_an_error(ledger: PaperLedger) -> None:
    for call in (
        ledger.find_order(ACCOUNT, ClientOrderId("x")),
        ledger.fills_since(ACCOUNT, AT),
        ledger.funding_since(ACCOUNT, AT),
    ):
        with pytest.raises(ExchangeConfigError, match="never opened"):
            await call
    with pytest.raises(ExchangeConfigError, match="never opened"):
        async with ledger.transaction(ACCOUNT):
            pass


@pytest.mark.database
async def test_08_a_tenant_does_not_see_anothers_account(postgres_store: PostgresStore) -> None:
    async with postgres_store.service() as service:
        await service.ensure_tenant(TenantId("other"))
    mine = PostgresPaperLedger(postgres_store.engine, DEFAULT_TENANT)
    other = PostgresPaperLedger(postgres_store.engine, TenantId("other"))
    await mine.open(ACCOUNT, Decimal(5), AT)
    with pytest.raises(ExchangeConfigError, match="never opened"):
        await other.find_order(ACCOUNT, ClientOrderId("x"))
    await other.open(ACCOUNT, Decimal(9), AT)
    async with mine.transaction(ACCOUNT) as state:
        assert state.cash == 5


@pytest.mark.database
async def test_09_what_the_database_refuses_is_an_exchange_error(postgres_ledger: PostgresPaperLedger) -> None:
    with pytest.raises(ExchangeConfigError, match="cannot be opened"):
        await postgres_ledger.open(ACCOUNT, Decimal("NaN"), AT)
    await postgres_ledger.open(ACCOUNT, Decimal(5), AT)
    with pytest.raises(ExchangeError):  # noqa: PT012 - the block ends the transaction
        async with postgres_ledger.transaction(ACCOUNT) as state:
            state.book_funding(_funding(BTC, AT))
            state.cash = Decimal("Infinity")
    assert not await postgres_ledger.funding_since(ACCOUNT, AT)
    with pytest.raises(OutcomeUnknown):
        async with postgres_ledger.transaction(ACCOUNT, order_id=ClientOrderId("o")) as state:
            state.put_order(replace(_order(state, "o"), quantity=Decimal("NaN")))


async def test_10_an_unreachable_database_is_an_unavailable_venue() -> None:
    store = PostgresStore.open("postgresql://nobody@127.0.0.1:1/none")
    ledger = PostgresPaperLedger(store.engine, DEFAULT_TENANT)
    with pytest.raises(VenueUnavailable):
        await ledger.fills_since(ACCOUNT, AT)
    with pytest.raises(VenueUnavailable):
        async with ledger.transaction(ACCOUNT):
            pass
    await store.close()
