"""`propdesk status`: how accounts, their traders and positions are, and what models cost."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Final, NamedTuple

import typer

from exchanges.clock import SystemClock
from executor.contract import Action, Outcome
from manager.cli import connect
from manager.cli.guard import Refused
from manager.cli.layout import Styled
from manager.cli.options import taking
from manager.cli.render import fine_usd, instant, percent, price, print_json, say, short, show_table, span, usd
from manager.cli.watching import Watch
from manager.state.records import DEFAULT_TENANT, TenantId, TraderState, UtilizationReport
from manager.state.store import Store
from manager.views import status as view
from manager.views.adding_up import InCents
from manager.views.costs import CostQuery, ModelCost, read_model_costs
from manager.views.holdings import PositionStatus, Totals
from manager.views.lights import COLOURS, Colour

_STYLES: Final = {
    Colour.GREEN: "green",
    Colour.YELLOW: "yellow",
    Colour.CYAN: "cyan",
    Colour.MAGENTA: "bold magenta",
    Colour.RED: "bold red",
    Colour.GREY: "dim",
}
_WATCH_S: Final = 2.0
_ACTIONS_SHOWN: Final = 2
_LONGEST_REASON: Final = 48
_IDLE: Final = (Action.HOLD, Action.WAIT)
_ACCOUNT_COLUMNS: Final = (
    "account", "is", "equity>", "start>", "moved>", "PnL>", "PnL %>", "margin %>", "margin>?", "open>", "running>",
)  # fmt: skip
_TRADER_COLUMNS: Final = (
    "trader", "is", "equity>", "start>", "moved>", "PnL>", "PnL %>", "open>", "decided?", "last decision?", "next?",
    "models USD>?", "last verdict?", "because?",
)  # fmt: skip
_POSITION_COLUMNS: Final = (
    "trader", "symbol", "side", "quantity>", "entry>?", "mark>?", "notional>", "unrealized>", "stop>?", "stop away>",
    "take profit>?", "lev>?", "age>?", "note",
)  # fmt: skip
_COST_COLUMNS: Final = (
    "model", "calls>", "tokens in>", "cached>", "out>", "spent USD>", "unknown>", "reserved>", "of budget>",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusOptions(connect.DeskOptions):
    """Hold what `propdesk status` is given."""

    every: Annotated[
        float | None,
        typer.Argument(metavar="[SECONDS]", min=0.2, help="How often --watch looks; 2 by default."),
    ] = None
    watch: Annotated[
        bool, typer.Option("--watch", help="Look again and again until Ctrl-C: in place on a terminal, anew in a pipe.")
    ] = False
    all_tenants: Annotated[bool, typer.Option("--all-tenants", help="The desks of all tenants.")] = False

    def checked(self) -> "StatusOptions":
        """Return it; raise Refused for what contradicts itself."""
        if self.all_tenants and self.tenant != DEFAULT_TENANT:
            raise Refused(f"--tenant {self.tenant} is one of --all-tenants; leave one of them out")
        if self.every is not None and not self.watch:
            raise Refused(f"{self.every:g} seconds are of --watch; write `propdesk status --watch {self.every:g}`")
        return self


class DeskStatus(NamedTuple):
    """Hold what is known of one tenant's desk."""

    tenant: TenantId
    page: view.StatusPage
    models: tuple[ModelCost, ...]

    @property
    def printed(self) -> dict[str, object]:
        """Return what `--json` prints of it."""
        page = self.page
        known = {"tenant": self.tenant, "totals": page.totals, "accounts": page.accounts}
        return {**known, "incidents": page.incidents, "models_today": self.models}


class Seen(NamedTuple):
    """Hold what was seen at one instant."""

    at: datetime
    desks: tuple[DeskStatus, ...]

    @property
    def totals(self) -> Totals:
        """Return the sums of all desks."""
        return Totals.of(desk.page.totals for desk in self.desks)


