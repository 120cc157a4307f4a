"""Turn errors into one message on stderr and an exit code: 0 ok, 1 failed, 2 usage or bad input."""

import os
import re
import sys
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from itertools import pairwise
from typing import Any, Final

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

from manager.cli.printable import printable

FAILED: Final = 1
BAD_INPUT: Final = 2
INTERRUPTED: Final = 130
_NEGATIVE: Final = re.compile(r"-[\d.].*")
_NUMBERS: Final = {"AMOUNT": "USD above 0, such as 1500.50", "[SECONDS]": "seconds above 0, such as 2"}
_GIVEN: Final = "propdesk.given"
_INPUT: Final = "Input"


class Refused(Exception):
    """Say what was given wrongly on the command line and what to do instead."""


class Failed(Exception):
    """Say why a sound command did not succeed."""


def exit_code(error: Exception) -> int | None:
    """Return the exit code of what a user can mend (2) or of what did not succeed (1); None for a defect of ours."""
    from exchanges.errors import ExchangeConfigError, MarketDataError, VenueUnavailable
    from executor.errors import ExecutorConfigError
    from manager import errors
    from manager.config.errors import ConfigError
    from manager.state.embedded.process import DataDirRefused, EmbeddedPostgresError
    from manager.state.errors import StateError
    from traders.errors import TraderError

    bad_input = (
        Refused,
        ConfigError,
        ExchangeConfigError,
        MarketDataError,
        ExecutorConfigError,
        errors.AmbiguousId,
        errors.UnknownSymbol,
        errors.UnknownTrader,
        errors.UnknownAccount,
        errors.UnknownCursor,
        errors.RegistrationError,
        errors.ActKeyRefused,
        errors.ReplayInputError,
        errors.PortTaken,
        errors.SettingsRefused,
        errors.DatabaseUrlRefused,
        errors.SecretKeyRefused,
        errors.KeyRefused,
        errors.UnknownTenant,
        DataDirRefused,
    )
    failed = (
        Failed,
        errors.ManagerError,
        TraderError,
        errors.ReplayError,
        StateError,
        EmbeddedPostgresError,
        VenueUnavailable,
    )
    return BAD_INPUT if isinstance(error, bad_input) else FAILED if isinstance(error, failed) else None


def run(app: Callable[[], object]) -> None:
    """Run the command line; where stdout takes no more, as on a full disk, say so in one line and fail."""
    failed: OSError | None = None
    try:
        app()
    except OSError as error:
        failed = error
    finally:
        # What was written may be lost already, and a flush then succeeds: only new text tells whether it was stdout.
        lost = _failure_of_stdout("\n" if failed else "")
        if lost is not None:
            if not isinstance(lost, BrokenPipeError):
                why = f"stdout cannot be written ({lost.strerror}); make room there, or write it elsewhere"
                sys.stderr.write(f"propdesk: {why}\n")
            _leave_stdout()
            sys.exit(FAILED)
    if failed is not None:
        raise failed


def _failure_of_stdout(text: str) -> OSError | None:
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        return error
    return None


def _leave_stdout() -> None:
    """Let nothing more reach stdout: otherwise the interpreter would complain once more while it flushes at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class Guarded(TyperGroup):
    """Run the commands below it; a user's mistake ends in a message, a defect in the program in its traceback."""

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        """Take the arguments apart, and remember how they were given."""
        ctx.meta[_GIVEN] = tuple(args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run the command and map what it raised."""
        try:
            return self._invoked(ctx)
        except typer.BadParameter as error:
            error.message = self._reworded(error)
            raise
        except TyperException as error:
            option, inside = getattr(error, "option_name", ""), getattr(error, "ctx", None)
            if inside is not None and _NEGATIVE.fullmatch(option):
                error.message = self._negative(ctx.meta[_GIVEN], option, inside.command.params)
            raise

    def _invoked(self, ctx: Any) -> Any:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None
        except (typer.Exit, typer.Abort, typer.BadParameter):
            raise
        except BrokenPipeError:
            _leave_stdout()
            raise typer.Exit(FAILED) from None
        except Exception as error:
            code = exit_code(error)
            if code is None:
                raise
            self._complain(error)
            raise typer.Exit(code) from None

    def _negative(self, given: Sequence[str], option: str, params: Sequence[Any]) -> str:
        """Name a number below 0 whole: its error has the first character only, as options of one may stand together."""
        taking = {name for one in params if not getattr(one, "is_flag", True) for name in one.opts}
        loose = (arg for before, arg in pairwise(("", *given)) if before not in taking)
        whole = next((arg for arg in loose if arg.startswith(option)), option)
        name = next((one.metavar for one in params if one.metavar in _NUMBERS), "")
        mend = f"; give {_NUMBERS[name]}" if name else ", and there is none of this name here"
        of = f"{name} {whole!r}".strip()
        return f"{of} begins with a minus, so it is read as an option{mend}"

    def _reworded(self, error: typer.BadParameter) -> str:
        """Leave out whose exception it was, and add the value that was given and the choice that was meant."""
        message = error.message.removeprefix("Value error, ")
        invalid = getattr(error.__cause__, "errors", None)
        if invalid is not None and message.startswith(_INPUT):
            message = f"{invalid()[0]['input']!r}{message.removeprefix(_INPUT)}"
        given, of, known = message.partition(" is not one of ")
        near = get_close_matches(given.strip("'"), re.findall(r"'([^']*)'", known), 1) if of else []
        return f"{message} Did you mean {near[0]!r}?" if near else message

    def _complain(self, error: Exception) -> None:
        told = printable(str(error)) or type(error).__name__
        lines = [f"propdesk: {line}" for line in told.split("\n")]
        sys.stderr.write("\n".join(lines) + "\n")
