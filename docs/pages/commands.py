"""Write docs/commands.md: every command with its arguments and options, and every route of the web process."""

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from typer.core import TyperArgument, TyperGroup, TyperOption
from typer.main import get_command

from manager.cli.app import app
from manager.cli.later import Later

PAGE = Path(__file__).parents[1] / "commands.md"
_HEAD = """\
# Commands and routes

Written by `make docs`; change the commands in `manager/cli/` and the routes in `manager/api/`, not
this page. Every command has `--help`. Exit codes: 0 done, 1 failed, 2 wrong usage or bad input. Progress and logs go
to stderr, results to stdout.

No line of text is wider than the terminal, and nothing is cut: columns that do not fit stand below their row as
`name value`. The width is COLUMNS, else that of the terminal, else 140; a wide one (`COLUMNS=250 propdesk ... | grep`)
keeps a row on one line. Colour is on a terminal only, never with NO_COLOR or TERM=dumb, and says nothing that a word
does not. For programs there is `--json`.
"""


def render() -> str:
    """Return the page."""
    parts = [_HEAD, "## Commands\n"]
    parts += [_command(path, command) for path, command in commands()]
    parts.append("## Routes\n\nOf the web process that `propdesk run` starts on loopback: [api](api.md).\n")
    return "\n".join(parts)


def commands() -> Iterator[tuple[str, Any]]:
    """Yield every command with the words that call it, such as `propdesk traders add`."""
    yield from _below("propdesk", get_command(app))


def _below(path: str, command: Any) -> Iterator[tuple[str, Any]]:
    if not isinstance(command, TyperGroup):
        yield path, command
        return
    for name, child in command.commands.items():
        yield from _below(f"{path} {name}", child.loaded() if isinstance(child, Later) else child)


def _command(path: str, command: Any) -> str:
    """Render one command: how it is called, what it does, its options."""
    arguments = [(one.metavar or (one.name or "").upper()) for one in command.params if isinstance(one, TyperArgument)]
    rows = [
        f"| `{'`, `'.join(one.opts)}` | {one.help or ''} |" for one in command.params if isinstance(one, TyperOption)
    ]
    lines = [f"### `{' '.join([path, *arguments])}`", "", inspect.cleandoc(command.help or ""), ""]
    return "\n".join([*lines, *(["| option | meaning |", "|---|---|", *rows, ""] if rows else [])])
