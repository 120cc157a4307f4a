"""Cross opposite flow inside the desk and make the rest one account order per side and kind (docs/rules.md 7)."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal

from exchanges.precision import meets_minimum, notional
from exchanges.types import ZERO, Side, Symbol
from manager.desk.plan.conflict_resolver import strategy_of
from manager.desk.plan.dust import leaves_dust
from manager.desk.plan.outcomes import Cross, CrossPart, Denial, NetPlan, PlannedOrder, Reduce, SizedEntry
from manager.desk.plan.values import AccountView
from manager.state.records import OrderPurpose, Share


def net(view: AccountView, reduces: Sequence[Reduce], entries: Sequence[SizedEntry]) -> NetPlan:
    """Return crosses at the mark and what is left as orders: all reduces by symbol, then entries by rank.

    For each trader and symbol crosses + orders + cuts (`numbers["cut"]` of the denials) + dust are what was asked.
    """
    if not reduces and not entries:
        return NetPlan()
    netting = _Netting(view)
    flows: dict[Symbol, _Flow] = defaultdict(_Flow)
    for reduce in sorted(reduces, key=lambda reduce: (reduce.trader_id, reduce.intent_id, reduce.quantity)):
        if reduce.quantity > ZERO:
            flows[reduce.symbol].add(_Request.of_reduce(reduce))
    rank = strategy_of(view.rules.conflict_strategy).rank
    for place, entry in enumerate(sorted(entries, key=lambda entry: rank(entry.candidate))):
        instrument, price = view.instruments[entry.candidate.symbol], view.marks[entry.candidate.symbol].price
        if meets_minimum(entry.quantity, price, instrument):
            flows[entry.candidate.symbol].add(_Request.of_entry(entry, place, price))
        else:
            netting.deny(entry, entry.quantity, ZERO)
    for symbol in sorted(flows):
        netting.add(symbol, flows[symbol])
    return netting.result()


@dataclass(slots=True)
class _Request:
    """One entry or reduce, and what is left of it to be crossed or sent."""

    side: Side
    left: Decimal
    share: Share
    purpose: OrderPurpose
    source: Reduce | SizedEntry
    place: int = -1

    @classmethod
    def of_reduce(cls, reduce: Reduce) -> "_Request":
        share = Share(trader_id=reduce.trader_id, quantity=reduce.quantity, intent_id=reduce.intent_id)
        return cls(reduce.side, reduce.quantity, share, OrderPurpose.REDUCE, reduce)

    @classmethod
    def of_entry(cls, entry: SizedEntry, place: int, price: Decimal) -> "_Request":
        candidate = entry.candidate
        share = Share(
            trader_id=candidate.trader_id,
            quantity=entry.quantity,
            intent_id=candidate.intent.intent_id,
            leverage=candidate.leverage,
            stop_loss=candidate.stop_loss,
            take_profit=candidate.take_profit,
            price=price,
        )
        side = Side.BUY if candidate.direction > 0 else Side.SELL
        return cls(side, entry.quantity, share, OrderPurpose.ENTRY, entry, place)

    def part(self, quantity: Decimal) -> Share:
        return self.share if quantity == self.share.quantity else replace(self.share, quantity=quantity)

    def take(self, quantity: Decimal) -> CrossPart:
        self.left -= quantity
        return CrossPart(purpose=self.purpose, quantity=quantity * self.side.sign, share=self.part(quantity))


@dataclass(slots=True)
class _Flow:
    """One symbol's requests by side; reduces are added before entries, each in rank order."""

    buys: list[_Request] = field(default_factory=list)
    sells: list[_Request] = field(default_factory=list)

    def add(self, request: _Request) -> None:
        (self.buys if request.side is Side.BUY else self.sells).append(request)

    def cross_at_mark(self, symbol: Symbol, price: Decimal) -> Cross:
        """Trade what both sides have in common inside the desk, at the mark and without a fee."""
        common = min(sum((request.left for request in side), ZERO) for side in (self.buys, self.sells))
        parts = []
        for side in (self.buys, self.sells):
            rest = common
            for request in side:
                taken = min(request.left, rest)
                if not taken:
                    break
                rest -= taken
                parts.append(request.take(taken))
        return Cross(symbol=symbol, price=price, parts=tuple(parts))


