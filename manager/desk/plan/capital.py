"""Deal the account's capital to traders and tell how it is used (docs/rules.md 6); every move is a ledger entry."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_DOWN, Decimal, localcontext
from statistics import median
from typing import Final

from exchanges.types import ZERO
from manager.desk.plan.values import AccountView, AllocationStrategy, TraderView
from manager.state.records import TraderState, UtilizationReport
from traders.spec import TraderId

FLOOR_USD = Decimal(100)
MIN_RANKED_TRADES = 20
SHARPE_CHANGE = 0.2
CAPITAL_STEP = Decimal("1E-8")
HUNDRED = Decimal(100)
_WITHDRAWN = frozenset({TraderState.STOPPED, TraderState.ISOLATED})
_EXACT_DIGITS = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class CapitalMove:
    """Move `amount` USD from UNALLOCATED to a trader (negative: back); `allocated` is its allocation from then on."""

    trader_id: TraderId
    amount: Decimal
    allocated: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class RebalanceBasis:
    """Remember what the last rebalance stood on: its instant, the members and the Sharpe ratios that counted."""

    at: datetime
    members: frozenset[TraderId]
    sharpes: Mapping[TraderId, float]


def allocations(
    strategy: AllocationStrategy, distributable: Decimal, traders: Sequence[TraderView]
) -> Mapping[TraderId, Decimal]:
    """Return each trader's capital in USD, rounded down, together never more than `distributable`."""
    deal = ALLOCATIONS.get(strategy)
    if deal is None:
        raise ValueError(f"allocation strategy {strategy!r} has no row; expected one of {', '.join(ALLOCATIONS)}")
    return deal(max(distributable, ZERO), traders)


def deal_equally(money: Decimal, traders: Sequence[TraderView]) -> dict[TraderId, Decimal]:
    """Deal the same to all."""
    return {trader.spec.id: _part(money, Decimal(1), Decimal(len(traders))) for trader in traders}


def deal_by_percentage(money: Decimal, traders: Sequence[TraderView]) -> dict[TraderId, Decimal]:
    """Deal each its allocation_pct; that they add up to at most 100 % is checked where traders are registered."""
    return {trader.spec.id: _part(money, trader.spec.allocation_pct, HUNDRED) for trader in traders}


