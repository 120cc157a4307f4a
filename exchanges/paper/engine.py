"""Find the next event of a paper account and move the account through it, in the order of docs/rules.md 10."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from exchanges.clock import EPOCH
from exchanges.paper.account import PaperVenue, book, cancel_unreducible, liquidate
from exchanges.paper.fills import market_price, reducible, touch_levels, touch_price, within_volume
from exchanges.paper.state import PaperOrder, PaperState, Phase
from exchanges.types import ZERO, ClientOrderId, FundingPayment, OrderStatus, OrderType

INSTANT = timedelta(microseconds=1)
TOUCH_RANK = {OrderType.STOP: 0, OrderType.TAKE_PROFIT: 1, OrderType.LIMIT: 2, OrderType.MARKET: 3}


@dataclass(slots=True)
class _Searched:
    until: datetime
    touch: datetime | None


class Outlook:
    """Find the earliest touch, funding, possible liquidation or price for a waiting order of one account.

    Answers are remembered by the state's `revision`, touches by order. `lookahead` is how far beyond the question a
    search may go: zero on live data, a day or so where the future is recorded. It never changes an answer.
    """

    def __init__(self, venue: PaperVenue, lookahead: timedelta = timedelta(0)) -> None:
        self._venue = venue
        self._lookahead = lookahead
        self._revision = -1
        self._known_until = EPOCH
        self._event: datetime | None = None
        self._searched: dict[ClientOrderId, _Searched] = {}

    def next_event(self, state: PaperState, until: datetime) -> datetime | None:
        """Return the earliest event in (state.advanced_to, until]; a liquidation there is possible, not certain."""
        event = self._event
        if state.revision != self._revision or (event is not None and event <= state.advanced_to):
            return self._search(state, until)
        if event is not None:
            return event if event <= until else None
        return None if until <= self._known_until else self._search(state, until)

    def _search(self, state: PaperState, until: datetime) -> datetime | None:
        """Each order is known to be quiet up to its own instant; the earliest of these bounds what is remembered."""
        advanced_to, path = state.advanced_to, self._venue.path
        known_until = horizon = max(until, advanced_to + self._lookahead)
        found: datetime | None = None
        for order in state.orders.values():
            if order.waiting:
                when = path.next_price(order.symbol, advanced_to, known_until)
            else:
                known = self._touch(order, advanced_to, until, horizon)
                when, known_until = known.touch, min(known_until, known.until)
            if when is not None and (found is None or when < found):
                found = when
        end = known_until if found is None else min(found, known_until)
        for symbol in state.positions.keys() | state.leverage.keys():
            when = path.next_funding(symbol, advanced_to, end)
            if when is not None:
                found = end = when
        when = self._possible_liquidation(state, end)
        if when is not None:
            found = when
        if len(self._searched) > 4 * len(state.orders) + 64:
            self._searched = {key: self._searched[key] for key in state.orders if key in self._searched}
        self._event = found if found is not None and found <= known_until else None
        self._revision, self._known_until = state.revision, known_until
        return found if found is not None and found <= until else None

    def _touch(self, order: PaperOrder, advanced_to: datetime, until: datetime, horizon: datetime) -> _Searched:
        start = max(order.live_from, advanced_to)
        known = self._searched.get(order.client_order_id)
        if known is None:
            known = self._searched[order.client_order_id] = _Searched(start, None)
        if known.touch is not None and known.touch <= start:
            known.touch = None
        if known.touch is None and known.until < until:
            at_or_below, at_or_above = touch_levels(order)
            start = max(start, known.until)
            known.touch = self._venue.path.next_touch(order.symbol, start, horizon, at_or_below, at_or_above)
            known.until = known.touch or horizon
        return known

    def _possible_liquidation(self, state: PaperState, until: datetime) -> datetime | None:
        if not state.positions:
            return None
        weights = {}
        level = -state.cash
        for symbol, position in state.positions.items():
            instrument = self._venue.terms(symbol)
            kept = position.quantity - abs(position.quantity) * instrument.maintenance_rate
            weights[symbol] = kept * instrument.contract_size
            level += position.cost
        return self._venue.path.next_below(weights, level, state.advanced_to, until)


def advance(
    venue: PaperVenue, outlook: Outlook, state: PaperState, until: datetime, *, touches_only: bool = False
) -> None:
    """Let everything happen to the account in (state.advanced_to, until], of `until` itself only touches and funding.

    Between these and its liquidation the account's owner may act (docs/rules.md 10), with `touches_only` before the
    funding too: `fund`, `settle` and `finish` do the rest of the instant, at the latest when time moves on.
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
    """Touches come by symbol, stops before take-profits before limits, then bracket, then as placed."""
    for order in sorted(state.orders.values(), key=_touch_order):
        if not order.waiting and order.live_from < at and order.client_order_id in state.orders:
            _touch(venue, state, order, at)


def _touch_order(order: PaperOrder) -> tuple[str, int, str, str]:
    return order.symbol, TOUCH_RANK[order.type], order.bracket or "", order.venue_order_id


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
