"""`propdesk keys`: who may use the API. It works on the database itself, also while the web is dead."""

import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Final

import typer

from exchanges.clock import SystemClock
from manager.access.keys import Issued, Keys, NewKey, key_id_of
from manager.cli.connect import DeskOptions, actor
from manager.cli.guard import Refused
from manager.cli.options import ReasonOption, settings_with, taking
from manager.cli.render import instant, print_json, say, show_table
from manager.config.fields import parse_duration
from manager.state.kinds import KeyState, Role
from manager.state.records import DEFAULT_TENANT
from manager.state.secrets import Vault, key_in
from manager.state.store import Store
from manager.views.keys import KeyPage, KeyQuery, ShownKey, read_keys

app = typer.Typer(no_args_is_help=True, help="Make, list, replace and end the keys of the API.")

_LONGEST_S: Final = 36_500 * 86_400
_COLUMNS: Final = ("key", "name", "role", "state", "expires (UTC)", "last used (UTC)", "created (UTC)", "by")


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeOptions(DeskOptions):
    """Hold why a key is made or changed."""

    reason: ReasonOption = "by hand"

    def change(self, act: Callable[[Keys], Awaitable[Issued]], became: str) -> None:
        """Print the key that an act makes, this once: alone on a line of stdout, the rest on stderr."""
        key = settings_with(data_dir=self.data_dir).service_key

        async def work(store: Store) -> Issued:
            return await act(Keys(store, key(), SystemClock()))

        made = self.on_store(work)
        shown = ShownKey.of(made.row, SystemClock().now())
        if self.as_json:
            print_json({"tenant": self.tenant, "api_key": made.text, "key": shown})
            return
        ends = f" until {instant(shown.expires_at)} UTC" if shown.expires_at else ""
        sys.stdout.write(f"{made.text}\n")
        sys.stdout.flush()
        told = f"{became} {shown.key_id} {shown.name} ({shown.role} of tenant {self.tenant}){ends}"
        sys.stderr.write(f"propdesk: {told}. It is shown only this once.\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateOptions(ChangeOptions):
    """Hold what the new key is for."""

    role: Annotated[
        Role,
        typer.Option(
            "--role",
            help="viewer looks, operator trades and halts too, admin changes traders, accounts and keys too; "
            f"service_admin, of tenant {DEFAULT_TENANT} only, tenants and the service.",
        ),
    ]
    name: Annotated[str, typer.Option("--name", metavar="TEXT", help="Who or what uses it.")]
    expires: Annotated[
        str, typer.Option("--expires", metavar="TIME", help="How long it is good, such as 90d; without end by default.")
    ] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RotateOptions(ChangeOptions):
    """Hold which key to replace, and how long both are good."""

    key: Annotated[str, typer.Argument(metavar="KEY", help="The key's id, from `propdesk keys list`.")]
    overlap: Annotated[
        str, typer.Option("--overlap", metavar="TIME", help="How long the old key still opens, such as 1h; 0: at once.")
    ] = "0"


@dataclass(frozen=True, slots=True, kw_only=True)
class RevokeOptions(DeskOptions):
    """Hold which key to end and why."""

    key: Annotated[str, typer.Argument(metavar="KEY", help="The key's id, from `propdesk keys list`.")]
    reason: ReasonOption = "by hand"


@dataclass(frozen=True, slots=True, kw_only=True)
class RewrapOptions(DeskOptions):
    """Hold where the service key is that goes."""

    old: Annotated[
        Path, typer.Option("--old", metavar="FILE", help="The file of the service key before: its secret.key.")
    ]
    reason: ReasonOption = "by hand"


@app.command("create")
@taking(CreateOptions)
def create(options: CreateOptions) -> None:
    """Make a key and print it, this once; only its hash is kept."""
    lasts_s = _seconds("--expires", options.expires or "0")
    expires_at = SystemClock().now() + timedelta(seconds=lasts_s) if options.expires else None
    wanted = NewKey(name=options.name, role=options.role, expires_at=expires_at)
    options.change(
        lambda keys: keys.issue(options.owner, wanted, actor=actor(), reason=options.reason), "this is the new key"
    )


@app.command("list")
@taking(DeskOptions)
def list_keys(options: DeskOptions) -> None:
    """List the keys of the tenant, also those that have ended; the secrets are nowhere."""
    page = options.on_store(lambda store: _read(store, options))
    if options.as_json:
        print_json({"tenant": options.tenant, "keys": page.keys})
    else:
        show_table(f"Keys of tenant {options.tenant}", _COLUMNS, [_cells(key) for key in page.keys])


@app.command("rotate")
@taking(RotateOptions)
def rotate(options: RotateOptions) -> None:
    """Replace a key by a new one of the same name, role and lifetime, and print that, this once."""
    key_id, overlap_s = key_id_of(options.key), _seconds("--overlap", options.overlap)
    by = {"actor": actor(), "reason": options.reason}
    options.change(
        lambda keys: keys.rotate(options.owner, key_id, **by, overlap_s=overlap_s), f"in place of {key_id} this is"
    )


@app.command("revoke")
@taking(RevokeOptions)
def revoke(options: RevokeOptions) -> None:
    """End a key at once."""
    key_id, key = key_id_of(options.key), settings_with(data_dir=options.data_dir).service_key

    async def work(store: Store) -> ShownKey:
        clock = SystemClock()
        row = await Keys(store, key(), clock).revoke(options.owner, key_id, actor=actor(), reason=options.reason)
        return ShownKey.of(row, clock.now())

    shown = options.on_store(work)
    if options.as_json:
        print_json({"tenant": options.tenant, "key": shown})
    else:
        say(f"Key {shown.key_id} {shown.name} is revoked; it opens nothing any more.")


@app.command("rewrap")
@taking(RewrapOptions)
def rewrap(options: RewrapOptions) -> None:
    """Go over to another service key: what is encrypted opens by the new one then; API keys must be made anew.

    Stop the desk, give this host the new key (PROPDESK_SECRET_KEY, or move secret.key away and a new one is made), and
    name the file of the old one. It may be done again when it was cut off.
    """
    try:
        old = key_in(options.old)
    except OSError as error:
        raise Refused(f"--old {options.old} cannot be read ({error.strerror}); give the file of the old key") from None
    key = settings_with(data_dir=options.data_dir).service_key()
    if key == old:
        raise Refused(f"--old {options.old} holds the key that this host has; give the file of the one before it")

    async def work(store: Store) -> tuple[int, int]:
        clock = SystemClock()
        done = await Vault(store, key, clock).rewrap(old, actor=actor(), reason=options.reason)
        pages = [await read_keys(store, tenant, KeyQuery(now=clock.now())) for tenant in done]
        ended = [shown for page in pages for shown in page.keys if shown.state.opens and shown.service_key != key.mark]
        return sum(done.values()), len(ended)

    wrapped, ended = options.on_store(work)
    if options.as_json:
        print_json({"service_key": key.mark, "data_keys_wrapped": wrapped, "api_keys_void": ended})
        return
    say(f"The service key is {key.mark} now (this is its mark); {wrapped} data keys are wrapped by it.")
    if ended:
        say(f"{ended} API keys were made under the one before and open nothing any more: `propdesk keys create`.")


async def _read(store: Store, options: DeskOptions) -> KeyPage:
    return await read_keys(store, options.owner, KeyQuery(now=SystemClock().now()))


def _seconds(option: str, text: str) -> int:
    try:
        seconds = 0 if text == "0" else parse_duration(text)
    except ValueError as error:
        raise Refused(f"{option} {text!r}: {error}, or 90d") from None
    if seconds > _LONGEST_S:
        raise Refused(f"{option} {text!r} is too long; give at most {_LONGEST_S // 86_400}d")
    return seconds


def _cells(key: ShownKey) -> list[str]:
    state = f"{key.state} until {instant(key.revoked_at)}" if key.state is KeyState.ENDING else str(key.state)
    state += f" by {key.revoked_by}" if key.revoked_by else ""
    last, ends = (instant(at) for at in (key.last_used_at, key.expires_at))
    return [key.key_id, key.name, key.role, state, ends, last, instant(key.created_at), key.created_by]
