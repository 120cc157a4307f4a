"""`propdesk status`, `operations` and `why`: what is, what was done, and for what reason."""

from dataclasses import dataclass
from typing import Annotated, Final

import typer

from exchanges.clock import SystemClock
from manager.cli.connect import with_desk, with_store
from manager.cli.guard import Refused
from manager.cli.options import DATA_DEFAULT, DataDirOption, JsonOption, TenantOption, taking
from manager.cli.render import instant, print_json, say, short, show_entries
from manager.cli.status_text import show_account
from manager.cli.story_text import show_story
from manager.state.records import DEFAULT_TENANT, AccountId, TenantId
from manager.state.store import Store
from manager.views.costs import ModelCost, read_model_costs, show_model_costs
from manager.views.operations import OperationKind, OperationQuery, read_operations
from manager.views.status import AccountStatus, read_status
from manager.views.story import read_story
from traders.spec import TraderId

_DETAIL_WIDTH: Final = 160

OrderArgument = Annotated[
    str,
    typer.Argument(
        metavar="ID", help="An order, by its own or the venue's id; a trade, intent or decision; a trader: its newest."
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationsOptions:
    """Hold what `propdesk operations` is given."""

    account: Annotated[str, typer.Option("--account", metavar="NAME", help="Only of this account.")] = ""
    trader: Annotated[str, typer.Option("--trader", metavar="ID", help="Only where this trader takes part.")] = ""
    kind: Annotated[
        list[OperationKind] | None,
        typer.Option("--kind", help="Only of this kind; several times for several. `decision` lists sound ones too."),
    ] = None
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="At most so many, the newest.")] = 50
    tenant: TenantOption = DEFAULT_TENANT
    data_dir: DataDirOption = DATA_DEFAULT
    as_json: JsonOption = False


def status(
    data_dir: DataDirOption = DATA_DEFAULT, tenant: TenantOption = DEFAULT_TENANT, as_json: JsonOption = False
) -> None:
    """Show equity, traders, positions, last decisions and what stands in the way."""

    now = SystemClock().now()

    async def read(store: Store, worker_alive: bool) -> tuple[tuple[AccountStatus, ...], tuple[ModelCost, ...]]:
        owner = TenantId(tenant)
        accounts = await read_status(store, owner, now, worker_alive=worker_alive)
        return accounts, await read_model_costs(store, owner, now)

    accounts, models = with_desk(data_dir, read)
    if as_json:
        print_json({"tenant": tenant, "accounts": accounts, "models_today": models})
        return
    if not accounts:
        say(f"Tenant {tenant} has no accounts; start the desk with `propdesk run`.")
    for account in accounts:
        show_account(account, now)
    show_model_costs(models)


@taking(OperationsOptions)
def operations(options: OperationsOptions) -> None:
    """List orders, refusals, conflicts, failed decisions, incidents and acts of operators, newest first.

    Under each stand its id and what is known of it; long details are cut, --json has them whole.
    """
    query = OperationQuery(
        account_id=AccountId(options.account),
        trader_id=TraderId(options.trader),
        kinds=tuple(options.kind) if options.kind else tuple(OperationKind),
        sound_decisions=OperationKind.DECISION in (options.kind or ()),
        limit=options.limit,
    )
    found = with_store(options.data_dir, lambda store: read_operations(store, TenantId(options.tenant), query))
    if options.as_json:
        print_json({"tenant": options.tenant, "operations": found})
        return
    show_entries(
        "Operations",
        ["at (UTC)", "kind", "traders", "symbol", "what", "outcome"],
        [
            [
                instant(one.at),
                one.kind,
                ", ".join(one.traders),
                one.symbol,
                one.what,
                one.outcome,
                f"{one.ref}  {short(one.detail, _DETAIL_WIDTH)}".rstrip(),
            ]
            for one in found
        ],
    )


def why(
    order: OrderArgument,
    data_dir: DataDirOption = DATA_DEFAULT,
    tenant: TenantOption = DEFAULT_TENANT,
    as_json: JsonOption = False,
) -> None:
    """Explain an order, trade, intent or decision: wishes, the model's words, the market it saw, checks, fills.

    Of a trader it explains the newest decision.
    """
    story = with_store(data_dir, lambda store: read_story(store, TenantId(tenant), order))
    if story is None:
        raise Refused(
            f"there is no order, trade, intent or decision {order!r} in tenant {tenant}, nor a trader that has"
            " decided; `propdesk operations` lists orders and refused intents, with `--kind decision` all decisions"
        )
    if as_json:
        print_json(story)
    else:
        show_story(story)
