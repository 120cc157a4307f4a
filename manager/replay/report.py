"""What a replay prints and writes: one JSON object, a page, and files of decisions, trades, orders and equity curves.

Decimals are strings. Two runs of the same differ in the timings alone.
"""

import json
import os
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Any, Final, TypeVar

import polars as pl
from pydantic import TypeAdapter

from exchanges.types import ZERO, Symbol
from executor.contract import Decision, Outcome
from manager.bootstrap.replay import Replay
from manager.bootstrap.request import DECISIONS
from manager.desk.plan.conflict_resolver import CONFLICT_CODES
from manager.errors import ReplayError, ReplayInputError
from manager.monitor.invariants.facts import Violation
from manager.monitor.invariants.fills import fills_split_exactly
from manager.replay.driver import Tally
from manager.replay.page import GENERATOR, page
from manager.state import records
from manager.state.journal import ConflictRow
from manager.state.records import UNALLOCATED, VerdictKind
from manager.state.spending import MODEL, TENANT, TRADER, SpendingRow
from manager.state.store import AccountRows
from manager.views.trade_assembly import Trade, TradeFacts, assemble
from traders.spec import TraderId

_PAGE = "report.html"
_FILES = ("report.json", "trades.parquet", "round_trips.parquet", "orders.parquet", "equity.parquet", DECISIONS, _PAGE)
_TRADE_COLUMNS: Final = (
    *("at", "trade_id", "trader_id", "symbol", "quantity"),
    *("price", "fee", "realized", "purpose", "order_id"),
)
_ORDER_COLUMNS: Final = (
    *("created_at", "order_id", "round_id", "symbol", "side", "type", "purpose"),
    *("quantity", "filled", "trigger_price", "reduce_only", "state", "reason"),
)
_ROUND_TRIP_COLUMNS: Final = tuple(field.name for field in fields(Trade))
_FIRST_FIELD: Final = '{"id": '
_ITEMS: Final = TypeAdapter(tuple[Decision, ...])
_CENT = Decimal("0.01")
_LISTS: Final = {MODEL: "models", TRADER: "traders"}
R = TypeVar("R")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayFacts:
    """Hold everything of one account after a replay."""

    desk: AccountRows
    orders: Sequence[records.OrderRow]
    fills: Sequence[records.FillRow]
    parts: Sequence[records.FillPartRow]
    postings: Sequence[records.LedgerRow]
    conflicts: Sequence[ConflictRow]
    verdicts: Sequence[records.VerdictRow]
    marks: Mapping[Symbol, Decimal]
    venue_equity: Decimal
    spending: Sequence[SpendingRow]
    decisions: Sequence[records.DecisionRow]
    intents: Sequence[records.IntentRow]

    def trades(self) -> list[Trade]:
        """Return what `propdesk trades` shows of a live desk, the first closed first; open ones are last."""
        facts = TradeFacts(
            parts=self.parts,
            postings=self.postings,
            orders=self.orders,
            fills=self.fills,
            decisions=self.decisions,
        )
        return sorted(assemble(facts).values(), key=lambda one: (one.closed_at is None, one.closed_at or one.opened_at))

    def decision_lines(self) -> Iterator[str]:
        """Yield a line for each decision, without what differs between two runs."""
        decided_by = {intent.intent_id: intent.decision_id for intent in self.intents}
        denied: dict[str, list[dict[str, str]]] = {}
        for one in self.verdicts:
            if one.kind != VerdictKind.INVALID:
                told = {"kind": one.kind, "code": one.code, "symbol": one.symbol, "detail": one.detail}
                denied.setdefault(decided_by.get(one.intent_id, ""), []).append(told)
        for row in sorted(self.decisions, key=lambda row: (row.decided_at, row.decision_id)):
            line = {
                "id": row.decision_id,
                "trader_id": row.trader_id,
                "at": row.decided_at.isoformat(),
                "outcome": row.outcome.value,
                "actions": _ITEMS.dump_python(row.decisions, mode="json"),
                "denials": denied.get(row.decision_id, []),
                "errors": [{"path": error.path, "message": error.message} for error in row.errors],
                "reasoning": row.reasoning,
                "reply": row.reply,
                "model": row.model,
                "attempts": row.attempts,
                "prompt_hash": row.prompt_hash,
                "cost_usd": _cell(row.usage.cost_usd),
            }
            yield json.dumps(line, ensure_ascii=False)


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
            orders=await every(records.OrderRow),
            fills=await every(records.FillRow),
            parts=await every(records.FillPartRow),
            postings=await every(records.LedgerRow),
            conflicts=await every(ConflictRow),
            verdicts=await every(records.VerdictRow),
            marks=snapshot.marks(),
            venue_equity=balance.equity,
            spending=await tx.find(SpendingRow, {}, limit=None),
            decisions=await every(records.DecisionRow),
            intents=await every(records.IntentRow),
        )


