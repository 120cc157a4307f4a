"""The rows of the database as values; each names its key, its writer and where it comes from.

A row type has exactly one writer: the decide job, the account's round, or the manager. Both stores keep these values;
`manager/state/keys.py` holds the primary key of each type.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import NamedTuple, NewType

from exchanges.clock import EPOCH
from exchanges.types import ZERO, BracketId, FillKind, Liquidity, OrderType, Side, Symbol
from executor.contract import Context, Decision, ItemError, Outcome, Usage
from manager.state.kinds import IntentStatus as IntentStatus  # noqa: PLC0414 - re-exported to those who read rows
from manager.state.kinds import LedgerKind as LedgerKind  # noqa: PLC0414 - re-exported to those who read rows
from manager.state.kinds import OrderPurpose as OrderPurpose  # noqa: PLC0414 - re-exported to those who read rows
from manager.state.kinds import OrderState as OrderState  # noqa: PLC0414 - re-exported to those who read rows
from manager.state.kinds import StateCode as StateCode  # noqa: PLC0414 - re-exported to those who read rows
from manager.state.kinds import TradingState as TradingState  # noqa: PLC0414 - re-exported to those who read rows
from manager.state.kinds import VerdictKind as VerdictKind  # noqa: PLC0414 - re-exported to those who read rows
from traders.book import Book, Position
from traders.performance import Performance
from traders.spec import TraderId, TraderSpec
from traders.trader import TraderState as TraderState  # noqa: PLC0414 - re-exported to those who read rows

TenantId = NewType("TenantId", str)
AccountId = NewType("AccountId", str)
DecisionId = NewType("DecisionId", str)
IntentId = NewType("IntentId", str)
OrderId = NewType("OrderId", str)
RoundId = NewType("RoundId", str)


class PositionKey(NamedTuple):
    """Name one position: whose it is and in which symbol."""

    trader_id: TraderId
    symbol: Symbol


DEFAULT_TENANT = TenantId("default")

UNALLOCATED = TraderId("UNALLOCATED")
ROUNDING = TraderId("ROUNDING")


@dataclass(frozen=True, slots=True, kw_only=True)
class UtilizationReport:
    """Report the use of capital in USD: `utilized` is margin in use, `utilization_pct` its share of the allocated.

    `over_allocated` use more than their allocation and get no entries. `deficit` is what books below zero lack.
    """

    total: Decimal
    allocated: Decimal
    utilized: Decimal
    reserve: Decimal
    utilization_pct: Decimal
    over_allocated: tuple[TraderId, ...]
    deficit: Decimal = ZERO


@dataclass(frozen=True, slots=True, kw_only=True)
class SampledMark:
    """Hold the mark that a sample of equity used for one symbol, and the time of its candle or tick."""

    price: Decimal
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountRow:
    """Hold one exchange account; written by its round, by the manager's halt and resume and at a start.

    `fills_since`, `newest_trade`, `funding_since` and `cash_since` are the newest news that is booked, `books_since` is
    when the books were opened: what came before is in their first deposit.
    `marks` are by symbol, as of `updated_at`; so are `equity` and `utilization`, or as of a rebalance after it.
    `terms` says what prices and fills it (manager/roster/terms.py), `config` which file they are from. `suspicions` are
    what the check of its invariants at `checked_at` found, each with its size in USD where it has one. `opened_at`
    enters every client order id: a database made anew begins its rounds again, and must not name an old order.
    """

    tenant_id: TenantId
    account_id: AccountId
    venue: str
    trading_state: TradingState = TradingState.ACTIVE
    state_reason: str = ""
    fencing_token: int = 0
    holder: str = ""
    equity: Decimal = ZERO
    books_since: datetime | None = None
    fills_since: datetime | None = None
    newest_trade: str = ""
    funding_since: datetime | None = None
    cash_since: datetime | None = None
    rebalanced_at: datetime | None = None
    rebalance_members: tuple[TraderId, ...] = ()
    updated_at: datetime | None = None
    utilization: UtilizationReport | None = None
    marks: Mapping[str, SampledMark] = field(default_factory=dict)
    terms: str = ""
    config: str = ""
    checked_at: datetime | None = None
    suspicions: Mapping[str, Decimal] = field(default_factory=dict)
    opened_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TraderRow:
    """Hold a trader's definition and life-cycle state; written by the manager.

    `updated_at` is when either changed last; both instants are None where nothing tells them.
    """

    tenant_id: TenantId
    trader_id: TraderId
    account_id: AccountId
    seq: int
    spec: TraderSpec
    state: TraderState = TraderState.STOPPED
    state_reason: str = ""
    state_code: StateCode = StateCode.NONE
    trading_state: TradingState = TradingState.ACTIVE
    trading_reason: str = ""
    created_at: datetime | None = None
    updated_at: datetime | None = None

    def is_asked(self, *, holds: bool) -> bool:
        """Tell whether it decides: it runs, or is isolated, not for its replies, with positions that it may close."""
        isolated = self.state is TraderState.ISOLATED and self.state_code is not StateCode.FAILURES
        return self.state is TraderState.RUNNING or (isolated and holds)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleRow:
    """Hold when a trader decides next and whether a decision is in flight; written by claim and decide.

    Slots are the epoch multiples of `interval_s`, shifted by `phase_s`, so that live traders spread over the interval.
    Denials from `told_at` on are still to be shown to the trader. `gate` names the endpoint that decides, empty where
    nothing is called: what waits for one place there is claimed only as far as there is room. `bad_replies` counts the
    replies in a row that were no decision; an endpoint that is away neither counts nor ends the row.
    """

    tenant_id: TenantId
    trader_id: TraderId
    account_id: AccountId
    interval_s: int
    phase_s: int = 0
    next_due_at: datetime | None = None
    in_flight_due_at: datetime | None = None
    claimed_at: datetime | None = None
    last_decision_at: datetime | None = None
    failed_decisions: int = 0
    told_at: datetime | None = None
    bad_replies: int = 0
    gate: str = ""

    def slot(self, now: datetime) -> datetime:
        """Return the latest slot at or before `now`."""
        elapsed = (now - EPOCH) // timedelta(seconds=1)
        return EPOCH + timedelta(seconds=(elapsed - self.phase_s) // self.interval_s * self.interval_s + self.phase_s)

    def next_slot(self, now: datetime) -> datetime:
        """Return the earliest slot strictly after `now`."""
        return self.slot(now) + timedelta(seconds=self.interval_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecentEntry:
    """Hold when an entry first filled and whose intent it carried out, which counts once however its fills come."""

    at: datetime
    intent_id: IntentId


@dataclass(frozen=True, slots=True, kw_only=True)
class BookRow:
    """Hold the money of one trader, of EXTERNAL, UNALLOCATED or ROUNDING; written by the account's round.

    `bankrupt_at` is when its equity fell to 0 or below; it stands until an operator recapitalises the book. The
    `violations` are the instants of denials that count for isolation, `last_entry_at` is of the newest entry that
    filled. `started_usd` is the first capital that came, at `started_at`; what came or went since has been moved.
    """

    tenant_id: TenantId
    account_id: AccountId
    trader_id: TraderId
    capital: Decimal = ZERO
    realized: Decimal = ZERO
    fees: Decimal = ZERO
    funding: Decimal = ZERO
    allocated: Decimal = ZERO
    open_positions: int = 0
    last_stop_at: datetime | None = None
    recent_entries: tuple[RecentEntry, ...] = ()
    sharpe_at_rebalance: float | None = None
    bankrupt_at: datetime | None = None
    violations: tuple[datetime, ...] = ()
    last_entry_at: datetime | None = None
    started_usd: Decimal = ZERO
    started_at: datetime | None = None
    performance: Performance = field(default_factory=Performance)

    @property
    def cash(self) -> Decimal:
        """Return equity without unrealized PnL."""
        return self.capital + self.realized - self.fees + self.funding

    def book(self, positions: "Iterable[PositionRow]") -> Book:
        """Return the book that this row and the rows of its positions hold."""
        return Book(
            trader_id=self.trader_id,
            capital=self.capital,
            realized=self.realized,
            fees=self.fees,
            funding=self.funding,
            positions={row.symbol: row.position for row in positions},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionRow:
    """Hold one symbol of one book; absent when flat; written by the account's round."""

    tenant_id: TenantId
    account_id: AccountId
    trader_id: TraderId
    symbol: Symbol
    quantity: Decimal
    cost: Decimal
    leverage: int
    opened_at: datetime
    contract_size: Decimal = Decimal(1)
    stop_loss: Decimal | None = None
    take_profit: Decimal | None = None
    realized: Decimal = ZERO
    dust: bool = False
    unprotected_since: datetime | None = None

    @property
    def position(self) -> Position:
        """Return the position as a book holds it."""
        return Position(
            symbol=self.symbol,
            quantity=self.quantity,
            cost=self.cost,
            leverage=self.leverage,
            opened_at=self.opened_at,
            contract_size=self.contract_size,
            stop_loss=self.stop_loss,
            take_profit=self.take_profit,
            realized=self.realized,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionRow:
    """Hold one decision with all that answers "why"; written once by the decide job. `decision_id` is trader@due_ms."""

    tenant_id: TenantId
    decision_id: DecisionId
    trader_id: TraderId
    account_id: AccountId
    due_at: datetime
    decided_at: datetime
    outcome: Outcome
    decisions: tuple[Decision, ...] = ()
    errors: tuple[ItemError, ...] = ()
    model: str = ""
    prompt_hash: str = ""
    reasoning: str = ""
    reply: str = ""
    usage: Usage = field(default_factory=Usage)
    latency_s: float = 0.0
    attempts: int = 1
    context: Context | None = None
    prompt_tokens: int = 0
    prompt_cuts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptRow:
    """Keep the text of one decision's prompt, compressed, until its retention ends; written by the decide job."""

    tenant_id: TenantId
    decision_id: DecisionId
    account_id: AccountId
    trader_id: TraderId
    at: datetime
    template: str
    version: int
    sha256: str
    body: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IntentRow:
    """Hold one item of a decision on its way through a round; `n` is its place in the decision.

    `asked_by` is the operator whose act it is, empty for a trader's own; a trader's decision replaces none of those.
    """

    tenant_id: TenantId
    intent_id: IntentId
    decision_id: DecisionId
    account_id: AccountId
    trader_id: TraderId
    decided_at: datetime
    decision: Decision
    n: int = 0
    expires_at: datetime | None = None
    status: IntentStatus = IntentStatus.PENDING
    round_id: RoundId = RoundId("")
    code: str = ""
    asked_by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundRow:
    """Hold one round of an account; `round_id` is its fencing token within the account."""

    tenant_id: TenantId
    account_id: AccountId
    round_id: RoundId
    at: datetime
    equity: Decimal = ZERO
    counts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """Hold one trader's part of an order; `stop_loss`, `take_profit` and `leverage` apply to what it fills.

    `price` is the mark at which an entry was planned.
    """

    trader_id: TraderId
    quantity: Decimal
    intent_id: IntentId = IntentId("")
    leverage: int = 1
    stop_loss: Decimal | None = None
    take_profit: Decimal | None = None
    price: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRow:
    """Hold one order of the desk, in the database before the venue can see it; `order_id` is its client order id.

    `n` is its place among the orders of its round. `fired` says that the desk fires a take-profit that does not rest:
    what is not filled at once dies.
    """

    tenant_id: TenantId
    account_id: AccountId
    order_id: OrderId
    round_id: RoundId
    symbol: Symbol
    side: Side
    type: OrderType
    purpose: OrderPurpose
    quantity: Decimal
    created_at: datetime
    shares: tuple[Share, ...]
    n: int = 0
    bracket: BracketId | None = None
    trigger_price: Decimal | None = None
    reduce_only: bool = False
    fired: bool = False
    state: OrderState = OrderState.PENDING
    filled: Decimal = ZERO
    venue_order_id: str = ""
    reason: str = ""
    send_before: datetime | None = None
    updated_at: datetime | None = None

    @property
    def closes(self) -> bool:
        """Tell whether it closes what is held at once: a plain take-profit is one that the desk fired."""
        fired = self.purpose is OrderPurpose.TAKE_PROFIT and not self.reduce_only
        return fired or self.purpose in (OrderPurpose.REDUCE, OrderPurpose.LIQUIDATION)

    @property
    def guards(self) -> PositionKey:
        """Return the position that a stop or take-profit is for; it has one share."""
        return PositionKey(self.shares[0].trader_id if self.shares else TraderId(""), self.symbol)


@dataclass(frozen=True, slots=True, kw_only=True)
class FillRow:
    """Hold one venue execution, booked once: unique on account and venue trade id."""

    tenant_id: TenantId
    account_id: AccountId
    trade_id: str
    order_id: OrderId
    symbol: Symbol
    side: Side
    quantity: Decimal
    price: Decimal
    fee: Decimal
    liquidity: Liquidity
    kind: FillKind
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class FillPartRow:
    """Hold one book's part of a fill or of an internal cross; quantity is signed, parts add up to the fill.

    Of a cross, "cross/round/n", they add up to zero. `opened_at` is of its position, `closed_at` where it closed that.
    """

    tenant_id: TenantId
    account_id: AccountId
    trade_id: str
    trader_id: TraderId
    leg: str
    order_id: OrderId
    intent_id: IntentId
    symbol: Symbol
    quantity: Decimal
    price: Decimal
    fee: Decimal
    realized: Decimal
    purpose: str
    at: datetime
    opened_at: datetime | None = None
    closed_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerRow:
    """Post one movement of money to one book; unique on (account, ref, trader, kind), so never posted twice.

    `actor` and `reason` are of an operator's act.
    """

    tenant_id: TenantId
    account_id: AccountId
    ref: str
    trader_id: TraderId
    kind: LedgerKind
    amount: Decimal
    at: datetime
    symbol: str = ""
    actor: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictRow:
    """Hold one denial or clamp with its code and numbers."""

    tenant_id: TenantId
    account_id: AccountId
    round_id: RoundId
    n: int
    kind: VerdictKind
    code: str
    trader_id: TraderId
    symbol: Symbol
    intent_id: IntentId
    detail: str
    at: datetime
    numbers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class IncidentRow:
    """Hold something an operator must see: a failed stop, a liquidation, an external fill, an unknown order."""

    tenant_id: TenantId
    incident_id: str
    account_id: AccountId
    code: str
    severity: str
    detail: str
    at: datetime
    trader_id: TraderId = TraderId("")
    symbol: str = ""
    resolved_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRow:
    """Hold one act on a trader or account with its actor and reason."""

    tenant_id: TenantId
    event_id: str
    at: datetime
    actor: str
    kind: str
    account_id: AccountId
    trader_id: TraderId = TraderId("")
    before: str = ""
    after: str = ""
    reason: str = ""
