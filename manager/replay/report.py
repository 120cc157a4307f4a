"""What a replay prints: one JSON object, decimals as strings, the same for two runs but for the timings."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import Any, Final, TypeVar

from exchanges.types import Symbol
from executor.contract import Outcome
from manager.bootstrap.replay import Replay
from manager.desk.plan.conflict_resolver import CONFLICT_CODES
from manager.monitor.invariants.facts import Violation
from manager.monitor.invariants.fills import fills_split_exactly
from manager.replay.driver import Tally
from manager.state.records import (
    UNALLOCATED,
    ZERO,
    ConflictRow,
    DecisionRow,
    FillPartRow,
    FillRow,
    OrderRow,
    SpendingRow,
    TraderRow,
    VerdictKind,
    VerdictRow,
)
from manager.state.store import AccountRows
from manager.state.sums import MODEL, TENANT, TRADER, added
from traders.spec import TraderId

_CENT = Decimal("0.01")
_LISTS: Final = {MODEL: "models", TRADER: "traders"}
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


async def collect(replay: Replay) -> ReplayFacts:
    """Read everything the report needs."""
    runtime = replay.account.runtime
    snapshot = await runtime.market.snapshot(frozenset(runtime.instruments))
    balance = await replay.account.exchange.fetch_balance()
    async with replay.store.transaction(runtime.tenant_id) as tx:

        async def every(kind: type[R]) -> Sequence[R]:
            return await tx.find(kind, {"account_id": runtime.account_id}, limit=None)

        return ReplayFacts(
            desk=await tx.account_rows(runtime.account_id),
            orders=await every(OrderRow),
            fills=await every(FillRow),
            parts=await every(FillPartRow),
            conflicts=await every(ConflictRow),
            verdicts=await every(VerdictRow),
            marks=snapshot.marks(),
            venue_equity=balance.equity,
            spending=await tx.find(SpendingRow, {}, limit=None),
            decisions=await every(DecisionRow),
        )


class Report:
    """Sum up one replay; `as_json` has the keys that docs/concepts/replay.md lists, `pnl` is equity - capital."""

    def __init__(self, replay: Replay, facts: ReplayFacts, tally: Tally) -> None:
        self._replay = replay
        self._facts = facts
        self._tally = tally
        self._counts = replay.store.decision_counts(replay.account.runtime.tenant_id)
        self._heads = {head.trader_id: head for head in facts.desk.books}

    def as_json(self, wall_s: float) -> dict[str, Any]:
        """Return the report of a replay that took `wall_s` seconds."""
        facts, bars, heads = self._facts, self._replay.columns.bars, self._heads.values()
        verdicts = sorted(Counter((verdict.kind, verdict.code) for verdict in facts.verdicts).items())
        violations = self._violations()
        return {
            "bars": bars,
            "wall_s": round(wall_s, 3),
            "bars_per_s": round(bars / wall_s),
            "decisions_per_s": round(sum(self._counts.values()) / wall_s),
            "traders": [self._trader(row) for row in facts.desk.traders if row.trader_id in self._heads],
            "account": {
                "equity": _plain(facts.venue_equity),
                "realized_pnl": _plain(sum((head.realized for head in heads), ZERO)),
                "fees": _plain(sum((head.fees for head in heads), ZERO)),
                "funding": _plain(sum((head.funding for head in heads), ZERO)),
                "unallocated": _plain(self._equities.get(UNALLOCATED, ZERO)),
            },
            "models": self._models(),
            "dropped_items": len(self._replay.dropped),
            "conflicts": dict(sorted(Counter(conflict.type for conflict in facts.conflicts).items())),
            "denials": {
                code: n for (kind, code), n in verdicts if kind == VerdictKind.DENIAL and code not in CONFLICT_CODES
            },
            "clamps": {code: n for (kind, code), n in verdicts if kind == VerdictKind.CLAMP},
            "invariants": {
                "checked": self._tally.checked + len(facts.fills) + 1,
                "violated": len(violations),
                "violations": [f"{v.invariant} {v.subject}: {v.detail}" for v in violations[:20]],
            },
        }

    @cached_property
    def _equities(self) -> Mapping[TraderId, Decimal]:
        """Capital + realized - fees + funding + unrealized of each book."""
        unrealized: dict[TraderId, Decimal] = {}
        for row in self._facts.desk.positions:
            pnl = row.quantity * self._facts.marks[row.symbol] * row.contract_size - row.cost
            unrealized[row.trader_id] = unrealized.get(row.trader_id, ZERO) + pnl
        return {
            key: head.capital + head.realized - head.fees + head.funding + unrealized.get(key, ZERO)
            for key, head in self._heads.items()
        }

    def _trader(self, row: TraderRow) -> dict[str, Any]:
        facts, trader_id = self._facts, row.trader_id
        head, equity, outcomes = self._heads[trader_id], self._equities[trader_id], self._outcomes(trader_id)
        curve = head.performance
        return {
            "id": trader_id,
            "state": row.state.value,
            "state_reason": row.state_reason,
            "decisions": sum(outcomes.values()),
            "outcomes": outcomes,
            "orders": sum(any(share.trader_id == trader_id for share in order.shares) for order in facts.orders),
            "fills": sum(part.trader_id == trader_id for part in facts.parts),
            "realized_pnl": _plain(head.realized),
            "fees": _plain(head.fees),
            "funding": _plain(head.funding),
            "equity": _plain(equity),
            "pnl": _plain(equity - head.capital),
            "max_drawdown_pct": _ratio(curve.max_drawdown * 100),
            "sharpe": _ratio(curve.sharpe),
            "win_rate": _ratio(curve.win_rate),
            "trades": curve.trades,
        }

    @cached_property
    def _failed(self) -> Mapping[TraderId, Counter[str]]:
        found: dict[TraderId, Counter[str]] = {}
        for row in self._facts.decisions:
            if row.outcome is not Outcome.DECIDED:
                found.setdefault(row.trader_id, Counter())[str(row.outcome)] += 1
        return found

    def _outcomes(self, trader_id: TraderId) -> dict[str, int]:
        """Count the decisions of a trader by outcome; those that failed are all kept, of the others only some."""
        failed = self._failed.get(trader_id, Counter())
        decided = self._counts.get(trader_id, 0) - failed.total()
        return {**({"decided": decided} if decided else {}), **dict(sorted(failed.items()))}

    def _models(self) -> dict[str, Any]:
        """Sum up calls, tokens and costs over all days, in total, by model and by trader; empty without any call."""
        sums: dict[tuple[str, str], SpendingRow] = {}
        for row in self._facts.spending:
            key = (row.scope, row.name)
            sums[key] = added(sums[key], row) if key in sums else row
        report: dict[str, Any] = {"total": {}, "models": [], "traders": []} if sums else {}
        for (scope, name), row in sorted(sums.items()):
            counts = ("calls", "input_tokens", "cached_tokens", "output_tokens")
            numbers: dict[str, Any] = {count: getattr(row, count) for count in counts}
            numbers |= {"cost_usd": _plain(row.spent_usd), "unknown_usd": _plain(row.unknown_usd)}
            if scope == TENANT:
                report["total"] = numbers
            else:
                report[_LISTS[scope]].append({"id": name, **numbers})
        return report

    def _violations(self) -> list[Violation]:
        found = [*self._tally.violations, *fills_split_exactly(self._facts.fills, self._facts.parts)]
        total, venue = sum(self._equities.values(), ZERO), self._facts.venue_equity
        if abs(total - venue) >= _CENT / 2:
            detail = f"books {total}, venue {venue}"
            found.append(Violation(invariant="equity", subject="account", detail=detail))
        return found


def _plain(amount: Decimal) -> str:
    return format(amount.normalize() if amount else ZERO, "f")


def _ratio(value: float | None) -> str | None:
    return None if value is None else format(Decimal(repr(round(value, 6))), "f")
