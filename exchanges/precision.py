"""Lots, ticks and minimums: how a size in USD becomes a quantity that a venue accepts."""

from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from exchanges.types import ZERO, Instrument


def floor_to_lot(quantity: Decimal, lot: Decimal) -> Decimal:
    """Return the largest multiple of `lot` not beyond `quantity`, towards zero for a signed one."""
    return quantity // lot * lot


def is_whole_lots(quantity: Decimal, lot: Decimal) -> bool:
    """Tell whether `quantity` is a multiple of `lot`."""
    return quantity % lot == ZERO


def quantity_for(size_usd: Decimal, mark: Decimal, instrument: Instrument) -> Decimal:
    """Return floor(size / (mark x contract size) / lot) x lot, never negative; raise ValueError unless mark > 0."""
    if not mark > ZERO:
        raise ValueError(f"mark of {instrument.symbol} is {mark}, expected a price above zero")
    if size_usd <= ZERO:
        return ZERO
    return size_usd // (mark * instrument.contract_size * instrument.lot) * instrument.lot


def notional(quantity: Decimal, price: Decimal, instrument: Instrument) -> Decimal:
    """Return the unsigned value in USD of `quantity` at `price`."""
    return abs(quantity) * price * instrument.contract_size


def meets_minimum(quantity: Decimal, price: Decimal, instrument: Instrument) -> bool:
    """Tell whether an entry of `quantity` at `price` reaches the venue's minimum notional."""
    return notional(quantity, price, instrument) >= instrument.min_notional


def floor_to_tick(price: Decimal, tick: Decimal | None) -> Decimal:
    """Return the highest multiple of `tick` not above `price`."""
    return _to_tick(price, tick, ROUND_FLOOR)


def ceil_to_tick(price: Decimal, tick: Decimal | None) -> Decimal:
    """Return the lowest multiple of `tick` not below `price`."""
    return _to_tick(price, tick, ROUND_CEILING)


def resting_stop(price: Decimal, direction: int, tick: Decimal | None) -> Decimal:
    """Return where a stop rests, moved to the tick towards the mark; `direction` is +1 for a long, -1 for a short.

    So it never risks more than what was asked for; which side of the mark it lies on must be judged after.
    """
    return ceil_to_tick(price, tick) if direction > 0 else floor_to_tick(price, tick)


def resting_take_profit(price: Decimal, direction: int, tick: Decimal | None) -> Decimal:
    """Return where a take-profit rests, moved to the tick towards the mark; `direction` as for a stop."""
    return resting_stop(price, -direction, tick)


def _to_tick(price: Decimal, tick: Decimal | None, rounding: str) -> Decimal:
    if tick is None:
        return price
    return (price / tick).to_integral_value(rounding) * tick
