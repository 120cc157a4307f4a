"""The resting stops and take-profits that the books call for, against those that rest (docs/rules.md 8).

A leg covers exactly the position of one trader. It is reduce-only unless the symbol has opposite books or EXTERNAL:
then stops rest as plain stop orders, and take-profits do not rest: the desk fires them. What EXTERNAL holds against
the books no leg trades: there a leg covers less than the position.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from exchanges.precision import resting_stop, resting_take_profit
from exchanges.types import ZERO, Side, Symbol
from manager.desk.plan.dust import NO_DUST
from manager.desk.plan.external_overlap import automatic_limits
from manager.desk.plan.outcomes import ProtectionPlan, ProtectiveLeg
from manager.desk.plan.values import AccountView
from manager.state.records import OrderId, OrderPurpose, OrderRow, OrderState, PositionKey, RoundId
from traders.book import Position


class _Held:
    """One position, its closing side, what its legs cover and whether they must not be reduce-only."""

    __slots__ = ("key", "plain", "position", "quantity", "side")

    def __init__(self, key: PositionKey, position: Position, limit: Decimal | None, *, plain: bool) -> None:
        self.key = key
        self.position = position
        self.plain = plain
        self.quantity = abs(position.quantity) if limit is None else limit
        self.side = Side.SELL if position.quantity > ZERO else Side.BUY

    def leg(self, purpose: OrderPurpose, trigger: Decimal) -> ProtectiveLeg:
        return ProtectiveLeg(
            trader_id=self.key.trader_id,
            symbol=self.key.symbol,
            side=self.side,
            purpose=purpose,
            quantity=self.quantity,
            trigger_price=trigger,
            reduce_only=not self.plain,
        )

    def fits(self, order: OrderRow, trigger: Decimal) -> bool:
        return (
            order.side is self.side
            and order.reduce_only is not self.plain
            and order.trigger_price == trigger
            and (order.quantity - order.filled if order.filled else order.quantity) == self.quantity
        )

    def covered(self, stops: Iterable[OrderRow]) -> bool:
        covered = ZERO
        for order in stops:
            confirmed = order.state is OrderState.ACCEPTED and order.side is self.side
            if confirmed and not (self.plain and order.reduce_only):
                covered += order.quantity - order.filled
        return covered >= self.quantity


class _Plan:
    """Match what the books call for with the legs that stand or may stand, position by position."""

    def __init__(self, view: AccountView, orders: Iterable[OrderRow]) -> None:
        self.resting: dict[tuple[PositionKey, OrderPurpose], list[OrderRow]] = {}
        self._view = view
        self._place: list[ProtectiveLeg] = []
        self._cancel: list[OrderRow] = []
        self._watch: list[ProtectiveLeg] = []
        self._unprotected: list[PositionKey] = []
        for order in orders:
            if order.state.live and order.purpose.protects:
                self.resting.setdefault((order.guards, order.purpose), []).append(order)
        for same in self.resting.values():
            if len(same) > 1:
                same.sort(key=_keep_order)

    def cover(self, held: _Held, *, needs_stop: bool) -> None:
        position = held.position
        if needs_stop and not held.covered(self.resting.get((held.key, OrderPurpose.STOP), ())):
            self._unprotected.append(held.key)
        if position.stop_loss is not None:
            self._match(held, OrderPurpose.STOP, position.stop_loss)
        if position.take_profit is not None:
            self._match(held, OrderPurpose.TAKE_PROFIT, position.take_profit)

    def result(self) -> ProtectionPlan:
        """Return the plan; the legs that nothing called for go."""
        unmatched = [order for left in self.resting.values() for order in left]
        return ProtectionPlan(
            place=tuple(self._place),
            cancel=tuple(order.order_id for order in sorted([*self._cancel, *unmatched], key=_cancel_order)),
            watch=tuple(self._watch),
            unprotected=tuple(self._unprotected),
        )

    def _match(self, held: _Held, purpose: OrderPurpose, price: Decimal) -> None:
        trigger = self._trigger(held, purpose, price)
        if held.quantity == ZERO:
            return
        if held.plain and purpose is OrderPurpose.TAKE_PROFIT:
            self._watch.append(held.leg(purpose, trigger))
            return
        right: list[OrderRow] = []
        for order in self.resting.pop((held.key, purpose), ()):
            (right if held.fits(order, trigger) else self._cancel).append(order)
        if not right:
            self._place.append(held.leg(purpose, trigger))
        if len(right) > 1:
            self._cancel.extend(order for order in right[1:] if order.state is OrderState.ACCEPTED)

    def _trigger(self, held: _Held, purpose: OrderPurpose, price: Decimal) -> Decimal:
        instrument, rests = self._view.instruments.get(held.key.symbol), resting_take_profit
        if purpose is OrderPurpose.STOP:
            rests = resting_stop
        return rests(price, held.position.direction, instrument.tick if instrument is not None else None)


def plan_protection(
    view: AccountView,
    orders: Sequence[OrderRow],
    dust: frozenset[PositionKey] = NO_DUST,
    *,
    held: AccountView | None = None,
) -> ProtectionPlan:
    """Return the legs to place, those to cancel, the take-profits to watch and the positions without a confirmed stop.

    A leg of the right shape whose outcome is not known is neither placed again nor canceled, and confirms nothing.
    Applied to the orders, the plan leads to a second plan that places and cancels nothing. `dust` gets no legs. Where
    `view` has the books as they will be after waiting reduces, `held` has them as they are: until these fill, the venue
    nets what is held, and would refuse a reduce-only leg against it.
    """
    plan = _Plan(view, orders)
    holding = sorted(trader_id for trader_id, trader in view.traders.items() if trader.book.positions)
    if not plan.resting and not holding:
        return ProtectionPlan()
    contested, limits = _contested(held or view), automatic_limits(view)
    for trader_id in holding:
        trader = view.traders[trader_id]
        for symbol, position in sorted(trader.book.positions.items()):
            key = PositionKey(trader_id, symbol)
            if key not in dust:
                one = _Held(key, position, limits.get(key), plain=symbol in contested)
                plan.cover(one, needs_stop=trader.spec.limits.stop_loss_enabled)
    return plan.result()


def fired_take_profits(
    view: AccountView, watch: Iterable[ProtectiveLeg], last_bars: Mapping[Symbol, tuple[Decimal, Decimal]]
) -> tuple[ProtectiveLeg, ...]:
    """Return the watched legs that the last bar's (low, high) reached: a long's by the high, a short's by the low.

    A leg never asks for more than the book still holds on its side.
    """
    fired = []
    for leg in watch:
        bar, trader = last_bars.get(leg.symbol), view.traders.get(leg.trader_id)
        if bar is None or trader is None:
            continue
        low, high = bar
        reached = high >= leg.trigger_price if leg.side is Side.SELL else low <= leg.trigger_price
        held = -leg.side.sign * trader.book.quantity(leg.symbol)
        if reached and held > ZERO:
            fired.append(leg if held >= leg.quantity else replace(leg, quantity=held))
    return tuple(fired)


def _contested(view: AccountView) -> frozenset[Symbol]:
    contested = {symbol for symbol, position in view.external.positions.items() if position.quantity}
    directions: dict[Symbol, int] = {}
    for trader in view.traders.values():
        for symbol, position in trader.book.positions.items():
            if directions.setdefault(symbol, position.direction) != position.direction:
                contested.add(symbol)
    return frozenset(contested)


def _keep_order(order: OrderRow) -> tuple[bool, datetime, RoundId, int, OrderId]:
    return order.state is not OrderState.ACCEPTED, order.created_at, order.round_id, order.n, order.order_id


def _cancel_order(order: OrderRow) -> tuple[PositionKey, bool, RoundId, int, OrderId]:
    return order.guards, order.purpose is OrderPurpose.STOP, order.round_id, order.n, order.order_id
