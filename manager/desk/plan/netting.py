"""Cross opposite flow inside the desk and make the rest one account order per side and kind (RULES.md 7)."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal

from exchanges.precision import meets_minimum, notional
from exchanges.types import Side, Symbol
from manager.desk.plan.conflict_resolver import rank
from manager.desk.plan.values import (
    ZERO,
    AccountView,
    Cross,
    CrossPart,
    Denial,
    NetPlan,
    PlannedOrder,
    Reduce,
    SizedEntry,
)
from manager.state.records import OrderPurpose, Share


def net(view: AccountView, reduces: Sequence[Reduce], entries: Sequence[SizedEntry]) -> NetPlan:
    """Return crosses at the mark and what is left as orders: all reduces by symbol, then entries by rank.

    For each trader and symbol crosses + orders + cuts (`numbers["cut"]` of the denials) + dust are what was asked.
    """
    if not reduces and not entries:
        return NetPlan()
    plan = _Plan(view=view)
    flows: dict[Symbol, _Flow] = defaultdict(_Flow)
    for reduce in sorted(reduces, key=lambda reduce: (reduce.trader_id, reduce.intent_id, reduce.quantity)):
        if reduce.quantity > ZERO:
            flows[reduce.symbol].add(_Wish.of_reduce(reduce))
    strategy = view.rules.conflict_strategy
    for place, entry in enumerate(sorted(entries, key=lambda entry: rank(entry.candidate, strategy))):
        instrument, price = view.instruments[entry.candidate.symbol], view.marks[entry.candidate.symbol].price
        if meets_minimum(entry.quantity, price, instrument):
            flows[entry.candidate.symbol].add(_Wish.of_entry(entry, place, price))
        else:
            plan.refuse(entry, entry.quantity, ZERO)
    for symbol in sorted(flows):
        _net_symbol(plan, symbol, flows[symbol])
    return plan.result()


@dataclass(slots=True)
class _Wish:
    side: Side
    left: Decimal
    share: Share
    purpose: OrderPurpose
    source: Reduce | SizedEntry
    place: int = -1

    @classmethod
    def of_reduce(cls, reduce: Reduce) -> "_Wish":
        share = Share(trader_id=reduce.trader_id, quantity=reduce.quantity, intent_id=reduce.intent_id)
        return cls(reduce.side, reduce.quantity, share, OrderPurpose.REDUCE, reduce)

    @classmethod
    def of_entry(cls, entry: SizedEntry, place: int, price: Decimal) -> "_Wish":
        wish = entry.candidate
        share = Share(
            trader_id=wish.trader_id,
            quantity=entry.quantity,
            intent_id=wish.intent.intent_id,
            leverage=wish.leverage,
            stop_loss=wish.stop_loss,
            take_profit=wish.take_profit,
            price=price,
        )
        side = Side.BUY if wish.direction > 0 else Side.SELL
        return cls(side, entry.quantity, share, OrderPurpose.ENTRY, entry, place)

    def part(self, quantity: Decimal) -> Share:
        return self.share if quantity == self.share.quantity else replace(self.share, quantity=quantity)


@dataclass(slots=True)
class _Flow:
    """Hold one symbol's wishes by side; reduces are added before entries, each in rank order."""

    buys: list[_Wish] = field(default_factory=list)
    sells: list[_Wish] = field(default_factory=list)

    def add(self, wish: _Wish) -> None:
        (self.buys if wish.side is Side.BUY else self.sells).append(wish)


@dataclass(slots=True)
class _Plan:
    view: AccountView
    crosses: list[Cross] = field(default_factory=list)
    reduce_orders: list[PlannedOrder] = field(default_factory=list)
    entry_orders: list[tuple[int, PlannedOrder]] = field(default_factory=list)
    denials: list[Denial] = field(default_factory=list)
    dust: list[Reduce] = field(default_factory=list)

    def refuse(self, entry: SizedEntry, cut: Decimal, crossed: Decimal) -> None:
        wish = entry.candidate
        instrument = self.view.instruments[wish.symbol]
        value = notional(cut, self.view.marks[wish.symbol].price, instrument)
        numbers = {"cut": cut, "crossed": crossed, "notional": value, "min_notional": instrument.min_notional}
        self.denials.append(
            Denial(
                intent_id=wish.intent.intent_id,
                trader_id=wish.trader_id,
                symbol=wish.symbol,
                code="BELOW_MIN_NOTIONAL",
                detail=f"{cut} of {entry.quantity} cannot be sent: below the venue's minimum order",
                numbers={name: str(number) for name, number in numbers.items()},
            )
        )

    def result(self) -> NetPlan:
        self.entry_orders.sort(key=lambda placed: placed[0])
        return NetPlan(
            crosses=tuple(self.crosses),
            orders=(*self.reduce_orders, *(order for _, order in self.entry_orders)),
            denials=tuple(self.denials),
            dust=tuple(self.dust),
        )


