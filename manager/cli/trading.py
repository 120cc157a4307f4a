"""`propdesk traders`, `halt`, `reduce` and `resume`: who trades, and how far accounts may. Closing is never blocked."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated

import typer

from exchanges.types import ZERO
from executor.prompts.values import duration
from executor.spec import ExecutorType
from manager.cli.connect import DeskOptions, actor, manager_of
from manager.cli.guard import Refused
from manager.cli.options import CONFIG_DEFAULT, ConfigOption, KeyOption, ReasonOption, act_key, read_config, taking
from manager.cli.render import price, print_json, say, show_table, usd
from manager.cli.repeats import said_before, told_now
from manager.cli.showing import show
from manager.config import load_traders
from manager.config.load import placed
from manager.errors import Fault, RegistrationError
from manager.manager import Manager
from manager.roster.acts import TraderMoved
from manager.roster.dismissal import Removal
from manager.roster.switching import TradingSet
from manager.state import records
from manager.state.kinds import SwitchScope
from manager.state.records import DEFAULT_TENANT, AccountRow, TenantId, TraderRow, TradingState
from manager.state.store import Search, Store
from manager.state.switches import Switched, TradingScope, limiting, of_account, of_trader
from manager.views.pages import jsonable
from manager.views.trader import executor_text
from traders.spec import ManagedBy, TraderId, TraderSpec

app = typer.Typer(no_args_is_help=True, help="List traders and move them through their life.")

_MOST_DIGITS = 15
_MOST_TOLD = 5
_COLUMNS = ("trader", "name", "account", "state", "executor", "every>", "allocated USD>", "symbols", "from")


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveOptions(DeskOptions):
    """Hold which trader to move and why."""

    trader: Annotated[str, typer.Argument(metavar="TRADER", help="The trader's id.")]
    reason: ReasonOption = ""

    def move(self, act: Callable[..., Awaitable[TraderMoved]]) -> None:
        """Let the manager act on the trader, and say what became of it."""

        async def work(store: Store) -> tuple[TraderMoved, str]:
            row = await act(manager_of(store), self.owner, self.trader, actor=actor(), reason=self.reason)
            return row, await self.kept(store)

        row, kept = self.on_store(work)
        if self.as_json:
            print_json(row)
            return
        say(f"{row.trader_id} is {row.state}.")
        if row.state is not records.TraderState.RUNNING:
            self.tell(row.state, kept)

    async def kept(self, store: Store) -> str:
        """Return what the trader holds, each with the prices that close it."""
        async with store.transaction(self.owner) as tx:
            rows = await tx.find(records.PositionRow, {"trader_id": TraderId(self.trader)})
        held = []
        for row in sorted(rows, key=lambda row: row.symbol):
            side = "long" if row.quantity > ZERO else "short"
            prices = (("stop", row.stop_loss), ("take-profit", row.take_profit))
            closed = ", ".join(f"{name} {price(at)}" for name, at in prices if at) or "no stop"
            held.append(f"{price(abs(row.quantity).normalize())} {row.symbol} {side} ({closed})")
        return ", ".join(held)

    def tell(self, state: records.TraderState, kept: str) -> None:
        """Say what becomes of the money and the positions of a trader that does not run."""
        if state is not records.TraderState.PAUSED:
            say("Its free capital is withdrawn.")
        if kept:
            of = "" if self.tenant == DEFAULT_TENANT else f" --tenant {self.tenant}"
            say(f"It still holds {kept}. Stops and take-profits stay; to close now: `propdesk close {self.trader}{of}`")


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveOptions(MoveOptions):
    """Hold which trader to let go and why."""

    force: Annotated[
        bool, typer.Option("--force", help="If it holds positions: stop it and close them; then remove it again.")
    ] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class IsolateOptions(MoveOptions):
    """Hold which trader to isolate and why."""

    reason: ReasonOption
    key: KeyOption = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FundOptions(DeskOptions):
    """Hold which bankrupt trader to fund, with how much and why."""

    trader: Annotated[str, typer.Argument(metavar="TRADER", help="The trader's id.")]
    amount: Annotated[str, typer.Argument(metavar="AMOUNT", help="USD, out of what its account has free.")]
    reason: ReasonOption
    key: KeyOption = ""

    @property
    def usd(self) -> Decimal:
        """Return the amount; raise Refused for what is none."""
        try:
            amount = Decimal(self.amount)
        except InvalidOperation:
            amount = ZERO
        if not amount.is_finite() or amount <= ZERO or amount.adjusted() > _MOST_DIGITS:
            raise Refused(f"AMOUNT {self.amount!r} is not an amount; give USD above 0, such as 1500.50")
        return amount


@dataclass(frozen=True, slots=True, kw_only=True)
class AddOptions(DeskOptions):
    """Hold which traders to take on and why."""

    file: Annotated[Path, typer.Argument(metavar="FILE", help="YAML: one trader, or a `traders:` list.")]
    config: ConfigOption = CONFIG_DEFAULT
    reason: ReasonOption = ""

    def refuse_keys(self, spec: TraderSpec) -> None:
        """Raise ConfigError for a trader that needs a key, which this file cannot name."""
        if spec.executor.type is ExecutorType.REMOTE:
            field, given = "type", "remote"
            mend = (
                f"trader {spec.id} has a remote executor, whose key only a config can name; "
                f"define the trader in {self.config} and start the desk again"
            )
        elif spec.executor.base_url:
            field, given = "model", spec.executor.model
            mend = (
                f"trader {spec.id} has a model of its own, whose key only a config can name; "
                f"define it under `models:` of {self.config}, start the desk again and name it here"
            )
        else:
            return
        raise placed(self.file, Fault(trader_id=spec.id, loc=("executor", field), value=repr(given), mend=mend))


@dataclass(frozen=True, slots=True, kw_only=True)
class TradingOptions(DeskOptions):
    """Hold what to switch and why."""

    tenant: Annotated[
        str,
        typer.Option(
            "--tenant",
            metavar="ID",
            help="Alone: this tenant as a whole, with what is added to it later. Else the tenant of the trader or "
            "account; `default` if it is not given.",
        ),
    ] = ""
    account: Annotated[
        str, typer.Option("--account", metavar="NAME", help="Only this account; without a scope each of the tenant.")
    ] = ""
    trader: Annotated[str, typer.Option("--trader", metavar="ID", help="Only this trader.")] = ""
    service: Annotated[bool, typer.Option("--service", help="All tenants of this installation.")] = False
    reason: ReasonOption = "by hand"

    @property
    def owner(self) -> TenantId:
        """Return the tenant whose desk it is."""
        return TenantId(self.tenant or DEFAULT_TENANT)

    @property
    def scope(self) -> TradingScope | None:
        """Return what is to be switched, None for each account of the tenant; raise Refused for more than one."""
        kinds = {SwitchScope.TRADER: self.trader, SwitchScope.ACCOUNT: self.account}
        named = [TradingScope(kind=kind, name=name) for kind, name in kinds.items() if name]
        named += [TradingScope(kind=SwitchScope.SERVICE)] if self.service else []
        if len(named) > 1 or (self.service and self.tenant):
            raise Refused(
                "name what is to be switched, and only one: --trader ID, --account NAME, --tenant ID, --service"
            )
        return named[0] if named else TradingScope(kind=SwitchScope.TENANT) if self.tenant else None

    def switch(self, state: TradingState) -> None:
        """Switch what is named, and say how far it may trade now and before, and what still stops its entries."""
        scope = self.scope

        async def work(store: Store) -> _Switching:
            manager, by = manager_of(store), {"actor": actor(), "reason": self.reason}
            scopes = [scope] if scope is not None else await _each_account(store, self.owner)
            done = [await manager.set_trading(self.owner, one, state, **by) for one in scopes]
            return await _Switching.read(store, self.owner, scope, done)

        found = self.on_store(work)
        if self.as_json:
            done = [{**jsonable(one.now), "before": one.before} for one in found.done]
            given = {"tenant": self.owner, "accounts": found.accounts, "switched": done}
            print_json({**given, "limited_by": found.limited_by})
            return
        for one in found.done:
            say(_told(one))
        if not found.done:
            say(f"Tenant {self.owner} has no accounts.")
        if state is TradingState.ACTIVE:
            found.tell_rest()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Switching:
    """Hold what was switched, its accounts, and what of the scopes around and within it stops entries."""

    tenant: TenantId
    done: Sequence[TradingSet]
    accounts: Sequence[AccountRow]
    limited_by: Sequence[Switched]

    @classmethod
    async def read(
        cls, store: Store, tenant: TenantId, scope: TradingScope | None, done: Sequence[TradingSet]
    ) -> "_Switching":
        """Return how the tenant stands after it."""
        async with store.transaction(tenant) as tx:
            accounts, traders = await tx.search(Search(kind=AccountRow), Search(kind=TraderRow))
            wide = (await tx.switches()).over(tenant)
        if scope is not None and scope.kind is SwitchScope.TRADER:
            traders = [row for row in traders if row.trader_id == scope.name]
            accounts = [row for row in accounts if row.account_id in {one.account_id for one in traders}]
        elif scope is not None and scope.kind is SwitchScope.ACCOUNT:
            accounts = [row for row in accounts if row.account_id == scope.name]
            traders = [row for row in traders if row.account_id == scope.name]
        inner = (*map(of_account, accounts), *map(of_trader, traders))
        named = {one.now.name for one in done if one.now.scope is SwitchScope.ACCOUNT}
        shown = [row for row in accounts if row.account_id in named]
        return cls(tenant=tenant, done=done, accounts=shown, limited_by=limiting((*wide, *inner)))

    def tell_rest(self) -> None:
        """Say what still stops entries, and what frees each."""
        for one in self.limited_by[:_MOST_TOLD]:
            scope = f"--{one.scope}{f' {one.name}' if one.name else ''}"
            inner = one.scope in (SwitchScope.ACCOUNT, SwitchScope.TRADER)
            scope += f" --tenant {self.tenant}" if inner and self.tenant != DEFAULT_TENANT else ""
            say(f"Entries stay off: {one} ({one.why}); `propdesk resume {scope}` frees that.")
        if len(self.limited_by) > _MOST_TOLD:
            say(f"So are {len(self.limited_by) - _MOST_TOLD} more; --json names them.")


async def _each_account(store: Store, tenant: TenantId) -> list[TradingScope]:
    async with store.transaction(tenant) as tx:
        rows = await tx.find(AccountRow, {}, limit=None)
    return [TradingScope(kind=SwitchScope.ACCOUNT, name=row.account_id) for row in rows]


def _told(one: TradingSet) -> str:
    """Say how far a scope may trade now and before; an account goes by its name alone."""
    now, before = one.now, one.before
    what = f"{now.name} is {now.state}" if now.scope is SwitchScope.ACCOUNT else str(now)
    if not one.is_changed:
        why = f" ({now.reason})" if now.reason and before is not TradingState.ACTIVE else ""
        return f"{what} already{why}; nothing is changed."
    said = f"{what}: {now.reason}"
    match before, now.state:
        case TradingState.HALTED, TradingState.REDUCING:
            return f"{said} (was halted; entries stay off)"
        case TradingState.REDUCING, TradingState.HALTED if now.scope is not SwitchScope.TRADER:
            return f"{said} (was reducing; entries stay off, and capital no longer moves)"
    return f"{said} (was {before})"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Listed:
    row: TraderRow
    allocated_usd: Decimal | None = None

    @property
    def cells(self) -> list[str]:
        row, spec = self.row, self.row.spec
        why = row.state_reason if row.state is not records.TraderState.RUNNING else ""
        coded = f"{row.state_code}: " if row.state is records.TraderState.ISOLATED else ""
        return [
            spec.id,
            spec.name,
            spec.account,
            f"{row.state} ({coded}{why})" if coded or why else row.state,
            executor_text(spec.executor),
            duration(spec.decision_interval_s),
            usd(self.allocated_usd),
            ", ".join(spec.symbols),
            spec.managed_by,
        ]


@app.command("list")
@taking(DeskOptions)
def list_traders(options: DeskOptions) -> None:
    """List the traders with their definitions."""

    async def read(store: Store) -> list[_Listed]:
        async with store.transaction(options.owner) as tx:
            rows, books = await tx.search(Search(kind=TraderRow), Search(kind=records.BookRow))
        allocated = {book.trader_id: book.allocated for book in books}
        return [_Listed(row=row, allocated_usd=allocated.get(row.trader_id, ZERO)) for row in rows]

    _show(options, sorted(options.on_store(read), key=lambda one: one.row.seq))


app.command("show")(show)


@app.command("add")
@taking(AddOptions)
def add(options: AddOptions) -> None:
    """Take traders on from a file in the form of the config, all or none; they stay until removed, whatever it says."""
    config = read_config(options.config)
    specs = load_traders(options.file, config, options.owner)
    for spec in specs:
        options.refuse_keys(spec)

    async def work(store: Store) -> list[TraderRow]:
        try:
            manager = manager_of(store, config)
            return await manager.register_all(options.owner, specs, actor=actor(), reason=options.reason)
        except RegistrationError as error:
            if error.fault is None:
                raise
            raise placed(options.file, error.fault) from error

    _show(options, [_Listed(row=row) for row in options.on_store(work)])


@app.command("start")
@taking(MoveOptions)
def start(options: MoveOptions) -> None:
    """Let a stopped trader run."""
    options.move(Manager.start)


@app.command("pause")
@taking(MoveOptions)
def pause(options: MoveOptions) -> None:
    """Take no decisions for a while; its stops and books are looked after all the same."""
    options.move(Manager.pause)


@app.command("resume")
@taking(MoveOptions)
def resume_trader(options: MoveOptions) -> None:
    """Let a paused trader go on."""
    options.move(Manager.resume)


@app.command("stop")
@taking(MoveOptions)
def stop(options: MoveOptions) -> None:
    """Stop a trader and withdraw its free capital; its positions stay until a stop, a take-profit or you close them."""
    options.move(Manager.stop)


@app.command("isolate")
@taking(IsolateOptions)
def isolate(options: IsolateOptions) -> None:
    """Take no entries of a trader and withdraw what is free of it; it may still close, reduce and move stops."""

    async def work(store: Store) -> tuple[TraderMoved, TraderRow | None, str]:
        manager, trader_id = manager_of(store), TraderId(options.trader)
        by = {"actor": actor(), "reason": options.reason}
        moved = await manager.isolate(options.owner, trader_id, **by, key=act_key(options.key))
        kept = await options.kept(store)
        async with store.transaction(options.owner) as tx:
            return moved, await tx.get(TraderRow, trader_id), kept

    row, now, kept = options.on_store(work)
    if options.as_json:
        print_json(row)
    elif said_before(row):
        say(told_now(row, now))
        if now is not None and now.state is not records.TraderState.RUNNING:
            options.tell(now.state, kept)
    else:
        say(f"{row.trader_id} is {row.state}: its entries are blocked.")
        options.tell(row.state, kept)


@app.command("fund")
@taking(FundOptions)
def fund(options: FundOptions) -> None:
    """Give a bankrupt trader new capital, once it is flat; it is stopped then, and its curve begins anew."""

    async def work(store: Store) -> tuple[TraderMoved, TraderRow | None]:
        manager, trader_id = manager_of(store), TraderId(options.trader)
        by = {"actor": actor(), "reason": options.reason}
        moved = await manager.fund(options.owner, trader_id, options.usd, **by, key=act_key(options.key))
        async with store.transaction(options.owner) as tx:
            return moved, await tx.get(TraderRow, trader_id)

    row, now = options.on_store(work)
    if options.as_json:
        print_json(row)
    elif said_before(row):
        say(told_now(row, now))
    else:
        say(
            f"{row.trader_id} is {row.state}: {row.state_reason}. `propdesk traders start {row.trader_id}` lets it run."
        )


@app.command("remove")
@taking(RemoveOptions)
def remove(options: RemoveOptions) -> None:
    """Let a flat trader go; its books and history stay."""
    trader_id = TraderId(options.trader)

    async def work(store: Store) -> tuple[Removal, bool]:
        async with store.transaction(options.owner) as tx:
            row = await tx.get(TraderRow, trader_id)
        outcome = await manager_of(store).unregister(
            options.owner, trader_id, actor=actor(), reason=options.reason, force=options.force
        )
        return outcome, row is not None and row.spec.managed_by is ManagedBy.CONFIG

    outcome, in_config = options.on_store(work)
    if options.as_json:
        given = {"tenant": options.tenant, "trader": trader_id, "outcome": outcome}
        print_json({**given, "returns_with_config": in_config})
    elif outcome is Removal.REMOVED:
        back = " The config defines it: it comes back at the next start unless you take it out of that file."
        say(f"{trader_id} is removed.{back if in_config else ''}")
    else:
        say(f"{trader_id} is stopped and its positions are being closed; remove it again when it is flat.")


@taking(TradingOptions)
def halt(options: TradingOptions) -> None:
    """Refuse entries and wider stops, and move no capital: something is wrong.

    Closes, stops and take profits go on. It lasts until `propdesk resume`; the desk itself halts after a liquidation.
    """
    options.switch(TradingState.HALTED)


@taking(TradingOptions)
def reduce(options: TradingOptions) -> None:
    """Refuse entries and wider stops: the account is being wound down.

    Trading is limited as by `propdesk halt`, but nothing is reported as wrong. It lasts until `propdesk resume`.
    """
    options.switch(TradingState.REDUCING)


@taking(TradingOptions)
def resume(options: TradingOptions) -> None:
    """Take entries again after `propdesk halt` or `reduce`; a paused trader needs `propdesk traders resume`."""
    options.switch(TradingState.ACTIVE)


def _show(options: DeskOptions, rows: Sequence[_Listed]) -> None:
    if options.as_json:
        traders = [{**jsonable(one.row), "allocated_usd": one.allocated_usd} for one in rows]
        print_json({"tenant": options.tenant, "traders": traders})
    else:
        show_table("Traders", _COLUMNS, [one.cells for one in rows])
