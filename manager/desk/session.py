"""One job's hold on one account: its fence, its state, its venue, and the only way to write."""

from collections import deque
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal

from exchanges.clock import Clock
from exchanges.decorators import Bounded, read_within
from exchanges.errors import ExchangeError
from exchanges.market import SharedMarket, Snapshot
from exchanges.provider import Exchange
from exchanges.registry import Begin
from exchanges.types import Balance, Instrument, OrderReport, PositionReport, Symbol
from manager.desk.account_state import AccountState
from manager.desk.back_off import BackOff
from manager.desk.freezer import Freezer
from manager.desk.incidents.log import IncidentLog, Subject
from manager.desk.plan.operator_closes import being_closed
from manager.desk.plan.values import LEASE_S, VENUE_TIMEOUT_S, AccountRules, AccountView
from manager.desk.reconcile.seen import SeenNews
from manager.desk.remembered import Remembered
from manager.state.records import AccountId, OrderId, RoundId, TenantId
from manager.state.store import AccountRows, Fence, Store, Transaction
from traders.book import EXTERNAL
from traders.spec import TraderId


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountRuntime:
    """Bind one account to its venue, market and rules; built once a process by the bootstrap.

    `timeout_s` is how long a call of the venue may take, None where nothing is outside this process. `instruments` is
    empty until the venue has told them. `relieved` is the instant at which it was last looked whether the worst loser
    is to be closed. `begin` is called when a job has taken the account.
    """

    tenant_id: TenantId
    account_id: AccountId
    venue: str
    exchange: Exchange
    market: SharedMarket
    rules: AccountRules
    instruments: dict[Symbol, Instrument]
    start_equity: Decimal
    timeout_s: float | None = VENUE_TIMEOUT_S
    begin: Begin = lambda at, revision: None
    leverages: dict[Symbol, int] = field(default_factory=dict)
    back_off: BackOff = field(default_factory=BackOff)
    relieved: deque[datetime] = field(default_factory=lambda: deque(maxlen=1))
    seen: SeenNews = field(default_factory=SeenNews)
    remembered: Remembered = field(default_factory=Remembered)


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """Hold what the venue said in this job."""

    at: datetime
    balance: Balance
    positions: Mapping[Symbol, PositionReport]
    open_orders: Mapping[OrderId, OrderReport]


