"""The limits of the whole account, checked cumulatively in the resolver's order, worst cases included."""

from decimal import Decimal

from exchanges.types import ZERO
from manager.desk.risk.exposures import Entry
from manager.desk.risk.rule import Finding, cut_to, deny

HUNDRED = Decimal(100)


def unrealized_loss(entry: Entry) -> Finding | None:
    """Deny while the account's unrealized loss, EXTERNAL included, is above its share of equity."""
    loss, pct = -entry.exposures.unrealized, entry.exposures.view.rules.limits.max_unrealized_loss_pct
    limit = _share(entry, pct)
    if loss <= limit:
        return None
    return deny("the account's unrealized loss is above its limit", loss_usd=loss, limit_usd=limit)


def max_positions_global(entry: Entry) -> Finding | None:
    """Deny one book position more than the account may hold; adding to one is no new position."""
    count, limit = len(entry.exposures.positions), entry.exposures.view.rules.limits.max_positions
    if not entry.is_new or count < limit:
        return None
    return deny("the account holds as many positions as it may", positions=count, limit=limit)


def open_orders_limit(entry: Entry) -> Finding | None:
    """Deny what could leave more orders open than the venue takes, stop and take-profit of a new position included."""
    limit, count, more = entry.exposures.view.rules.max_open_orders, entry.exposures.orders, entry.new_orders
    if count + more <= limit:
        return None
    return deny("the account would have too many open orders", open_orders=count, new_orders=more, limit=limit)


def below_min_notional(entry: Entry) -> Finding | None:
    """Deny a quantity that is below the venue's minimum."""
    if entry.sized.quantity > ZERO and entry.size_usd >= entry.instrument.min_notional:
        return None
    return deny(
        "the entry is below the venue's minimum", size_usd=entry.size_usd, minimum_usd=entry.instrument.min_notional
    )


def symbol_exposure(entry: Entry) -> Finding | None:
    """Cut an entry so that the larger side of its symbol stays within its share of account equity."""
    limit = _share(entry, entry.exposures.view.rules.limits.max_symbol_exposure_pct)
    sides = entry.exposures.sides(entry.symbol)
    own, other = sides.notional(entry.direction), sides.notional(-entry.direction)
    if max(own + entry.size_usd, other) <= limit:
        return None
    return cut_to(
        limit - own if other <= limit else ZERO, "the account's exposure to the symbol would exceed its limit",
        size_usd=entry.size_usd, long_usd=sides.long_notional, short_usd=sides.short_notional, limit_usd=limit,
    )  # fmt: skip


def margin_usage_global(entry: Entry) -> Finding | None:
    """Cut an entry so that the account's margin stays within its share of account equity."""
    limit = _share(entry, entry.exposures.view.rules.limits.max_margin_usage_pct)
    return _within_margin(entry, limit, "the account's margin usage would exceed its limit")


def insufficient_margin(entry: Entry) -> Finding | None:
    """Cut an entry so that the account's margin stays within its equity, whatever the configured share."""
    return _within_margin(entry, _share(entry, HUNDRED), "the account's equity does not cover the margin")


def _within_margin(entry: Entry, limit: Decimal, detail: str) -> Finding | None:
    exposures, direction = entry.exposures, entry.direction
    sides = exposures.sides(entry.symbol)
    own = exposures.own(entry.trader_id, entry.symbol, direction)
    worth, margin = own.worth, own.margin
    others = exposures.margin_without(entry.symbol)
    beside = sides.side_margin(direction) - margin
    result = max(margin, (worth + entry.size_usd) / entry.leverage)
    after = others + max(beside + result, sides.side_margin(-direction))
    if after <= limit:
        return None
    fits = others + sides.margin <= limit
    room = (limit - others - beside) * entry.leverage - worth if fits else ZERO
    return cut_to(
        room, detail, size_usd=entry.size_usd, leverage=entry.leverage, margin_after_usd=after,
        other_margin_usd=others, limit_usd=limit, equity=exposures.view.equity,
    )  # fmt: skip


def _share(entry: Entry, pct: Decimal) -> Decimal:
    return max(ZERO, entry.exposures.view.equity) * pct / HUNDRED