@taking(StatusOptions)
def status(options: StatusOptions) -> None:
    """Show equity, traders, positions, last decisions and what stands in the way.

    Equity is start capital + capital moved in or out since + PnL. What a word such as halted, reducing, degraded or
    error means is in docs/concepts/incidents.md.
    """
    clock, show = SystemClock(), options.checked().as_json

    async def read(store: Store, worker_alive: bool) -> Seen:
        now = clock.now()
        await options.check_tenant(store)
        tenants = await _tenants(store) if options.all_tenants else (options.owner,)
        return Seen(now, tuple([await _desk(store, tenant, now, worker_alive) for tenant in tenants]))

    printing: Callable[[Seen], None] = _print_json(options) if show else StatusText.print
    if options.watch:
        every_s = options.every or _WATCH_S
        Watch(clock, every_s, read, printing).run(options.data_dir)
    else:
        printing(connect.with_desk(options.data_dir, read))


async def _tenants(store: Store) -> Sequence[TenantId]:
    async with store.service() as service:
        return sorted(await service.tenants())


async def _desk(store: Store, tenant: TenantId, now: datetime, worker_alive: bool) -> DeskStatus:
    page = await view.read_status(store, tenant, view.StatusQuery(now=now, worker_alive=worker_alive))
    return DeskStatus(tenant, page, (await read_model_costs(store, tenant, CostQuery(now=now))).costs)


def _print_json(options: StatusOptions) -> Callable[[Seen], None]:
    def show(seen: Seen) -> None:
        desks = [desk.printed for desk in seen.desks]
        print_json({"totals": seen.totals, "tenants": desks} if options.all_tenants else desks[0])

    return show


class StatusText:
    """Tell in text how desks are: all accounts in a table if there are several, then each account."""

    def __init__(self, seen: Seen) -> None:
        self._seen = seen

    @classmethod
    def print(cls, seen: Seen) -> None:
        """Print it."""
        cls(seen).show()

    def show(self) -> None:
        """Print it."""
        desks = self._seen.desks
        self._show_accounts()
        for desk in desks:
            if len(desks) > 1:
                say(f"Tenant {desk.tenant}", "bold")
            for one in desk.page.incidents:
                style = "bold red" if one.is_red else "yellow"
                say(f"{one.code} since {instant(one.at)} UTC: {one.detail}", style)
            if not desk.page.accounts:
                say(f"Tenant {desk.tenant} has no accounts; start the desk with `propdesk run`.")
            for account in desk.page.accounts:
                AccountText(account, self._seen.at).show()
            show_model_costs(desk.models)

    def _show_accounts(self) -> None:
        """Print a row for each account, for each desk and for all of them, where one row does not say it all."""
        several, rows = len(self._seen.desks) > 1, []
        for desk in self._seen.desks:
            named = f"{desk.tenant}/" if several else ""
            accounts = desk.page.accounts
            rows += [[f"{named}{one.id}", word(one.light), *_sums(one.totals)] for one in accounts]
            if len(accounts) > 1:
                rows.append([f"{named}all" if several else "all", "", *_sums(desk.page.totals)])
        if several:
            rows.append(["all tenants", "", *_sums(self._seen.totals)])
        if len(rows) > 1:
            show_table("Accounts, USD", _ACCOUNT_COLUMNS, rows)
            say("")


def _sums(one: Totals) -> list[str]:
    margin = (percent(one.margin_pct), usd(one.margin_usd))
    return [*adding_up(one), percent(one.pnl_pct), *margin, str(one.open_positions), f"{one.running}/{one.traders}"]


def adding_up(one: Totals | view.TraderStatus) -> tuple[str, str, str, str]:
    """Return equity, start, moved and PnL in cents, which add up."""
    told = InCents.of(one)
    return usd(told.equity), usd(told.start_usd), usd(told.moved_usd), usd(told.pnl_usd)


def word(told: str) -> Styled:
    """Return how an account or a trader is, in the colour of that word."""
    return Styled(told, _STYLES[COLOURS[told]])


