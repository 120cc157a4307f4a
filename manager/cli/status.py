"""`propdesk status`: how accounts, their traders and positions are, and what models cost."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from exchanges.clock import SystemClock
from executor.contract import Action, Outcome
from manager.cli import connect
from manager.cli.options import taking
from manager.cli.render import fine_usd, instant, percent, price, print_json, say, short, show_table, usd
from manager.state.records import TraderState, UtilizationReport
from manager.state.store import Store
from manager.views import status as view
from manager.views.costs import CostQuery, ModelCost, read_model_costs

_COLOURS: Final = {"running": "green", "paused": "yellow", "error": "bold red", "stopped": "dim"}
_ACTIONS_SHOWN: Final = 2
_LONGEST_REASON: Final = 48
_IDLE: Final = (Action.HOLD, Action.WAIT)
_TRADER_COLUMNS: Final = (
    "trader", "state", "equity>", "PnL>", "positions>", "decided", "last decision", "next", "models USD>",
    "last verdict",
)  # fmt: skip
_POSITION_COLUMNS: Final = (
    "trader", "symbol", "quantity>", "entry>", "mark>", "unrealized>", "stop>", "take profit>", "lev>", "note",
)  # fmt: skip
_COST_COLUMNS: Final = (
    "model", "calls>", "tokens in>", "cached>", "out>", "spent USD>", "unknown>", "reserved>", "of budget>",
)  # fmt: skip


@taking(connect.DeskOptions)
def status(options: connect.DeskOptions) -> None:
    """Show equity, traders, positions, last decisions and what stands in the way."""
    now, tenant = SystemClock().now(), options.owner

    async def read(store: Store, worker_alive: bool) -> tuple[view.StatusPage, tuple[ModelCost, ...]]:
        found = await view.read_status(store, tenant, view.StatusQuery(now=now, worker_alive=worker_alive))
        return found, (await read_model_costs(store, tenant, CostQuery(now=now))).costs

    page, models = connect.with_desk(options.data_dir, read)
    accounts = page.accounts
    if options.as_json:
        print_json({"tenant": tenant, "accounts": accounts, "incidents": page.incidents, "models_today": models})
        return
    for one in page.incidents:
        say(f"{one.code} since {instant(one.at)} UTC: {one.detail}", _COLOURS["error"])
    if not accounts:
        say(f"Tenant {tenant} has no accounts; start the desk with `propdesk run`.")
    for account in accounts:
        AccountText(account, now).show()
    show_model_costs(models)


class AccountText:
    """Tell in text how an account, its traders and its positions are; times of today are without their date."""

    def __init__(self, account: view.AccountStatus, now: datetime) -> None:
        self._account = account
        self._now = now

    def show(self) -> None:
        """Print it."""
        account = self._account
        say(f"{account.id} ({account.venue}): {account.light}", _COLOURS[account.light])
        for reason in account.reasons:
            say(f"  {reason}")
        use = self._use(account.utilization)
        say(f"  equity {usd(account.equity)} USD, unallocated {usd(account.unallocated)}{use}")
        say(f"  sampled {instant(account.sampled_at)} UTC, trading {account.trading_state}")
        show_table("Traders, times in UTC", _TRADER_COLUMNS, [self._trader(trader) for trader in account.traders])
        show_table("Positions", _POSITION_COLUMNS, [self._position(position) for position in account.positions])
        if account.incidents:
            say("Incidents, open or of the last hour, times in UTC", "bold")
        for one in account.incidents:
            about = (one.severity, one.code, one.trader_id, one.symbol)
            over = f" until {instant(one.resolved_at)}" if one.resolved_at else ""
            say(f"  {instant(one.at)}  {one.state}{over}  {'  '.join(part for part in about if part)}")
            say(f"    {one.detail}")
        say("")

    def _use(self, report: UtilizationReport | None) -> str:
        if report is None:
            return ", its use not sampled yet"
        over = f"; over their allocation: {', '.join(report.over_allocated)}" if report.over_allocated else ""
        return (
            f", reserve {usd(report.reserve)}, allocated {usd(report.allocated)}, margin in use"
            f" {usd(report.utilized)} ({percent(report.utilization_pct)}){over}"
        )

    def _trader(self, trader: view.TraderStatus) -> list[str]:
        last, deciding = trader.last_decision, trader.deciding_since
        verdict = trader.verdicts[0] if trader.verdicts else None
        return [
            trader.id,
            self._state(trader),
            usd(trader.equity),
            usd(trader.pnl_usd),
            str(trader.open_positions),
            self._time(last.at if last else None),
            decided_text(last) if last else "-",
            f"deciding since {self._time(deciding)}" if deciding else self._time(trader.next_decision_at),
            cost_text(trader.models_today) if trader.models_today else "-",
            f"{verdict.code} {verdict.symbol}" if verdict else "-",
        ]

    def _state(self, trader: view.TraderStatus) -> str:
        if trader.state == TraderState.RUNNING:
            return trader.state if trader.watched else f"{trader.state} (no worker runs)"
        return f"{trader.state} ({trader.reason})" if trader.reason else trader.state

    def _time(self, at: datetime | None) -> str:
        return f"{at:%H:%M:%S}" if at is not None and at.date() == self._now.date() else instant(at)

    def _position(self, position: view.PositionStatus) -> list[str]:
        unprotected = position.unprotected_since
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
            f"no stop since {instant(unprotected)}" if unprotected else "",
        ]


def decided_text(last: view.LastDecision) -> str:
    """Say in a few words how a decision ended: acts before what is held, or why nothing was decided."""
    if last.outcome != Outcome.DECIDED:
        return f"{last.outcome}: {short(next(iter(last.errors), 'no reason is known'), _LONGEST_REASON)}"
    shown = sorted(last.actions, key=lambda action: action.startswith(_IDLE))[:_ACTIONS_SHOWN]
    if len(last.actions) > _ACTIONS_SHOWN:
        shown[-1] += f" and {len(last.actions) - _ACTIONS_SHOWN} more"
    lost = f" ({last.invalid} invalid)" if last.invalid else ""
    return (", ".join(shown) or "nothing to do") + lost


def cost_text(cost: ModelCost) -> str:
    """Return what was spent of what is allowed, and beside it what is held for calls under way or of unknown cost."""
    held = {"reserved": cost.reserved_usd, "unknown": cost.unknown_usd}
    beside = "".join(f" + {fine_usd(amount)} {name}" for name, amount in held.items() if amount)
    allowed = "" if cost.budget_usd is None else f" of {fine_usd(cost.budget_usd)}"
    return f"{fine_usd(cost.spent_usd)}{beside}{allowed}"


def show_model_costs(costs: Sequence[ModelCost]) -> None:
    """Print a table of what models cost; nothing where none was asked and none has a budget."""
    rows = [
        [
            one.name or "all",
            *map(str, (one.calls, one.input_tokens, one.cached_tokens, one.output_tokens)),
            *map(fine_usd, (one.spent_usd, one.unknown_usd, one.reserved_usd, one.budget_usd)),
        ]
        for one in costs
    ]
    if rows:
        show_table("Models today (UTC)", _COST_COLUMNS, rows)
