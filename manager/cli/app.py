"""Assemble the commands of `propdesk`."""

from importlib.metadata import version
from typing import Annotated

import typer

from manager.cli import checking, initializing, operations, prompting, replaying, running, status, trading, why
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


for command in (
    initializing.init,
    running.run,
    running.worker,
    replaying.replay,
    status.status,
    operations.operations,
    why.why,
    trading.halt,
    trading.reduce,
    trading.resume,
):
    app.command(command.__name__)(command)
app.add_typer(trading.app, name="traders")
app.add_typer(checking.configs, name="config")
app.add_typer(checking.checks, name="check")
app.add_typer(prompting.app, name="prompts")
app.add_typer(running.databases, name="db")
app.add_typer(running.executors, name="executor")


def main() -> None:
    """Run the command line; the exit code is 0 (ok), 1 (failed) or 2 (usage or bad input)."""
    app()