class Report:
    """Sum up one replay; `as_json` has the keys that docs/concepts/replay.md lists, `equity` is start + moved + PnL."""

    def __init__(self, replay: Replay, facts: ReplayFacts, tally: Tally) -> None:
        self._replay = replay
        self._facts = facts
        self._tally = tally
        self._counts = replay.store.decision_counts(replay.account.runtime.tenant_id)
        account = facts.desk.account
        unfunded = {
            row.trader_id: records.BookRow(
                tenant_id=account.tenant_id, account_id=account.account_id, trader_id=row.trader_id
            )
            for row in facts.desk.traders
        }
        self._heads = unfunded | {head.trader_id: head for head in facts.desk.books}

    def as_json(self, wall_s: float) -> dict[str, Any]:
        """Return the report of a replay that took `wall_s` seconds."""
        facts, bars, heads = self._facts, self._replay.columns.bars, self._heads.values()
        account = facts.desk.account
        start = self._heads[UNALLOCATED].started_usd if UNALLOCATED in self._heads else ZERO
        verdicts = sorted(Counter((verdict.kind, verdict.code) for verdict in facts.verdicts).items())
        violations = self._violations()
        return {
            "bars": bars,
            "wall_s": round(wall_s, 3),
            "bars_per_s": round(bars / wall_s),
            "decisions_per_s": round(sum(self._counts.values()) / wall_s),
            "traders": [self._trader(row) for row in facts.desk.traders],
            "account": {
                "state": account.trading_state.value,
                "state_reason": account.state_reason,
                **self._sums(facts.venue_equity, start, sum((head.capital for head in heads), ZERO)),
                "realized_pnl": _money(sum((head.realized for head in heads), ZERO)),
                "fees": _money(sum((head.fees for head in heads), ZERO)),
                "funding": _money(sum((head.funding for head in heads), ZERO)),
                "unallocated": _money(self._equities.get(UNALLOCATED, ZERO)),
            },
            "models": self._models(),
            "invalid_items": len(self._replay.invalid),
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
        return {key: head.cash + unrealized.get(key, ZERO) for key, head in self._heads.items()}

    def _trader(self, row: records.TraderRow) -> dict[str, Any]:
        facts, trader_id = self._facts, row.trader_id
        head, equity, outcomes = self._heads[trader_id], self._equities[trader_id], self._outcomes(trader_id)
        curve = head.performance
        return {
            "id": trader_id,
            "state": row.state.value,
            "state_reason": row.state_reason,
            "allocated": _money(head.allocated),
            "decisions": sum(outcomes.values()),
            "outcomes": outcomes,
            "orders": sum(any(share.trader_id == trader_id for share in order.shares) for order in facts.orders),
            "fills": sum(part.trader_id == trader_id for part in facts.parts),
            "realized_pnl": _money(head.realized),
            "fees": _money(head.fees),
            "funding": _money(head.funding),
            **self._sums(equity, head.started_usd, head.capital),
            "max_drawdown_pct": _ratio(curve.max_drawdown * 100),
            "sharpe": _ratio(curve.sharpe),
            "win_rate": _ratio(curve.win_rate),
            "trades": curve.trades,
        }

    @staticmethod
    def _sums(equity: Decimal, start: Decimal, capital: Decimal) -> dict[str, str]:
        """Return equity with what it is the sum of: a reader never sees PnL without the capital that moved."""
        return {
            "equity": _money(equity),
            "start_usd": _money(start),
            "moved_usd": _money(capital - start),
            "pnl": _money(equity - capital),
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
            sums[key] = sums[key].plus(row) if key in sums else row
        report: dict[str, Any] = {"total": {}, "models": [], "traders": []} if sums else {}
        for (scope, name), row in sorted(sums.items()):
            counts = ("calls", "input_tokens", "cached_tokens", "output_tokens")
            numbers: dict[str, Any] = {count: getattr(row, count) for count in counts}
            numbers |= {"cost_usd": _money(row.spent_usd), "unknown_usd": _money(row.unknown_usd)}
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


def _money(amount: Decimal) -> str:
    return format(amount.normalize() if amount else ZERO, "f")


def _ratio(value: float | None) -> str | None:
    return None if value is None else format(Decimal(repr(round(value, 6))), "f")


class OutFolder:
    """Write what a replay did into the folder that --out names."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def check(self) -> None:
        """Raise ReplayInputError unless `write` can write; nothing is created or changed.

        An earlier report may be overwritten, a file of the same name that is not ours may not.
        """
        out, present = self._folder, self._folder.absolute()
        if out.exists() and not out.is_dir():
            raise ReplayInputError(f"--out {out} is a file; name a folder")
        try:
            while not present.exists():
                present = present.parent
            with tempfile.TemporaryFile(dir=present):
                pass
            taken = [out / name for name in _FILES if os.path.lexists(out / name)]
            ours = not taken or (self._is_ours() and self._are_decisions())
        except OSError as error:
            reason = f"nothing can be written to {present} ({error.strerror or error})"
            raise ReplayInputError(f"--out {out}: {reason}; name a folder you may write to") from None
        if not ours:
            name = DECISIONS if self._is_ours() else taken[-1].name
            raise ReplayInputError(
                f"--out {out}: {name} is there and not from a replay; name another folder or move the file away"
            )
        for path in taken:
            if not path.is_file() or not os.access(path, os.W_OK):
                mend = "remove it or name another folder"
                raise ReplayInputError(f"--out {out}: {path.name} cannot be overwritten; {mend}")

    def write(self, replay: Replay, facts: ReplayFacts, report: dict[str, Any]) -> None:
        """Write the report, its page, and decisions, trades, orders and equity, rows by time.

        Raise ReplayError if a file cannot be written.
        """
        out, equity = self._folder, replay.account.equity()
        span_ms = replay.columns.instants[0] - replay.columns.interval_ms, replay.columns.instants[-1]
        try:
            out.mkdir(parents=True, exist_ok=True)
            # The page goes first: by it the folder is known as ours if a later file cannot be written.
            (out / _PAGE).write_text(page(report, equity, span_ms), encoding="utf-8")
            (out / "report.json").write_text(json.dumps(report, indent=1), encoding="utf-8")
            parts = sorted(facts.parts, key=lambda part: part.at)
            self._write_rows("trades.parquet", parts, _TRADE_COLUMNS)
            self._write_rows("round_trips.parquet", facts.trades(), _ROUND_TRIP_COLUMNS)
            orders = sorted(facts.orders, key=lambda order: order.created_at)
            traders = [",".join(share.trader_id for share in order.shares) for order in orders]
            self._write_rows("orders.parquet", orders, _ORDER_COLUMNS, traders=traders)
            equity.write_parquet(out / "equity.parquet")
            with (out / DECISIONS).open("w", encoding="utf-8") as file:
                file.writelines(f"{line}\n" for line in facts.decision_lines())
        except OSError as error:
            raise ReplayError(
                f"--out {out}: the report cannot be written ({error}); make room and replay again"
            ) from error

    def _write_rows(self, file: str, rows: Sequence[Any], names: Sequence[str], **more: Any) -> None:
        columns = {name: [_cell(getattr(row, name)) for row in rows] for name in names} | more
        pl.DataFrame(columns, infer_schema_length=None).write_parquet(self._folder / file)

    def _is_ours(self) -> bool:
        path = self._folder / _PAGE
        return path.is_file() and GENERATOR in path.read_text(encoding="utf-8", errors="replace")[:1000]

    def _are_decisions(self) -> bool:
        """A recording given as --decisions may have the same name; its lines begin otherwise."""
        path = self._folder / DECISIONS
        if not path.is_file():
            return True
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.read(len(_FIRST_FIELD)) in ("", _FIRST_FIELD)


def _cell(value: object) -> object:
    return str(value) if isinstance(value, Decimal) else value
