"""Commands that are imported when they are called, so that `--help` and light commands pay for nothing else."""

import sys
from collections.abc import Iterable
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand
from typer.main import get_group

from manager.cli.guard import Guarded


class Later(TyperCommand):
    """Stand in the help for a command or a group of commands, such as `why:why`, until it is called."""

    def __init__(self, name: str, place: str, help_line: str) -> None:
        super().__init__(name, help=help_line)
        self.place = place

    def loaded(self) -> Any:
        """Return the command itself; what its parts log goes to stderr."""
        module, _, attribute = self.place.partition(":")
        found, holder = getattr(import_module(f"manager.cli.{module}"), attribute), typer.Typer()
        if "structlog" in sys.modules:
            from manager.processes.logs import log_to_stderr

            log_to_stderr()
        if isinstance(found, typer.Typer):
            holder.add_typer(found, name=self.name)
        else:
            holder.command(self.name)(found)
        return get_group(holder).commands[self.name or ""]


class LateGroup(Guarded):
    """Hold the commands of `rows`: the name, the module of `manager.cli` and what in it, and the line of help."""

    rows: Iterable[tuple[str, str, str]] = ()

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        for name, place, help_line in self.rows:
            self.add_command(Later(name, place, help_line))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the name, the command itself, and the arguments that are left for it."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, command.loaded() if isinstance(command, Later) else command, rest
