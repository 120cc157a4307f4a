"""`propdesk db`."""

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
    from manager.settings import read_settings

    place = read_settings(data_dir=data_dir).place()
    with progress("upgrading the database") as meter:
        meter(None)
        with place.reach(prepare=True):
            meter(None)
    where = "DATABASE_URL" if place.url else str(data_dir)
    if as_json:
        print_json({"ok": True, "database": where})
    else:
        say(f"The database in {where} is up to date.")
