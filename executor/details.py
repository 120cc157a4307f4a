"""What only a model is shown beside the context's figures: orders, trades, exposure of others, budgets, candles."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Candle:
    """Hold one closed candle, or several joined; `at` is when it closed."""

    at: datetime
    open: float
    high: float
    low: float
    close: float
    volume: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RestingOrder:
    """Describe the trader's own part of a stop or take_profit that rests at the venue; quantity is signed."""

    symbol: str
    purpose: str
    quantity: Decimal
    trigger_price: Decimal | None
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedTrade:
    """Describe one close or reduce of the trader's book; `pnl_usd` is gross, `quantity` what was closed, signed."""

    symbol: str
    at: datetime
    how: str
    quantity: Decimal
    price: Decimal
    pnl_usd: Decimal
    fee_usd: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class NetExposure:
    """Sum what all other traders of the account hold in one symbol; signed, in contracts as positions are.

    Its worth is at the mark, None without a price.
    """

    symbol: str
    quantity: Decimal
    notional_usd: Decimal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RemainingBudget:
    """Say what the trader may still use: entries of the hour, positions, margin and drawdown, and model spending.

    `reserved_usd` is the margin that live entry orders hold back, already taken off what is available. The money for
    model calls is what the tightest budget of the day leaves, None where there is none.
    """

    entries: int
    positions: int
    margin_usd: Decimal
    drawdown_pct: float
    model_usd: Decimal | None = None
    reserved_usd: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Details:
    """Hold it all; `others` is None where the trader is not shown what the rest of the desk holds."""

    budget: RemainingBudget
    orders: tuple[RestingOrder, ...] = ()
    trades: tuple[ClosedTrade, ...] = ()
    others: tuple[NetExposure, ...] | None = None
