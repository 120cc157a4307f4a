"""Move a paper account through time: touches, funding, liquidation, waiting orders, in the order of RULES 10."""

from dataclasses import replace
from datetime import datetime, timedelta

from exchanges.paper.account import PaperVenue, book, cancel_unreducible, liquidate
from exchanges.paper.fills import ZERO, market_price, reducible, touch_price, within_volume
from exchanges.paper.outlook import Outlook
from exchanges.paper.state import PaperOrder, PaperState
from exchanges.types import FundingPayment, OrderStatus, OrderType

INSTANT = timedelta(microseconds=1)
TOUCH_RANK = {OrderType.STOP: 0, OrderType.TAKE_PROFIT: 1, OrderType.LIMIT: 2, OrderType.MARKET: 3}


def advance(venue: PaperVenue, outlook: Outlook, state: PaperState, until: datetime) -> None:
    """Let everything happen to the account that happens in (state.advanced_to, until]."""
    while state.advanced_to < until:
        instant = outlook.next_event(state, until)
        if instant is None:
            state.advanced_to = until
            return
        _happen(venue, state, instant)
        state.advanced_to = instant


def expire_waiting(state: PaperState, at: datetime) -> None:
    """End the orders that still wait for a price when there will be none."""
    for order in list(state.orders.values()):
        if order.waiting:
            state.end_order(order, OrderStatus.EXPIRED, at, "no further price")


def _happen(venue: PaperVenue, state: PaperState, at: datetime) -> None:
    """Touches come by symbol, stops before targets before limits, then client order id."""
    for order in sorted(state.orders.values(), key=_touch_order):
        if not order.waiting and order.live_from < at and order.client_order_id in state.orders:
            _touch(venue, state, order, at)
    for symbol, when, rate in venue.path.funding(at - INSTANT, at):
        net = state.position(symbol).quantity
        if net != ZERO:
            mark = venue.mark(symbol, when)
            amount = -net * mark * venue.instruments[symbol].contract_size * rate
            state.book_funding(FundingPayment(symbol=symbol, at=when, rate=rate, mark=mark, amount=amount))
    liquidate(venue, state, at)
    for order in sorted(state.orders.values(), key=_touch_order):
        if order.waiting and order.client_order_id in state.orders:
            _fill_waiting(venue, state, order, at)


def _touch_order(order: PaperOrder) -> tuple[str, int, str]:
    return order.symbol, TOUCH_RANK[order.type], order.client_order_id


def _touch(venue: PaperVenue, state: PaperState, order: PaperOrder, at: datetime) -> None:
    bar = venue.path.last_bar(order.symbol, at)
    price = None if bar is None or bar.end != at else touch_price(order, bar, venue.config)
    if bar is None or price is None:
        return
    wanted = order.remaining
    if order.reduce_only:
        wanted = reducible(state.position(order.symbol).quantity, order.side, wanted)
    quantity = within_volume(wanted, bar.volume, venue.instruments[order.symbol], venue.config)
    if order.type is OrderType.STOP:
        order = state.put_order(replace(order, triggered=True, updated_at=at))
    if quantity > ZERO:
        book(venue, state, order, quantity, (price, at))
        cancel_unreducible(state, order.symbol, at)


def _fill_waiting(venue: PaperVenue, state: PaperState, order: PaperOrder, at: datetime) -> None:
    price = venue.path.execution_price(order.symbol, at)
    if price is None:
        return
    wanted = order.remaining
    if order.reduce_only:
        wanted = reducible(state.position(order.symbol).quantity, order.side, wanted)
    volume = venue.path.volume(order.symbol, at)
    quantity = within_volume(wanted, volume, venue.instruments[order.symbol], venue.config)
    if quantity > ZERO:
        book(venue, state, order, quantity, (market_price(price, order.side, venue.config), at))
        cancel_unreducible(state, order.symbol, at)
