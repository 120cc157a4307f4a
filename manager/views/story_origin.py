"""Find the intents behind an order of the desk itself: what set the stop or target, what opened the position."""

from dataclasses import dataclass
from decimal import Decimal

from executor.contract import Action
from manager.state.records import FillPartRow, IntentId, IntentRow, IntentStatus, OrderPurpose, OrderRow, Share
from manager.state.store import Transaction
from traders.spec import TraderId

_DEEPEST = 100_000
_ACTED = (IntentStatus.CONSUMED, IntentStatus.DONE)
_OPENING = (Action.OPEN_LONG, Action.OPEN_SHORT, Action.TARGET)


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Hold where a trader's part of an order comes from; what is no longer kept is empty."""

    trader_id: TraderId
    leverage: int | None = None
    opened_by: IntentId = IntentId("")
    set_by: IntentId = IntentId("")


async def origin_of(tx: Transaction, order: OrderRow, share: Share) -> Origin:
    """Return the newest intent up to `order` that gave the position its stop or target, the entry and its leverage.

    An intent counts that its round acted upon: an adjustment, or an entry of which something was filled.
    """
    entries = await _entries(tx, order, share.trader_id)
    opened_by = next((part.intent_id for part in entries if part.intent_id), IntentId(""))
    setter = IntentId("")
    if order.purpose in (OrderPurpose.STOP, OrderPurpose.TAKE_PROFIT):
        filled = {part.intent_id for part in entries}
        setter = await _setter(tx, order, share.trader_id, filled)
    leverage = await _leverage(tx, entries[0]) if entries else None
    return Origin(trader_id=share.trader_id, leverage=leverage, opened_by=opened_by, set_by=setter)


async def _entries(tx: Transaction, order: OrderRow, trader_id: TraderId) -> list[FillPartRow]:
    where = {
        "account_id": order.account_id,
        "trader_id": trader_id,
        "symbol": order.symbol,
        "purpose": str(OrderPurpose.ENTRY),
    }
    parts = await tx.find(FillPartRow, where, newest_first="at", limit=_DEEPEST)
    return [part for part in parts if part.at <= order.created_at]


async def _setter(tx: Transaction, order: OrderRow, trader_id: TraderId, filled: set[IntentId]) -> IntentId:
    where = {"account_id": order.account_id, "trader_id": trader_id, "status": _ACTED}
    intents = await tx.find(IntentRow, where, newest_first="decided_at", limit=_DEEPEST)
    mine = (one for one in intents if one.decision.symbol == order.symbol and one.round_id <= order.round_id)
    for intent in mine:
        acted = intent.decision.action is Action.ADJUST_STOP or intent.intent_id in filled
        if acted and _level(intent, order) is not None:
            return intent.intent_id
    return IntentId("")


def _level(intent: IntentRow, order: OrderRow) -> Decimal | None:
    decision = intent.decision
    return decision.stop_loss if order.purpose is OrderPurpose.STOP else decision.take_profit


async def _leverage(tx: Transaction, entry: FillPartRow) -> int | None:
    order = await tx.get(OrderRow, entry.account_id, entry.order_id) if entry.order_id else None
    if order is not None:
        return next((share.leverage for share in order.shares if share.trader_id == entry.trader_id), None)
    intent = await tx.get(IntentRow, entry.intent_id) if entry.intent_id else None
    asked = intent.decision if intent is not None else None
    return asked.leverage if asked is not None and asked.action in _OPENING else None
