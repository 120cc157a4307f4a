"""Assemble the commands of `propdesk`."""

from typing import Annotated

import typer

from manager.cli.guard import run
from manager.cli.later import LateGroup


class Commands(LateGroup):
    """Name the commands in the order of the help; the help is the first paragraph of each one's own."""

    rows = (
        ("init", "initializing:init", "Write a commented config that runs at once."),
        ("run", "running:run", "Trade: supervise a trading worker and the web process until Ctrl-C."),
        ("worker", "running:worker", "Run jobs only; start as many as you like on one DATABASE_URL."),
        (
            "replay",
            "replaying:replay",
            "Replay candles through the desk: the rounds, rules and books of live trading, as fast as it goes.",
        ),
        (
            "status",
            "status:status",
            "Show equity, traders, positions, last decisions and what stands in the way.",
        ),
        (
            "operations",
            "operations:operations",
            "List orders, denials, conflicts, failed decisions, incidents and acts of operators, newest first.",
        ),
        (
            "trades",
            "trades:trades",
            "List closed trades, newest first: entry, exit, PnL, fees, funding and what closed them.",
        ),
        (
            "performance",
            "performance:performance",
            "Show what a trader or an account has made: capital, PnL, Sharpe, trades, drawdown, fees and funding.",
        ),
        ("ranking", "performance:ranking", "Rank traders by Sharpe, PnL and win rate, and sum them up."),
        (
            "why",
            "why:why",
            (
                "Explain an order, trade, intent or decision: "
                "intents, the model's words, the market it saw, checks, fills."
            ),
        ),
        (
            "close",
            "closing:close",
            "Close what a trader holds, whatever state it and its account are in; the desk's next round does it.",
        ),
        (
            "flatten",
            "closing:flatten",
            (
                "Close all that a trader, an account or the tenant's traders hold, "
                "and take no entry of theirs until it is done."
            ),
        ),
        (
            "halt",
            "trading:halt",
            "Refuse entries and wider stops, and move no capital: something is wrong.",
        ),
        (
            "reduce",
            "trading:reduce",
            "Refuse entries and wider stops: the account is being wound down.",
        ),
        (
            "resume",
            "trading:resume",
            "Take entries again after `propdesk halt` or `reduce`; a paused trader needs `propdesk traders resume`.",
        ),
        ("traders", "trading:app", "List traders and move them through their life."),
        ("keys", "keys:app", "Make, list, replace and end the keys of the API."),
        ("config", "checking:configs", "Look at configs."),
        ("check", "probing:checks", "Check what the desk depends on."),
        ("prompts", "prompting:app", "Look at prompt templates and try them."),
        ("db", "running:databases", "Care for the database."),
        ("executor", "running:executors", "Decide for remote desks."),
    )


app = typer.Typer(
    name="propdesk",
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Run many virtual traders as one proprietary trading desk.",
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"propdesk {version('propdesk')}")
        raise typer.Exit


@app.callback()
def root(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Run many virtual traders as one proprietary trading desk."""


def main() -> None:
    """Run the command line; the exit code is 0 (ok), 1 (failed) or 2 (usage or bad input)."""
    run(app)
