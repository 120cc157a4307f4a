"""An account whose fills happened elsewhere: a venue that only reports them, and a desk that books them."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from exchanges.clock import ManualClock
from exchanges.market import SharedMarket, Snapshot
from exchanges.types import (
    Balance,
    Capabilities,
    CashMovement,
    ClientOrderId,
    Fill,
    FundingPayment,
    Instrument,
    OrderReport,
    OrderRequest,
    OrderStatus,
    OrderType,
    PositionReport,
    Side,
    Symbol,
    VenueOrderId,
)
from executor.contract import Limits
from executor.registry import ExecutorSpec
from manager.bootstrap.assemble import runtime_of
from manager.desk.reconcile.reader import Reconciler
from manager.desk.session import Session
from manager.monitor.invariants.account import check_account
from manager.monitor.invariants.facts import AccountFacts, Violation
from manager.state.memory.store import MemoryStore
from manager.state.records import (
    AccountId,
    OrderId,
    OrderPurpose,
    OrderRow,
    OrderState,
    RoundId,
    Share,
    TenantId,
)
from manager.state.store import AccountRows, Fence
from memory_desk import plain_config, registered
from traders.spec import TraderId, TraderSpec

TENANT, ACCOUNT = TenantId("default"), "shared"
ZERO = Decimal(0)


class RecordedVenue:
    """Report the fills that were added, and what they add up to; it knows nothing of traders."""

    capabilities = Capabilities()

    def __init__(self, instruments: Mapping[Symbol, Instrument], cash: Decimal, clock: ManualClock) -> None:
        self._instruments, self._cash, self._clock = instruments, cash, clock
        self.fills: list[Fill] = []
        self.funding: list[FundingPayment] = []
        self.net: dict[Symbol, Decimal] = {}

    def add(self, fill: Fill) -> None:
        """Take in one fill."""
        self.fills.append(fill)
        signed = fill.quantity * fill.side.sign
        self.net[fill.symbol] = self.net.get(fill.symbol, ZERO) + signed
        self._cash -= signed * fill.price + fill.fee

    async def instruments(self) -> Mapping[Symbol, Instrument]:
        return self._instruments

    async def fetch_balance(self) -> Balance:
        return Balance(equity=self._cash, cash=self._cash, margin_used=ZERO, at=self._clock.now())

    async def fetch_positions(self) -> Sequence[PositionReport]:
        """Positions cost nothing here: what they cost has left the cash."""
        return [
            PositionReport(symbol=symbol, quantity=quantity, entry_price=ZERO, leverage=1, liquidation_price=None)
            for symbol, quantity in self.net.items()
            if quantity
        ]

    async def fetch_open_orders(self) -> Sequence[OrderReport]:
        return []

    async def fetch_fills(self, since: datetime) -> Sequence[Fill]:
        return [fill for fill in self.fills if fill.at >= since]

    async def fetch_funding(self, since: datetime) -> Sequence[FundingPayment]:
        return [payment for payment in self.funding if payment.at >= since]

    async def fetch_cash(self, since: datetime) -> Sequence[CashMovement]:
        return []

    async def fetch_time(self) -> datetime:
        return self._clock.now()

    async def create_order(self, request: OrderRequest) -> OrderReport:
        raise NotImplementedError

    async def cancel_order(self, client_order_id: ClientOrderId, symbol: Symbol) -> OrderReport:
        raise NotImplementedError

    async def lookup_order(self, client_order_id: ClientOrderId, symbol: Symbol) -> OrderReport | None:
        fill = next(fill for fill in self.fills if fill.client_order_id == client_order_id)
        return OrderReport(
            client_order_id=client_order_id,
            venue_order_id=VenueOrderId(f"v/{client_order_id}"),
            symbol=symbol,
            side=fill.side,
            type=OrderType.MARKET,
            status=OrderStatus.FILLED,
            quantity=fill.quantity,
            filled=fill.quantity,
        )

    async def set_leverage(self, symbol: Symbol, leverage: int) -> None:
        raise NotImplementedError

    async def close(self) -> None:
        """Hold nothing."""


class _NoMarket:
    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock

    async def instruments(self) -> Mapping[Symbol, Instrument]:
        return {}

    async def snapshot(self, symbols: frozenset[Symbol]) -> Snapshot:
        return Snapshot(at=self._clock.now(), symbols={})

    async def close(self) -> None:
        """Hold nothing."""


class RecordedAccount:
    """Book fills that come with a trader's order through the desk's own reconciler, one at a time."""

    def __init__(self, symbols: Sequence[Symbol], start: datetime, cash: Decimal) -> None:
        instruments = {symbol: Instrument(symbol=symbol, lot=Decimal("1E-20")) for symbol in symbols}
        self.clock = ManualClock(start)
        self.store = MemoryStore()
        self.venue = RecordedVenue(instruments, cash, self.clock)
        account = replace(plain_config((), ACCOUNT).tenants[TENANT].accounts[ACCOUNT], equity_usd=cash)
        market = SharedMarket(_NoMarket(self.clock), self.clock)
        self.runtime = runtime_of(TENANT, account, self.venue, market, instruments)

    async def open(self, traders: Sequence[str]) -> None:
        """Create the account and its traders."""
        specs = [_spec(name, tuple(self.runtime.instruments)) for name in traders]
        await registered(plain_config(specs, ACCOUNT), self.store, self.clock)
        async with self._session() as session:
            await Reconciler(session).reconcile()

    async def book(self, trader_id: str, purpose: OrderPurpose, fill: Fill) -> tuple[AccountRows, list[Violation]]:
        """Persist the trader's order, let the venue fill it, reconcile; return the rows and the broken invariants."""
        self.clock.set(max(self.clock.now(), fill.at))
        order = OrderRow(
            tenant_id=TENANT,
            account_id=AccountId(ACCOUNT),
            order_id=OrderId(str(fill.client_order_id)),
            round_id=RoundId("recorded"),
            symbol=fill.symbol,
            side=fill.side,
            type=OrderType.MARKET,
            purpose=purpose,
            quantity=fill.quantity,
            created_at=fill.at,
            shares=(Share(trader_id=TraderId(trader_id), quantity=fill.quantity),),
            state=OrderState.ACCEPTED,
        )
        async with self.store.transaction(TENANT) as tx:
            await tx.insert([order])
        self.venue.add(fill)
        async with self._session() as session:
            await Reconciler(session).reconcile()
        async with self.store.transaction(TENANT) as tx:
            rows = await tx.account_rows(AccountId(ACCOUNT))
        facts = AccountFacts(
            rows=rows,
            positions={report.symbol: report for report in await self.venue.fetch_positions()},
            balance=await self.venue.fetch_balance(),
            contract_sizes=dict.fromkeys(self.runtime.instruments, Decimal(1)),
        )
        return rows, check_account(facts)

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[Session]:
        async with self.store.transaction(TENANT) as tx:
            token = await tx.acquire(AccountId(ACCOUNT), "test")
            rows = await tx.account_rows(AccountId(ACCOUNT))
        session = Session(self.runtime, self.store, self.clock, Fence(account_id=AccountId(ACCOUNT), token=token), rows)
        yield session
        await session.flush()


def side_of(signed: Decimal) -> Side:
    """Return BUY for a positive quantity, SELL for a negative one."""
    return Side.BUY if signed > ZERO else Side.SELL


def _spec(name: str, symbols: tuple[Symbol, ...]) -> TraderSpec:
    return TraderSpec(
        id=TraderId(name),
        name=name,
        account=ACCOUNT,
        executor=ExecutorSpec(),
        symbols=symbols,
        decision_interval_s=60,
        limits=Limits(stop_loss_enabled=False),
    )