def deal_by_performance(money: Decimal, traders: Sequence[TraderView]) -> dict[TraderId, Decimal]:
    """Deal floors by rank, then the rest by max(0, Sharpe); too few trades count at the median of the others."""
    ranked = _sharpes(traders)
    typical = median(ranked.values()) if ranked else 0.0
    sharpes = {trader.spec.id: ranked.get(trader.spec.id, typical) for trader in traders}
    order = sorted(traders, key=lambda trader: (-sharpes[trader.spec.id], trader.seq, trader.spec.id))
    fitting = min(int(money // FLOOR_USD), len(traders))
    dealt = {trader.spec.id: ZERO for trader in traders}
    if not fitting:
        return dealt
    winners = [trader.spec.id for trader in order[:fitting]]
    rest = money - FLOOR_USD * fitting
    weights = [Decimal(repr(max(0.0, sharpes[winner]))) for winner in winners]
    total = sum(weights, ZERO)
    if not total:
        weights, total = [Decimal(1)] * fitting, Decimal(fitting)
    for winner, weight in zip(winners, weights, strict=True):
        dealt[winner] = FLOOR_USD + _part(rest, weight, total)
    return dealt


ALLOCATIONS: Final[Mapping[AllocationStrategy, Callable[[Decimal, Sequence[TraderView]], dict[TraderId, Decimal]]]] = {
    AllocationStrategy.EQUAL: deal_equally,
    AllocationStrategy.CUSTOM: deal_by_percentage,
    AllocationStrategy.PERFORMANCE_BASED: deal_by_performance,
}


def rebalance(view: AccountView, unallocated: Decimal) -> tuple[CapitalMove, ...]:
    """Return the capital entries that bring each running trader's equity to its allocation, withdrawals first.

    A withdrawal stops at the margin in use; deposits are scaled to what UNALLOCATED can give above the reserve. Paused
    and failed traders keep what they have.
    """
    traders, strategy, reserve = view.traders, view.rules.allocation_strategy, _reserve(view)
    allocated = withdraw_isolated(view)
    running = [traders[trader_id] for trader_id in sorted(traders) if traders[trader_id].state is TraderState.RUNNING]
    distributable = view.equity - reserve
    if strategy is not AllocationStrategy.CUSTOM:
        idle = (traders[trader_id] for trader_id in sorted(traders) if trader_id not in allocated)
        kept = (view.equity_of(trader.book) for trader in idle if trader.state is not TraderState.RUNNING)
        distributable -= sum((max(equity, ZERO) for equity in kept), ZERO)
    allocated.update(allocations(strategy, distributable, running))
    wanted = {trader_id: _wanted(view, traders[trader_id], amount) for trader_id, amount in allocated.items()}
    amounts = _affordable(wanted, unallocated, reserve)
    return tuple(
        CapitalMove(trader_id=trader_id, amount=amounts[trader_id], allocated=allocated[trader_id])
        for trader_id in sorted(allocated)
        if amounts[trader_id] or allocated[trader_id] != traders[trader_id].allocated
    )


def withdraw_isolated(view: AccountView) -> dict[TraderId, Decimal]:
    """Return an allocation of nothing for isolated and stopped traders: what is free of their capital is withdrawn."""
    return {trader_id: ZERO for trader_id, trader in view.traders.items() if trader.state in _WITHDRAWN}


def basis_of(view: AccountView) -> RebalanceBasis:
    """Return what a rebalance stands on, to be kept for `needs_rebalance`."""
    return RebalanceBasis(at=view.at, members=_members(view), sharpes=_sharpes(view.traders.values()))


def needs_rebalance(view: AccountView, last: RebalanceBasis | None) -> bool:
    """Tell whether a rebalance is due: first one, interval over, a trader added, removed or isolated, Sharpe moved.

    A Sharpe that begins to count since the last rebalance is no change; it waits for the interval.
    """
    if last is None or view.at - last.at >= timedelta(seconds=view.rules.rebalance_interval_s):
        return True
    if _members(view) != last.members:
        return True
    if view.rules.allocation_strategy is not AllocationStrategy.PERFORMANCE_BASED:
        return False
    now = _sharpes(view.traders.values())
    return any(
        trader_id in last.sharpes and abs(sharpe - last.sharpes[trader_id]) > SHARPE_CHANGE
        for trader_id, sharpe in now.items()
    )


def utilization(view: AccountView) -> UtilizationReport:
    """Return how much of the account is allocated and used, and which traders use more than their allocation."""
    allocated = utilized = ZERO
    over = []
    for trader_id in sorted(view.traders):
        trader = view.traders[trader_id]
        used = view.margin_of(trader.book) + trader.reserved_margin
        allocated += trader.allocated
        utilized += used
        if used > trader.allocated:
            over.append(trader_id)
    return UtilizationReport(
        total=view.equity,
        allocated=allocated,
        utilized=utilized,
        reserve=_reserve(view),
        utilization_pct=utilized * HUNDRED / allocated if allocated > ZERO else ZERO,
        over_allocated=tuple(over),
    )


def _wanted(view: AccountView, trader: TraderView, allocated: Decimal) -> Decimal:
    """Return allocation - equity, a withdrawal limited to what is free; a withdrawn trader gets no more."""
    equity = view.equity_of(trader.book)
    gap = allocated - equity
    if gap >= ZERO:
        return ZERO if trader.state in _WITHDRAWN else gap.quantize(CAPITAL_STEP, rounding=ROUND_DOWN)
    free = equity - view.margin_of(trader.book) - trader.reserved_margin
    return -min(-gap, max(free, ZERO)).quantize(CAPITAL_STEP, rounding=ROUND_DOWN)


def _affordable(
    wanted: Mapping[TraderId, Decimal], unallocated: Decimal, reserve: Decimal
) -> Mapping[TraderId, Decimal]:
    returned = -sum((amount for amount in wanted.values() if amount < ZERO), ZERO)
    asked = sum((amount for amount in wanted.values() if amount > ZERO), ZERO)
    purse = max(unallocated + returned - reserve, ZERO)
    if asked <= purse:
        return wanted
    return {trader_id: _part(amount, purse, asked) if amount > ZERO else amount for trader_id, amount in wanted.items()}


def _part(money: Decimal, weight: Decimal, total: Decimal) -> Decimal:
    with localcontext(prec=_EXACT_DIGITS):
        return (money * weight / total).quantize(CAPITAL_STEP, rounding=ROUND_DOWN)


def _reserve(view: AccountView) -> Decimal:
    return max(view.equity, ZERO) * view.rules.reserve_equity_pct / HUNDRED


def _members(view: AccountView) -> frozenset[TraderId]:
    return frozenset(trader_id for trader_id, trader in view.traders.items() if trader.state not in _WITHDRAWN)


def _sharpes(traders: Iterable[TraderView]) -> dict[TraderId, float]:
    return {
        trader.spec.id: trader.sharpe
        for trader in traders
        if trader.sharpe is not None and trader.closed_trades >= MIN_RANKED_TRADES
    }
