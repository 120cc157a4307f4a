"""The resting stops and targets that the books call for, against those that rest (RULES.md 8).

A leg covers exactly the position of one trader. It is reduce-only unless the symbol has opposite books or EXTERNAL:
then stops rest as plain stop orders, and targets do not rest: the desk fires them. What EXTERNAL holds against the
books no leg trades: there a leg covers less than the position.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from typing import TypeAlias

from exchanges.precision import ceil_to_tick, floor_to_tick
from exchanges.types import Side, Symbol
from manager.desk.plan.external_overlap import automatic_limits
from manager.desk.plan.outcomes import ProtectionPlan, ProtectiveLeg
from manager.desk.plan.values import ZERO, AccountView
from manager.state.records import OrderPurpose, OrderRow, OrderState, PositionKey
from traders.book import Position
from traders.spec import TraderId

NO_DUST: frozenset[PositionKey] = frozenset()
_PURPOSES = (OrderPurpose.STOP, OrderPurpose.TAKE_PROFIT)
_Key: TypeAlias = tuple[str, Symbol, OrderPurpose]


class _Held:
    """One position, its closing side, what its legs cover and whether they must not be reduce-only."""

    __slots__ = ("plain", "position", "quantity", "side", "symbol", "trader_id")

    def __init__(self, trader_id: TraderId, position: Position, limit: Decimal | None, *, plain: bool) -> None:
        self.trader_id = trader_id
        self.position = position
        self.symbol = position.symbol
        self.plain = plain
        self.quantity = abs(position.quantity) if limit is None else limit
        self.side = Side.SELL if position.quantity > ZERO else Side.BUY

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


@dataclass(slots=True, kw_only=True)
class _Plan:
    view: AccountView
    resting: dict[_Key, list[OrderRow]]
    place: list[ProtectiveLeg] = field(default_factory=list)
    cancel: list[OrderRow] = field(default_factory=list)
    watch: list[ProtectiveLeg] = field(default_factory=list)
    unprotected: list[PositionKey] = field(default_factory=list)

    def cover(self, held: _Held, *, needs_stop: bool) -> None:
        position = held.position
        if needs_stop and not held.covered(self.resting.get((held.trader_id, held.symbol, OrderPurpose.STOP), ())):
            self.unprotected.append(PositionKey(held.trader_id, held.symbol))
        if position.stop_loss is not None:
            self._match(held, OrderPurpose.STOP, position.stop_loss)
        if position.take_profit is not None:
            self._match(held, OrderPurpose.TAKE_PROFIT, position.take_profit)

    def _match(self, held: _Held, purpose: OrderPurpose, price: Decimal) -> None:
        trigger = self._trigger(held, purpose, price)
        if held.quantity == ZERO:
            return
        if held.plain and purpose is OrderPurpose.TAKE_PROFIT:
            self.watch.append(_leg(held, purpose, trigger))
            return
        right: list[OrderRow] = []
        for order in self.resting.pop((held.trader_id, held.symbol, purpose), ()):
            (right if held.fits(order, trigger) else self.cancel).append(order)
        if not right:
            self.place.append(_leg(held, purpose, trigger))
        if len(right) > 1:
            self.cancel.extend(order for order in right[1:] if order.state is OrderState.ACCEPTED)

    def _trigger(self, held: _Held, purpose: OrderPurpose, price: Decimal) -> Decimal:
        """Move a trigger towards the mark to a tick, so that a stop never risks more than the trader asked for."""
        instrument = self.view.instruments.get(held.symbol)
        if instrument is None or instrument.tick is None:
            return price
        up = (purpose is OrderPurpose.STOP) is (held.side is Side.SELL)
        return ceil_to_tick(price, instrument.tick) if up else floor_to_tick(price, instrument.tick)


def plan_protection(
    view: AccountView,
    orders: Sequence[OrderRow],
    dust: frozenset[PositionKey] = NO_DUST,
    *,
    held: AccountView | None = None,
) -> ProtectionPlan:
    """Return the legs to place, then those to cancel, the targets to watch and the positions without a confirmed stop.

    A leg of the right shape whose outcome is not known is neither placed again nor canceled, and confirms nothing.
    Applied to the orders, the plan leads to a second plan that places and cancels nothing. `dust` gets no legs. Where
    `desk` has the books as they will be after waiting reduces, `held` has them as they are: until these fill, the venue
    nets what is held, and would refuse a reduce-only leg against it.
    """
    resting = _resting(orders)
    holding = sorted(trader_id for trader_id, trader in view.traders.items() if trader.book.positions)
    if not resting and not holding:
        return ProtectionPlan()
    contested, limits = _contested(held or view), automatic_limits(view)
    plan = _Plan(view=view, resting=resting)
    for trader_id in holding:
        trader = view.traders[trader_id]
        for symbol, position in sorted(trader.book.positions.items()):
            if PositionKey(trader_id, symbol) not in dust:
                needs_stop = trader.spec.limits.stop_loss_enabled
                one = _Held(trader_id, position, limits.get(PositionKey(trader_id, symbol)), plain=symbol in contested)
                plan.cover(one, needs_stop=needs_stop)
    for left in resting.values():
        plan.cancel.extend(left)
    return ProtectionPlan(
        place=tuple(plan.place),
        cancel=tuple(order.order_id for order in sorted(plan.cancel, key=_cancel_order)),
        watch=tuple(plan.watch),
        unprotected=tuple(plan.unprotected),
    )


def fired_take_profits(
    view: AccountView, watch: Iterable[ProtectiveLeg], last_bars: Mapping[Symbol, tuple[Decimal, Decimal]]
) -> tuple[ProtectiveLeg, ...]:
    """Return the watched targets that the last bar's (low, high) reached: a long's by the high, a short's by the low.

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


def _resting(orders: Iterable[OrderRow]) -> dict[_Key, list[OrderRow]]:
    resting: dict[_Key, list[OrderRow]] = {}
    for order in orders:
        if order.purpose in _PURPOSES and order.state.live:
            trader_id = order.shares[0].trader_id if order.shares else ""
            resting.setdefault((trader_id, order.symbol, order.purpose), []).append(order)
    for same in resting.values():
        if len(same) > 1:
            same.sort(key=_keep_order)
    return resting


def _contested(view: AccountView) -> frozenset[Symbol]:
    contested = {symbol for symbol, position in view.external.positions.items() if position.quantity}
    directions: dict[Symbol, int] = {}
    for trader in view.traders.values():
        for symbol, position in trader.book.positions.items():
            if directions.setdefault(symbol, position.direction) != position.direction:
                contested.add(symbol)
    return frozenset(contested)


def _leg(held: _Held, purpose: OrderPurpose, trigger: Decimal) -> ProtectiveLeg:
    return ProtectiveLeg(
        trader_id=held.trader_id,
        symbol=held.symbol,
        side=held.side,
        purpose=purpose,
        quantity=held.quantity,
        trigger_price=trigger,
        reduce_only=not held.plain,
    )


def _keep_order(order: OrderRow) -> tuple[bool, datetime, str, int, str]:
    return order.state is not OrderState.ACCEPTED, order.created_at, order.round_id, order.n, order.order_id


def _cancel_order(order: OrderRow) -> tuple[str, str, bool, str, int, str]:
    trader_id = order.shares[0].trader_id if order.shares else ""
    return trader_id, order.symbol, order.purpose is OrderPurpose.STOP, order.round_id, order.n, order.order_id
