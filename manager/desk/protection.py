"""The resting stops and targets that the books call for, against those that rest (RULES.md 8).

A leg covers exactly the position of one trader. It is reduce-only unless the symbol has opposite books or EXTERNAL:
then stops rest as plain stop orders, and targets do not rest: the desk fires them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import NamedTuple

from exchanges.precision import ceil_to_tick, floor_to_tick
from exchanges.types import Side, Symbol
from manager.desk.values import Desk, ProtectionPlan, ProtectiveLeg
from manager.state.records import OrderPurpose, OrderRow, OrderState
from traders.book import Position

ZERO = Decimal(0)
NO_DUST: frozenset[tuple[str, Symbol]] = frozenset()
_PURPOSES = (OrderPurpose.STOP, OrderPurpose.TARGET)


class _Key(NamedTuple):
    trader_id: str
    symbol: Symbol
    purpose: OrderPurpose


@dataclass(slots=True)
class _Plan:
    place: list[ProtectiveLeg] = field(default_factory=list)
    cancel: list[OrderRow] = field(default_factory=list)
    watch: list[ProtectiveLeg] = field(default_factory=list)
    naked: list[tuple[str, Symbol]] = field(default_factory=list)


def plan_protection(
    desk: Desk, orders: Sequence[OrderRow], dust: frozenset[tuple[str, Symbol]] = NO_DUST
) -> ProtectionPlan:
    """Return the legs to place, then those to cancel, the targets to watch and the positions without a confirmed stop.

    A leg of the right shape whose outcome is not known is neither placed again nor canceled, and confirms nothing.
    Applied to the orders, the plan leads to a second plan that places and cancels nothing. `dust` gets no legs.
    """
    resting = _resting(orders)
    holding = [trader_id for trader_id, trader in desk.traders.items() if trader.book.positions]
    if not resting and not holding:
        return ProtectionPlan()
    contested = _contested(desk, holding)
    plan = _Plan()
    for trader_id in sorted(holding):
        trader = desk.traders[trader_id]
        for symbol, position in sorted(trader.book.positions.items()):
            if (trader_id, symbol) in dust:
                continue
            stops = resting.get(_Key(trader_id, symbol, OrderPurpose.STOP), ())
            if trader.spec.limits.stop_loss_enabled and not _covered(position, stops, symbol in contested):
                plan.naked.append((trader_id, symbol))
            for leg in _legs(desk, trader_id, position, symbol in contested):
                _match(plan, leg, resting, watched=symbol in contested)
    for left in resting.values():
        plan.cancel.extend(left)
    return ProtectionPlan(
        place=tuple(plan.place),
        cancel=tuple(order.order_id for order in sorted(plan.cancel, key=_cancel_order)),
        watch=tuple(plan.watch),
        naked=tuple(plan.naked),
    )


def fired_targets(
    desk: Desk, watch: Iterable[ProtectiveLeg], last_bars: Mapping[Symbol, tuple[Decimal, Decimal]]
) -> tuple[ProtectiveLeg, ...]:
    """Return the watched targets that the last bar's (low, high) reached: a long's by the high, a short's by the low.

    A leg never asks for more than the book still holds on its side.
    """
    fired = []
    for leg in watch:
        bar, trader = last_bars.get(leg.symbol), desk.traders.get(leg.trader_id)
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
        if order.state.live and order.purpose in _PURPOSES:
            trader_id = order.shares[0].trader_id if order.shares else ""
            resting.setdefault(_Key(trader_id, order.symbol, order.purpose), []).append(order)
    for same in resting.values():
        same.sort(key=_keep_order)
    return resting


def _contested(desk: Desk, holding: Iterable[str]) -> frozenset[Symbol]:
    contested = {symbol for symbol, position in desk.external.positions.items() if position.quantity}
    directions: dict[Symbol, int] = {}
    for trader_id in holding:
        for symbol, position in desk.traders[trader_id].book.positions.items():
            if directions.setdefault(symbol, position.direction) != position.direction:
                contested.add(symbol)
    return frozenset(contested)


def _legs(desk: Desk, trader_id: str, position: Position, plain: bool) -> list[ProtectiveLeg]:
    instrument = desk.instruments.get(position.symbol)
    tick = instrument.tick if instrument is not None else None
    side = Side.SELL if position.quantity > ZERO else Side.BUY
    legs = []
    for purpose, price in ((OrderPurpose.STOP, position.stop_loss), (OrderPurpose.TARGET, position.take_profit)):
        if price is None:
            continue
        # A tick moves a trigger towards the mark, so that a stop never risks more than the trader asked for.
        up = (purpose is OrderPurpose.STOP) is (side is Side.SELL)
        leg = ProtectiveLeg(
            trader_id=trader_id,
            symbol=position.symbol,
            side=side,
            purpose=purpose,
            quantity=abs(position.quantity),
            trigger_price=ceil_to_tick(price, tick) if up else floor_to_tick(price, tick),
            reduce_only=not plain,
        )
        legs.append(leg)
    return legs


def _match(plan: _Plan, leg: ProtectiveLeg, resting: dict[_Key, list[OrderRow]], *, watched: bool) -> None:
    if watched and leg.purpose is OrderPurpose.TARGET:
        plan.watch.append(leg)
        return
    found = resting.pop(_Key(leg.trader_id, leg.symbol, leg.purpose), [])
    right = [order for order in found if _fits(order, leg)]
    plan.cancel.extend(order for order in found if not _fits(order, leg))
    if not right:
        plan.place.append(leg)
    plan.cancel.extend(order for order in right[1:] if order.state is OrderState.ACCEPTED)


def _fits(order: OrderRow, leg: ProtectiveLeg) -> bool:
    return (
        order.side is leg.side
        and order.quantity - order.filled == leg.quantity
        and order.trigger_price == leg.trigger_price
        and order.reduce_only is leg.reduce_only
    )


def _covered(position: Position, stops: Iterable[OrderRow], plain: bool) -> bool:
    closing = Side.SELL if position.quantity > ZERO else Side.BUY
    standing = (
        o for o in stops if o.state is OrderState.ACCEPTED and o.side is closing and not (plain and o.reduce_only)
    )
    return sum((order.quantity - order.filled for order in standing), ZERO) >= abs(position.quantity)


def _keep_order(order: OrderRow) -> tuple[bool, str, str]:
    return order.state is not OrderState.ACCEPTED, order.created_at.isoformat(), order.order_id


def _cancel_order(order: OrderRow) -> tuple[str, str, bool, str]:
    trader_id = order.shares[0].trader_id if order.shares else ""
    return trader_id, order.symbol, order.purpose is OrderPurpose.STOP, order.order_id
