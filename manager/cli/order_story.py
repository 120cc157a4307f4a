"""Why an order exists, from the fill back to the words of the model (DESIGN.md 3, invariant 12)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from executor.contract import Decision, ItemError
from manager.state.records import (
    AccountRow,
    ConflictRow,
    DecisionRow,
    FillPartRow,
    FillRow,
    IntentRow,
    OrderRow,
    RoundRow,
    TenantId,
    VerdictRow,
)
from manager.state.store import Store, Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenMarket:
    """Hold what a decision saw of one symbol; indicators are floats, None until enough candles exist."""

    symbol: str
    mark: Decimal
    age_s: float
    funding_rate: Decimal | None
    indicators: dict[str, float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """Hold one intent with the decision it comes from; what is no longer kept is empty."""

    intent_id: str
    trader_id: str
    status: str
    code: str
    asked: Decision | None
    decision_id: str
    decided_at: datetime | None = None
    due_at: datetime | None = None
    outcome: str = ""
    model: str = ""
    prompt_hash: str = ""
    reasoning: str = ""
    reply: str = ""
    errors: tuple[ItemError, ...] = ()
    attempts: int = 0
    latency_s: float = 0.0
    cost_usd: Decimal | None = None
    market: tuple[SeenMarket, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderStory:
    """Hold an order with all that led to it and came of it; a protective order has no intents of its own."""

    order: OrderRow
    round: RoundRow | None
    wishes: tuple[Wish, ...]
    verdicts: tuple[VerdictRow, ...]
    conflicts: tuple[ConflictRow, ...]
    fills: tuple[FillRow, ...]
    parts: tuple[FillPartRow, ...]


async def read_story(store: Store, tenant: TenantId, order_id: str) -> OrderStory | None:
    """Return the story of an order by its client order id or the venue's id; None if no account has it."""
    async with store.transaction(tenant) as tx:
        order = await _order(tx, order_id)
        if order is None:
            return None
        where = {"account_id": order.account_id, "round_id": order.round_id}
        by_order = {"account_id": order.account_id, "order_id": order.order_id}
        fills = await tx.find(FillRow, by_order)
        parts = await tx.find(FillPartRow, by_order)
        return OrderStory(
            order=order,
            round=await tx.get(RoundRow, order.account_id, order.round_id),
            wishes=tuple([await _wish(tx, intent_id) for intent_id in _intents(order)]),
            verdicts=tuple(await tx.find(VerdictRow, where)),
            conflicts=tuple(await tx.find(ConflictRow, where)),
            fills=tuple(sorted(fills, key=lambda fill: (fill.at, fill.trade_id))),
            parts=tuple(sorted(parts, key=lambda part: (part.at, part.trade_id, part.trader_id))),
        )


async def _order(tx: Transaction, order_id: str) -> OrderRow | None:
    accounts = await tx.find(AccountRow, {})
    for account in accounts:
        order = await tx.get(OrderRow, account.account_id, order_id)
        if order is not None:
            return order
    for account in accounts:
        where = {"account_id": account.account_id, "venue_order_id": order_id}
        found = await tx.find(OrderRow, where, limit=1)
        if found:
            return found[0]
    return None


def _intents(order: OrderRow) -> Sequence[str]:
    return tuple(dict.fromkeys(share.intent_id for share in order.shares if share.intent_id))


async def _wish(tx: Transaction, intent_id: str) -> Wish:
    intent = await tx.get(IntentRow, intent_id)
    if intent is None:
        return Wish(intent_id=intent_id, trader_id="", status="", code="", asked=None, decision_id="")
    decision = await tx.get(DecisionRow, intent.decision_id)
    wish = Wish(
        intent_id=intent_id,
        trader_id=intent.trader_id,
        status=intent.status,
        code=intent.code,
        asked=intent.decision,
        decision_id=intent.decision_id,
    )
    return wish if decision is None else _explained(wish, decision)


def _explained(wish: Wish, row: DecisionRow) -> Wish:
    return Wish(
        intent_id=wish.intent_id,
        trader_id=wish.trader_id,
        status=wish.status,
        code=wish.code,
        asked=wish.asked,
        decision_id=row.decision_id,
        decided_at=row.decided_at,
        due_at=row.due_at,
        outcome=row.outcome,
        model=row.model,
        prompt_hash=row.prompt_hash,
        reasoning=row.reasoning,
        reply=row.reply,
        errors=row.errors,
        attempts=row.attempts,
        latency_s=row.latency_s,
        cost_usd=row.usage.cost_usd,
        market=_market(row),
    )


def _market(row: DecisionRow) -> tuple[SeenMarket, ...]:
    if row.context is None:
        return ()
    return tuple(
        SeenMarket(
            symbol=symbol,
            mark=view.mark,
            age_s=view.age_s,
            funding_rate=view.funding_rate,
            indicators={name: getattr(view.indicators, name) for name in view.indicators.__dataclass_fields__},
        )
        for symbol, view in sorted(row.context.market.items())
    )