class Session:
    """Carry one fenced job on one account; every write checks the fence in its own transaction."""

    def __init__(self, runtime: AccountRuntime, store: Store, clock: Clock, fence: Fence, rows: AccountRows) -> None:
        self.runtime = runtime
        self.clock = clock
        self.lease_until_s = clock.boot_s() + LEASE_S
        bounded = runtime.timeout_s is not None
        self.exchange: Exchange = Bounded(runtime.exchange, self.call_limit_s) if bounded else runtime.exchange
        self.fence = fence
        self.state = AccountState(rows, runtime.instruments, runtime.remembered)
        self.incidents = IncidentLog(self.state, self.round_id, rows.incidents)
        self.began_at = clock.now()
        self._truth: Truth | None = None
        self._snapshot: Snapshot | None = None
        self.unresolved: set[Symbol] = set()
        self.booked: set[str] = set()
        self.sequence = 0
        self._view: AccountView | None = None
        self._view_version = -1
        self._freezer: Freezer | None = None
        self._store = store

    @property
    def lease_left_s(self) -> float | None:
        """Return how long this job may still go on; None where nothing can make it wait."""
        return None if self.runtime.timeout_s is None else self.lease_until_s - self.clock.boot_s()

    def call_limit_s(self) -> float:
        """Return how long the next call of the venue may take: never beyond the lease."""
        left = self.lease_until_s - self.clock.boot_s()
        return left if self.runtime.timeout_s is None else min(left, self.runtime.timeout_s)

    @property
    def truth(self) -> Truth:
        """Return what the venue said in this job; only the reconciler's reading sets it."""
        if self._truth is None:
            raise RuntimeError("the venue's truth is not read yet: reconcile first")
        return self._truth

    @property
    def snapshot(self) -> Snapshot:
        """Return the market at the time of the venue's truth."""
        if self._snapshot is None:
            raise RuntimeError("the market is not read yet: reconcile first")
        return self._snapshot

    async def look_at_market(self) -> Snapshot:
        """Return the market, empty when it cannot be read: stops must stand even then, entries find no mark."""
        runtime = self.runtime
        try:
            limit = None if runtime.timeout_s is None else self.call_limit_s()
            return await read_within(limit, "market", runtime.market.snapshot(frozenset(runtime.instruments)))
        except ExchangeError as failure:
            self.incident("MARKET_UNAVAILABLE", str(failure))
            return Snapshot(self.clock.now(), {})

    def read(self, truth: Truth, snapshot: Snapshot) -> None:
        """Take in what the venue and the market said."""
        if snapshot is not self._snapshot:
            self._freezer = None
        self._truth, self._snapshot, self._view = truth, snapshot, None

    @property
    def round_id(self) -> RoundId:
        """Return the id of this job's round: the fencing token, so it rises and is never used twice."""
        return RoundId(f"{self.fence.token:010d}")

    def next_leg(self) -> int:
        """Return a number that is fresh within this round, for client order ids."""
        self.sequence += 1
        return self.sequence

    def instrument(self, symbol: Symbol) -> Instrument:
        """Return an instrument, a plain one for a symbol that only others trade on this account."""
        return self.state.instruments.get(symbol) or Instrument(symbol=symbol)

    def reading(self) -> AbstractAsyncContextManager[Transaction]:
        """Open a transaction to read in; what a job writes goes into its state and is written by `flush`."""
        return self._store.transaction(self.runtime.tenant_id)

    async def flush(self) -> None:
        """Write everything pending in one fenced transaction; raise FenceLost if another worker took over."""
        writes = self.state.take()
        if not writes:
            return
        async with self._store.transaction(self.runtime.tenant_id, fence=self.fence) as tx:
            await writes.apply(tx)

    async def abandon(self, why: str) -> None:
        """Write nothing of what this job has not written but the incident that says why it ends here."""
        self.state.forget()
        self.incident("VENUE_UNAVAILABLE", why)
        await self.flush()

    def incident(
        self, code: str, detail: str, *, trader_id: TraderId = TraderId(""), symbol: str = "", which: str = ""
    ) -> None:
        """Tell something an operator must see, with a code of docs/incident-codes.md: once, however long it lasts."""
        subject = Subject(code=code, trader_id=trader_id, symbol=symbol, which=which)
        self.incidents.tell(subject, detail, self.clock.now())

    def keep_incident(
        self, code: str, *, trader_id: TraderId = TraderId(""), symbol: str = "", which: str = ""
    ) -> bool:
        """Let an incident stay open that this pass does not look into again, and tell whether it is open."""
        return self.incidents.keep(Subject(code=code, trader_id=trader_id, symbol=symbol, which=which))

    def view(self) -> AccountView:
        """Freeze the account as it stands now, for the pure stages; frozen once for each version of the state."""
        now, version = self.clock.now(), self.state.version
        if self._view is None or version != self._view_version:
            self._view, self._view_version = self._freeze(now), version
        elif now != self._view.at or self.unresolved != self._view.unresolved:
            self._view = replace(self._view, at=now, unresolved=frozenset(self.unresolved))
        return self._view

    def all_marked(self) -> bool:
        """Tell whether every position of every book has a mark, so that equity is known."""
        marks = self.snapshot.symbols
        return all(symbol in marks for book in self.state.books.values() for symbol in book.positions)

    def _freeze(self, now: datetime) -> AccountView:
        state, truth, freezer, switched = self.state, self.truth, self._frozen_at_marks(), self.state.switched
        reservations = freezer.reservations(state)
        return AccountView(
            at=now,
            account_id=self.runtime.account_id,
            trading_state=switched.state,
            trading_scope=switched.scope,
            equity=freezer.equity(state.books),
            traders=freezer.traders(state, reservations),
            external=state.books[EXTERNAL],
            marks=freezer.marks,
            instruments=self.runtime.instruments,
            rules=self.runtime.rules,
            capabilities=self.exchange.capabilities,
            reservations=reservations,
            unresolved=frozenset(self.unresolved),
            liquidation_prices={
                symbol: report.liquidation_price
                for symbol, report in truth.positions.items()
                if report.liquidation_price is not None
            },
            open_orders=len(truth.open_orders),
            departed_deficit=freezer.deficit(state.departed()),
            closing=frozenset(being_closed(state.intents.values())),
            flattening=frozenset(
                owner for row in state.flattens.values() for owner in state.traders if row.covers(owner)
            ),
            truth_at=truth.at,
            began_at=self.began_at,
        )

    def _frozen_at_marks(self) -> Freezer:
        if self._freezer is None:
            self._freezer = Freezer(self.snapshot)
        return self._freezer
