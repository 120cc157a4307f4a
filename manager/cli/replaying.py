"""`propdesk replay`: the whole desk on recorded candles."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from manager.bootstrap.request import DECISIONS, RECORDINGS_DEFAULT, ModelsMode, ReplayRequest
from manager.cli.guard import FAILED, Refused
from manager.cli.options import JsonOption, parse_instant, taking
from manager.cli.printable import printable
from manager.cli.progress import progress
from manager.cli.render import print_json, say, show_table

_FORMAT = "2025-05-04T12:00:00Z, or 2025-05-04 for 00:00 UTC of that day."
_TRADER_COLUMNS = (
    ("equity>", "equity"),
    ("start>", "start_usd"),
    ("moved>", "moved_usd"),
    ("pnl>", "pnl"),
    ("max dd %>", "max_drawdown_pct"),
    ("sharpe>", "sharpe"),
    ("win rate>", "win_rate"),
    ("decisions>", "decisions"),
    ("orders>", "orders"),
    ("fills>", "fills"),
    ("trades>", "trades"),
    ("realized>", "realized_pnl"),
    ("fees>", "fees"),
    ("funding>", "funding"),
)


def _file(help_text: str, *names: str) -> Any:
    return typer.Option(*names, metavar="FILE", help=help_text)


def _time(help_text: str, name: str) -> Any:
    return typer.Option(name, metavar="T", parser=parse_instant, help=help_text)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayOptions:
    """Hold what `propdesk replay` is given."""

    config: Annotated[Path, _file("The config file.", "--config", "-c")]
    candles: Annotated[
        Path, _file("Candles, Parquet or CSV: symbol, ts_ms, open, high, low, close, volume.", "--candles")
    ]
    funding: Annotated[Path | None, _file("Funding, Parquet or CSV: symbol, ts_ms, funding_rate.", "--funding")] = None
    start: Annotated[
        datetime | None, _time("Leave out what comes before, for indicators too; " + _FORMAT, "--from")
    ] = None
    end: Annotated[datetime | None, _time("Leave out what comes after; " + _FORMAT, "--to")] = None
    decisions: Annotated[
        Path | None, _file("Recorded decisions, JSONL: ts_ms, trader_id, decisions.", "--decisions")
    ] = None
    models: Annotated[
        ModelsMode,
        typer.Option(
            "--models",
            help="Where a model or a remote executor decides: read recordings only, ask it, or ask it and record.",
        ),
    ] = ModelsMode.RECORDED
    recordings: Annotated[
        Path,
        typer.Option("--recordings", metavar="DIR", help="Where calls of models and of remote executors are recorded."),
    ] = RECORDINGS_DEFAULT
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Write decisions, trades, orders, equity and the report there."),
    ] = None
    as_json: JsonOption = False


@taking(ReplayOptions)
def replay(options: ReplayOptions) -> None:
    """Replay candles through the desk: the rounds, rules and books of live trading, as fast as it goes."""
    if options.start is not None and options.end is not None and options.start >= options.end:
        given = f"--from {options.start.isoformat()} --to {options.end.isoformat()}"
        raise Refused(f"{given} leaves no time to replay; give a --to after --from")
    from manager.processes.logs import log_to_stderr
    from manager.replay.run import run_replay

    log_to_stderr()
    notes: list[str] = []
    try:
        with progress("replay") as meter:
            result = run_replay(
                ReplayRequest(
                    config=options.config,
                    candles=options.candles,
                    funding=options.funding,
                    start=options.start,
                    end=options.end,
                    decisions=options.decisions,
                    models=options.models,
                    recordings=options.recordings,
                    out=options.out,
                    progress=lambda share, taken: meter(share, f"{taken:,} decisions"),
                    note=notes.append,
                )
            )
    finally:
        sys.stderr.writelines(f"propdesk: {printable(note)}\n" for note in notes)
    if options.as_json:
        print_json(result)
    else:
        ReplayText(result, options.out).show()
    if int(result["invariants"]["violated"]):
        raise typer.Exit(FAILED)


class ReplayText:
    """Tell in text what a replay came to; `out` is where it has written its files, if anywhere."""

    def __init__(self, result: Mapping[str, Any], out: Path | None) -> None:
        self._result = result
        self._out = out

    def show(self) -> None:
        """Print it."""
        result = self._result
        self._show_traders()
        self._show_account()
        if result["models"]:
            self._show_models(result["models"])
        for title in ("conflicts", "denials", "clamps"):
            rows = [[str(name), str(count)] for name, count in sorted(result[title].items())]
            show_table(title.capitalize(), ["what", "count>"], rows)
        if result["invalid_items"]:
            say(f"Invalid items of decisions: {result['invalid_items']}")
        invariants = result["invariants"]
        say(f"Invariants: {invariants['checked']} checked, {invariants['violated']} violated")
        say(self._pace())
        if self._out is not None:
            say(f"Written to {self._out}")

    def _show_account(self) -> None:
        from manager.replay.page import adding_up

        account = self._result["account"]
        sums = adding_up(account)
        rest = [name for name in account if name not in sums and name not in ("state", "state_reason")]
        names = ["equity>", "start>", "moved>", "pnl>", *(f"{name}>" for name in rest), "state"]
        cells = [*sums.values(), *(self._cell(account[name]) for name in rest), self._state(account)]
        show_table("Account", names, [cells])

    def _state(self, row: Mapping[str, Any]) -> str:
        return f"{row['state']}: {row['state_reason']}" if row["state_reason"] else str(row["state"])

    def _show_traders(self) -> None:
        from manager.replay.page import adding_up

        names = ["trader", *(name for name, _ in _TRADER_COLUMNS), "state"]
        rows = []
        for row in self._result["traders"]:
            sums = adding_up(row)
            cells = (sums[key] if key in sums else self._cell(row[key]) for _, key in _TRADER_COLUMNS)
            rows.append([row["id"], *cells, self._state(row)])
        show_table("Traders", names, rows)
        unread = f"--out DIR writes {DECISIONS}, which says why"
        for row in self._result["traders"]:
            failed = {name: count for name, count in row["outcomes"].items() if name != "decided"}
            if failed:
                told = ", ".join(f"{count} {name}" for name, count in failed.items())
                look = f"see {self._out / DECISIONS}" if self._out is not None else unread
                count = f"{sum(failed.values())} of {row['decisions']} decisions failed"
                say(f"{row['id']}: {count}: {told}; {look}", style="yellow")

    def _show_models(self, models: Mapping[str, Any]) -> None:
        rows = [("all", models["total"]), *((row["id"], row) for kind in ("models", "traders") for row in models[kind])]
        columns = ("calls", "input_tokens", "cached_tokens", "output_tokens", "cost_usd", "unknown_usd")
        titles = ["of", "calls>", "tokens in>", "cached>", "out>", "USD>", "unknown USD>"]
        show_table("Models", titles, [[name, *(str(row[key]) for key in columns)] for name, row in rows])

    def _pace(self) -> str:
        """Leave rates out where models are waited for: they round to nothing."""
        result, decisions = self._result, sum(row["decisions"] for row in self._result["traders"])
        done = f"{result['bars']:,} bars and {decisions:,} decisions in {result['wall_s']:.1f} s"
        if not result["decisions_per_s"]:
            return done
        return f"{done}: {result['bars_per_s']:,.0f} bars/s, {result['decisions_per_s']:,.0f} decisions/s"

    def _cell(self, value: Any) -> str:
        if value is None:
            return "-"
        try:
            return f"{float(value):,.2f}" if not isinstance(value, int) else str(value)
        except ValueError:
            return str(value)
