"""The options that commands share."""

import inspect
import re
from collections.abc import Callable
from dataclasses import MISSING, fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar, get_type_hints

import typer

from exchanges.clock import SystemClock
from manager.cli.guard import Refused

_LONGEST_REASON: Final = 1000
_AGO: Final = re.compile(r"(\d{1,6})([smhdw])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_DAYS_AGO: Final = {"today": 0, "yesterday": 1}

if TYPE_CHECKING:
    from manager.config import Config
    from manager.config.accounts import InstrumentsOf
    from manager.settings import Settings
    from manager.state.acts import ActKey


def settings_with(**given: Any) -> "Settings":
    """Return the settings of the environment, with what the command line gives before them."""
    from manager.settings import read_settings

    return read_settings(**given)


def setting(ctx: typer.Context, param: typer.CallbackParam, given: Any) -> Any:
    """Return what the command line gives for an option, else the setting of its name; an option's callback."""
    name = param.name or ""
    source = ctx.get_parameter_source(name)
    return given if source and source.name == "COMMANDLINE" else getattr(settings_with(), name)


def printable_reason(given: str) -> str:
    """Return a reason; raise Refused for what cannot be stored or shown, such as bytes that are no UTF-8."""
    if given and (len(given) > _LONGEST_REASON or not given.isprintable()):
        told = f"{given[:_LONGEST_REASON]!r} is none; give at most {_LONGEST_REASON} characters that can be printed"
        raise Refused(f"--reason {told}")
    return given


ConfigOption = Annotated[
    Path,
    typer.Option(
        "--config", "-c", metavar="FILE", callback=setting, help="The config file; PROPDESK_CONFIG sets it too."
    ),
]
DataDirOption = Annotated[
    Path,
    typer.Option(
        "--data-dir",
        metavar="DIR",
        callback=setting,
        help="Where the embedded PostgreSQL keeps its files; without effect when DATABASE_URL is set. "
        "PROPDESK_DATA_DIR sets it too.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document; decimals are strings.")]
TenantOption = Annotated[str, typer.Option("--tenant", metavar="ID", help="The tenant whose desk it is.")]
ReasonOption = Annotated[
    str, typer.Option("--reason", metavar="TEXT", callback=printable_reason, help="Why; kept with the event.")
]
KeyOption = Annotated[
    str,
    typer.Option(
        "--key", metavar="KEY", help="Do this once however often it is asked for under this key; its own by default."
    ),
]

Given = TypeVar("Given")

CONFIG_DEFAULT = Path("config.yaml")
DATA_DEFAULT = Path(".propdesk")


def act_key(given: str) -> "ActKey | None":
    """Return the key of an act, None where none is given."""
    from manager.state.acts import ActKey

    return ActKey(given) if given else None


def parse_instant(text: str) -> datetime:
    """Return an aware UTC instant from ISO 8601; one without a zone is UTC."""
    try:
        at = datetime.fromisoformat(text)
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        raise typer.BadParameter(f"{text!r} is no time; write 2025-05-04 or 2025-05-04T12:00:00Z") from None


def parse_moment(text: str) -> datetime:
    """Return the instant of a time ago such as 15m or 3d, of `today` or `yesterday` at 00:00 UTC, or of ISO 8601."""
    given, now = text.strip().lower(), SystemClock().now()
    try:
        if ago := _AGO.fullmatch(given):
            return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        if given in _DAYS_AGO:
            midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
            return midnight - timedelta(days=_DAYS_AGO[given])
        return parse_instant(text)
    except OverflowError:
        raise typer.BadParameter(f"{text!r} is before all time; write 15m, 2h or 3d for so long ago") from None
    except typer.BadParameter:
        expected = "write 15m, 2h or 3d for so long ago, today, yesterday, or 2025-05-04T12:00:00Z"
        raise typer.BadParameter(f"{text!r} is no time; {expected}") from None


def moment(name: str, help_text: str) -> Any:
    """Return an option for an instant that is looked back at, as --since and --until are everywhere."""
    told = f"{help_text} 15m, 2h or 3d ago, today, yesterday, or ISO 8601 such as 2025-05-04T12:00:00Z."
    return typer.Option(name, metavar="T", parser=parse_moment, help=told)


def check_span(since: datetime | None, until: datetime | None) -> None:
    """Raise Refused where nothing can be between --since and --until."""
    if since and until and since > until:
        told = (f"{at:%Y-%m-%d %H:%M:%S} UTC" for at in (since, until))
        raise Refused("--since {} is after --until {}; write the earlier one as --since".format(*told))


def read_config(path: Path, *, instruments_of: "InstrumentsOf | None" = None) -> "Config":
    """Return the config at `path`; raise ConfigError, or Refused when there is no file to be found by default."""
    from manager.config import load_config
    from manager.config.accounts import instruments_of_market
    from manager.resources import resource

    if path == CONFIG_DEFAULT and not path.exists():
        sample = resource("config.yaml")
        raise Refused(f"there is no config.yaml in {Path.cwd()}; pass -c FILE, or copy the sample {sample}")
    return load_config(path, instruments_of=instruments_of or instruments_of_market)


def taking(kind: type[Given]) -> Callable[[Callable[[Given], None]], Callable[..., None]]:
    """Make a command of a function over one dataclass: each field becomes an option, its own before inherited ones."""
    hints = get_type_hints(kind, include_extras=True)
    homes = {name: depth for depth, cls in enumerate(kind.__mro__) for name in inspect.get_annotations(cls)}
    parameters = [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            annotation=hints[field.name],
            default=inspect.Parameter.empty if field.default is MISSING else field.default,
        )
        for field in sorted(fields(kind), key=lambda field: homes[field.name])  # type: ignore[arg-type]  # a dataclass
    ]

    def decorate(act: Callable[[Given], None]) -> Callable[..., None]:
        def command(**given: Any) -> None:
            act(kind(**given))

        command.__name__ = act.__name__
        command.__doc__ = act.__doc__
        command.__annotations__ = {**hints, "return": None}
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # what typer reads
        return command

    return decorate
