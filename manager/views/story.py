"""Why an order exists, from the fill back to the words of the model (DESIGN.md 3, invariant 12)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from executor.contract import Decision, ItemError, Usage
from manager.state.records import (
    ConflictRow,
    DecisionId,
    DecisionRow,
    FillPartRow,
    FillRow,
    IntentId,
    IntentRow,
    OrderPurpose,
    OrderRow,
    RoundId,
    RoundRow,
    TenantId,
    VerdictRow,
)
from manager.state.store import Store, Transaction
from manager.views.story_origin import Origin, origin_of
from manager.views.story_subject import Subject, find_subject
from traders.spec import TraderId


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
    """Hold one intent with the decision it comes from; what is no longer kept is empty, as is the intent of none.

    `role` says what it did for an order of the desk itself; it is empty where the order carries the intent out.
    """

    intent_id: IntentId
    role: str
    trader_id: TraderId
    status: str
    code: str
    asked: Decision | None
    decision_id: DecisionId
    round_id: RoundId = RoundId("")
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
    usage: Usage | None = None
    market: tuple[SeenMarket, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderStory:
    """Hold an order with all that led to it and came of it; `kind` names what was asked about.

    An order of the desk itself has the intents that set its stop or target and opened its position. Without an order
    it is the story of a trade of no order, of an intent that led to none, or of a decision.
    """

    kind: str
    order: OrderRow | None
    other_orders: tuple[str, ...]
    round: RoundRow | None
    wishes: tuple[Wish, ...]
    origins: tuple[Origin, ...]
    verdicts: tuple[VerdictRow, ...]
    conflicts: tuple[ConflictRow, ...]
    fills: tuple[FillRow, ...]
    parts: tuple[FillPartRow, ...]


async def read_story(store: Store, tenant: TenantId, ref: str) -> OrderStory | None:
    """Return the story of an order, a trade, an intent or a decision by its id; None if no account has it."""
    async with store.transaction(tenant) as tx:
        subject = await find_subject(tx, ref)
        if subject is None:
            return None
        order, fills, parts = subject.order, subject.fills, subject.parts
        origins: tuple[Origin, ...] = ()
        if order is not None:
            by_order = {"account_id": order.account_id, "order_id": order.order_id}
            fills, parts = tuple(await tx.find(FillRow, by_order)), tuple(await tx.find(FillPartRow, by_order))
            if order.purpose is not OrderPurpose.ENTRY:
                origins = tuple([await origin_of(tx, order, share) for share in order.shares])
        where = {"account_id": subject.account_id, "round_id": subject.round_id}
        return OrderStory(
            kind=subject.kind,
            order=order,
            other_orders=subject.other_orders,
            round=await tx.get(RoundRow, subject.account_id, subject.round_id),
            wishes=await _wishes(tx, subject, origins),
            origins=origins,
            verdicts=await _verdicts(tx, subject),
            conflicts=tuple(await tx.find(ConflictRow, where)),
            fills=tuple(sorted(fills, key=lambda fill: (fill.at, fill.trade_id))),
            parts=tuple(sorted(parts, key=lambda part: (part.at, part.trade_id, part.trader_id))),
        )


async def _wishes(tx: Transaction, subject: Subject, origins: Sequence[Origin]) -> tuple[Wish, ...]:
    decision = subject.decision
    if decision is None:
        return tuple([await _wish(tx, intent_id, role) for intent_id, role in _roles(subject, origins)])
    trader, name = decision.trader_id, decision.decision_id
    bare = Wish(intent_id=IntentId(""), role="", trader_id=trader, status="", code="", asked=None, decision_id=name)
    return (_explained(bare, decision), *map(_stated, await tx.find(IntentRow, {"decision_id": name})))


async def _verdicts(tx: Transaction, subject: Subject) -> tuple[VerdictRow, ...]:
    where: dict[str, Any] = {"account_id": subject.account_id, "round_id": subject.round_id}
    if subject.decision is not None:
        about = (*subject.intents, subject.decision.decision_id)
        where = {"account_id": subject.account_id, "intent_id": about}
    return tuple(await tx.find(VerdictRow, where))


def _roles(subject: Subject, origins: Sequence[Origin]) -> list[tuple[IntentId, str]]:
    if subject.intents:
        return [(intent_id, "") for intent_id in subject.intents]
    purpose = subject.order.purpose if subject.order is not None else ""
    roles: dict[IntentId, str] = {}
    for origin in origins:
        roles.setdefault(origin.set_by, f"set the {purpose}")
        roles.setdefault(origin.opened_by, "opened the position")
    return [(intent_id, role) for intent_id, role in roles.items() if intent_id]


async def _wish(tx: Transaction, intent_id: IntentId, role: str) -> Wish:
    intent = await tx.get(IntentRow, intent_id)
    if intent is None:
        return Wish(
            intent_id=intent_id,
            role=role,
            trader_id=TraderId(""),
            status="",
            code="",
            asked=None,
            decision_id=DecisionId(""),
        )
    decision = await tx.get(DecisionRow, intent.decision_id)
    wish = replace(_stated(intent), role=role)
    return wish if decision is None else _explained(wish, decision)


def _stated(intent: IntentRow) -> Wish:
    return Wish(
        intent_id=intent.intent_id,
        role="",
        trader_id=intent.trader_id,
        status=intent.status,
        code=intent.code,
        asked=intent.decision,
        decision_id=intent.decision_id,
        round_id=intent.round_id,
    )


def _explained(wish: Wish, row: DecisionRow) -> Wish:
    return replace(
        wish,
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
        usage=row.usage,
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
