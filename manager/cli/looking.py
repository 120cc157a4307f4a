"""`propdesk status`, `operations` and `why`: what is, what was done, and for what reason."""

from dataclasses import dataclass
from typing import Annotated, Final

import typer

from exchanges.clock import SystemClock
from manager.cli.connect import with_desk, with_store
from manager.cli.decision_text import outcome_text
from manager.cli.desk_status import AccountStatus, LastDecision, Light, PositionStatus, TraderStatus, read_status
from manager.cli.guard import Refused
from manager.cli.incident_text import state_of
from manager.cli.model_costs import ModelCost, cost_text, read_model_costs, show_model_costs
from manager.cli.operation_log import OperationKind, OperationQuery, read_operations
from manager.cli.options import DATA_DEFAULT, DataDirOption, JsonOption, TenantOption, taking
from manager.cli.order_story import read_story
from manager.cli.render import instant, percent, price, print_json, say, show_table, usd
from manager.cli.story_text import show_story
from manager.state.records import DEFAULT_TENANT, TenantId, TraderState, UtilizationReport
from manager.state.store import Store

COLOURS: Final = {Light.RUNNING: "green", Light.PAUSED: "yellow", Light.ERROR: "bold red", Light.STOPPED: "dim"}
_ACTIONS_SHOWN: Final = 3

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

    async def read(store: Store, worker_alive: bool) -> tuple[tuple[AccountStatus, ...], tuple[ModelCost, ...]]:
        owner, now = TenantId(tenant), SystemClock().now()
        accounts = await read_status(store, owner, now, worker_alive=worker_alive)
        return accounts, await read_model_costs(store, owner, now)

    accounts, models = with_desk(data_dir, read)
    if as_json:
        print_json({"tenant": tenant, "accounts": accounts, "models_today": models})
        return
    if not accounts:
        say(f"Tenant {tenant} has no accounts; start the desk with `propdesk run`.")
    for account in accounts:
        _show_account(account)
    show_model_costs(models)


@taking(OperationsOptions)
def operations(options: OperationsOptions) -> None:
    """List orders, refusals, conflicts, failed decisions, incidents and acts of operators, newest first."""
    query = OperationQuery(
        account_id=options.account,
        trader_id=options.trader,
        kinds=tuple(options.kind) if options.kind else tuple(OperationKind),
        sound_decisions=OperationKind.DECISION in (options.kind or ()),
        limit=options.limit,
    )
    found = with_store(options.data_dir, lambda store: read_operations(store, TenantId(options.tenant), query))
    if options.as_json:
        print_json({"tenant": options.tenant, "operations": found})
        return
    show_table(
        "Operations",
        ["at (UTC)", "kind", "traders", "symbol", "what", "outcome", "detail", "ref"],
        [
            [
                instant(one.at),
                one.kind,
                ", ".join(one.traders),
                one.symbol,
                one.what,
                one.outcome,
                one.detail,
                one.ref,
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


def _show_account(account: AccountStatus) -> None:
    say(f"{account.id} ({account.venue}): {account.light}", COLOURS[account.light])
    for reason in account.reasons:
        say(f"  {reason}")
    say(f"  equity {usd(account.equity)} USD, unallocated {usd(account.unallocated)}{_use_of(account.utilization)}")
    say(f"  sampled {instant(account.sampled_at)} UTC, trading {account.trading_state}")
    show_table(
        "Traders",
        [
            "trader",
            "state",
            "equity>",
            "PnL>",
            "positions>",
            "last decision",
            "outcome",
            "actions",
            "models USD>",
            "last refusal",
        ],
        [_trader_row(trader) for trader in account.traders],
    )
    show_table(
        "Positions",
        ["trader", "symbol", "quantity>", "entry>", "mark>", "unrealized>", "stop>", "target>", "lev>", "note"],
        [_position_row(position) for position in account.positions],
    )
    if account.incidents:
        show_table(
            "Incidents, open or of the last hour",
            ["at (UTC)", "state", "over (UTC)", "severity", "code", "trader", "symbol", "detail"],
            [
                [
                    instant(one.at),
                    state_of(one),
                    instant(one.resolved_at),
                    one.severity,
                    one.code,
                    one.trader_id,
                    one.symbol,
                    one.detail,
                ]
                for one in account.incidents
            ],
        )
    say("")


def _use_of(report: UtilizationReport | None) -> str:
    if report is None:
        return ", its use not sampled yet"
    over = f"; over their allocation: {', '.join(report.over_allocated)}" if report.over_allocated else ""
    return (
        f", reserve {usd(report.reserve)}, allocated {usd(report.allocated)}, margin in use"
        f" {usd(report.utilized)} ({percent(report.utilization_pct)}){over}"
    )


def _trader_row(trader: TraderStatus) -> list[str]:
    last = trader.last_decision
    refusal = trader.refusals[0] if trader.refusals else None
    return [
        trader.id,
        _trader_state(trader),
        usd(trader.equity),
        usd(trader.pnl_usd),
        str(trader.open_positions),
        instant(last.at if last else None),
        last.outcome if last else "-",
        _actions(last) if last else "-",
        cost_text(trader.models_today) if trader.models_today else "-",
        f"{refusal.code} {refusal.symbol}" if refusal else "-",
    ]


def _actions(last: LastDecision) -> str:
    shown = [*last.actions[:_ACTIONS_SHOWN]]
    if len(last.actions) > _ACTIONS_SHOWN:
        shown[-1] += f" and {len(last.actions) - _ACTIONS_SHOWN} more"
    return outcome_text(last.outcome, last.errors, shown, last.dropped)


def _trader_state(trader: TraderStatus) -> str:
    if trader.state == TraderState.RUNNING:
        return trader.state if trader.watched else f"{trader.state} (no worker runs)"
    return f"{trader.state} ({trader.reason})" if trader.reason else trader.state


def _position_row(position: PositionStatus) -> list[str]:
    naked = position.unprotected_since
    return [
        position.trader_id,
        position.symbol,
        price(position.quantity),
        price(position.entry_price),
        price(position.mark),
        usd(position.unrealized_pnl),
        price(position.stop_loss),
        price(position.take_profit),
        str(position.leverage),
        f"no stop since {instant(naked)}" if naked else "",
    ]
