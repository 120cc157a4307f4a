"""What the paper venue does with a new order: refuse it, fill it, let it rest or let it die."""

from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from exchanges.paper.account import PaperVenue, book, cancel_unreducible, equity, margin_used
from exchanges.paper.fills import (
    Price,
    fee_usd,
    increases,
    limit_price,
    market_price,
    reaches,
    reducible,
    touch_price,
    within_volume,
)
from exchanges.paper.state import PaperOrder, PaperState
from exchanges.precision import is_whole_lots, notional
from exchanges.types import ZERO, Instrument, Liquidity, OrderRequest, OrderStatus, OrderType, TimeInForce

MARKET_LIKE = (OrderType.MARKET, OrderType.LIMIT)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Say why the venue takes an order not at all."""

    code: str
    reason: str


def place(venue: PaperVenue, state: PaperState, request: OrderRequest, at: datetime) -> PaperOrder | Refusal:
    """Take one order at `at` and return its version after everything that happens at once, or why it is refused.

    A refusal is recorded too, so that a lookup finds what became of the request; not so a repeated client order id and
    numbers that are none.
    """
    if state.looked_up is not None or request.client_order_id in state.journal.orders:
        return Refusal("DUPLICATE", f"client order id {request.client_order_id} was used before; send a new leg")
    for number in (request.quantity, request.limit_price, request.trigger_price):
        if number is not None and not number.is_finite():
            return Refusal("NUMBER", f"{number} in {request.client_order_id}: expected a finite number")
    refusal = _refuse(venue, state, request, at)
    order = _order(venue, state, request, at)
    if refusal is not None:
        state.end_order(order, OrderStatus.REJECTED, at, f"{refusal.code}: {refusal.reason}")
        return refusal
    order = state.put_order(order)
    if order.type is OrderType.MARKET:
        return _market(venue, state, order, at, at_mark=request.liquidation)
    if order.type is OrderType.LIMIT:
        return _limit(venue, state, order, at)
    return _trigger(venue, state, order, at)


def _order(venue: PaperVenue, state: PaperState, request: OrderRequest, at: datetime) -> PaperOrder:
    return PaperOrder(
        client_order_id=request.client_order_id,
        venue_order_id=state.next_order_id(),
        symbol=request.symbol,
        side=request.side,
        type=request.type,
        quantity=_quantity(state, request),
        limit_price=request.limit_price,
        trigger_price=request.trigger_price,
        reduce_only=request.reduce_only,
        time_in_force=request.time_in_force,
        status=OrderStatus.OPEN,
        filled=ZERO,
        created_at=at,
        updated_at=at,
        live_from=venue.path.live_from(at),
    )


def _quantity(state: PaperState, request: OrderRequest) -> Decimal:
    """An order that acts at once is cut to the position; a resting leg only when it fills."""
    resting = request.type is not OrderType.MARKET and request.time_in_force is TimeInForce.GTC
    if resting or not request.reduce_only:
        return request.quantity
    return reducible(state.position(request.symbol).quantity, request.side, request.quantity) or request.quantity


def _refuse(venue: PaperVenue, state: PaperState, request: OrderRequest, at: datetime) -> Refusal | None:
    instrument = venue.instruments.get(request.symbol)
    if instrument is None:
        return Refusal("UNKNOWN_SYMBOL", f"{request.symbol} is not traded here; see instruments()")
    if not instrument.tradable:
        return Refusal("INSTRUMENT_HALTED", f"{request.symbol} is not tradable now")
    return _refuse_numbers(instrument, request) or _refuse_position(venue, state, request, at)


def _refuse_position(venue: PaperVenue, state: PaperState, request: OrderRequest, at: datetime) -> Refusal | None:
    net = state.position(request.symbol).quantity
    if request.reduce_only and reducible(net, request.side, request.quantity) == ZERO:
        return Refusal(
            "REDUCE_ONLY", f"reduce-only {request.side} has nothing to reduce: net {request.symbol} is {net}"
        )
    entry = not request.reduce_only and increases(net, request.side, request.quantity)
    if entry and request.type in MARKET_LIKE and not _waits(request):
        return _refuse_size(venue, state, request, at)
    return None


def _refuse_numbers(instrument: Instrument, request: OrderRequest) -> Refusal | None:
    quantity = request.quantity
    if quantity <= ZERO or not is_whole_lots(quantity, instrument.lot):
        return Refusal("LOT", f"quantity {quantity} must be a positive multiple of the lot {instrument.lot}")
    needed = {OrderType.LIMIT: request.limit_price, OrderType.MARKET: None}.get(request.type, request.trigger_price)
    if request.type is OrderType.MARKET:
        return None
    if needed is None or needed <= ZERO:
        field = "limit_price" if request.type is OrderType.LIMIT else "trigger_price"
        return Refusal("PRICE", f"a {request.type} order needs {field} above zero, got {needed}")
    if instrument.tick is not None and not is_whole_lots(needed, instrument.tick):
        return Refusal("TICK", f"price {needed} must be a multiple of the tick {instrument.tick}")
    return None


def _refuse_size(venue: PaperVenue, state: PaperState, request: OrderRequest, at: datetime) -> Refusal | None:
    symbol = request.symbol
    instrument = venue.terms(symbol)
    mark = venue.path.mark(symbol, at)
    if mark is None:
        return None
    price = request.limit_price or mark[0]
    value = notional(request.quantity, price, instrument)
    if value < instrument.min_notional:
        return Refusal("BELOW_MIN_NOTIONAL", f"{value} USD is below the minimum of {instrument.min_notional} USD")
    net = state.position(symbol).quantity
    grown = abs(net + request.side.sign * request.quantity) - abs(net)
    needed = notional(grown, price, instrument) / venue.leverage(state, symbol)
    needed += fee_usd(value, Liquidity.TAKER, venue.config)
    free = equity(venue, state, at) - margin_used(venue, state, at)
    if needed > free:
        return Refusal("INSUFFICIENT_MARGIN", f"needs {needed} USD of margin and fee, free are {free} USD")
    return None


def _market(venue: PaperVenue, state: PaperState, order: PaperOrder, at: datetime, *, at_mark: bool) -> PaperOrder:
    """A reduce without price or volume waits for the next, an entry dies; a liquidation fills at the mark."""
    price = venue.mark(order.symbol, at) if at_mark else venue.execution_price(order.symbol, at)
    if price is not None:
        deal = (market_price(price, order.side, venue.config), at)
        order = _take(venue, state, order, deal, any_volume=at_mark)
    if not _waits(order) and not order.status.terminal:
        return state.end_order(order, OrderStatus.EXPIRED, at, "no price" if price is None else "volume share used up")
    return order


def _waits(order: PaperOrder | OrderRequest) -> bool:
    """Only what closes a position may wait: reduce-only, or good till canceled where others hold the symbol too."""
    return order.reduce_only or (order.type is OrderType.MARKET and order.time_in_force is TimeInForce.GTC)


def _limit(venue: PaperVenue, state: PaperState, order: PaperOrder, at: datetime) -> PaperOrder:
    price = venue.execution_price(order.symbol, at)
    met = None if price is None else limit_price(order, price, venue.config)
    if met is not None:
        order = _take(venue, state, order, (met, at))
    return _expire_if_ioc(state, order, at)


def _trigger(venue: PaperVenue, state: PaperState, order: PaperOrder, at: datetime) -> PaperOrder:
    """An IOC trigger order also looks back at the bar that ended now: so the desk fires targets that do not rest."""
    if order.time_in_force is TimeInForce.IOC:
        bar = venue.path.last_bar(order.symbol, at)
        met = None if bar is None else touch_price(order, bar, venue.config)
        if met is not None:
            return _expire_if_ioc(state, _take(venue, state, order, (met, at)), at)
    mark = venue.path.mark(order.symbol, at)
    if mark is None or not reaches(order, mark[0], mark[0]):
        return _expire_if_ioc(state, order, at)
    price = venue.execution_price(order.symbol, at)
    if order.type is OrderType.STOP:
        order = state.put_order(replace(order, triggered=True))
        if price is not None:
            order = _take(venue, state, order, (market_price(price, order.side, venue.config), at))
    elif price is not None and reaches(order, price, price):
        order = _take(venue, state, order, (Price(price, Liquidity.MAKER), at))
    return _expire_if_ioc(state, order, at)


def _take(
    venue: PaperVenue, state: PaperState, order: PaperOrder, deal: tuple[Price, datetime], *, any_volume: bool = False
) -> PaperOrder:
    """Fill what position and volume allow, and return the order's last version."""
    symbol, at = order.symbol, deal[1]
    wanted = order.remaining
    if order.reduce_only:
        wanted = reducible(state.position(symbol).quantity, order.side, wanted)
    quantity = wanted
    if not any_volume and venue.config.volume_share is not None:
        quantity = within_volume(wanted, venue.path.volume(symbol, at), venue.terms(symbol), venue.config)
    if quantity > ZERO:
        book(venue, state, order, quantity, deal)
        cancel_unreducible(state, symbol, at)
    return state.journal.orders[order.client_order_id]


def _expire_if_ioc(state: PaperState, order: PaperOrder, at: datetime) -> PaperOrder:
    if order.time_in_force is TimeInForce.IOC and not order.status.terminal:
        return state.end_order(order, OrderStatus.EXPIRED, at, "not filled at once")
    return order
