"""The part of a context that only a model is shown: own orders and trades, budgets, exposure of others (pure).

It costs reads and candles, so a trader that no model decides for goes without.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

from exchanges.types import ZERO
from executor import contract

PEAK_CANDLES = 500
_HOUR = timedelta(hours=1)
_HUNDRED = Decimal(100)


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveEntry:
    """Hold the trader's part of an entry order that may still fill: signed contracts at the planned price, if noted."""

    symbol: str
    quantity: Decimal
    price: Decimal | None
    leverage: int
    contract_size: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """Hold what all other traders have in one symbol: signed contracts and how much of the coin one is."""

    quantity: Decimal
    contract_size: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlierPositions:
    """Hold the positions that the trader was shown at an earlier decision, with their peaks."""

    at: datetime
    positions: Mapping[str, contract.PositionInfo]

    def of(self, position: contract.PositionInfo) -> contract.PositionInfo | None:
        """Return the position as it was shown, None if it was opened since."""
        earlier = self.positions.get(position.symbol)
        return earlier if earlier is not None and earlier.opened_at == position.opened_at else None


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnRecord:
    """Hold what the desk has written down for one trader; `dust` are positions that do not count as such.

    `trades` are newest first, `recent_entries` the instants of entries, now for those that may still fill; `others` is
    None where they are not shown.
    """

    orders: tuple[contract.RestingOrder, ...] = ()
    trades: tuple[contract.ClosedTrade, ...] = ()
    recent_entries: tuple[datetime, ...] = ()
    live_entries: tuple[LiveEntry, ...] = ()
    dust: frozenset[str] = frozenset()
    others: Mapping[str, Holding] | None = None
    model_usd: Decimal | None = None
    before: EarlierPositions | None = None

    def reserved(self, context: contract.Context) -> Decimal:
        """Return the margin in USD that live entries may still need; the newest leverage counts for the whole."""
        held = {position.symbol: position for position in context.positions}
        grown: dict[tuple[str, bool], tuple[Decimal, Decimal]] = {}
        total = ZERO
        for entry in self.live_entries:
            position, view = held.get(entry.symbol), context.market.get(entry.symbol)
            price = view.mark if view is not None else entry.price or (position.mark if position is not None else ZERO)
            key = entry.symbol, entry.quantity > 0
            own = ZERO, ZERO
            if position is not None and (position.quantity > 0) == key[1]:
                own = position.margin * position.leverage, position.margin
            worth, margin = grown.get(key, own)
            worth += abs(entry.quantity) * price * entry.contract_size
            grown[key] = worth, max(margin, worth / entry.leverage)
            total += grown[key][1] - margin
        return total

    def budget(self, context: contract.Context, reserved: Decimal) -> contract.RemainingBudget:
        """Return what the trader may still use, `reserved` USD of margin taken off."""
        limits, account = context.limits, context.account
        entries = sum(1 for at in self.recent_entries if at > context.now - _HOUR)
        cap = min(account.equity * limits.max_margin_usage_pct / _HUNDRED, account.allocated, account.equity)
        held = {position.symbol for position in context.positions} - self.dust
        return contract.RemainingBudget(
            entries=max(0, limits.max_entries_per_hour - entries),
            positions=max(0, limits.max_positions - len(held | {entry.symbol for entry in self.live_entries})),
            margin_usd=max(ZERO, cap - account.margin_used - reserved),
            drawdown_pct=max(0.0, float(limits.max_drawdown_pct) - context.performance.drawdown_pct),
            model_usd=self.model_usd,
            reserved_usd=reserved,
        )

    def exposures(self, market: Mapping[str, contract.MarketView]) -> tuple[contract.NetExposure, ...] | None:
        """Return the net holdings of the others in each symbol, None where they are not shown."""
        if self.others is None:
            return None
        return tuple(
            contract.NetExposure(
                symbol=symbol,
                quantity=held.quantity,
                notional_usd=held.quantity * held.contract_size * market[symbol].mark if symbol in market else None,
            )
            for symbol, held in sorted(self.others.items())
            if held.quantity
        )


def with_details(context: contract.Context, record: OwnRecord) -> contract.Context:
    """Return the context with details, the peak PnL of each position, and live entry orders taken off what is free."""
    reserved, before = record.reserved(context), record.before
    account = context.account
    positions = []
    for position in context.positions:
        earlier, since = (before.of(position), before.at) if before is not None else (None, position.opened_at)
        peak = peak_pnl(position, context.market.get(position.symbol), earlier, since)
        positions.append(replace(position, peak_pnl=peak))
    free = min(account.allocated, account.equity) - account.margin_used - reserved
    return replace(
        context,
        account=replace(account, available=max(ZERO, free)),
        positions=tuple(positions),
        details=contract.Details(
            budget=record.budget(context, reserved),
            orders=record.orders,
            trades=record.trades,
            others=record.exposures(context.market),
        ),
    )


def peak_pnl(
    position: contract.PositionInfo,
    view: contract.MarketView | None,
    before: contract.PositionInfo | None,
    since: datetime,
) -> Decimal:
    """Return the highest unrealized PnL of `position` so far, at least 0.

    It is the most of three: the peak known `before`, the PnL now, and the best of the candles, for the size of now. At
    most PEAK_CANDLES candles count: those that ended after `since` and began after the opening; after an add or a
    partial close those that began after `since`; without an earlier peak all that began after the opening.
    """
    known = before.peak_pnl if before is not None else None
    best = max(ZERO, position.unrealized_pnl, known or ZERO)
    if view is None or not position.quantity:
        return best
    length = timedelta(seconds=view.base_s)
    resized = before is not None and before.quantity != position.quantity
    began = since if resized and known is not None else position.opened_at
    ended = since if known is not None else position.opened_at
    candles = [one for one in view.candles(PEAK_CANDLES) if one.at - length >= began and one.at > ended]
    if not candles:
        return best
    price = max(one.high for one in candles) if position.quantity > 0 else min(one.low for one in candles)
    move = Decimal(repr(price)) - position.mark
    # The signed USD that one point of price is worth: margin x leverage is the notional at the mark.
    point = position.quantity
    if position.mark:
        point = position.margin * position.leverage / position.mark * (1 if position.quantity > 0 else -1)
    return max(best, position.unrealized_pnl + move * point)