class AccountText:
    """Tell in text how an account, its traders and its positions are; times of today are without their date."""

    def __init__(self, account: view.AccountStatus, now: datetime) -> None:
        self._account = account
        self._now = now

    def show(self) -> None:
        """Print it."""
        account = self._account
        say(f"{account.id} ({account.venue}): {account.light}", word(account.light).style)
        for reason in account.reasons:
            say(f"  {reason}")
        one = account.totals
        equity, start, moved, pnl = adding_up(one)
        say(f"  equity {equity} USD = start {start} + moved {moved} + PnL {pnl} ({percent(one.pnl_pct)})")
        say(
            f"  margin in use {usd(one.margin_usd)} ({percent(one.margin_pct)} of equity),"
            f" open positions {one.open_positions}, traders running {one.running} of {one.traders}"
        )
        marks = f"at the marks of {instant(account.sampled_at)} UTC"
        whose = f" ({account.limited_by[0]})" if account.limited_by else ""
        say(f"  unallocated {usd(account.unallocated)}; all {marks}, trading {account.trading_state}{whose}")
        say(f"  {self._use(account.utilization)}")
        show_table("Traders, times in UTC", _TRADER_COLUMNS, [self._trader(trader) for trader in account.traders])
        show_table("Positions", _POSITION_COLUMNS, [self._position(position) for position in account.positions])
        if account.incidents:
            say("Incidents, open or of the last hour, times in UTC", "bold")
        for incident in account.incidents:
            about = (incident.severity, incident.code, incident.trader_id, incident.symbol)
            over = f" until {instant(incident.resolved_at)}" if incident.resolved_at else ""
            say(f"  {instant(incident.at)}  {incident.state}{over}  {'  '.join(part for part in about if part)}")
            say(f"    {incident.detail}")
        say("")

    def _use(self, report: UtilizationReport | None) -> str:
        if report is None:
            return "its use is not sampled yet"
        over = f"; over their allocation: {', '.join(report.over_allocated)}" if report.over_allocated else ""
        lacking = f", books below zero lack {usd(report.deficit)}" if report.deficit else ""
        sums = f"reserve {usd(report.reserve)}, allocated {usd(report.allocated)}"
        return f"as last sampled or rebalanced: {sums}{lacking}{over}"

    def _trader(self, trader: view.TraderStatus) -> list[str]:
        last, deciding = trader.last_decision, trader.deciding_since
        verdict = trader.verdicts[0] if trader.verdicts else None
        coded = f"{trader.code}: " if trader.state == TraderState.ISOLATED and trader.code else ""
        why = f"{coded}{trader.reason}" if trader.state != TraderState.RUNNING else ""
        return [
            trader.id,
            word(trader.condition) if trader.watched else f"{trader.condition} (no worker runs)",
            *adding_up(trader),
            percent(trader.pnl_pct),
            str(trader.open_positions),
            self._time(last.at if last else None),
            decided_text(last) if last else "-",
            f"deciding since {self._time(deciding)}" if deciding else self._time(trader.next_decision_at),
            cost_text(trader.models_today) if trader.models_today else "",
            f"{verdict.code} {verdict.symbol}" if verdict else "",
            "; ".join(filter(None, (why, *(f"{one}: {one.why}" for one in trader.limited_by)))),
        ]

    def _time(self, at: datetime | None) -> str:
        return f"{at:%H:%M:%S}" if at is not None and at.date() == self._now.date() else instant(at)

    def _position(self, position: PositionStatus) -> list[str]:
        unprotected = position.unprotected_since
        return [
            position.trader_id,
            position.symbol,
            position.side,
            price(abs(position.quantity)),
            *map(price, (position.entry_price, position.mark)),
            *map(usd, (position.notional, position.unrealized_pnl)),
            price(position.stop_loss),
            percent(position.stop_distance_pct),
            price(position.take_profit),
            f"{position.leverage}x",
            span((self._now - position.opened_at).total_seconds()),
            Styled(f"no stop since {instant(unprotected)}", "bold red") if unprotected else "",
        ]


def decided_text(last: view.LastDecision) -> str:
    """Say in a few words how a decision ended: acts before what is held, or why nothing was decided."""
    if last.outcome != Outcome.DECIDED:
        return f"{last.outcome}: {short(next(iter(last.errors), 'no reason is known'), _LONGEST_REASON)}"
    shown = sorted(last.actions, key=lambda action: action.startswith(_IDLE))[:_ACTIONS_SHOWN]
    if len(last.actions) > _ACTIONS_SHOWN:
        shown[-1] += f" and {len(last.actions) - _ACTIONS_SHOWN} more"
    lost = f" ({last.invalid} invalid)" if last.invalid else ""
    by = f"by {last.operator}: " if last.operator else ""
    return by + (", ".join(shown) or "nothing to do") + lost


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
