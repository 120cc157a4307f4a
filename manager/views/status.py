"""What `propdesk status` shows, read from the store."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Final

from executor.registry import ExecutorType
from manager.cli.decision_text import dropped_items
from manager.state.records import (
    UNALLOCATED,
    AccountRow,
    BookRow,
    DecisionId,
    DecisionRow,
    EquityRow,
    IncidentRow,
    PositionRow,
    SampledMark,
    ScheduleRow,
    TenantId,
    TraderRow,
    TraderState,
    TradingState,
    UtilizationReport,
    VerdictRow,
)
from manager.state.store import AccountRows, Store, Transaction
from manager.views.costs import ModelCost, trader_cost
from manager.views.incidents import alarms, read_incidents
from traders.spec import TraderId

ZERO: Final = Decimal(0)
SILENT: Final = timedelta(seconds=60)
_REFUSALS_EACH: Final = 3


class Light(StrEnum):
    """Say in one word how an account is: STOPPED means that no worker runs or that none has sampled it for a minute."""

    RUNNING = "running"
    PAUSED = "paused"
    ERROR = "error"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class LastDecision:
    """Hold a trader's newest decision: actions as `open_long BTC/USDT:USDT`; `dropped` items could not be read."""

    decision_id: DecisionId
    at: datetime
    outcome: str
    actions: tuple[str, ...]
    errors: tuple[str, ...]
    dropped: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Hold one denial or clamp of a trader."""

    at: datetime
    kind: str
    code: str
    symbol: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TraderStatus:
    """Hold one trader; money in USD, `pnl_usd` is equity less capital, so flows do not count.

    `models_today` is None for a trader that asks no model. One that is not `watched` has no worker: whatever its
    state, nobody decides for it or looks after its stops. Both times are None for one that nobody lets decide;
    while it is deciding, `next_decision_at` is the one after.
    """

    id: str
    name: str
    state: str
    reason: str
    watched: bool
    allocated: Decimal
    equity: Decimal | None
    pnl_usd: Decimal | None
    realized_pnl: Decimal
    fees: Decimal
    funding: Decimal
    open_positions: int
    models_today: ModelCost | None
    next_decision_at: datetime | None
    deciding_since: datetime | None
    last_decision: LastDecision | None
    refusals: tuple[Refusal, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionStatus:
    """Hold one position; `mark` is that of the account's last sample of equity, its candle or tick of `marked_at`.

    `margin` is at the mark, or at the entry price where no mark is known.
    """

    trader_id: TraderId
    symbol: str
    quantity: Decimal
    entry_price: Decimal
    leverage: int
    margin: Decimal
    mark: Decimal | None
    marked_at: datetime | None
    unrealized_pnl: Decimal | None
    stop_loss: Decimal | None
    take_profit: Decimal | None
    unprotected_since: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountStatus:
    """Hold one account with its traders and positions; money in USD, `incidents` open or of the last hour.

    `utilization` is None until the account's equity was sampled first.
    """

    id: str
    venue: str
    light: Light
    reasons: tuple[str, ...]
    trading_state: str
    equity: Decimal
    unallocated: Decimal
    utilization: UtilizationReport | None
    sampled_at: datetime | None
    traders: tuple[TraderStatus, ...]
    positions: tuple[PositionStatus, ...]
    incidents: tuple[IncidentRow, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    at: datetime
    worker_alive: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Details:
    decision: DecisionRow | None
    refusals: tuple[Refusal, ...]
    sample: EquityRow | None
    models_today: ModelCost | None


async def read_status(
    store: Store, tenant: TenantId, now: datetime, *, worker_alive: bool = True
) -> tuple[AccountStatus, ...]:
    """Return every account of `tenant`, all read in one transaction."""
    async with store.transaction(tenant) as tx:
        accounts = await tx.find(AccountRow, {})
        return tuple([await _account(tx, account, _Look(at=now, worker_alive=worker_alive)) for account in accounts])


async def _account(tx: Transaction, account: AccountRow, look: _Look) -> AccountStatus:
    rows = await tx.account_rows(account.account_id)
    incidents = await read_incidents(tx, account.account_id, look.at)
    details = {row.trader_id: await _details(tx, row, look.at) for row in rows.traders}
    books = {book.trader_id: book for book in rows.books}
    schedules = {schedule.trader_id: schedule for schedule in rows.schedules}
    traders = tuple(
        _trader(
            row,
            _book(books, account, row.trader_id),
            details[row.trader_id],
            account=account,
            schedule=schedules.get(row.trader_id),
            watched=look.worker_alive,
        )
        for row in sorted(rows.traders, key=lambda row: row.seq)
    )
    held = sorted(rows.positions, key=lambda row: (row.trader_id, row.symbol))
    positions = tuple(_position(row, account.marks) for row in held)
    return _summary(rows, look, traders=traders, positions=positions, incidents=incidents)


async def _details(tx: Transaction, trader: TraderRow, now: datetime) -> _Details:
    who = {"trader_id": trader.trader_id}
    asks = trader.spec.executor.type in (ExecutorType.LLM, ExecutorType.REMOTE)
    decisions = await tx.find(DecisionRow, who, newest_first="decided_at", limit=1)
    verdicts = await tx.find(VerdictRow, who, newest_first="at", limit=_REFUSALS_EACH)
    samples = await tx.find(EquityRow, {"account_id": trader.account_id, **who}, newest_first="at", limit=1)
    return _Details(
        decision=decisions[0] if decisions else None,
        refusals=tuple(
            Refusal(at=row.at, kind=row.kind, code=row.code, symbol=row.symbol, detail=row.detail) for row in verdicts
        ),
        sample=samples[0] if samples else None,
        models_today=await trader_cost(tx, trader, now) if asks else None,
    )


def _summary(
    rows: AccountRows,
    look: _Look,
    *,
    traders: tuple[TraderStatus, ...],
    positions: tuple[PositionStatus, ...],
    incidents: tuple[IncidentRow, ...],
) -> AccountStatus:
    account = rows.account
    unallocated = sum((book.cash for book in rows.books if book.trader_id == UNALLOCATED), ZERO)
    light, reasons = _light(rows, incidents, look)
    return AccountStatus(
        id=account.account_id,
        venue=account.venue,
        light=light,
        reasons=reasons,
        trading_state=account.trading_state,
        equity=account.equity,
        unallocated=unallocated,
        utilization=account.utilization,
        sampled_at=account.updated_at,
        traders=traders,
        positions=positions,
        incidents=incidents,
    )


def _light(rows: AccountRows, incidents: Sequence[IncidentRow], look: _Look) -> tuple[Light, tuple[str, ...]]:
    account = rows.account
    states = [trader.state for trader in rows.traders]
    wrong = alarms(incidents)
    wrong += [f"{row.trader_id} is in error" for row in rows.traders if row.state is TraderState.ERROR]
    switched = account.trading_state is not TradingState.ACTIVE
    told = [f"{account.trading_state}: {account.state_reason or 'no reason given'}"] if switched else []
    told = [*wrong, *told]
    if not look.worker_alive:
        return Light.STOPPED, ("no worker runs; stops are not watched", *told)
    if account.updated_at is None or look.at - account.updated_at > SILENT:
        since = "never" if account.updated_at is None else account.updated_at.strftime("%Y-%m-%d %H:%M:%S UTC")
        return Light.STOPPED, (f"no worker has sampled the account; last time: {since}", *told)
    if wrong:
        return Light.ERROR, tuple(told)
    if switched:
        return Light.PAUSED, tuple(told)
    if TraderState.RUNNING not in states:
        return Light.PAUSED, ("no trader is running",)
    return Light.RUNNING, ()


def _trader(
    row: TraderRow,
    book: BookRow,
    details: _Details,
    *,
    account: AccountRow,
    schedule: ScheduleRow | None,
    watched: bool,
) -> TraderStatus:
    last, equity = details.decision, _equity(book, details.sample, account)
    acting = schedule if watched and row.state is TraderState.RUNNING else None
    return TraderStatus(
        id=row.trader_id,
        name=row.spec.name,
        state=row.state,
        reason=row.state_reason,
        watched=watched,
        allocated=book.allocated,
        equity=equity,
        pnl_usd=None if equity is None else equity - book.capital,
        realized_pnl=book.realized,
        fees=book.fees,
        funding=book.funding,
        open_positions=book.open_positions,
        models_today=details.models_today,
        next_decision_at=acting.next_due_at if acting else None,
        deciding_since=acting.claimed_at if acting and acting.in_flight_due_at else None,
        last_decision=None if last is None else _decision(last),
        refusals=details.refusals,
    )


def _position(row: PositionRow, marks: Mapping[str, SampledMark]) -> PositionStatus:
    mark = marks.get(row.symbol)
    units = row.quantity * row.contract_size
    return PositionStatus(
        trader_id=row.trader_id,
        symbol=row.symbol,
        quantity=row.quantity,
        entry_price=row.cost / units,
        leverage=row.leverage,
        margin=abs(row.cost if mark is None else units * mark.price) / row.leverage,
        mark=None if mark is None else mark.price,
        marked_at=None if mark is None else mark.at,
        unrealized_pnl=None if mark is None else units * mark.price - row.cost,
        stop_loss=row.stop_loss,
        take_profit=row.take_profit,
        unprotected_since=row.unprotected_since,
    )


def _decision(row: DecisionRow) -> LastDecision:
    return LastDecision(
        decision_id=row.decision_id,
        at=row.decided_at,
        outcome=row.outcome,
        actions=tuple(f"{one.action} {one.symbol}" for one in row.decisions),
        errors=tuple(f"{error.path}: {error.message}" for error in row.errors),
        dropped=dropped_items(row.errors),
    )


def _book(books: Mapping[TraderId, BookRow], account: AccountRow, trader_id: TraderId) -> BookRow:
    empty = BookRow(tenant_id=account.tenant_id, account_id=account.account_id, trader_id=trader_id)
    return books.get(trader_id, empty)


def _equity(book: BookRow, sample: EquityRow | None, account: AccountRow) -> Decimal | None:
    """Return a flat book's cash, else its last sample, unless capital has moved since."""
    if not book.open_positions:
        return book.cash
    if sample is None or (account.rebalanced_at is not None and sample.at < account.rebalanced_at):
        return None
    return sample.equity
