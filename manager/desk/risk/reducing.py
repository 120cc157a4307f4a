"""What a trader gives up: closes and the reducing part of target positions; nothing here denies a reduce."""

from decimal import Decimal

from exchanges.precision import floor_to_lot
from exchanges.types import Side, Symbol
from executor.contract import Action
from manager.desk.plan.outcomes import Reduce
from manager.desk.plan.values import ZERO
from manager.desk.risk.standing import Standing
from manager.state.records import IntentRow

ONE = Decimal(1)


def holds(standing: Standing, intent: IntentRow) -> bool:
    """Tell whether the book holds the side that a close names."""
    wanted = 1 if intent.decision.action is Action.CLOSE_LONG else -1
    return standing.held(Symbol(intent.decision.symbol)) * wanted > ZERO


def close(standing: Standing, intent: IntentRow) -> Reduce | None:
    """Return the reduce of a close, None when its fraction is below one lot; a fraction of 1 closes all."""
    symbol, fraction = Symbol(intent.decision.symbol), intent.decision.fraction
    held = abs(standing.held(symbol))
    quantity = held if fraction >= ONE else _floor(standing, symbol, held * fraction)
    return _reduce(standing, intent, quantity)


def reduce_to_target(standing: Standing, intent: IntentRow) -> Reduce | None:
    """Return what a target position takes off the book, None when it wants no less; through zero it closes all."""
    target = intent.decision.target_quantity
    symbol = Symbol(intent.decision.symbol)
    held = standing.held(symbol)
    if target is None or not held:
        return None
    if target * held <= ZERO:
        return _reduce(standing, intent, abs(held))
    return _reduce(standing, intent, _floor(standing, symbol, max(ZERO, abs(held) - abs(target))))


def _floor(standing: Standing, symbol: Symbol, quantity: Decimal) -> Decimal:
    instrument = standing.view.instruments.get(symbol)
    return floor_to_lot(quantity, instrument.lot) if instrument is not None else quantity


def _reduce(standing: Standing, intent: IntentRow, quantity: Decimal) -> Reduce | None:
    symbol = Symbol(intent.decision.symbol)
    side = Side.SELL if standing.held(symbol) > ZERO else Side.BUY
    taken = standing.take(symbol, quantity)
    if not taken:
        return None
    return Reduce(
        trader_id=intent.trader_id,
        symbol=symbol,
        side=side,
        quantity=taken,
        intent_id=intent.intent_id,
        closes=not standing.held(symbol),
    )
