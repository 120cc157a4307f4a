"""`propdesk close` and `flatten`: ask the desk to close what traders hold, and wait until it has. Nothing blocks it."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Final

import typer

from exchanges.clock import SystemClock
from exchanges.types import ZERO, Symbol
from manager.cli.connect import DeskOptions, actor, manager_of, watching
from manager.cli.guard import Failed, Refused
from manager.cli.options import KeyOption, ReasonOption, act_key, taking
from manager.cli.render import price, print_json, say, show_table, usd
from manager.cli.repeats import said_before
from manager.config.fields import parse_duration
from manager.desk.plan.outcomes import plain
from manager.roster.acts import CloseAsked, ClosingPosition, FlattenAsked, FlattenCanceled
from manager.state.acts import FlattenScope, LeftPosition
from manager.state.kinds import Afterwards, ScopeKind
from manager.state.store import Store
from manager.views.closed import CloseWatch
from manager.views.closing import CloseProgress, FlattenPreview, read_preview, read_progress
from traders.spec import TraderId

_LOOK_S: Final = 0.5
_NAMED: Final = 10
_WORD: Final = "flatten"
_COLUMNS: Final = ("trader", "symbol", "side", "quantity>", "mark>", "notional USD>", "fee USD>")
_LEFT_COLUMNS: Final = ("trader", "symbol", "quantity>", "why it stays")


@dataclass(frozen=True, slots=True, kw_only=True)
class ActOptions(DeskOptions):
    """Hold why an act is done, under which key, and how long to wait for its end."""

    reason: ReasonOption = "by hand"
    wait: Annotated[
        str, typer.Option("--wait", metavar="TIME", help="Wait so long until it is done, such as 2m; 0: do not wait.")
    ] = "30s"
    key: KeyOption = ""

    @property
    def wait_s(self) -> int:
        """Return how long to wait in seconds; raise Refused for what is no duration."""
        try:
            return 0 if self.wait == "0" else parse_duration(self.wait)
        except ValueError as error:
            raise Refused(f"--wait {self.wait!r}: {error}, or 0") from None

    async def until_done(
        self, store: Store, is_alive: Callable[[], Awaitable[bool]], watches: Sequence[CloseWatch]
    ) -> CloseProgress:
        """Look until all is done or the time is over; without a worker there is nothing to wait for."""
        clock = SystemClock()
        end_s = clock.boot_s() + self.wait_s
        while True:
            watched = await is_alive()
            found = await read_progress(
                store, self.owner, [replace(one, watched=watched, now=clock.now()) for one in watches]
            )
            left_s = end_s - clock.boot_s()
            if found.done or not watched or left_s <= 0:
                return found
            await asyncio.sleep(min(_LOOK_S, left_s))

    def show_end(self, progress: CloseProgress) -> None:
        """Say what was closed, what is left and why; raise Failed where it is not done in the time that was given."""
        for part in progress.closed:
            did = "sold" if part.quantity > 0 else "bought"
            say(
                f"{part.trader_id}: {did} {plain(abs(part.quantity))} {part.symbol} at {price(part.price)}, realized "
                f"{usd(part.realized_pnl)} USD, fees {usd(part.fees)} USD."
            )
        show_left("Still held" if progress.done else "Not closed yet", progress.left)
        for told in progress.waits_for:
            say(f"Waits for an order: {told}.")
        for account in progress.unserved:
            say(f"Not done on {account.told}.")
        if progress.done:
            say(_told_end(progress), "yellow" if progress.held else "green")

    def check_end(self, progress: CloseProgress) -> None:
        """Raise Failed where it is not done in the time that was given, or an operator has canceled it."""
        if progress.done and progress.canceled:
            raise Failed(f"not done: an operator canceled it on {', '.join(progress.canceled)}")
        if not progress.done and self.wait_s:
            if not progress.watched:
                raise Failed("not done: no worker runs; the desk does it as soon as one does (`propdesk run`)")
            if progress.unserved:
                names = ", ".join(one.account_id for one in progress.unserved)
                raise Failed(f"not done: no worker serves {names}, as told above; the desk goes on with what it serves")
            raise Failed("not done yet; the desk goes on by itself, and `propdesk status` shows how far it is")


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseOptions(ActOptions):
    """Hold whose position to close."""

    trader: Annotated[str, typer.Argument(metavar="TRADER", help="The trader's id.")]
    symbol: Annotated[str, typer.Argument(metavar="[SYMBOL]", help="Only this position; all by default.")] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FlattenOptions(ActOptions):
    """Hold the scope of a flatten, and what stays of it."""

    trader: Annotated[str, typer.Option("--trader", metavar="ID", help="Close all that this trader holds.")] = ""
    account: Annotated[
        str, typer.Option("--account", metavar="NAME", help="Close all that the traders of this account hold.")
    ] = ""
    everything: Annotated[
        bool, typer.Option("--all", help="Close all that the traders of all accounts of the tenant hold.")
    ] = False
    then: Annotated[
        Afterwards,
        typer.Option(
            "--then",
            help="What stays. halt: the accounts are halted (a trader is stopped); stop: the traders are stopped; "
            "stand_by: entries are free again once all is closed.",
        ),
    ] = Afterwards.HALT
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be closed and what stays.")] = False
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask; needed where nobody can be asked.")] = False
    cancel: Annotated[
        bool, typer.Option("--cancel", help="End the flatten of this scope under way; nothing is opened again.")
    ] = False

    @property
    def scope(self) -> FlattenScope:
        """Return the scope; raise Refused unless exactly one is named."""
        given = [bool(self.trader), bool(self.account), self.everything]
        if given.count(True) != 1:
            raise Refused("name what is to be flattened, and only one: --trader ID, --account NAME or --all")
        if self.trader:
            return FlattenScope(kind=ScopeKind.TRADER, name=self.trader)
        return FlattenScope(kind=ScopeKind.ACCOUNT if self.account else ScopeKind.TENANT, name=self.account)

    def confirm(self, scope: FlattenScope, preview: FlattenPreview) -> None:
        """Raise Refused unless the operator means it."""
        if self.yes:
            return
        if self.as_json or not (sys.stdin.isatty() and sys.stdout.isatty()):
            raise Refused("a flatten must be confirmed; nobody can be asked here, so pass --yes (--dry-run shows it)")
        show_preview(preview)
        try:
            typed = input(f"Type {_WORD} to close this ({scope}, then {self.then}): ")
        except EOFError:
            typed = ""
        if typed.strip() != _WORD:
            raise Refused(f"{typed!r} is not {_WORD!r}: nothing is done")


@taking(CloseOptions)
def close(options: CloseOptions) -> None:
    """Close what a trader holds, whatever state it and its account are in; the desk's next round does it.

    What the trader itself waited for on the symbol is replaced. It stays as it is otherwise: a running trader may open
    again at its next decision.
    """
    wait_s = options.wait_s

    async def work(store: Store, is_alive: Callable[[], Awaitable[bool]]) -> tuple[CloseAsked, CloseProgress]:
        await options.check_tenant(store)
        manager, by = manager_of(store), {"actor": actor(), "reason": options.reason}
        symbol = Symbol(options.symbol) if options.symbol else None
        trader_id = TraderId(options.trader)
        asked = await manager.close(options.owner, trader_id, symbol, **by, key=act_key(options.key))
        return asked, await options.until_done(store, is_alive, asked.watches)

    asked, progress = watching(options.data_dir, "waiting for the close", work)
    if options.as_json:
        print_json({"tenant": options.tenant, "asked": asked, "progress": progress})
    else:
        if not said_before(asked):
            _say_asked(asked.positions, asked.superseded)
        if wait_s or progress.done:
            options.show_end(progress)
    options.check_end(progress)


@taking(FlattenOptions)
def flatten(options: FlattenOptions) -> None:
    """Close all that a trader, an account or the tenant's traders hold, and take no entry of theirs until it is done.

    EXTERNAL positions are never touched. It goes on whatever becomes of this command: the desk's worker carries it on,
    and to ask again joins the one under way.
    """
    scope, _ = options.scope, options.wait_s
    if options.cancel:
        _cancel(options, scope)
        return
    preview = options.on_store(lambda store: read_preview(store, options.owner, scope))
    if options.dry_run:
        if options.as_json:
            print_json({"tenant": options.tenant, **{name: getattr(preview, name) for name in preview.__slots__}})
        else:
            show_preview(preview)
        return
    options.confirm(scope, preview)

    async def work(store: Store, is_alive: Callable[[], Awaitable[bool]]) -> tuple[FlattenAsked, CloseProgress]:
        manager, by = manager_of(store), {"actor": actor(), "reason": options.reason}
        asked = await manager.flatten(options.owner, scope, options.then, **by, key=act_key(options.key))
        return asked, await options.until_done(store, is_alive, asked.watches)

    asked, progress = watching(options.data_dir, "waiting for the flatten", work)
    if options.as_json:
        print_json({"tenant": options.tenant, "asked": asked, "progress": progress, "external": preview.stays})
    else:
        if not said_before(asked):
            _say_flatten(asked)
        options.show_end(progress)
    options.check_end(progress)


def show_preview(preview: FlattenPreview) -> None:
    """Show what a flatten would close, and what would stay."""
    rows = [
        [
            one.trader_id,
            one.symbol,
            one.side,
            plain(one.quantity),
            price(one.mark),
            usd(one.notional_usd),
            usd(one.fee_usd),
        ]
        for one in preview.closes
    ]
    show_table(f"Would be closed of {preview.scope}, at the marks of the last sample", _COLUMNS, rows)
    known = [one for one in preview.closes if one.notional_usd is not None]
    if known:
        fees = [one.fee_usd for one in known if one.fee_usd is not None]
        told = f", fees at most {usd(sum(fees, ZERO))} USD before slippage" if fees else ""
        say(f"{len(rows)} in all, {usd(sum((one.notional_usd or ZERO for one in known), ZERO))} USD{told}")
    show_left("Would stay", preview.stays)
    for row in preview.under_way:
        say(f"Under way already since {row.at:%Y-%m-%d %H:%M:%S} UTC by {row.actor}: {row.scope} {row.trader_id}")


def show_left(title: str, left: Sequence[LeftPosition]) -> None:
    """Show positions that are not closed with the reasons; nothing where there are none."""
    if left:
        rows = [[one.trader_id, one.symbol, plain(one.quantity), f"{one.why}: {one.detail}"] for one in left]
        show_table(title, _LEFT_COLUMNS, rows)


def _told_end(progress: CloseProgress) -> str:
    """Say how what was asked for ended, and what the traders hold now, whatever it is by."""
    ended = "Canceled before it was done" if progress.canceled else "Done: closed" if progress.held else "Done: flat"
    stays = " but for what stays above" if progress.left else ""
    if not progress.held:
        return f"{ended}{stays}."
    of: dict[TraderId, list[str]] = {}
    for one in progress.held:
        side = "long" if one.quantity > 0 else "short"
        of.setdefault(one.trader_id, []).append(f"{plain(abs(one.quantity))} {one.symbol} {side}")
    held = [f"{trader_id} holds {', '.join(positions)}" for trader_id, positions in of.items()]
    more = f" and {len(held) - _NAMED} traders more hold something" if len(held) > _NAMED else ""
    why = "what was asked for is closed still" if progress.canceled else "which this did not ask to close"
    return f"{ended}{stays}. Not flat: {'; '.join(held[:_NAMED])}{more}, {why}."


def _say_asked(positions: Sequence[ClosingPosition], superseded: int) -> None:
    for one in positions:
        before = " (an operator has asked for it before)" if one.asked_before else ""
        side = "long" if one.quantity > 0 else "short"
        say(f"{one.trader_id}: asked to close {plain(abs(one.quantity))} {one.symbol} {side}{before}.")
    if superseded:
        say(f"{superseded} waiting intents of its own are replaced.")


def _say_flatten(asked: FlattenAsked) -> None:
    since = min((part.at for part in asked.parts), default=None)
    joined = f", under way since {since:%Y-%m-%d %H:%M:%S} UTC, joined" if asked.joined else ""
    say(f"Flatten of {asked.scope}{joined}; no entries of it until it is done.")
    _say_asked(asked.positions, asked.superseded)
    for trader_id in asked.stopped:
        say(f"{trader_id} is stopped.")
    for account_id in asked.halted:
        say(f"{account_id} is halted until `propdesk resume`.")


def _cancel(options: FlattenOptions, scope: FlattenScope) -> None:
    async def work(store: Store) -> FlattenCanceled:
        by = {"actor": actor(), "reason": options.reason}
        return await manager_of(store).cancel_flatten(options.owner, scope, **by, key=act_key(options.key))

    done = options.on_store(work)
    if options.as_json:
        accounts = [part.account_id for part in done.parts]
        print_json({"tenant": options.tenant, "canceled": accounts, "repeated_of": done.repeated_of})
    elif not said_before(done):
        say(f"Flatten of {scope} is ended; what it asked for is closed still, what it halted or stopped stays so.")
