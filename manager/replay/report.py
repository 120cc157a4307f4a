"""What a replay prints: one JSON object, decimals as strings, the same for two runs but for the timings."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TypeVar

from exchanges.types import Symbol
from executor.contract import Outcome
from manager.bootstrap.replay import Replay
from manager.desk.plan.conflict_resolver import CONFLICT_CODES
from manager.monitor.invariants.facts import Violation
from manager.monitor.invariants.fills import fills_split_exactly
from manager.replay.driver import Tally
from manager.replay.models import models_report
from manager.state.records import (
    UNALLOCATED,
    AccountId,
    BookRow,
    ConflictRow,
    DecisionRow,
    FillPartRow,
    FillRow,
    IntentRow,
    OrderRow,
    SpendingRow,
    TraderRow,
    VerdictKind,
    VerdictRow,
)
from manager.state.store import AccountRows, Transaction
from traders.spec import TraderId

ZERO = Decimal(0)
_CENT = Decimal("0.01")
_ALL = 1_000_000_000
R = TypeVar("R")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayFacts:
    """Hold everything of one account after a replay."""

    desk: AccountRows
    orders: Sequence[OrderRow]
    fills: Sequence[FillRow]
    parts: Sequence[FillPartRow]
    conflicts: Sequence[ConflictRow]
    verdicts: Sequence[VerdictRow]
    marks: Mapping[Symbol, Decimal]
    venue_equity: Decimal
    spending: Sequence[SpendingRow]
    decisions: Sequence[DecisionRow]
    intents: Sequence[IntentRow]


async def collect(replay: Replay) -> ReplayFacts:
    """Read everything the report needs."""
    runtime = replay.account.runtime
    snapshot = await runtime.market.snapshot(frozenset(runtime.instruments))
    balance = await replay.account.exchange.fetch_balance()
    async with replay.store.transaction(runtime.tenant_id) as tx:
        return ReplayFacts(
            desk=await tx.account_rows(runtime.account_id),
            orders=await _all(tx, OrderRow, runtime.account_id),
            fills=await _all(tx, FillRow, runtime.account_id),
            parts=await _all(tx, FillPartRow, runtime.account_id),
            conflicts=await _all(tx, ConflictRow, runtime.account_id),
            verdicts=await _all(tx, VerdictRow, runtime.account_id),
            marks=snapshot.marks(),
            venue_equity=balance.equity,
            spending=await tx.find(SpendingRow, {}, limit=_ALL),
            decisions=await _all(tx, DecisionRow, runtime.account_id),
            intents=await _all(tx, IntentRow, runtime.account_id),
        )


def report_of(replay: Replay, facts: ReplayFacts, tally: Tally, wall_s: float) -> dict[str, Any]:
    """Return the report; DESIGN.md 5 lists its keys; `pnl` is equity - capital."""
    bars = replay.columns.bars
    counts = replay.store.decision_counts(replay.account.runtime.tenant_id)
    heads = {head.trader_id: head for head in facts.desk.books}
    unrealized = _unrealized(facts)
    equities = {key: head_equity(head, unrealized.get(key, ZERO)) for key, head in heads.items()}
    outcomes = _outcomes(facts, counts)
    violations = [*tally.violations, *fills_split_exactly(facts.fills, facts.parts), *_sums(facts, equities)]
    verdicts = Counter((verdict.kind, verdict.code) for verdict in facts.verdicts)
    return {
        "bars": bars,
        "wall_s": round(wall_s, 3),
        "bars_per_s": round(bars / wall_s),
        "decisions_per_s": round(sum(counts.values()) / wall_s),
        "traders": [
            _trader(facts, row, heads[row.trader_id], equities[row.trader_id], outcomes[row.trader_id])
            for row in facts.desk.traders
            if row.trader_id in heads
        ],
        "account": {
            "equity": _money(facts.venue_equity),
            "realized_pnl": _money(sum((head.realized for head in heads.values()), ZERO)),
            "fees": _money(sum((head.fees for head in heads.values()), ZERO)),
            "funding": _money(sum((head.funding for head in heads.values()), ZERO)),
            "unallocated": _money(equities.get(UNALLOCATED, ZERO)),
        },
        "models": models_report(facts.spending),
        "dropped_items": len(replay.dropped),
        "conflicts": dict(sorted(Counter(conflict.type for conflict in facts.conflicts).items())),
        "denials": {
            code: n
            for (kind, code), n in sorted(verdicts.items())
            if kind == VerdictKind.DENIAL and code not in CONFLICT_CODES
        },
        "clamps": {code: n for (kind, code), n in sorted(verdicts.items()) if kind == VerdictKind.CLAMP},
        "invariants": {
            "checked": tally.checked + len(facts.fills) + 1,
            "violated": len(violations),
            "violations": [f"{v.invariant} {v.subject}: {v.detail}" for v in violations[:20]],
        },
    }


def head_equity(head: BookRow, unrealized: Decimal) -> Decimal:
    """Return capital + realized - fees + funding + unrealized (RULES.md 1)."""
    return head.capital + head.realized - head.fees + head.funding + unrealized


def _trader(
    facts: ReplayFacts, row: TraderRow, head: BookRow, equity: Decimal, outcomes: Mapping[str, int]
) -> dict[str, Any]:
    curve, trader_id = head.performance, row.trader_id
    return {
        "id": trader_id,
        "state": row.state.value,
        "state_reason": row.state_reason,
        "decisions": sum(outcomes.values()),
        "outcomes": outcomes,
        "orders": sum(any(share.trader_id == trader_id for share in order.shares) for order in facts.orders),
        "fills": sum(part.trader_id == trader_id for part in facts.parts),
        "realized_pnl": _money(head.realized),
        "fees": _money(head.fees),
        "funding": _money(head.funding),
        "equity": _money(equity),
        "pnl": _money(equity - head.capital),
        "max_drawdown_pct": _ratio(curve.max_drawdown * 100),
        "sharpe": _ratio(curve.sharpe),
        "win_rate": _ratio(curve.win_rate),
        "trades": curve.trades,
    }


def _outcomes(facts: ReplayFacts, counts: Mapping[str, int]) -> dict[str, dict[str, int]]:
    """Count the decisions of each trader by outcome; those that failed are all kept, of the others only some."""
    failed: dict[str, Counter[str]] = {row.trader_id: Counter() for row in facts.desk.traders}
    for row in facts.decisions:
        if row.outcome is not Outcome.DECIDED:
            failed[row.trader_id][str(row.outcome)] += 1
    decided = {trader_id: counts.get(trader_id, 0) - found.total() for trader_id, found in failed.items()}
    return {
        trader_id: {**({"decided": decided[trader_id]} if decided[trader_id] else {}), **dict(sorted(found.items()))}
        for trader_id, found in failed.items()
    }


def _unrealized(facts: ReplayFacts) -> dict[str, Decimal]:
    found: dict[str, Decimal] = {}
    for row in facts.desk.positions:
        pnl = row.quantity * facts.marks[row.symbol] * row.contract_size - row.cost
        found[row.trader_id] = found.get(row.trader_id, ZERO) + pnl
    return found


def _sums(facts: ReplayFacts, equities: Mapping[TraderId, Decimal]) -> list[Violation]:
    total = sum(equities.values(), ZERO)
    if abs(total - facts.venue_equity) < _CENT / 2:
        return []
    return [Violation(invariant="equity", subject="account", detail=f"books {total}, venue {facts.venue_equity}")]


async def _all(tx: Transaction, kind: type[R], account_id: AccountId) -> Sequence[R]:
    return await tx.find(kind, {"account_id": account_id}, limit=_ALL)


def _money(amount: Decimal) -> str:
    return format(amount.normalize() if amount else ZERO, "f")


def _ratio(value: float | None) -> str | None:
    return None if value is None else format(Decimal(repr(round(value, 6))), "f")