class _Netting:
    """Collect what becomes of every request."""

    def __init__(self, view: AccountView) -> None:
        self._view = view
        self._crosses: list[Cross] = []
        self._reduces: list[PlannedOrder] = []
        self._entries: list[tuple[int, PlannedOrder]] = []
        self._denials: list[Denial] = []
        self._dust: list[Reduce] = []

    def add(self, symbol: Symbol, flow: _Flow) -> None:
        """Net one symbol; without a mark there is no price to cross at, so reduces go to the venue."""
        mark = self._view.marks.get(symbol)
        if flow.buys and flow.sells and mark is not None:
            self._crosses.append(flow.cross_at_mark(symbol, mark.price))
        for side in (flow.buys, flow.sells):
            reduces = [request for request in side if request.left and request.purpose is OrderPurpose.REDUCE]
            entries = [request for request in side if request.left and request.purpose is OrderPurpose.ENTRY]
            if reduces:
                self._order_reduces(symbol, reduces)
            if entries:
                self._order_entries(symbol, entries)

    def deny(self, entry: SizedEntry, cut: Decimal, crossed: Decimal) -> None:
        """Deny what cannot be sent of an entry."""
        candidate = entry.candidate
        instrument = self._view.instruments[candidate.symbol]
        value = notional(cut, self._view.marks[candidate.symbol].price, instrument)
        numbers = {"cut": cut, "crossed": crossed, "notional": value, "min_notional": instrument.min_notional}
        detail = f"{cut} of {entry.quantity} cannot be sent: below the venue's minimum order"
        self._denials.append(Denial.of(candidate.intent, "BELOW_MIN_NOTIONAL", detail, **numbers))

    def result(self) -> NetPlan:
        """Return everything, reduces before entries."""
        self._entries.sort(key=lambda placed: placed[0])
        return NetPlan(
            crosses=tuple(self._crosses),
            orders=(*self._reduces, *(order for _, order in self._entries)),
            denials=tuple(self._denials),
            dust=tuple(self._dust),
        )

    def _order_reduces(self, symbol: Symbol, requests: Sequence[_Request]) -> None:
        order = _order(symbol, requests, reduce_only=may_reduce_only(self._view, symbol, requests[0].side))
        if leaves_dust(self._view, symbol, order.quantity):
            left = ((request.source, request.left) for request in requests)
            self._dust.extend(replace(one, quantity=rest) for one, rest in left if isinstance(one, Reduce))
        else:
            self._reduces.append(order)

    def _order_entries(self, symbol: Symbol, requests: Sequence[_Request]) -> None:
        """Send the rest of the entries; below the minimum it is cut, and crossing took the highest ranks first."""
        order = _order(symbol, requests, reduce_only=False)
        if meets_minimum(order.quantity, self._view.marks[symbol].price, self._view.instruments[symbol]):
            self._entries.append((requests[0].place, order))
            return
        for request in requests:
            if isinstance(request.source, SizedEntry):
                self.deny(request.source, request.left, request.source.quantity - request.left)


def may_reduce_only(view: AccountView, symbol: Symbol, side: Side) -> bool:
    """Tell whether all that is held or may be held stands on the side that `side` reduces.

    Elsewhere a reduce is plain: what its book no longer holds it would open, so a stop of that book must be gone first.
    """
    sign = side.sign
    if view.external.quantity(symbol) * sign > ZERO:
        return False
    if any(trader.book.quantity(symbol) * sign > ZERO for trader in view.traders.values()):
        return False
    return not any(held.symbol == symbol and held.quantity * sign > ZERO for held in view.reservations)


def _order(symbol: Symbol, requests: Sequence[_Request], *, reduce_only: bool) -> PlannedOrder:
    return PlannedOrder(
        symbol=symbol,
        side=requests[0].side,
        purpose=requests[0].purpose,
        quantity=sum((request.left for request in requests), ZERO),
        shares=tuple(request.part(request.left) for request in requests),
        reduce_only=reduce_only,
    )
