"""The closes that an operator asks for: decisions and intents as a trader's own would be, and what they block."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final

from exchanges.types import ZERO, Symbol
from executor.contract import Action, Decision, Outcome
from manager.state import records
from manager.state.acts import FlattenId
from manager.state.records import IntentRow, IntentStatus, PositionKey, TraderRow

_OPERATOR: Final = "operator:"


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorAsk:
    """Say who asks for closes, why and when; `ref` is what its decisions are known by, so no other ask has it."""

    actor: str
    reason: str
    at: datetime
    ref: str


def operator_of(model: str) -> str:
    """Return which operator a decision is of, by the model that it names; empty for a trader's own."""
    return model.removeprefix(_OPERATOR) if model.startswith(_OPERATOR) else ""


def close_rows(
    trader: TraderRow, held: Mapping[Symbol, Decimal], ask: OperatorAsk
) -> tuple[records.DecisionRow, tuple[IntentRow, ...]]:
    """Return the operator's decision to close all of these signed quantities, and its intents."""
    decision_id = records.DecisionId(f"{trader.trader_id}@{ask.ref}")
    closes = tuple(
        Decision(
            symbol=symbol,
            action=Action.CLOSE_LONG if quantity > ZERO else Action.CLOSE_SHORT,
            reasoning=ask.reason,
        )
        for symbol, quantity in sorted(held.items())
    )
    decision = records.DecisionRow(
        tenant_id=trader.tenant_id,
        decision_id=decision_id,
        trader_id=trader.trader_id,
        account_id=trader.account_id,
        due_at=ask.at,
        decided_at=ask.at,
        outcome=Outcome.DECIDED,
        decisions=closes,
        model=f"{_OPERATOR}{ask.actor}",
        reasoning=ask.reason,
    )
    intents = tuple(
        IntentRow(
            tenant_id=trader.tenant_id,
            intent_id=records.IntentId(f"{decision_id}#{number}"),
            decision_id=decision_id,
            account_id=trader.account_id,
            trader_id=trader.trader_id,
            decided_at=ask.at,
            decision=close,
            n=number,
            asked_by=ask.actor,
        )
        for number, close in enumerate(closes)
    )
    return decision, intents


def is_asked_by(intent_id: records.IntentId, flatten_id: FlattenId) -> bool:
    """Tell whether a flatten asked for a close: its id, which no other has, is in those of its intents."""
    return f"{flatten_id}." in intent_id


def being_closed(intents: Iterable[IntentRow]) -> dict[PositionKey, IntentRow]:
    """Return the positions that operators have asked to close, each with the first intent that is not done yet."""
    found: dict[PositionKey, IntentRow] = {}
    for intent in intents:
        if intent.asked_by and intent.status is IntentStatus.PENDING:
            found.setdefault(PositionKey(intent.trader_id, Symbol(intent.decision.symbol)), intent)
    return found
