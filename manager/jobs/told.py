"""What a trader is told in its next context: what the desk refused, and what could not be read in its own replies."""

from collections.abc import Mapping, Sequence
from typing import Final

import structlog

from exchanges.types import Symbol
from executor.contract import Denial, FullDecision, ItemError, Outcome
from manager.state.records import DecisionRow, IntentId, IntentRow, RoundId, VerdictKind, VerdictRow
from manager.state.store import Transaction
from traders.context import told_denial

_LOG = structlog.get_logger(__name__)
INVALID_ITEM: Final = "INVALID_ITEM"
INVALID_REPLY: Final = "INVALID_REPLY"
_MOST: Final = 20
_ANSWERED: Final = frozenset(
    {Outcome.DECIDED, Outcome.INVALID_REPLY, Outcome.REFUSED, Outcome.TRUNCATED, Outcome.EMPTY}
)
_OURS: Final = ("model", "deadline", "prompt", "market", "config", "executor", "decision")
_SAYS_WHY: Final = (Outcome.TRUNCATED, Outcome.EMPTY)
_LOOK: Final = "see `propdesk why` with the decision; a replay writes decisions.jsonl with --out DIR"
_OF_REPLY: Final = ("reply", "decisions", "reasoning")


def was_told(full: FullDecision) -> bool:
    """Tell whether the executor has seen the context, so that its denials need not be told again."""
    return full.outcome in _ANSWERED


def note_failure(decision: DecisionRow) -> None:
    """Log one line for a decision that failed, without a word of the reply: what the model said is in the database."""
    if decision.outcome is Outcome.DECIDED:
        return
    says_why = decision.outcome in _SAYS_WHY
    ours = next((error for error in decision.errors if says_why or error.path in _OURS), None)
    _LOG.warning(
        "decision_without_result",
        trader=decision.trader_id,
        decision=decision.decision_id,
        outcome=decision.outcome,
        model=decision.model,
        attempts=decision.attempts,
        at=", ".join(dict.fromkeys(error.path for error in decision.errors[:3])),
        why=ours.message if ours is not None else _LOOK,
    )


def dropped(decision: DecisionRow) -> list[VerdictRow]:
    """Return a verdict for each part of the reply that was dropped; of the reply that counts, not of one before it."""
    codes = [(_code_of(error, decision.outcome), error) for error in decision.errors]
    return [
        VerdictRow(
            tenant_id=decision.tenant_id,
            account_id=decision.account_id,
            round_id=RoundId(decision.decision_id),
            n=number,
            kind=VerdictKind.INVALID,
            code=code,
            trader_id=decision.trader_id,
            symbol=Symbol(""),
            intent_id=IntentId(decision.decision_id),
            detail=f"{error.path}: {error.message}",
            at=decision.decided_at,
        )
        for number, (code, error) in enumerate([found for found in codes if found[0]][:_MOST])
    ]


async def read_actions(tx: Transaction, verdicts: Sequence[VerdictRow]) -> Mapping[str, str]:
    """Return the action of each intent that the verdicts are about."""
    wanted = tuple({row.intent_id for row in verdicts if row.kind != VerdictKind.INVALID and row.intent_id})
    found = await tx.find(IntentRow, {"intent_id": wanted}) if wanted else ()
    return {row.intent_id: row.decision.action for row in found}


def told(verdicts: Sequence[VerdictRow], actions: Mapping[str, str]) -> tuple[Denial, ...]:
    """Return the verdicts as their trader reads them: with the action it asked for, and its numbers of the check."""
    return tuple(
        told_denial(
            row.symbol or "your answer",
            actions.get(row.intent_id, row.kind),
            row.code,
            row.detail,
            row.numbers,
        )
        for row in verdicts
    )


def _code_of(error: ItemError, outcome: Outcome) -> str:
    if error.path.startswith("decisions["):
        return INVALID_ITEM
    return INVALID_REPLY if error.path in _OF_REPLY and outcome is Outcome.INVALID_REPLY else ""
