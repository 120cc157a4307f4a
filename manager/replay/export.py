"""Write what a replay did as files: decisions, trades, orders, equity curves and a page to look at."""

import json
import os
import tempfile
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import polars as pl
from pydantic import TypeAdapter

from executor.contract import Decision
from manager.bootstrap.replay import Replay
from manager.replay.errors import ReplayError, ReplayInputError
from manager.replay.page import GENERATOR, page
from manager.replay.report import ReplayFacts
from manager.replay.request import DECISIONS
from manager.state.records import DecisionId, VerdictKind

_PAGE = "report.html"
_FILES = ("report.json", "trades.parquet", "orders.parquet", "equity.parquet", DECISIONS, _PAGE)
_FIRST_FIELD: Final = '{"id": '
_ITEMS: Final = TypeAdapter(tuple[Decision, ...])


def check_out(out: Path) -> None:
    """Raise ReplayInputError unless `export` can write into `out`; nothing is created or changed.

    An earlier report may be overwritten, a file of the same name that is not ours may not.
    """
    if out.exists() and not out.is_dir():
        raise ReplayInputError(f"--out {out} is a file; name a folder")
    present = out.absolute()
    try:
        while not present.exists():
            present = present.parent
        with tempfile.TemporaryFile(dir=present):
            pass
        taken = [out / name for name in _FILES if os.path.lexists(out / name)]
        ours = not taken or (_is_ours(out / _PAGE) and _are_decisions(out / DECISIONS))
    except OSError as error:
        reason = f"nothing can be written to {present} ({error.strerror or error})"
        raise ReplayInputError(f"--out {out}: {reason}; name a folder you may write to") from None
    if not ours:
        name = DECISIONS if _is_ours(out / _PAGE) else taken[-1].name
        raise ReplayInputError(
            f"--out {out}: {name} is there and not from a replay; name another folder or move the file away"
        )
    for path in taken:
        if not path.is_file() or not os.access(path, os.W_OK):
            raise ReplayInputError(f"--out {out}: {path.name} cannot be overwritten; remove it or name another folder")


def export(out: Path, replay: Replay, facts: ReplayFacts, report: dict[str, Any]) -> None:
    """Write the report, its page, and decisions, trades, orders and equity into `out`, rows by time.

    Raise ReplayError if a file cannot be written.
    """
    equity = _equity(replay)
    span_ms = replay.columns.instants[0] - replay.columns.interval_ms, replay.columns.instants[-1]
    try:
        out.mkdir(parents=True, exist_ok=True)
        # The page goes first: by it the folder is known as ours if a later file cannot be written.
        (out / _PAGE).write_text(page(report, equity, span_ms), encoding="utf-8")
        (out / "report.json").write_text(json.dumps(report, indent=1), encoding="utf-8")
        _trades(facts).write_parquet(out / "trades.parquet")
        _orders(facts).write_parquet(out / "orders.parquet")
        equity.write_parquet(out / "equity.parquet")
        with (out / DECISIONS).open("w", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in _decisions(facts))
    except OSError as error:
        raise ReplayError(f"--out {out}: the report cannot be written ({error}); make room and replay again") from error


def _is_ours(path: Path) -> bool:
    return path.is_file() and GENERATOR in path.read_text(encoding="utf-8", errors="replace")[:1000]


def _are_decisions(path: Path) -> bool:
    """A recording given as --decisions may have the same name; its lines begin otherwise."""
    if not path.is_file():
        return True
    with path.open(encoding="utf-8", errors="replace") as file:
        return file.read(len(_FIRST_FIELD)) in ("", _FIRST_FIELD)


def _decisions(facts: ReplayFacts) -> Iterator[str]:
    """Give a line for each decision, without what differs between two runs."""
    decision_of = {intent.intent_id: intent.decision_id for intent in facts.intents}
    refused: dict[DecisionId, list[dict[str, str]]] = {}
    for one in facts.verdicts:
        if one.kind != VerdictKind.INVALID:
            told = {"kind": one.kind, "code": one.code, "symbol": one.symbol, "detail": one.detail}
            refused.setdefault(decision_of.get(one.intent_id, DecisionId("")), []).append(told)
    for row in sorted(facts.decisions, key=lambda row: (row.decided_at, row.decision_id)):
        line = {
            "id": row.decision_id,
            "trader_id": row.trader_id,
            "at": row.decided_at.isoformat(),
            "outcome": row.outcome.value,
            "actions": _ITEMS.dump_python(row.decisions, mode="json"),
            "refusals": refused.get(row.decision_id, []),
            "errors": [{"path": error.path, "message": error.message} for error in row.errors],
            "reasoning": row.reasoning,
            "reply": row.reply,
            "model": row.model,
            "attempts": row.attempts,
            "prompt_hash": row.prompt_hash,
            "cost_usd": _plain(row.usage.cost_usd),
        }
        yield json.dumps(line, ensure_ascii=False)


def _trades(facts: ReplayFacts) -> pl.DataFrame:
    names = ("at", "trade_id", "trader_id", "symbol", "quantity", "price", "fee", "realized", "purpose", "order_id")
    parts = sorted(facts.parts, key=lambda part: part.at)
    return pl.DataFrame(
        {name: [_plain(getattr(part, name)) for part in parts] for name in names}, infer_schema_length=None
    )


def _orders(facts: ReplayFacts) -> pl.DataFrame:
    names = (
        "created_at",
        "order_id",
        "round_id",
        "symbol",
        "side",
        "type",
        "purpose",
        "quantity",
        "filled",
        "trigger_price",
        "reduce_only",
        "state",
        "reason",
    )
    orders = sorted(facts.orders, key=lambda order: order.created_at)
    columns = {name: [_plain(getattr(order, name)) for order in orders] for name in names}
    columns["traders"] = [",".join(share.trader_id for share in order.shares) for order in orders]
    return pl.DataFrame(columns, infer_schema_length=None)


def _equity(replay: Replay) -> pl.DataFrame:
    frames = [
        pl.DataFrame({"ts_ms": instants, "equity": values}).with_columns(pl.lit(trader_id).alias("trader_id"))
        for instants, trader_id, values in replay.account.sampler.curves()
    ]
    return pl.concat(frames) if frames else pl.DataFrame({"ts_ms": [], "equity": [], "trader_id": []})


def _plain(value: object) -> object:
    return str(value) if isinstance(value, Decimal) else value
