"""Deal the account's capital to traders and tell how it is used (RULES.md 6); every move is a ledger entry."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_DOWN, Decimal, localcontext
from statistics import median

from manager.desk.plan.valuation import book_equity, book_margin
from manager.desk.plan.values import ZERO, AccountView, AllocationStrategy, TraderView
from manager.state.records import TraderState, UtilizationReport
from traders.spec import TraderId

FLOOR_USD = Decimal(100)
MIN_RANKED_TRADES = 20
SHARPE_CHANGE = 0.2
CAPITAL_STEP = Decimal("1E-8")
HUNDRED = Decimal(100)
_RELEASED = frozenset({TraderState.STOPPED, TraderState.ISOLATED})
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
    sharpes: Mapping[str, float]


def targets(
    strategy: AllocationStrategy, distributable: Decimal, traders: Sequence[TraderView]
) -> Mapping[TraderId, Decimal]:
    """Return each trader's capital in USD, rounded down, together never more than `distributable`.

    That `custom` shares add up to at most 100 % is checked where traders are registered.
    """
    money = max(distributable, ZERO)
    if strategy is AllocationStrategy.CUSTOM:
        return {trader.spec.id: _part(money, trader.spec.allocation_pct, HUNDRED) for trader in traders}
    if strategy is AllocationStrategy.EQUAL:
        return {trader.spec.id: _part(money, Decimal(1), Decimal(len(traders))) for trader in traders}
    return _by_performance(money, traders)


def rebalance(view: AccountView, unallocated: Decimal) -> tuple[CapitalMove, ...]:
    """Return the capital entries that bring each running trader's equity to its target, withdrawals first.

    A withdrawal stops at the margin in use; deposits are scaled to what UNALLOCATED can give above the reserve.
    Stopped and isolated traders give back what is free; paused and failed ones keep what they have.
    """
    aims: dict[TraderId, Decimal] = {}
    kept = ZERO
    running = []
    for trader_id in sorted(view.traders):
        trader = view.traders[trader_id]
        if trader.state is TraderState.RUNNING:
            running.append(trader)
        elif trader.state in _RELEASED:
            aims[trader_id] = ZERO
        else:
            kept += max(book_equity(view, trader.book), ZERO)
    reserve = _reserve(view)
    strategy = view.rules.allocation_strategy
    distributable = view.equity - reserve
    if strategy is not AllocationStrategy.CUSTOM:
        distributable -= kept
    aims.update(targets(strategy, distributable, running))
    wanted = {trader_id: _wanted(view, view.traders[trader_id], aim) for trader_id, aim in aims.items()}
    amounts = _affordable(wanted, unallocated, reserve)
    return tuple(
        CapitalMove(trader_id=trader_id, amount=amounts[trader_id], allocated=aims[trader_id])
        for trader_id in sorted(aims)
        if amounts[trader_id] or aims[trader_id] != view.traders[trader_id].allocated
    )


def basis_of(view: AccountView) -> RebalanceBasis:
    """Return what a rebalance of `desk` stands on, to be kept for `needs_rebalance`."""
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
    """Return how much of the account is allocated and used; over-allocated is who uses more than its allocation."""
    allocated = utilized = ZERO
    over = []
    for trader_id in sorted(view.traders):
        trader = view.traders[trader_id]
        used = book_margin(view, trader.book) + trader.reserved_margin
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


def _by_performance(money: Decimal, traders: Sequence[TraderView]) -> dict[TraderId, Decimal]:
    """Deal floors by rank, then the rest by max(0, Sharpe); too few trades count at the median of the others."""
    ranked = _sharpes(traders)
    typical = median(ranked.values()) if ranked else 0.0
    sharpes = {trader.spec.id: ranked.get(trader.spec.id, typical) for trader in traders}
    order = sorted(traders, key=lambda trader: (-sharpes[trader.spec.id], trader.seq, trader.spec.id))
    fitting = min(int(money // FLOOR_USD), len(traders))
    aims: dict[TraderId, Decimal] = {trader.spec.id: ZERO for trader in traders}
    if not fitting:
        return aims
    winners = [trader.spec.id for trader in order[:fitting]]
    rest = money - FLOOR_USD * fitting
    weights = [Decimal(repr(max(0.0, sharpes[winner]))) for winner in winners]
    total = sum(weights, ZERO)
    if not total:
        weights, total = [Decimal(1)] * fitting, Decimal(fitting)
    for winner, weight in zip(winners, weights, strict=True):
        aims[winner] = FLOOR_USD + _part(rest, weight, total)
    return aims


def _wanted(view: AccountView, trader: TraderView, aim: Decimal) -> Decimal:
    """Return target - equity, a withdrawal limited to what is free; a released trader is never topped up."""
    equity = book_equity(view, trader.book)
    gap = aim - equity
    if gap >= ZERO:
        return ZERO if trader.state in _RELEASED else gap.quantize(CAPITAL_STEP, rounding=ROUND_DOWN)
    free = equity - book_margin(view, trader.book) - trader.reserved_margin
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
    return frozenset(trader_id for trader_id, trader in view.traders.items() if trader.state not in _RELEASED)


def _sharpes(traders: Iterable[TraderView]) -> dict[str, float]:
    return {
        trader.spec.id: trader.sharpe
        for trader in traders
        if trader.sharpe is not None and trader.closed_trades >= MIN_RANKED_TRADES
    }
