"""The limits of one trader on counts, leverage, size and margin; each looks at the position that would result."""

from decimal import Decimal

from manager.desk.plan.outcomes import plain
from manager.desk.plan.values import ZERO
from manager.desk.risk.rule import Finding, cut_to, deny
from manager.desk.risk.standing import OpenCase, sendable

HUNDRED = Decimal(100)


def opposite_own_position(case: OpenCase) -> Finding | None:
    """Deny an entry against the trader's own position, unless this round closes all of it first."""
    if case.standing.direction(case.symbol) != -case.direction:
        return None
    held = case.standing.held(case.symbol)
    return deny("the trader holds or opens the other side; close it first", held=held)


def max_positions_trader(case: OpenCase) -> Finding | None:
    """Deny one position more than the trader may hold; adding to one is no new position."""
    limit = case.trader.spec.limits.max_positions
    if case.standing.direction(case.symbol):
        return None
    others = case.standing.count_without(case.symbol)
    if others < limit:
        return None
    return deny("the trader holds as many positions as it may", positions=others, limit=limit)


def leverage(case: OpenCase) -> Finding | None:
    """Lower leverage to the smaller of the trader's cap for the symbol and the venue's."""
    cap = min(case.trader.spec.limits.max_leverage(case.symbol), case.instrument.max_leverage)
    if case.leverage <= cap:
        return None
    numbers = {"leverage": plain(case.leverage), "limit": plain(cap)}
    return Finding(detail="leverage is above its cap", numbers=numbers, leverage=cap)


def below_min_notional(case: OpenCase) -> Finding | None:
    """Deny a size that, floored to the lot, is below the venue's minimum."""
    if sendable(case.size_usd, case.price, case.instrument):
        return None
    return deny(
        "the size is below the venue's minimum", size_usd=case.size_usd, minimum_usd=case.instrument.min_notional,
        lot=case.instrument.lot, mark=case.price,
    )  # fmt: skip


def max_position_size(case: OpenCase) -> Finding | None:
    """Cut an entry so that the resulting position's notional stays within the trader's limit."""
    limit = case.trader.spec.limits.max_position_size_usd
    held = case.standing.notional(case.symbol) + case.standing.reserved_notional(case.symbol)
    if held + case.size_usd <= limit:
        return None
    return cut_to(
        limit - held, "the position would be larger than the trader may hold",
        size_usd=case.size_usd, held_usd=held, limit_usd=limit,
    )  # fmt: skip


def margin_usage_trader(case: OpenCase) -> Finding | None:
    """Cut an entry so that the trader's margin stays within its share of the trader's equity."""
    equity, usage_pct = case.standing.equity, case.trader.spec.limits.max_margin_usage_pct
    limit = max(ZERO, equity) * usage_pct / HUNDRED
    return _within_margin(case, limit, "the trader's margin usage would exceed its limit")


def allocation_exceeded(case: OpenCase) -> Finding | None:
    """Cut an entry so that the trader's margin stays within the smaller of its allocation and its equity."""
    limit = max(ZERO, min(case.trader.allocated, case.standing.equity))
    return _within_margin(case, limit, "the trader's allocation does not cover the margin")


def _within_margin(case: OpenCase, limit: Decimal, detail: str) -> Finding | None:
    other = case.standing.margin_without(case.symbol)
    held = case.standing.notional(case.symbol)
    fits = other + case.standing.margin(case.symbol) <= limit
    most = (limit - other) * case.leverage - held if fits else ZERO
    if case.size_usd <= most:
        return None
    return cut_to(
        most, detail, size_usd=case.size_usd, leverage=case.leverage, held_usd=held, other_margin_usd=other,
        limit_usd=limit, equity=case.standing.equity, allocated=case.trader.allocated,
    )  # fmt: skip
