"""`propdesk traders`: list, take on, move through life, let go."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Final

import typer

from exchanges.types import ZERO
from executor.models.addresses import shown_url
from executor.prompts.values import duration
from executor.registry import ExecutorSpec, ExecutorType
from manager.cli.connect import actor, manager_of, with_store
from manager.cli.options import (
    CONFIG_DEFAULT,
    DATA_DEFAULT,
    ConfigOption,
    DataDirOption,
    JsonOption,
    ReasonOption,
    TenantOption,
    read_config,
    taking,
)
from manager.cli.render import jsonable, print_json, say, show_table, usd
from manager.config import load_traders
from manager.config.load import placed
from manager.errors import Fault, RegistrationError
from manager.manager import Manager
from manager.roster.dismissal import Removal
from manager.state.records import DEFAULT_TENANT, BookRow, TenantId, TraderRow, TraderState
from manager.state.store import Store
from traders.spec import ManagedBy, TraderId, TraderSpec

app = typer.Typer(no_args_is_help=True, help="List traders and move them through their life.")

_ALL: Final = 1_000_000
TraderArgument = Annotated[str, typer.Argument(metavar="TRADER", help="The trader's id.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveOptions:
    """Hold which trader to move and why."""

    trader: TraderArgument
    reason: ReasonOption = ""
    data_dir: DataDirOption = DATA_DEFAULT
    tenant: TenantOption = DEFAULT_TENANT
    as_json: JsonOption = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveOptions:
    """Hold which trader to let go and why."""

    trader: TraderArgument
    force: Annotated[
        bool, typer.Option("--force", help="If it holds positions: stop it and close them; then remove it again.")
    ] = False
    reason: ReasonOption = ""
    data_dir: DataDirOption = DATA_DEFAULT
    tenant: TenantOption = DEFAULT_TENANT
    as_json: JsonOption = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AddOptions:
    """Hold which traders to take on and why."""

    file: Annotated[Path, typer.Argument(metavar="FILE", help="YAML: one trader, or a `traders:` list.")]
    config: ConfigOption = CONFIG_DEFAULT
    reason: ReasonOption = ""
    data_dir: DataDirOption = DATA_DEFAULT
    tenant: TenantOption = DEFAULT_TENANT
    as_json: JsonOption = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Listed:
    row: TraderRow
    allocated_usd: Decimal | None = None


@app.command("list")
def list_traders(
    data_dir: DataDirOption = DATA_DEFAULT, tenant: TenantOption = DEFAULT_TENANT, as_json: JsonOption = False
) -> None:
    """List the traders with their definitions."""

    async def read(store: Store) -> list[_Listed]:
        async with store.transaction(TenantId(tenant)) as tx:
            books = {book.trader_id: book.allocated for book in await tx.find(BookRow, {}, limit=_ALL)}
            rows = await tx.find(TraderRow, {}, limit=_ALL)
            return [_Listed(row=row, allocated_usd=books.get(row.trader_id, ZERO)) for row in rows]

    _show(tenant, sorted(with_store(data_dir, read), key=lambda one: one.row.seq), as_json=as_json)


@app.command("add")
@taking(AddOptions)
def add(options: AddOptions) -> None:
    """Take traders on from a file in the form of the config, all or none; they stay until removed, whatever it says."""
    tenant = TenantId(options.tenant)
    config = read_config(options.config)
    specs = load_traders(options.file, config, tenant)
    for spec in specs:
        _refuse_keys(options, spec)

    async def work(store: Store) -> list[TraderRow]:
        try:
            return await manager_of(store, config).register_all(tenant, specs, actor=actor(), reason=options.reason)
        except RegistrationError as error:
            if error.fault is None:
                raise
            raise placed(options.file, error.fault) from error

    rows = [_Listed(row=row) for row in with_store(options.data_dir, work)]
    _show(tenant, rows, as_json=options.as_json)


def _refuse_keys(options: AddOptions, spec: TraderSpec) -> None:
    if spec.executor.type is ExecutorType.REMOTE:
        mend = (
            f"trader {spec.id} has a remote executor, whose key only a config can name; "
            f"define the trader in {options.config} and start the desk again"
        )
        raise placed(options.file, Fault(trader_id=spec.id, loc=("executor", "type"), value="'remote'", mend=mend))
    if spec.executor.base_url:
        mend = (
            f"trader {spec.id} has a model of its own, whose key only a config can name; "
            f"define it under `models:` of {options.config}, start the desk again and name it here"
        )
        given = repr(spec.executor.model)
        raise placed(options.file, Fault(trader_id=spec.id, loc=("executor", "model"), value=given, mend=mend))


@app.command("start")
@taking(MoveOptions)
def start(options: MoveOptions) -> None:
    """Let a stopped trader run."""
    _move(options, Manager.start)


@app.command("pause")
@taking(MoveOptions)
def pause(options: MoveOptions) -> None:
    """Take no decisions for a while; its stops and books are looked after all the same."""
    _move(options, Manager.pause)


@app.command("resume")
@taking(MoveOptions)
def resume(options: MoveOptions) -> None:
    """Let a paused trader go on."""
    _move(options, Manager.resume)


@app.command("stop")
@taking(MoveOptions)
def stop(options: MoveOptions) -> None:
    """Stop a trader; its positions stay, protected, until their stop or target closes them."""
    _move(options, Manager.stop)


@app.command("remove")
@taking(RemoveOptions)
def remove(options: RemoveOptions) -> None:
    """Let a flat trader go; its books and history stay."""

    async def work(store: Store) -> tuple[Removal, bool]:
        tenant = TenantId(options.tenant)
        async with store.transaction(tenant) as tx:
            row = await tx.get(TraderRow, options.trader)
        outcome = await manager_of(store).unregister(
            tenant, TraderId(options.trader), actor=actor(), reason=options.reason, force=options.force
        )
        return outcome, row is not None and row.spec.managed_by is ManagedBy.CONFIG

    outcome, in_config = with_store(options.data_dir, work)
    if options.as_json:
        given = {"tenant": options.tenant, "trader": options.trader, "outcome": outcome}
        print_json({**given, "returns_with_config": in_config})
    elif outcome is Removal.REMOVED:
        back = " The config defines it: it comes back at the next start unless you take it out of that file."
        say(f"{options.trader} is removed.{back if in_config else ''}")
    else:
        say(f"{options.trader} is stopped and its positions are being closed; remove it again when it is flat.")


def _move(options: MoveOptions, act: Callable[..., Awaitable[TraderRow]]) -> None:
    async def work(store: Store) -> TraderRow:
        return await act(
            manager_of(store), TenantId(options.tenant), options.trader, actor=actor(), reason=options.reason
        )

    row = with_store(options.data_dir, work)
    if options.as_json:
        print_json(row)
    else:
        say(f"{row.trader_id} is {row.state}.")


def _show(tenant: str, rows: list[_Listed], *, as_json: bool) -> None:
    if as_json:
        traders = [{**jsonable(one.row), "allocated_usd": one.allocated_usd} for one in rows]
        print_json({"tenant": tenant, "traders": traders})
        return
    show_table(
        "Traders",
        ["trader", "name", "account", "state", "executor", "every>", "allocated USD>", "symbols", "from"],
        [_line(one) for one in rows],
    )


def _line(listed: _Listed) -> list[str]:
    row, spec = listed.row, listed.row.spec
    decides = _decides(spec.executor)
    return [
        spec.id,
        spec.name,
        spec.account,
        f"{row.state} ({row.state_reason})" if row.state_reason and row.state != TraderState.RUNNING else row.state,
        f"{spec.executor.type} {decides}".strip(),
        duration(spec.decision_interval_s),
        usd(listed.allocated_usd),
        ", ".join(spec.symbols),
        spec.managed_by,
    ]


def _decides(executor: ExecutorSpec) -> str:
    match executor.type:
        case ExecutorType.BASELINE:
            return executor.style
        case ExecutorType.REMOTE:
            return shown_url(executor.base_url)
    return executor.model
