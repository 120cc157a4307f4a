"""How orders fill: pure functions that live paper and replay share."""

from dataclasses import dataclass
from decimal import Decimal

from exchanges.paper.config import BPS, PaperConfig
from exchanges.paper.path import Bar
from exchanges.paper.state import PaperOrder
from exchanges.precision import floor_to_lot
from exchanges.types import ZERO, Instrument, Liquidity, OrderType, Side

ONE = Decimal(1)


@dataclass(frozen=True, slots=True)
class Price:
    """Hold the price of a fill, slippage included, and the side of the book it takes."""

    value: Decimal
    liquidity: Liquidity


def slipped(price: Decimal, side: Side, config: PaperConfig) -> Decimal:
    """Return `price` moved against the taker by the configured slippage, unrounded."""
    return price * (ONE + side.sign * config.slippage)


def fee_usd(notional: Decimal, liquidity: Liquidity, config: PaperConfig) -> Decimal:
    """Return the fee in USD of a filled notional; negative for a rebate."""
    bps = config.maker_fee_bps if liquidity is Liquidity.MAKER else config.fee_bps
    return notional * bps / BPS


def reducible(net: Decimal, side: Side, wanted: Decimal) -> Decimal:
    """Return how much of `wanted` reduces the signed position `net` without flipping it."""
    against = -net * side.sign
    return min(wanted, against) if against > ZERO else ZERO


def increases(net: Decimal, side: Side, quantity: Decimal) -> bool:
    """Tell whether the order would make the absolute net position larger."""
    return abs(net + side.sign * quantity) > abs(net)


def within_volume(wanted: Decimal, volume: Decimal, instrument: Instrument, config: PaperConfig) -> Decimal:
    """Return how much of `wanted` a bar of `volume` contracts can take, in whole lots."""
    if config.volume_share is None:
        return wanted
    return min(wanted, floor_to_lot(volume * config.volume_share, instrument.lot))


def touch_levels(order: PaperOrder) -> tuple[Decimal | None, Decimal | None]:
    """Return (at_or_below, at_or_above): the one price that a bar must reach to touch a resting order."""
    if order.type is OrderType.LIMIT:
        price, below = order.limit_price, order.side is Side.BUY
    elif order.type is OrderType.TAKE_PROFIT:
        price, below = order.trigger_price, order.side is Side.BUY
    else:
        price, below = order.trigger_price, order.side is Side.SELL
    return (price, None) if below else (None, price)


def reaches(order: PaperOrder, low: Decimal, high: Decimal) -> bool:
    """Tell whether prices from `low` to `high` touch the order."""
    at_or_below, at_or_above = touch_levels(order)
    return (at_or_below is not None and low <= at_or_below) or (at_or_above is not None and high >= at_or_above)


def market_price(price: Decimal, side: Side, config: PaperConfig) -> Price:
    """Return what a market order pays that meets `price`."""
    return Price(slipped(price, side, config), Liquidity.TAKER)


def limit_price(order: PaperOrder, price: Decimal, config: PaperConfig) -> Price | None:
    """Return what a limit order pays that meets `price` on arrival, never beyond its limit; None when it must rest."""
    if order.limit_price is None or not reaches(order, price, price):
        return None
    best = min if order.side is Side.BUY else max
    return Price(best(order.limit_price, slipped(price, order.side, config)), Liquidity.TAKER)


def touch_price(order: PaperOrder, bar: Bar, config: PaperConfig) -> Price | None:
    """Return what a resting order pays in a bar that touches it; None when the bar does not.

    A stop fills at its trigger, or at the open if the bar opened beyond it, then slips (taker). A take-profit or
    a limit fills at its price, or at the open if better (maker).
    """
    if not reaches(order, bar.low, bar.high):
        return None
    at_or_below, at_or_above = touch_levels(order)
    if at_or_below is not None:
        value = min(at_or_below, bar.open)
    elif at_or_above is not None:
        value = max(at_or_above, bar.open)
    else:
        return None
    if order.type is OrderType.STOP:
        return market_price(value, order.side, config)
    return Price(value, Liquidity.MAKER)
