"""Find what `propdesk why` is asked about: order, trade, intent or decision, or a trader's newest decision."""

from collections.abc import Sequence
from dataclasses import dataclass

from manager.state.records import (
    AccountId,
    AccountRow,
    DecisionRow,
    FillPartRow,
    FillRow,
    IntentId,
    IntentRow,
    OrderRow,
    RoundId,
)
from manager.state.store import Transaction

_ALL = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Hold what an id stands for; without an order it is a trade of none, an intent that led to none, or a decision."""

    kind: str
    account_id: AccountId
    round_id: RoundId
    order: OrderRow | None = None
    decision: DecisionRow | None = None
    intents: tuple[IntentId, ...] = ()
    fills: tuple[FillRow, ...] = ()
    parts: tuple[FillPartRow, ...] = ()
    other_orders: tuple[str, ...] = ()


async def find_subject(tx: Transaction, ref: str) -> Subject | None:
    """Return what `ref` names: order (own id or the venue's), trade, intent, decision or trader; else None."""
    accounts = [row.account_id for row in await tx.find(AccountRow, {})]
    for account_id in accounts:
        order = await tx.get(OrderRow, account_id, ref)
        if order is not None:
            return _of_order("order", order)
    for account_id in accounts:
        found = await tx.find(OrderRow, {"account_id": account_id, "venue_order_id": ref}, limit=1)
        if found:
            return _of_order("order", found[0])
    for account_id in accounts:
        trade = await _trade(tx, account_id, ref)
        if trade is not None:
            return trade
    intent = await tx.get(IntentRow, ref)
    if intent is not None:
        return await _intent(tx, intent)
    decision = await tx.get(DecisionRow, ref)
    if decision is None:
        newest = await tx.find(DecisionRow, {"trader_id": ref}, newest_first="decided_at", limit=1)
        decision = newest[0] if newest else None
    return await _decision(tx, decision) if decision is not None else None


def intents_of(order: OrderRow) -> tuple[IntentId, ...]:
    """Return the intents that an order carries out, each once; the desk's own orders have none."""
    return tuple(dict.fromkeys(share.intent_id for share in order.shares if share.intent_id))


def _of_order(kind: str, order: OrderRow, others: tuple[str, ...] = ()) -> Subject:
    return Subject(
        kind=kind,
        account_id=order.account_id,
        round_id=order.round_id,
        order=order,
        intents=intents_of(order),
        other_orders=others,
    )


async def _trade(tx: Transaction, account_id: AccountId, trade_id: str) -> Subject | None:
    where = {"account_id": account_id, "trade_id": trade_id}
    fills = await tx.find(FillRow, where)
    parts = await tx.find(FillPartRow, where)
    if not fills and not parts:
        return None
    order_ids = [fill.order_id for fill in fills] + [part.order_id for part in parts]
    orders = [order for order_id in order_ids if order_id and (order := await tx.get(OrderRow, account_id, order_id))]
    if orders:
        return _of_order("trade", orders[0])
    intents = tuple(dict.fromkeys(part.intent_id for part in parts if part.intent_id))
    return Subject(
        kind="trade",
        account_id=account_id,
        round_id=await _round_of(tx, intents),
        intents=intents,
        fills=tuple(fills),
        parts=tuple(parts),
    )


async def _round_of(tx: Transaction, intents: Sequence[IntentId]) -> RoundId:
    for intent_id in intents:
        intent = await tx.get(IntentRow, intent_id)
        if intent is not None:
            return intent.round_id
    return RoundId("")


async def _intent(tx: Transaction, intent: IntentRow) -> Subject:
    account_id, intent_id = intent.account_id, intent.intent_id
    parts = await tx.find(FillPartRow, {"account_id": account_id, "intent_id": intent_id})
    known = {"account_id": account_id, "round_id": intent.round_id}
    orders = {order.order_id: order for order in await tx.find(OrderRow, known, limit=_ALL)}
    for part in parts:
        order = await tx.get(OrderRow, account_id, part.order_id) if part.order_id else None
        if order is not None:
            orders[order.order_id] = order
    mine = sorted((one for one in orders.values() if intent_id in intents_of(one)), key=lambda one: one.created_at)
    if mine:
        return _of_order("intent", mine[-1], tuple(order.order_id for order in mine[:-1]))
    return Subject(
        kind="intent", account_id=account_id, round_id=intent.round_id, intents=(intent_id,), parts=tuple(parts)
    )


async def _decision(tx: Transaction, decision: DecisionRow) -> Subject:
    found = await tx.find(IntentRow, {"decision_id": decision.decision_id})
    return Subject(
        kind="decision",
        account_id=decision.account_id,
        round_id=RoundId(""),
        intents=tuple(row.intent_id for row in found),
        decision=decision,
    )
