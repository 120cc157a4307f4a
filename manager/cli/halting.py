"""`propdesk halt`, `reduce` and `resume`: how far accounts may trade. Closing is never blocked."""

from dataclasses import dataclass
from typing import Annotated

import typer

from manager.cli.connect import actor, manager_of, with_store
from manager.cli.options import DATA_DEFAULT, DataDirOption, JsonOption, TenantOption, taking
from manager.cli.render import print_json, say
from manager.state.records import DEFAULT_TENANT, AccountId, AccountRow, TenantId, TradingState
from manager.state.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class TradingOptions:
    """Hold which accounts to switch and why."""

    account: Annotated[str, typer.Option("--account", metavar="NAME", help="Only this account; all by default.")] = ""
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; kept with the event.")] = "by hand"
    tenant: TenantOption = DEFAULT_TENANT
    data_dir: DataDirOption = DATA_DEFAULT
    as_json: JsonOption = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Switched:
    before: TradingState
    row: AccountRow


@taking(TradingOptions)
def halt(options: TradingOptions) -> None:
    """Refuse entries and wider stops, and show the account as in error: something is wrong.

    Closes, stops and targets go on. It lasts until `propdesk resume`; the desk itself halts after a liquidation.
    """
    _switch(options, TradingState.HALTED)


@taking(TradingOptions)
def reduce(options: TradingOptions) -> None:
    """Refuse entries and wider stops, and show the account as paused: it is being wound down.

    Trading is limited as by `propdesk halt`, but nothing is reported as wrong. It lasts until `propdesk resume`.
    """
    _switch(options, TradingState.REDUCING)


@taking(TradingOptions)
def resume(options: TradingOptions) -> None:
    """Take entries again after `propdesk halt` or `reduce`; a paused trader needs `propdesk traders resume`."""
    _switch(options, TradingState.ACTIVE)


def _switch(options: TradingOptions, state: TradingState) -> None:
    async def work(store: Store) -> list[_Switched]:
        tenant = TenantId(options.tenant)
        manager = manager_of(store)
        async with store.transaction(tenant) as tx:
            before = {row.account_id: row.trading_state for row in await tx.find(AccountRow, {})}
        names = [options.account] if options.account else list(before)
        rows = [
            await manager.set_trading(tenant, AccountId(name), state, actor=actor(), reason=options.reason)
            for name in names
        ]
        return [_Switched(before=before[row.account_id], row=row) for row in rows]

    switched = with_store(options.data_dir, work)
    if options.as_json:
        print_json({"tenant": options.tenant, "accounts": [one.row for one in switched]})
        return
    for one in switched:
        say(_told(one))
    if not switched:
        say(f"Tenant {options.tenant} has no accounts.")


def _told(switched: _Switched) -> str:
    row, before = switched.row, switched.before
    if row.trading_state is before is TradingState.ACTIVE:
        return f"{row.account_id} is active already; nothing is changed."
    said = f"{row.account_id} is {row.trading_state}: {row.state_reason}"
    match before, row.trading_state:
        case TradingState.HALTED, TradingState.REDUCING:
            return f"{said} (was halted: entries stay refused, but it no longer counts as an error)"
        case TradingState.REDUCING, TradingState.HALTED:
            return f"{said} (was reducing: entries stay refused, and it now counts as an error)"
    return f"{said} (was {before})"
