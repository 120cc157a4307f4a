"""`propdesk db`."""

import asyncio
import os
from pathlib import Path

import typer

from manager.cli.options import DATA_DEFAULT, DataDirOption, JsonOption
from manager.cli.progress import progress
from manager.cli.render import print_json, say

app = typer.Typer(no_args_is_help=True, help="Care for the database.")


@app.callback()
def group() -> None:
    """Care for the database."""


@app.command("upgrade")
def upgrade(data_dir: DataDirOption = DATA_DEFAULT, as_json: JsonOption = False) -> None:
    """Create or upgrade the tables in DATABASE_URL, or in the embedded PostgreSQL of the data directory."""
    external = os.environ.get("DATABASE_URL", "")
    with progress("upgrading the database") as meter:
        meter(None)
        if external:
            from manager.state.postgres.upgrade import upgrade as upgrade_external

            upgrade_external(external)
        else:
            asyncio.run(_upgrade_embedded(data_dir))
    where = "DATABASE_URL" if external else str(data_dir)
    if as_json:
        print_json({"ok": True, "database": where})
    else:
        say(f"The database in {where} is up to date.")


async def _upgrade_embedded(data_dir: Path) -> None:
    from manager.bootstrap import open_store

    async with open_store(data_dir):
        pass  # opening provisions and upgrades
