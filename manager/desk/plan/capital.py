"""Deal the account's capital to traders and tell how it is used (docs/rules.md 6); every move is a ledger entry."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_DOWN, Decimal, localcontext
from statistics import median
from typing import Final

from exchanges.types import ZERO
from manager.desk.plan.solvency import HUNDRED, deficit, free_money, is_bankrupt, reserve, withdrawable
from manager.desk.plan.values import AccountView, AllocationStrategy, TraderView
from manager.state.records import StateCode, TraderState, TradingState, UtilizationReport
from traders.spec import TraderId

FLOOR_USD = Decimal(100)
MIN_RANKED_TRADES = 20
SHARPE_CHANGE = 0.2
CAPITAL_STEP = Decimal("1E-8")
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


def deal_fixed(money: Decimal, traders: Sequence[TraderView]) -> dict[TraderId, Decimal]:
    """Deal each its allocation_pct where it has one, and the rest to the others equally."""
    dealt = {name: share for name, share in deal_by_percentage(money, traders).items() if share}
    others = [trader for trader in traders if trader.spec.id not in dealt]
    return dealt | deal_equally(money - sum(dealt.values(), ZERO), others)


ALLOCATIONS: Final[Mapping[AllocationStrategy, Callable[[Decimal, Sequence[TraderView]], dict[TraderId, Decimal]]]] = {
    AllocationStrategy.EQUAL: deal_equally,
    AllocationStrategy.CUSTOM: deal_by_percentage,
    AllocationStrategy.PERFORMANCE_BASED: deal_by_performance,
    AllocationStrategy.FIXED: deal_fixed,
}


def rebalance(view: AccountView, unallocated: Decimal) -> tuple[CapitalMove, ...]:
    """Return the capital entries that bring each running trader's equity to its allocation, withdrawals first.

    A withdrawal stops at what its book needs; deposits are scaled to what is free. A bankrupt book gets nothing. Paused
    and failed traders keep what they have, and under `fixed` all that were dealt to.
    """
    traders, strategy = view.traders, view.rules.allocation_strategy
    shares = _withdrawn(view)
    kept = [traders[name] for name in sorted(traders) if name not in shares]
    running = [trader for trader in kept if trader.state is TraderState.RUNNING]
    distributable = view.equity - reserve(view)
    if strategy is not AllocationStrategy.CUSTOM:
        idle = (view.equity_of(trader.book) for trader in kept if trader.state is not TraderState.RUNNING)
        distributable -= sum((max(equity, ZERO) for equity in idle), ZERO)
    dealt = allocations(strategy, distributable, running)
    if strategy is AllocationStrategy.FIXED:
        dealt = {name: amount for name, amount in dealt.items() if not traders[name].allocated}
    shares.update(dealt)
    wanted = {trader_id: _wanted(view, traders[trader_id], amount) for trader_id, amount in shares.items()}
    amounts = _affordable(wanted, free_money(view, unallocated))
    moves = (_move(view, traders[name], amounts[name], shares[name]) for name in sorted(shares))
    return tuple(move for move in moves if move.amount or move.allocated != traders[move.trader_id].allocated)


def _withdrawn(view: AccountView) -> dict[TraderId, Decimal]:
    """Return an allocation of nothing for those whose free capital is withdrawn; a funded one waits for its start."""
    return {name: ZERO for name, trader in view.traders.items() if is_withdrawn(view, trader)}


def is_withdrawn(view: AccountView, trader: TraderView) -> bool:
    """Tell whether a trader's free capital is withdrawn: it is stopped, isolated or bankrupt, and not newly funded."""
    leaves = trader.state in _WITHDRAWN and trader.state_code is not StateCode.FUNDED
    return leaves or is_bankrupt(view, trader)


def _move(view: AccountView, trader: TraderView, amount: Decimal, share: Decimal) -> CapitalMove:
    """Return the move; under `fixed` a trader is allocated what it got, for there is no next deal to bring the rest."""
    given = share
    if view.rules.allocation_strategy is AllocationStrategy.FIXED and share:
        given = min(share, max(view.equity_of(trader.book) + amount, ZERO))
    return CapitalMove(trader_id=trader.spec.id, amount=amount, allocated=given)


def basis_of(view: AccountView) -> RebalanceBasis:
    """Return what a rebalance stands on, to be kept for `needs_rebalance`."""
    return RebalanceBasis(at=view.at, members=_members(view), sharpes=_sharpes(view.traders.values()))


def needs_rebalance(view: AccountView, last: RebalanceBasis | None) -> bool:
    """Tell whether a rebalance is due: first one, interval over, a trader added, removed or isolated, Sharpe moved.

    A Sharpe that begins to count since the last rebalance is no change; it waits for the interval. A halted account is
    not rebalanced. Under `fixed` no interval counts, so what a leaver still held is taken when it has become flat.
    """
    strategy = view.rules.allocation_strategy
    if view.trading_state is TradingState.HALTED:
        return False
    if last is None or _members(view) != last.members:
        return True
    if strategy is AllocationStrategy.FIXED:
        return any(is_withdrawn(view, trader) and _left_behind(view, trader) for trader in view.traders.values())
    if view.at - last.at >= timedelta(seconds=view.rules.rebalance_interval_s):
        return True
    if strategy is not AllocationStrategy.PERFORMANCE_BASED:
        return False
    now = _sharpes(view.traders.values())
    return any(
        trader_id in last.sharpes and abs(sharpe - last.sharpes[trader_id]) > SHARPE_CHANGE
        for trader_id, sharpe in now.items()
    )


def _left_behind(view: AccountView, trader: TraderView) -> bool:
    return not trader.book.positions and _step(withdrawable(view, trader)) > ZERO


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
        reserve=reserve(view),
        utilization_pct=utilized * HUNDRED / allocated if allocated > ZERO else ZERO,
        over_allocated=tuple(over),
        deficit=deficit(view),
    )


def _wanted(view: AccountView, trader: TraderView, allocated: Decimal) -> Decimal:
    """Return allocation - equity, a withdrawal limited to what is free; a withdrawn trader gets no more."""
    gap = allocated - view.equity_of(trader.book)
    if gap >= ZERO:
        return ZERO if is_withdrawn(view, trader) else _step(gap)
    return -_step(min(-gap, withdrawable(view, trader)))


def _affordable(wanted: Mapping[TraderId, Decimal], free: Decimal) -> Mapping[TraderId, Decimal]:
    returned = -sum((amount for amount in wanted.values() if amount < ZERO), ZERO)
    asked = sum((amount for amount in wanted.values() if amount > ZERO), ZERO)
    purse = max(free + returned, ZERO)
    if asked <= purse:
        return wanted
    return {trader_id: _part(amount, purse, asked) if amount > ZERO else amount for trader_id, amount in wanted.items()}


def _step(amount: Decimal) -> Decimal:
    return amount.quantize(CAPITAL_STEP, rounding=ROUND_DOWN)


def _part(money: Decimal, weight: Decimal, total: Decimal) -> Decimal:
    with localcontext(prec=_EXACT_DIGITS):
        return (money * weight / total).quantize(CAPITAL_STEP, rounding=ROUND_DOWN)


def _members(view: AccountView) -> frozenset[TraderId]:
    return frozenset(trader_id for trader_id, trader in view.traders.items() if trader.state not in _WITHDRAWN)


def _sharpes(traders: Iterable[TraderView]) -> dict[TraderId, float]:
    return {
        trader.spec.id: trader.sharpe
        for trader in traders
        if trader.sharpe is not None and trader.closed_trades >= MIN_RANKED_TRADES
    }
