"""Move a paper account through time: touches, funding, liquidation, waiting orders, in the order of RULES 10."""

from dataclasses import replace
from datetime import datetime, timedelta

from exchanges.paper.account import PaperVenue, book, cancel_unreducible, liquidate
from exchanges.paper.fills import market_price, reducible, touch_price, within_volume
from exchanges.paper.outlook import Outlook
from exchanges.paper.state import PaperOrder, PaperState, Phase
from exchanges.types import ZERO, FundingPayment, OrderStatus, OrderType

INSTANT = timedelta(microseconds=1)
TOUCH_RANK = {OrderType.STOP: 0, OrderType.TAKE_PROFIT: 1, OrderType.LIMIT: 2, OrderType.MARKET: 3}


def advance(
    venue: PaperVenue, outlook: Outlook, state: PaperState, until: datetime, *, touches_only: bool = False
) -> None:
    """Let everything happen to the account in (state.advanced_to, until], of `until` itself only touches and funding.

    Between these and its liquidation the account's owner may act (RULES.md 10), with `touches_only` before the funding
    too: `fund`, `settle` and `finish` do the rest of the instant, at the latest when time moves on.
    """
    while state.advanced_to < until:
        finish(venue, state)
        instant = outlook.next_event(state, until)
        if instant is None:
            state.advanced_to = until
            return
        _touch_all(venue, state, instant)
        state.advanced_to = instant
        state.phase = Phase.TOUCHED
        if instant < until or not touches_only:
            fund(venue, state)


def fund(venue: PaperVenue, state: PaperState) -> None:
    """Pay the funding of the instant the account stands at, once.

    It is reported for a flat symbol too once its leverage was set: books that offset each other owe it among them.
    """
    if state.phase is not Phase.TOUCHED:
        return
    state.phase = Phase.FUNDED
    at = state.advanced_to
    for symbol, when, rate in venue.path.funding(at - INSTANT, at):
        if symbol in state.positions or (symbol in state.leverage and venue.path.mark(symbol, when) is not None):
            mark = venue.mark(symbol, when)
            amount = -state.position(symbol).quantity * mark * venue.terms(symbol).contract_size * rate
            state.book_funding(FundingPayment(symbol=symbol, at=when, rate=rate, mark=mark, amount=amount))


def settle(venue: PaperVenue, state: PaperState) -> bool:
    """Test the account for liquidation at the instant it stands at, once; tell whether it was liquidated."""
    fund(venue, state)
    if state.phase is not Phase.FUNDED:
        return False
    state.phase = Phase.SETTLED
    return liquidate(venue, state, state.advanced_to)


def finish(venue: PaperVenue, state: PaperState) -> bool:
    """Do what is left of the instant: liquidation, then fills of waiting orders; tell whether anything happened."""
    changed = settle(venue, state)
    if state.phase is Phase.DONE:
        return changed
    state.phase = Phase.DONE
    before = len(state.journal.fills)
    for order in sorted(state.orders.values(), key=_touch_order):
        if order.waiting and order.client_order_id in state.orders:
            _fill_waiting(venue, state, order, state.advanced_to)
    return changed or len(state.journal.fills) > before


def expire_waiting(state: PaperState, at: datetime) -> None:
    """End the orders that still wait for a price when there will be none."""
    for order in list(state.orders.values()):
        if order.waiting:
            state.end_order(order, OrderStatus.EXPIRED, at, "no further price")


def _touch_all(venue: PaperVenue, state: PaperState, at: datetime) -> None:
    """Touches come by symbol, stops before targets before limits, then client order id."""
    for order in sorted(state.orders.values(), key=_touch_order):
        if not order.waiting and order.live_from < at and order.client_order_id in state.orders:
            _touch(venue, state, order, at)


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
    quantity = within_volume(wanted, bar.volume, venue.terms(order.symbol), venue.config)
    if order.type is OrderType.STOP:
        order = state.put_order(replace(order, triggered=True, updated_at=at))
    if quantity > ZERO:
        book(venue, state, order, quantity, (price, at))
        cancel_unreducible(state, order.symbol, at)


def _fill_waiting(venue: PaperVenue, state: PaperState, order: PaperOrder, at: datetime) -> None:
    price = venue.execution_price(order.symbol, at)
    if price is None:
        return
    wanted = order.remaining
    if order.reduce_only:
        wanted = reducible(state.position(order.symbol).quantity, order.side, wanted)
    volume = venue.path.volume(order.symbol, at)
    quantity = within_volume(wanted, volume, venue.terms(order.symbol), venue.config)
    if quantity > ZERO:
        book(venue, state, order, quantity, (market_price(price, order.side, venue.config), at))
        cancel_unreducible(state, order.symbol, at)
