"""`propdesk halt`, `reduce` and `resume`: how far accounts may trade. Closing is never blocked."""

from dataclasses import dataclass
from typing import Annotated

import typer

from manager.cli.connect import actor, manager_of, with_store
from manager.cli.options import DATA_DEFAULT, DataDirOption, JsonOption, TenantOption, taking
from manager.cli.render import print_json, say
from manager.state.records import DEFAULT_TENANT, AccountRow, TenantId, TradingState
from manager.state.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class TradingOptions:
    """Hold which accounts to switch and why."""

    account: Annotated[str, typer.Option("--account", metavar="NAME", help="Only this account; all by default.")] = ""
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; kept with the event.")] = "by hand"
    tenant: TenantOption = DEFAULT_TENANT
    data_dir: DataDirOption = DATA_DEFAULT
    as_json: JsonOption = False


@taking(TradingOptions)
def halt(options: TradingOptions) -> None:
    """Take no entries until `propdesk resume`; stops, targets and closes go on."""
    _switch(options, TradingState.HALTED)


@taking(TradingOptions)
def reduce(options: TradingOptions) -> None:
    """Only let positions get smaller until `propdesk resume`."""
    _switch(options, TradingState.REDUCING)


@taking(TradingOptions)
def resume(options: TradingOptions) -> None:
    """Take entries again."""
    _switch(options, TradingState.ACTIVE)


def _switch(options: TradingOptions, state: TradingState) -> None:
    async def work(store: Store) -> list[AccountRow]:
        tenant = TenantId(options.tenant)
        manager = manager_of(store)
        names = [options.account]
        if not options.account:
            async with store.transaction(tenant) as tx:
                names = [row.account_id for row in await tx.find(AccountRow, {})]
        return [await manager.set_trading(tenant, name, state, actor=actor(), reason=options.reason) for name in names]

    rows = with_store(options.data_dir, work)
    if options.as_json:
        print_json({"tenant": options.tenant, "accounts": rows})
        return
    for row in rows:
        say(f"{row.account_id} is {row.trading_state}: {row.state_reason}")
    if not rows:
        say(f"Tenant {options.tenant} has no accounts.")
