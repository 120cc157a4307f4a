"""Assemble the commands of `propdesk`."""

from importlib.metadata import version
from typing import Annotated

import typer

from manager.cli import (
    checking,
    checking_models,
    database,
    executor_serving,
    halting,
    looking,
    prompting,
    replaying,
    running,
    trading,
)
from manager.cli.guard import Guarded
from manager.processes.logs import log_to_stderr

app = typer.Typer(
    name="propdesk",
    cls=Guarded,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Run many virtual traders as one proprietary trading desk.",
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"propdesk {version('propdesk')}")
        raise typer.Exit


@app.callback()
def root(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Run many virtual traders as one proprietary trading desk."""
    log_to_stderr()


app.command("run")(running.run)
app.command("worker")(running.worker)
app.command("replay")(replaying.replay)
app.command("status")(looking.status)
app.command("operations")(looking.operations)
app.command("why")(looking.why)
app.command("halt")(halting.halt)
app.command("reduce")(halting.reduce)
app.command("resume")(halting.resume)
app.add_typer(trading.app, name="traders")
app.add_typer(checking.app, name="config")
app.add_typer(checking_models.app, name="check")
app.add_typer(prompting.app, name="prompts")
app.add_typer(database.app, name="db")
app.add_typer(executor_serving.app, name="executor")


def main() -> None:
    """Run the command line; the exit code is 0 (ok), 1 (failed) or 2 (usage or bad input)."""
    app()
