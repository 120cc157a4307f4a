"""`propdesk config check`: whether a config is sound."""

from pathlib import Path
from typing import Annotated

import typer

from manager.cli.guard import BAD_INPUT
from manager.cli.options import JsonOption
from manager.cli.render import print_json, say

FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="The config file to check.")]

configs = typer.Typer(no_args_is_help=True, help="Look at configs.")


@configs.command("check")
def check(file: FileArgument, as_json: JsonOption = False) -> None:
    """Check a config: every mistake with its line and mend; exit code 2 if there is any."""
    from manager.config import ConfigError, load_config
    from manager.config.models import differing_limits

    try:
        config = load_config(file)
    except ConfigError as error:
        if not as_json:
            raise
        print_json({"ok": False, "file": file, "problems": error.problems})
        raise typer.Exit(BAD_INPUT) from None
    tenants = config.tenants.values()
    notes = [note for tenant in tenants for note in differing_limits(tenant.models)]
    accounts, traders = sum(len(one.accounts) for one in tenants), sum(len(one.traders) for one in tenants)
    if as_json:
        counts = {"tenants": len(tenants), "accounts": accounts, "traders": traders}
        print_json({"ok": True, "file": file, "problems": [], "notes": notes, **counts})
        return
    say(f"{file}: ok; {len(tenants)} tenant(s), {accounts} account(s), {traders} trader(s)")
    for note in notes:
        say(f"note: {note}", style="yellow")
