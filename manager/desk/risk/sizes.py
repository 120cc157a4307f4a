"""The limits of one trader on counts, leverage, size and margin; each looks at the position that would result."""

from decimal import Decimal

from manager.desk.plan.values import ZERO, plain
from manager.desk.risk.rule import Finding, cut_to, refuse
from manager.desk.risk.standing import Wish, sendable

HUNDRED = Decimal(100)


def opposite_own_position(wish: Wish) -> Finding | None:
    """Refuse an open against the trader's own position, unless this round closes all of it first."""
    if wish.standing.direction(wish.symbol) != -wish.direction:
        return None
    held = wish.standing.held(wish.symbol)
    return refuse("the trader holds or opens the other side; close it first", held=held)


def max_positions_trader(wish: Wish) -> Finding | None:
    """Refuse one position more than the trader may hold; adding to one is no new position."""
    limit = wish.trader.spec.limits.max_positions
    if wish.standing.direction(wish.symbol):
        return None
    others = wish.standing.count_without(wish.symbol)
    if others < limit:
        return None
    return refuse("the trader holds as many positions as it may", positions=others, limit=limit)


def leverage(wish: Wish) -> Finding | None:
    """Lower leverage to the smaller of the trader's cap for the symbol and the venue's."""
    cap = min(wish.trader.spec.limits.max_leverage(wish.symbol), wish.instrument.max_leverage)
    if wish.leverage <= cap:
        return None
    numbers = {"leverage": plain(wish.leverage), "limit": plain(cap)}
    return Finding(detail="leverage is above its cap", numbers=numbers, leverage=cap)


def below_min_notional(wish: Wish) -> Finding | None:
    """Refuse a size that, floored to the lot, is below the venue's minimum."""
    if sendable(wish.size_usd, wish.price, wish.instrument):
        return None
    return refuse(
        "the size is below the venue's minimum", size_usd=wish.size_usd, minimum_usd=wish.instrument.min_notional,
        lot=wish.instrument.lot, mark=wish.price,
    )  # fmt: skip


def max_position_size(wish: Wish) -> Finding | None:
    """Cut an open so that the resulting position's notional stays within the trader's limit."""
    limit = wish.trader.spec.limits.max_position_size_usd
    held = wish.standing.notional(wish.symbol) + wish.standing.reserved_notional(wish.symbol)
    if held + wish.size_usd <= limit:
        return None
    return cut_to(
        limit - held, "the position would be larger than the trader may hold",
        size_usd=wish.size_usd, held_usd=held, limit_usd=limit,
    )  # fmt: skip


def margin_usage_trader(wish: Wish) -> Finding | None:
    """Cut an open so that the trader's margin stays within its share of the trader's equity."""
    equity, usage_pct = wish.standing.equity, wish.trader.spec.limits.max_margin_usage_pct
    limit = max(ZERO, equity) * usage_pct / HUNDRED
    return _within_margin(wish, limit, "the trader's margin usage would exceed its limit")


def allocation_exceeded(wish: Wish) -> Finding | None:
    """Cut an open so that the trader's margin stays within the smaller of its allocation and its equity."""
    limit = max(ZERO, min(wish.trader.allocated, wish.standing.equity))
    return _within_margin(wish, limit, "the trader's allocation does not cover the margin")


def _within_margin(wish: Wish, limit: Decimal, detail: str) -> Finding | None:
    other = wish.standing.margin_without(wish.symbol)
    held = wish.standing.notional(wish.symbol)
    fits = other + wish.standing.margin(wish.symbol) <= limit
    most = (limit - other) * wish.leverage - held if fits else ZERO
    if wish.size_usd <= most:
        return None
    return cut_to(
        most, detail, size_usd=wish.size_usd, leverage=wish.leverage, held_usd=held, other_margin_usd=other,
        limit_usd=limit, equity=wish.standing.equity, allocated=wish.trader.allocated,
    )  # fmt: skip
