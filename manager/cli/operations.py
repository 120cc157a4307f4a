"""`propdesk operations`: what the desk did, newest first."""

from dataclasses import dataclass
from typing import Annotated

import typer

from manager.cli.connect import DeskOptions
from manager.cli.options import taking
from manager.cli.render import instant, print_json, show_table
from manager.state.records import AccountId
from manager.views.operations import OperationKind, OperationQuery, read_operations
from traders.spec import TraderId


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationsOptions(DeskOptions):
    """Hold what `propdesk operations` is given."""

    account: Annotated[str, typer.Option("--account", metavar="NAME", help="Only of this account.")] = ""
    trader: Annotated[str, typer.Option("--trader", metavar="ID", help="Only where this trader takes part.")] = ""
    kind: Annotated[
        list[OperationKind] | None,
        typer.Option("--kind", help="Only of this kind; several times for several. `decision` lists sound ones too."),
    ] = None
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="At most so many, the newest.")] = 50


@taking(OperationsOptions)
def operations(options: OperationsOptions) -> None:
    """List orders, denials, conflicts, failed decisions, incidents and acts of operators, newest first.

    Under each stands what is known of it.
    """
    query = OperationQuery(
        account_id=AccountId(options.account),
        trader_id=TraderId(options.trader),
        kinds=tuple(options.kind) if options.kind else tuple(OperationKind),
        sound_decisions=OperationKind.DECISION in (options.kind or ()),
        limit=options.limit,
    )
    found = options.on_store(lambda store: read_operations(store, options.owner, query)).operations
    if options.as_json:
        print_json({"tenant": options.tenant, "operations": found})
        return
    rows = [
        [
            *(instant(one.at), one.kind, ", ".join(one.traders), one.symbol, one.what, one.outcome),
            *(one.ref, one.detail),
        ]
        for one in found
    ]
    show_table("Operations", ["at (UTC)", "kind", "traders", "symbol", "what", "outcome", "id?", ""], rows)
