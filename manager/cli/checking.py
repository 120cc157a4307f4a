"""`propdesk config check`: whether a config is sound, and what was understood of it."""

from pathlib import Path
from typing import Annotated

import typer

from manager.cli.guard import BAD_INPUT, FAILED
from manager.cli.options import JsonOption
from manager.cli.render import print_json, say

FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="The config file to check.")]
StrictOption = Annotated[bool, typer.Option("--strict", help="End with exit code 1 if there is any warning.")]

configs = typer.Typer(no_args_is_help=True, help="Look at configs.")


@configs.command("check")
def check(file: FileArgument, as_json: JsonOption = False, strict: StrictOption = False) -> None:
    """Check a config and show what was understood: every mistake with its line and mend; exit code 2 if there is any.

    What is legal but surely wrong is a warning; with --strict, exit code 1 if there is any.
    """
    from manager.cli.understanding import counted, show_understood, show_warnings
    from manager.config import ConfigError, load_config
    from manager.config.models import differing_limits
    from manager.views.understood import understood

    try:
        config = load_config(file)
    except ConfigError as error:
        if not as_json:
            raise
        print_json({"ok": False, "file": file, "problems": error.problems})
        raise typer.Exit(BAD_INPUT) from None
    found = understood(config)
    ok = not (strict and found.warnings)
    tenants = config.tenants.values()
    notes = [note for tenant in tenants for note in differing_limits(tenant.models)]
    accounts, traders = sum(len(one.accounts) for one in tenants), sum(len(one.traders) for one in tenants)
    if as_json:
        counts = {"tenants": len(tenants), "accounts": accounts, "traders": traders}
        told = {"warnings": found.warnings, "understood": found.tenants}
        print_json({"ok": ok, "file": file, "problems": [], "notes": notes, **counts, **told})
    else:
        show_understood(found)
        show_warnings(found.warnings)
        for note in notes:
            say(f"note: {note}", style="yellow")
        counted_all = [counted(len(tenants), "tenant"), counted(accounts, "account"), counted(traders, "trader")]
        warned = f"; {counted(len(found.warnings), 'warning')}" if found.warnings else ""
        say(f"{file}: ok; {', '.join(counted_all)}{warned}")
    if not ok:
        raise typer.Exit(FAILED)