def _net_symbol(plan: _Plan, symbol: Symbol, flow: _Flow) -> None:
    if flow.buys and flow.sells:
        _cross(plan, symbol, flow)
    for side in (flow.buys, flow.sells):
        reduces = [wish for wish in side if wish.left and wish.purpose is OrderPurpose.REDUCE]
        entries = [wish for wish in side if wish.left and wish.purpose is OrderPurpose.ENTRY]
        if reduces:
            _order_reduces(plan, symbol, reduces)
        if entries:
            _order_entries(plan, symbol, entries)


def _cross(plan: _Plan, symbol: Symbol, flow: _Flow) -> None:
    """Cross what both sides have in common; without a mark there is no price, so reduces go to the venue."""
    mark = plan.view.marks.get(symbol)
    if mark is None:
        return
    crossed = min(sum((wish.left for wish in flow.buys), ZERO), sum((wish.left for wish in flow.sells), ZERO))
    parts = (*_take(flow.buys, crossed), *_take(flow.sells, crossed))
    plan.crosses.append(Cross(symbol=symbol, price=mark.price, parts=parts))


def _take(wishes: Iterable[_Wish], quantity: Decimal) -> list[CrossPart]:
    parts = []
    for wish in wishes:
        taken = min(wish.left, quantity)
        if not taken:
            break
        wish.left -= taken
        quantity -= taken
        parts.append(CrossPart(purpose=wish.purpose, quantity=taken * wish.side.sign, share=wish.part(taken)))
    return parts


def _order_reduces(plan: _Plan, symbol: Symbol, wishes: Sequence[_Wish]) -> None:
    view = plan.view
    order = _order(symbol, wishes, reduce_only=_reduce_only(view, symbol, wishes[0].side))
    mark = view.marks.get(symbol)
    if (
        view.capabilities.reduce_below_minimum
        or mark is None
        or meets_minimum(order.quantity, mark.price, view.instruments[symbol])
    ):
        plan.reduce_orders.append(order)
        return
    plan.dust.extend(replace(wish.source, quantity=wish.left) for wish in wishes if isinstance(wish.source, Reduce))


def _order_entries(plan: _Plan, symbol: Symbol, wishes: Sequence[_Wish]) -> None:
    """Send the rest of the entries; below the minimum it is cut, and crossing took the highest ranks first."""
    order = _order(symbol, wishes, reduce_only=False)
    if meets_minimum(order.quantity, plan.view.marks[symbol].price, plan.view.instruments[symbol]):
        plan.entry_orders.append((wishes[0].place, order))
        return
    for wish in wishes:
        if isinstance(wish.source, SizedEntry):
            plan.refuse(wish.source, wish.left, wish.source.quantity - wish.left)


def _order(symbol: Symbol, wishes: Sequence[_Wish], *, reduce_only: bool) -> PlannedOrder:
    return PlannedOrder(
        symbol=symbol,
        side=wishes[0].side,
        purpose=wishes[0].purpose,
        quantity=sum((wish.left for wish in wishes), ZERO),
        shares=tuple(wish.part(wish.left) for wish in wishes),
        reduce_only=reduce_only,
    )


def _reduce_only(view: AccountView, symbol: Symbol, side: Side) -> bool:
    """Tell whether all that is held or may be held stands on the side that `side` reduces."""
    sign = side.sign
    if view.external.quantity(symbol) * sign > ZERO:
        return False
    if any(trader.book.quantity(symbol) * sign > ZERO for trader in view.traders.values()):
        return False
    return not any(held.symbol == symbol and held.quantity * sign > ZERO for held in view.reservations)
