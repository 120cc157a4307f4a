"""What the paper venue does with a new order: reject it, fill it, let it rest or let it die."""

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
class Rejection:
    """Say why the venue does not take an order."""

    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Placement:
    """Place one request at one instant; `state` takes up what becomes of it."""

    venue: PaperVenue
    state: PaperState
    request: OrderRequest
    at: datetime

    def place(self) -> PaperOrder | Rejection:
        """Take the order and return its version after everything that happens at once, or why it is rejected.

        A rejection is recorded too, so that a lookup finds what became of the request, unless its client order id is a
        repeated one or a number is not finite.
        """
        request, state = self.request, self.state
        if state.looked_up is not None or request.client_order_id in state.journal.orders:
            return Rejection("DUPLICATE", f"client order id {request.client_order_id} was used before; send a new leg")
        for number in (request.quantity, request.limit_price, request.trigger_price):
            if number is not None and not number.is_finite():
                return Rejection("NUMBER", f"{number} in {request.client_order_id}: expected a finite number")
        rejection, order = self._rejection(), self._order()
        if rejection is not None:
            state.end_order(order, OrderStatus.REJECTED, self.at, f"{rejection.code}: {rejection.reason}")
            return rejection
        order = state.put_order(order)
        if order.type is OrderType.MARKET:
            return self._market(order)
        return self._limit(order) if order.type is OrderType.LIMIT else self._trigger(order)

    @property
    def _net(self) -> Decimal:
        return self.state.position(self.request.symbol).quantity

    @property
    def _waits(self) -> bool:
        """Only what closes a position may wait: reduce-only, or good till canceled where others hold the symbol too."""
        request = self.request
        return request.reduce_only or (request.type is OrderType.MARKET and request.time_in_force is TimeInForce.GTC)

    def _order(self) -> PaperOrder:
        request = self.request
        return PaperOrder(
            client_order_id=request.client_order_id,
            venue_order_id=self.state.next_order_id(),
            symbol=request.symbol,
            side=request.side,
            type=request.type,
            quantity=self._quantity(),
            limit_price=request.limit_price,
            trigger_price=request.trigger_price,
            reduce_only=request.reduce_only,
            time_in_force=request.time_in_force,
            status=OrderStatus.OPEN,
            filled=ZERO,
            created_at=self.at,
            updated_at=self.at,
            live_from=self.venue.path.live_from(self.at),
            bracket=request.bracket,
        )

    def _quantity(self) -> Decimal:
        """An order that acts at once is cut to the position; a resting leg only when it fills."""
        request = self.request
        resting = request.type is not OrderType.MARKET and request.time_in_force is TimeInForce.GTC
        if resting or not request.reduce_only:
            return request.quantity
        return reducible(self._net, request.side, request.quantity) or request.quantity

    def _rejection(self) -> Rejection | None:
        symbol = self.request.symbol
        instrument = self.venue.instruments.get(symbol)
        if instrument is None:
            return Rejection("UNKNOWN_SYMBOL", f"{symbol} is not traded here; see instruments()")
        if not instrument.tradable:
            return Rejection("INSTRUMENT_HALTED", f"{symbol} is not tradable now")
        return self._bad_numbers(instrument) or self._bad_position(instrument)

    def _bad_position(self, instrument: Instrument) -> Rejection | None:
        request, net = self.request, self._net
        if request.reduce_only and reducible(net, request.side, request.quantity) == ZERO:
            what = f"reduce-only {request.side} has nothing to reduce: net {request.symbol} is {net}"
            return Rejection("REDUCE_ONLY", what)
        entry = not request.reduce_only and increases(net, request.side, request.quantity)
        return self._bad_size(instrument) if entry and request.type in MARKET_LIKE and not self._waits else None

    def _bad_numbers(self, instrument: Instrument) -> Rejection | None:
        request, quantity = self.request, self.request.quantity
        if quantity <= ZERO or not is_whole_lots(quantity, instrument.lot):
            return Rejection("LOT", f"quantity {quantity} must be a positive multiple of the lot {instrument.lot}")
        if request.type is OrderType.MARKET:
            return None
        field = "limit_price" if request.type is OrderType.LIMIT else "trigger_price"
        needed: Decimal | None = getattr(request, field)
        if needed is None or needed <= ZERO:
            return Rejection("PRICE", f"a {request.type} order needs {field} above zero, got {needed}")
        if instrument.tick is not None and not is_whole_lots(needed, instrument.tick):
            return Rejection("TICK", f"price {needed} must be a multiple of the tick {instrument.tick}")
        return None

    def _bad_size(self, instrument: Instrument) -> Rejection | None:
        venue, state, request = self.venue, self.state, self.request
        mark = venue.path.mark(request.symbol, self.at)
        if mark is None:
            return None
        price = request.limit_price or mark[0]
        value = notional(request.quantity, price, instrument)
        if value < instrument.min_notional:
            what = f"{value} USD is below the minimum of {instrument.min_notional} USD"
            return Rejection("BELOW_MIN_NOTIONAL", what)
        grown = abs(self._net + request.side.sign * request.quantity) - abs(self._net)
        needed = notional(grown, price, instrument) / venue.leverage(state, request.symbol)
        needed += fee_usd(value, Liquidity.TAKER, venue.config)
        free = equity(venue, state, self.at) - margin_used(venue, state, self.at)
        if needed > free:
            return Rejection("INSUFFICIENT_MARGIN", f"needs {needed} USD of margin and fee, free are {free} USD")
        return None

    def _market(self, order: PaperOrder) -> PaperOrder:
        """A reduce without price or volume waits for the next, an entry dies; a liquidation fills at the mark."""
        venue, at_mark = self.venue, self.request.liquidation
        price = venue.mark(order.symbol, self.at) if at_mark else venue.execution_price(order.symbol, self.at)
        if price is not None:
            order = self._take(order, market_price(price, order.side, venue.config), any_volume=at_mark)
        if self._waits or order.status.terminal:
            return order
        why = "no price" if price is None else "volume share used up"
        return self.state.end_order(order, OrderStatus.EXPIRED, self.at, why)

    def _limit(self, order: PaperOrder) -> PaperOrder:
        price = self.venue.execution_price(order.symbol, self.at)
        met = None if price is None else limit_price(order, price, self.venue.config)
        return self._expired_if_ioc(order if met is None else self._take(order, met))

    def _trigger(self, order: PaperOrder) -> PaperOrder:
        """An IOC trigger order also looks back at the bar that ended now: so the desk fires what does not rest."""
        venue, at = self.venue, self.at
        if order.time_in_force is TimeInForce.IOC:
            bar = venue.path.last_bar(order.symbol, at)
            met = None if bar is None else touch_price(order, bar, venue.config)
            if met is not None:
                return self._expired_if_ioc(self._take(order, met))
        mark = venue.path.mark(order.symbol, at)
        if mark is None or not reaches(order, mark[0], mark[0]):
            return self._expired_if_ioc(order)
        price = venue.execution_price(order.symbol, at)
        if order.type is OrderType.STOP:
            order = self.state.put_order(replace(order, triggered=True))
            if price is not None:
                order = self._take(order, market_price(price, order.side, venue.config))
        elif price is not None and reaches(order, price, price):
            order = self._take(order, Price(price, Liquidity.MAKER))
        return self._expired_if_ioc(order)

    def _take(self, order: PaperOrder, price: Price, *, any_volume: bool = False) -> PaperOrder:
        """Fill what position and volume allow, and return the order's last version."""
        venue, state, at = self.venue, self.state, self.at
        quantity = order.remaining
        if order.reduce_only:
            quantity = reducible(self._net, order.side, quantity)
        if not any_volume and venue.config.volume_share is not None:
            volume = venue.path.volume(order.symbol, at)
            quantity = within_volume(quantity, volume, venue.terms(order.symbol), venue.config)
        if quantity > ZERO:
            book(venue, state, order, quantity, (price, at))
            cancel_unreducible(state, order.symbol, at)
        return state.journal.orders[order.client_order_id]

    def _expired_if_ioc(self, order: PaperOrder) -> PaperOrder:
        if order.time_in_force is TimeInForce.IOC and not order.status.terminal:
            return self.state.end_order(order, OrderStatus.EXPIRED, self.at, "not filled at once")
        return order
