"""A desk on its real handlers, a memory store and the paper venue, with a venue in between that fails when told."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any

from exchanges.clock import ManualClock
from exchanges.errors import OrderRejected, OutcomeUnknown, VenueUnavailable
from exchanges.market import SharedMarket
from exchanges.paper.account import PaperVenue
from exchanges.paper.adapter import PaperExchange
from exchanges.paper.config import PaperConfig
from exchanges.paper.ledger import MemoryPaperLedger, PaperLedger
from exchanges.paper.state import PaperAccountId
from exchanges.types import Capabilities, ClientOrderId, Instrument, OrderReport, OrderRequest, OrderType, Side, Symbol
from executor.contract import Action, Decision, Limits, Outcome
from executor.registry import ExecutorSpec
from hand_market import DEEP, HandFeed, HandPath
from manager.bootstrap.assemble import runtime_of
from manager.desk.plan.values import AccountRules, ConflictStrategy, GlobalLimits
from manager.desk.sampling import LiveSampler
from manager.jobs.handlers import DeskHandlers
from manager.jobs.runner import Job, JobKind
from manager.state.memory.store import MemoryStore
from manager.state.records import (
    DEFAULT_TENANT,
    AccountId,
    BookRow,
    DecisionRow,
    IncidentRow,
    IntentId,
    IntentRow,
    OrderId,
    OrderRow,
    OrderState,
    PositionRow,
    VerdictRow,
)
from manager.state.store import Store
from memory_desk import desk_on, plain_config, registered
from traders.book import EXTERNAL
from traders.spec import TraderId, TraderSpec

BTC = Symbol("BTC/USDT:USDT")
ETH = Symbol("ETH/USDT:USDT")
AT = datetime(2025, 6, 1, 11, 59, tzinfo=UTC)
SECOND = timedelta(seconds=1)
ACCOUNT = "paper"
FREE_HAND = Limits(
    max_positions=5,
    max_position_size_usd=Decimal(5000),
    min_risk_reward_ratio=Decimal(0),
    min_confidence=Decimal(0),
    max_entries_per_hour=100,
    cooldown_after_stop_s=0,
    take_profit_enabled=False,
)


class Fault(StrEnum):
    """Name how a call fails: lost before or after, refused; a read that is down, cut, twofold or empty."""

    LOST = "lost"
    ANSWER_LOST = "answer_lost"
    REFUSED = "refused"
    DOWN = "down"
    CUT = "cut"
    TWICE = "twice"
    FORGOTTEN = "forgotten"


class Killed(BaseException):
    """Stand for the end of the process in the middle of a call."""


Plan = Callable[[str, Any], Fault | None]


def no_faults(call: str, argument: Any) -> Fault | None:
    """Let every call through."""
    return None


def when(fault: Fault, call: str, holds: Callable[[Any], bool] = lambda argument: True) -> Plan:
    """Plan `fault` for the calls named `call` whose request fits: the one sent, canceled or looked up."""
    return lambda name, argument: fault if name == call and holds(argument) else None


def is_type(kind: OrderType) -> Callable[[OrderRequest], bool]:
    """Pick the requests of one order type."""
    return lambda request: request.type is kind


def is_leg_of(trader_id: str) -> Callable[[OrderRequest], bool]:
    """Pick the stops and targets of one trader."""
    return lambda request: (request.bracket or "").startswith(f"{trader_id}.")


class FaultyVenue:
    """Pass calls on to a venue; `plan` says which fail, or moves the clock, or raises on its own.

    It is asked with the name of the call and its first argument, for an order id with the request sent under it.
    `sent` holds every request that left the desk, `canceled` every order id whose cancel did.
    """

    def __init__(self, inner: PaperExchange, capabilities: Capabilities | None = None) -> None:
        self.inner = inner
        self.plan: Plan = no_faults
        self.sent: list[OrderRequest] = []
        self.canceled: list[str] = []
        self._capabilities = capabilities

    @property
    def capabilities(self) -> Capabilities:
        """Return what the venue says that it can do."""
        return self._capabilities or self.inner.capabilities

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """Return the venue's method `name` behind the plan."""

        async def call(*arguments: Any) -> Any:
            first = arguments[0] if arguments else None
            if name == "create_order":
                self.sent.append(arguments[0])
            if name == "cancel_order":
                self.canceled.append(str(first))
            fault = self.plan(name, next((sent for sent in self.sent if sent.client_order_id == first), first))
            if fault is Fault.LOST:
                raise OutcomeUnknown(f"{name} timed out")
            if fault is Fault.REFUSED:
                raise OrderRejected(f"{name} was refused", code="PRICE_BAND")
            if fault is Fault.DOWN:
                raise VenueUnavailable(f"{name} is down")
            answer = await getattr(self.inner, name)(*arguments)
            if fault is Fault.ANSWER_LOST:
                raise OutcomeUnknown(f"{name} timed out")
            if fault is Fault.FORGOTTEN:
                return None
            if fault is Fault.TWICE:
                return [*answer, *answer]
            return answer[: len(answer) // 2] if fault is Fault.CUT else answer

        return call


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Say what a faulty desk has; `own_limits` are those of single traders, `volume_share` makes fills partial."""

    traders: Sequence[str] = ("a",)
    limits: Limits = FREE_HAND
    own_limits: Mapping[str, Limits] = field(default_factory=dict)
    strategy: ConflictStrategy = ConflictStrategy.HIGHEST_CONFIDENCE
    account_limits: GlobalLimits = field(
        default_factory=lambda: GlobalLimits(max_symbol_exposure_pct=Decimal(500), max_positions=30)
    )
    capabilities: Capabilities | None = None
    volume_share: Decimal | None = None
    depth: Decimal = DEEP


class FaultyDesk:
    """Drive one paper account by hand: decisions in, jobs run, faults planned, books and venue read."""

    def __init__(self, scene: Scene, store: Store | None = None, ledger: PaperLedger | None = None) -> None:
        self.clock = ManualClock(AT)
        instruments = {symbol: Instrument(symbol=symbol) for symbol in (BTC, ETH)}
        start = {symbol: [(AT - 10 * SECOND, Decimal(100))] for symbol in instruments}
        self.path = HandPath(instruments, start, scene.depth)
        config = PaperConfig(fee_bps=Decimal(0), slippage_bps=Decimal(0), volume_share=scene.volume_share)
        venue = PaperVenue.build(config, self.path)
        self.paper = PaperExchange(PaperAccountId(ACCOUNT), venue, ledger or MemoryPaperLedger(), self.clock)
        self.venue = FaultyVenue(self.paper, scene.capabilities)
        self.feed = HandFeed(self.path, self.clock)
        self.store: Store = store or MemoryStore()
        self._scene = scene
        self._decisions = 0
        rules = AccountRules(
            conflict_strategy=scene.strategy, limits=scene.account_limits, reserve_equity_pct=Decimal(0)
        )
        self.config = plain_config([self._spec(trader_id) for trader_id in scene.traders], ACCOUNT)
        tenant = self.config.tenants[DEFAULT_TENANT]
        self._account = replace(tenant.accounts[ACCOUNT], rules=rules)
        self.handlers = self.new_process()

    @staticmethod
    async def of(
        scene: Scene | None = None, *, store: Store | None = None, ledger: PaperLedger | None = None, **changes: Any
    ) -> "FaultyDesk":
        """Open a desk whose traders run and have their capital, in memory or on `store` and `ledger`."""
        desk = FaultyDesk(replace(scene or Scene(), **changes), store, ledger)
        await registered(desk.config, desk.store, desk.clock)
        await desk.maintain()
        return desk

    def _spec(self, trader_id: str) -> TraderSpec:
        return TraderSpec(
            id=TraderId(trader_id),
            name=trader_id,
            account=ACCOUNT,
            executor=ExecutorSpec(),
            symbols=tuple(self.path.instruments),
            decision_interval_s=60,
            limits=self._scene.own_limits.get(trader_id, self._scene.limits),
        )

    def new_process(self, holder: str = "worker") -> DeskHandlers:
        """Go on as another process would, with nothing in memory; return its handlers."""
        market = SharedMarket(self.feed, self.clock, max_age_s=0)
        runtime = runtime_of(DEFAULT_TENANT, self._account, self.venue, market, self.path.instruments)
        accounts = {(DEFAULT_TENANT, runtime.account_id): runtime}
        desk = desk_on(accounts, self.config, self.store, self.clock)
        self.handlers = DeskHandlers(replace(desk, sampler=LiveSampler(1e9), holder=holder))
        return self.handlers

    async def maintain(self, seconds: int = 0) -> None:
        """Run upkeep now, or once in each of the next seconds."""
        job = Job(kind=JobKind.MAINTAIN, tenant_id=DEFAULT_TENANT, account_id=AccountId(ACCOUNT))
        if not seconds:
            await self.handlers.maintain(job)
        for _ in range(seconds):
            self.pass_time()
            await self.handlers.maintain(job)

    async def round(self) -> None:
        """Run a round now."""
        await self.handlers.round(Job(kind=JobKind.ROUND, tenant_id=DEFAULT_TENANT, account_id=AccountId(ACCOUNT)))

    async def decide(self, trader_id: str, *decisions: Decision) -> None:
        """Leave a trader's decisions for the next round."""
        self._decisions += 1
        now, decision_id = self.clock.now(), f"{trader_id}@{self._decisions}"
        names: dict[str, Any] = {
            "tenant_id": DEFAULT_TENANT, "decision_id": decision_id, "account_id": ACCOUNT, "trader_id": trader_id,
            "decided_at": now,
        }  # fmt: skip
        due = now + timedelta(microseconds=self._decisions)
        rows: list[Any] = [DecisionRow(**names, due_at=due, outcome=Outcome.DECIDED, decisions=decisions)]
        rows += [
            IntentRow(**names, intent_id=IntentId(f"{decision_id}#{n}"), n=n, decision=one)
            for n, one in enumerate(decisions)
        ]
        async with self.store.transaction(DEFAULT_TENANT) as tx:
            await tx.insert(rows)

    async def go(self, trader_id: str, *decisions: Decision) -> None:
        """Let a trader decide and run the round."""
        await self.decide(trader_id, *decisions)
        await self.round()

    def pass_time(self, seconds: float = 1) -> None:
        """Move the clock on."""
        self.clock.set(self.clock.now() + timedelta(seconds=seconds))

    def price(self, price: int | str, symbol: Symbol = BTC, *, after: timedelta = SECOND) -> None:
        """Let the price change a second from now, or `after`."""
        self.path.step(symbol, self.clock.now() + after, price)

    async def by_hand(self, name: str, side: Side, quantity: int | str, symbol: Symbol = BTC) -> None:
        """Trade at the venue as somebody else: the fill belongs to no order of the desk."""
        request = OrderRequest(
            client_order_id=ClientOrderId(name),
            symbol=symbol,
            side=side,
            type=OrderType.MARKET,
            quantity=Decimal(quantity),
        )
        await self.paper.create_order(request)

    async def find(self, kind: type[Any], **where: Any) -> Sequence[Any]:
        """Return stored rows."""
        async with self.store.transaction(DEFAULT_TENANT) as tx:
            found: Sequence[Any] = await tx.find(kind, where, limit=None)
        return found

    async def held(self, trader_id: str, symbol: Symbol = BTC) -> Decimal:
        """Return what a trader's book, or EXTERNAL, holds of a symbol."""
        rows: Sequence[PositionRow] = await self.find(PositionRow, trader_id=trader_id, symbol=symbol)
        return rows[0].quantity if rows else Decimal(0)

    async def net(self, symbol: Symbol = BTC) -> Decimal:
        """Return the venue's net position."""
        held = {report.symbol: report.quantity for report in await self.paper.fetch_positions()}
        return held.get(symbol, Decimal(0))

    async def resting(self, kind: OrderType = OrderType.STOP, symbol: Symbol = BTC) -> list[OrderReport]:
        """Return the venue's open orders of a type."""
        return [o for o in await self.paper.fetch_open_orders() if (o.type, o.symbol) == (kind, symbol)]

    async def guarded(self) -> list[str]:
        """Return whose stops rest at the venue, a trader for each."""
        orders = {order.order_id: order for order in await self.find(OrderRow)}
        return sorted(orders[OrderId(stop.client_order_id)].shares[0].trader_id for stop in await self.resting())

    async def live(self) -> list[OrderRow]:
        """Return the orders that the desk thinks may stand."""
        return [order for order in await self.find(OrderRow) if order.state.live]

    async def unresolved(self) -> list[OrderRow]:
        """Return the orders without a known outcome."""
        return [o for o in await self.live() if o.state in (OrderState.UNKNOWN, OrderState.PENDING)]

    async def incidents(self) -> set[str]:
        """Return the codes of all incidents."""
        return {incident.code for incident in await self.find(IncidentRow)}

    async def open_incidents(self) -> set[str]:
        """Return the codes of the incidents that stand."""
        return {incident.code for incident in await self.find(IncidentRow, resolved_at=None)}

    async def denials(self) -> list[tuple[str, str]]:
        """Return trader and code of every verdict."""
        return [(verdict.trader_id, verdict.code) for verdict in await self.find(VerdictRow)]

    async def wrongs(self) -> list[str]:
        """Return what is broken: books that differ from the venue, equity that does, trades that are nobody's."""
        found: list[str] = []
        positions: Sequence[PositionRow] = await self.find(PositionRow)
        equity = Decimal(0)
        for symbol in self.path.instruments:
            books, venue = (
                sum((p.quantity for p in positions if p.symbol == symbol), Decimal(0)),
                await self.net(symbol),
            )
            if books != venue:
                found.append(f"{symbol}: books {books}, venue {venue}")
        found += [f"EXTERNAL holds {p.quantity} {p.symbol}" for p in positions if p.trader_id == EXTERNAL]
        for position in positions:
            price = self.path.execution_price(position.symbol, self.clock.now())
            assert price is not None
            equity += position.quantity * price - position.cost
        books_rows: Sequence[BookRow] = await self.find(BookRow)
        equity += sum((b.cash for b in books_rows), Decimal(0))
        balance = await self.paper.fetch_balance()
        if abs(equity - balance.equity) > Decimal("0.005"):
            found.append(f"equity of the books {equity}, of the venue {balance.equity}")
        return found


def open_long(
    symbol: Symbol = BTC, usd: int = 1000, stop: int | str = 90, take_profit: int | str | None = None
) -> Decision:
    """Ask for a long at leverage 2."""
    return _open(Action.OPEN_LONG, symbol, usd, stop, take_profit)


def open_short(
    symbol: Symbol = BTC, usd: int = 1000, stop: int | str = 110, take_profit: int | str | None = None
) -> Decision:
    """Ask for a short at leverage 2."""
    return _open(Action.OPEN_SHORT, symbol, usd, stop, take_profit)


def _open(action: Action, symbol: Symbol, usd: int, stop: int | str, take_profit: int | str | None) -> Decision:
    return Decision(
        symbol=symbol,
        action=action,
        leverage=2,
        position_size_usd=Decimal(usd),
        stop_loss=Decimal(stop),
        take_profit=None if take_profit is None else Decimal(take_profit),
        confidence=Decimal(90),
    )


def close(symbol: Symbol = BTC, fraction: str = "1", *, short: bool = False) -> Decision:
    """Ask for a close."""
    action = Action.CLOSE_SHORT if short else Action.CLOSE_LONG
    return Decision(symbol=symbol, action=action, fraction=Decimal(fraction))


def adjust(symbol: Symbol = BTC, *, stop: int | str | None = None, take_profit: int | str | None = None) -> Decision:
    """Ask for another stop or take-profit."""
    return Decision(
        symbol=symbol,
        action=Action.ADJUST_STOP,
        stop_loss=None if stop is None else Decimal(stop),
        take_profit=None if take_profit is None else Decimal(take_profit),
    )
