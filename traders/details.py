"""The part of a context that only a model is shown: own orders and trades, budgets, exposure of others (pure).

It costs reads and candles, so a trader that no model decides for goes without.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

from executor.contract import Context, MarketView, PositionInfo
from executor.details import ClosedTrade, Details, NetExposure, RemainingBudget, RestingOrder

PEAK_CANDLES = 500
_HOUR = timedelta(hours=1)
_HUNDRED = Decimal(100)
_ZERO = Decimal(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnRecord:
    """Hold what the desk has written down for one trader; `others` is signed quantity x contract size by symbol.

    `trades` are newest first, `entries` the instants of recent entries; `others` is None where it is not to be shown.
    """

    orders: tuple[RestingOrder, ...] = ()
    trades: tuple[ClosedTrade, ...] = ()
    entries: tuple[datetime, ...] = ()
    others: Mapping[str, Decimal] | None = None
    model_usd: Decimal | None = None


def with_details(context: Context, record: OwnRecord) -> Context:
    """Return the context with details and with the peak PnL of each position."""
    details = Details(
        budget=_budget(context, record),
        orders=record.orders,
        trades=record.trades,
        others=None if record.others is None else _exposures(context.market, record.others),
    )
    positions = tuple(
        replace(position, peak_pnl=peak_pnl(position, context.market.get(position.symbol)))
        for position in context.positions
    )
    return replace(context, positions=positions, details=details)


def peak_pnl(position: PositionInfo, view: MarketView | None) -> Decimal:
    """Return the highest unrealized PnL of `position` since it was opened, at least 0.

    From the extremes of the candles that began after the opening, at most PEAK_CANDLES of them, for its size of now.
    """
    best = max(_ZERO, position.unrealized_pnl)
    if view is None or not position.quantity:
        return best
    length = timedelta(seconds=view.base_s)
    since = [one for one in view.candles(PEAK_CANDLES) if one.at - length >= position.opened_at]
    if not since:
        return best
    price = max(one.high for one in since) if position.quantity > 0 else min(one.low for one in since)
    move = Decimal(repr(price)) - position.mark
    return max(best, position.unrealized_pnl + move * _value_of_a_point(position))


def _value_of_a_point(position: PositionInfo) -> Decimal:
    """The signed USD that one point of price is worth: margin x leverage is the notional at the mark."""
    notional = position.margin * position.leverage
    return notional / position.mark * (1 if position.quantity > 0 else -1) if position.mark else position.quantity


def _budget(context: Context, record: OwnRecord) -> RemainingBudget:
    limits, account = context.limits, context.account
    entries = sum(1 for at in record.entries if at > context.now - _HOUR)
    cap = min(account.equity * limits.max_margin_usage_pct / _HUNDRED, account.allocated, account.equity)
    return RemainingBudget(
        entries=max(0, limits.max_entries_per_hour - entries),
        positions=max(0, limits.max_positions - len(context.positions)),
        margin_usd=max(_ZERO, cap - account.margin_used),
        drawdown_pct=max(0.0, float(limits.max_drawdown_pct) - context.performance.drawdown_pct),
        model_usd=record.model_usd,
    )


def _exposures(market: Mapping[str, MarketView], others: Mapping[str, Decimal]) -> tuple[NetExposure, ...]:
    return tuple(
        NetExposure(
            symbol=symbol,
            quantity=quantity,
            notional_usd=quantity * market[symbol].mark if symbol in market else None,
        )
        for symbol, quantity in sorted(others.items())
        if quantity
    )
