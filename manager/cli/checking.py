"""`propdesk config check`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from manager.cli.guard import BAD_INPUT
from manager.cli.options import JsonOption
from manager.cli.render import print_json, say
from manager.config import Config, ConfigError, load_config
from manager.config.models import differing_limits

FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="The config file to check.")]

app = typer.Typer(no_args_is_help=True, help="Look at configs.")


@app.command("check")
def check(file: FileArgument, as_json: JsonOption = False) -> None:
    """Check a config: every mistake with its line and mend; exit code 2 if there is any."""
    try:
        config = load_config(file)
    except ConfigError as error:
        if not as_json:
            raise
        print_json({"ok": False, "file": file, "problems": error.problems})
        raise typer.Exit(BAD_INPUT) from None
    if as_json:
        print_json({"ok": True, "file": file, "problems": [], "notes": list(_notes(config)), **_counts(config)})
    else:
        counts = _counts(config)
        say(
            f"{file}: ok; {counts['tenants']} tenant(s), {counts['accounts']} account(s), {counts['traders']} trader(s)"
        )
        for note in _notes(config):
            say(f"note: {note}", style="yellow")


def _notes(config: Config) -> Iterator[str]:
    for tenant in config.tenants.values():
        yield from differing_limits(tenant.models)


def _counts(config: Config) -> dict[str, int]:
    tenants = config.tenants.values()
    return {
        "tenants": len(config.tenants),
        "accounts": sum(len(tenant.accounts) for tenant in tenants),
        "traders": sum(len(tenant.traders) for tenant in tenants),
    }
