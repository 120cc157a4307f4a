"""One trader whole: its definition and state, its limits and how near it is to each, and what it did last."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from exchanges.types import ZERO
from executor.contract import Limits
from executor.models.addresses import shown_url
from executor.prompts.values import duration
from executor.registry import ExecutorSpec, ExecutorType
from manager.errors import UnknownTrader
from manager.state import records
from manager.state.records import AccountId, BookRow, OrderRow, TenantId, TraderRow
from manager.state.store import Search, Store
from manager.state.switches import Switched, limiting, of_account, of_trader
from manager.views.holdings import PositionStatus
from manager.views.performance import PerformanceQuery, TraderPerformance, read_performance
from manager.views.status import LastDecision, Verdict
from traders.spec import TraderId

_SHOWN: Final = 5
_HOUR: Final = timedelta(hours=1)
_HUNDRED: Final = Decimal(100)
_LIVE: Final = tuple(state for state in records.OrderState if state.live)
_BULKY: Final = ("context", "reply", "reasoning", "prompt_cuts")


@dataclass(frozen=True, slots=True, kw_only=True)
class TraderQuery:
    """Say which trader is asked about, and at which time."""

    now: datetime
    trader_id: TraderId


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitUse:
    """Hold one limit by the name of its config key, as the config writes it, and what is used of it.

    `used` is in the unit of the limit and `used_pct` its share; both are None where nothing is counted or it is not
    known. `until` is when the trader may enter again.
    """

    name: str
    limit: str
    used: Decimal | None = None
    used_pct: Decimal | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenOrder:
    """Hold one order that the venue may still hold or fill; `quantity` is the trader's part of what is left."""

    order_id: records.OrderId
    created_at: datetime
    symbol: str
    side: str
    purpose: str
    quantity: Decimal
    trigger_price: Decimal | None
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TraderPage:
    """Hold one trader; money in USD, at the marks of its account's last sample.

    `account_state` and its reason say how far its account may trade by itself, `limited_by` which scopes stop entries,
    from the service to the trader, the strictest first; `executor` in words what decides. Decisions and verdicts are
    the newest few.
    """

    id: TraderId
    name: str
    account_id: AccountId
    state: str
    code: str
    reason: str
    trading_state: str
    account_state: str
    account_reason: str
    executor: str
    symbols: tuple[str, ...]
    decision_interval_s: int
    allocation_pct: Decimal
    allocated: Decimal
    managed_by: str
    description: str
    author: str
    created_at: datetime | None
    updated_at: datetime | None
    next_decision_at: datetime | None
    deciding_since: datetime | None
    limits: tuple[LimitUse, ...]
    decisions: tuple[LastDecision, ...]
    verdicts: tuple[Verdict, ...]
    positions: tuple[PositionStatus, ...]
    orders: tuple[OpenOrder, ...]
    performance: TraderPerformance
    ranked: int
    limited_by: tuple[Switched, ...] = ()


async def read_trader(store: Store, tenant: TenantId, query: TraderQuery) -> TraderPage:
    """Return a trader as it is, read in four statements; raise UnknownTrader."""
    mine: dict[str, Any] = {"where": {"trader_id": query.trader_id}}
    async with store.transaction(tenant) as tx:
        rows, accounts, schedules, books, positions, decisions, verdicts = await tx.search(
            Search(kind=TraderRow, **mine),
            Search(kind=records.AccountRow),
            *(Search(kind=kind, **mine) for kind in (records.ScheduleRow, BookRow, records.PositionRow)),
            Search(kind=records.DecisionRow, newest_first="decided_at", limit=_SHOWN, omit=_BULKY, **mine),
            Search(kind=records.VerdictRow, newest_first="at", limit=_SHOWN, **mine),
        )
        if not rows:
            raise UnknownTrader.of(query.trader_id)
        [row], switches = rows, await tx.switches()
        live = {"account_id": row.account_id, "state": _LIVE}
        [orders] = await tx.search(Search(kind=OrderRow, where=live, about=row.trader_id))
    ranking = await read_performance(
        store, tenant, PerformanceQuery(now=query.now, account_id=row.account_id, trader_id=row.trader_id)
    )
    account = next(one for one in accounts if one.account_id == row.account_id)
    bare = BookRow(tenant_id=tenant, account_id=row.account_id, trader_id=row.trader_id)
    book = next((one for one in books if one.account_id == row.account_id), bare)
    held = [one for one in positions if one.account_id == row.account_id]
    shown = tuple(PositionStatus.of(one, account.marks.get(one.symbol)) for one in held)
    dust = frozenset(one.symbol for one in held if one.dust)
    use = _Use(row.spec.limits, book, [one for one in shown if one.symbol not in dust], ranking.traders[0], query.now)
    schedule = next(iter(schedules), None)
    return TraderPage(
        id=row.trader_id,
        name=row.spec.name,
        account_id=row.account_id,
        state=row.state,
        code=row.state_code,
        reason=row.state_reason,
        trading_state=row.trading_state,
        account_state=account.trading_state,
        account_reason=account.state_reason,
        executor=executor_text(row.spec.executor),
        symbols=row.spec.symbols,
        decision_interval_s=row.spec.decision_interval_s,
        allocation_pct=row.spec.allocation_pct,
        allocated=book.allocated,
        managed_by=row.spec.managed_by,
        description=row.spec.description,
        author=row.spec.author,
        created_at=row.created_at,
        updated_at=row.updated_at,
        next_decision_at=schedule.next_due_at if schedule and row.is_asked(holds=bool(held)) else None,
        deciding_since=schedule.claimed_at if schedule and schedule.in_flight_due_at else None,
        limits=tuple(use.limits()),
        decisions=tuple(map(LastDecision.of, decisions)),
        verdicts=tuple(
            Verdict(at=one.at, kind=one.kind, code=one.code, symbol=one.symbol, detail=one.detail) for one in verdicts
        ),
        positions=shown,
        orders=tuple(found for order in orders for found in _open_orders(order, row.trader_id)),
        performance=ranking.traders[0],
        ranked=ranking.total.traders,
        limited_by=limiting(switches.over(tenant, of_account(account), of_trader(row))),
    )


