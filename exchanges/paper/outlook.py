"""When the next thing happens to an account: found once, remembered until the account changes."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from exchanges.clock import EPOCH
from exchanges.paper.account import PaperVenue
from exchanges.paper.fills import touch_levels
from exchanges.paper.state import PaperOrder, PaperState
from exchanges.types import ClientOrderId


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