def executor_text(executor: ExecutorSpec) -> str:
    """Say in a few words what decides: the kind of executor and its style, its address or its model."""
    decides = {ExecutorType.BASELINE: executor.style, ExecutorType.REMOTE: shown_url(executor.base_url)}
    return f"{executor.type} {decides.get(executor.type, executor.model)}".strip()


class _Use:
    """Say of each limit how much of it is used, as the rules count it; reserved orders are not counted."""

    def __init__(
        self,
        limits: Limits,
        book: BookRow,
        positions: Sequence[PositionStatus],
        standing: TraderPerformance,
        now: datetime,
    ) -> None:
        self._limits = limits
        self._book = book
        self._positions = positions
        self._standing = standing
        self._now = now

    def limits(self) -> Iterator[LimitUse]:
        """Yield the limits: first those that are used up by what is held and was done."""
        limits, largest = self._limits, max(map(_notional, self._positions), default=ZERO)
        yield _used("max_positions", Decimal(limits.max_positions), Decimal(len(self._positions)))
        yield _used("max_position_size_usd", limits.max_position_size_usd, largest)
        exposure = limits.max_single_position_exposure_pct
        if exposure is not None:
            yield _used("max_single_position_exposure_pct", exposure, _share(largest, self._book.allocated))
        margin = sum((one.margin for one in self._positions), ZERO)
        yield _used("max_margin_usage_pct", limits.max_margin_usage_pct, _share(margin, self._standing.equity))
        fallen = Decimal(repr(round(self._standing.performance.drawdown_pct, 6)))
        yield _used("max_drawdown_pct", limits.max_drawdown_pct, fallen)
        entries = sum(self._now - entry.at < _HOUR for entry in self._book.recent_entries)
        yield _used("max_entries_per_hour", Decimal(limits.max_entries_per_hour), Decimal(entries))
        yield self._cooldown()
        yield LimitUse(name="major_coin_leverage", limit=str(limits.major_coin_leverage))
        yield LimitUse(name="altcoin_leverage", limit=str(limits.altcoin_leverage))
        yield LimitUse(name="min_risk_reward_ratio", limit=f"{limits.min_risk_reward_ratio:f}")
        yield LimitUse(name="min_confidence", limit=f"{limits.min_confidence:f}")
        yield LimitUse(name="stop_loss_enabled", limit=str(limits.stop_loss_enabled).lower())
        yield LimitUse(name="take_profit_enabled", limit=str(limits.take_profit_enabled).lower())

    def _cooldown(self) -> LimitUse:
        wait_s, stopped = self._limits.cooldown_after_stop_s, self._book.last_stop_at
        until = None if stopped is None else stopped + timedelta(seconds=wait_s)
        over = not wait_s or until is None or until <= self._now
        return LimitUse(name="cooldown_after_stop", limit=duration(wait_s), until=None if over else until)


def _used(name: str, limit: Decimal, used: Decimal | None) -> LimitUse:
    return LimitUse(name=name, limit=f"{limit:f}", used=used, used_pct=None if used is None else _share(used, limit))


def _share(part: Decimal, whole: Decimal | None) -> Decimal | None:
    return part * _HUNDRED / whole if whole is not None and whole > ZERO else None


def _notional(position: PositionStatus) -> Decimal:
    return position.margin * position.leverage


def _open_orders(order: OrderRow, trader_id: TraderId) -> Iterator[OpenOrder]:
    for share in order.shares:
        if share.trader_id == trader_id:
            yield OpenOrder(
                order_id=order.order_id,
                created_at=order.created_at,
                symbol=order.symbol,
                side=order.side,
                purpose=order.purpose,
                quantity=min(share.quantity, order.quantity - order.filled),
                trigger_price=order.trigger_price,
                state=order.state,
            )
