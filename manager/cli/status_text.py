"""Tell in text how an account, its traders and its positions are."""

from datetime import datetime
from typing import Final

from executor.contract import Action
from manager.cli.decision_text import outcome_text
from manager.cli.render import instant, percent, price, say, show_table, usd
from manager.state.records import TraderState, UtilizationReport
from manager.views.costs import cost_text
from manager.views.incidents import state_of
from manager.views.status import AccountStatus, LastDecision, Light, PositionStatus, TraderStatus

COLOURS: Final = {Light.RUNNING: "green", Light.PAUSED: "yellow", Light.ERROR: "bold red", Light.STOPPED: "dim"}
_ACTIONS_SHOWN: Final = 2
_IDLE: Final = (Action.HOLD, Action.WAIT)
_TRADER_COLUMNS: Final = (
    "trader",
    "state",
    "equity>",
    "PnL>",
    "positions>",
    "decided",
    "last decision",
    "next",
    "models USD>",
    "last refusal",
)
_POSITION_COLUMNS: Final = (
    "trader",
    "symbol",
    "quantity>",
    "entry>",
    "mark>",
    "unrealized>",
    "stop>",
    "target>",
    "lev>",
    "note",
)


def show_account(account: AccountStatus, now: datetime) -> None:
    """Print an account; times of today are without their date."""
    say(f"{account.id} ({account.venue}): {account.light}", COLOURS[account.light])
    for reason in account.reasons:
        say(f"  {reason}")
    say(f"  equity {usd(account.equity)} USD, unallocated {usd(account.unallocated)}{_use_of(account.utilization)}")
    say(f"  sampled {instant(account.sampled_at)} UTC, trading {account.trading_state}")
    show_table("Traders, times in UTC", _TRADER_COLUMNS, [_trader_row(trader, now) for trader in account.traders])
    show_table("Positions", _POSITION_COLUMNS, [_position_row(position) for position in account.positions])
    if account.incidents:
        say("Incidents, open or of the last hour, times in UTC", "bold")
    for one in account.incidents:
        about = (one.severity, one.code, one.trader_id, one.symbol)
        over = f" until {instant(one.resolved_at)}" if one.resolved_at else ""
        say(f"  {instant(one.at)}  {state_of(one)}{over}  {'  '.join(part for part in about if part)}")
        say(f"    {one.detail}")
    say("")


def _use_of(report: UtilizationReport | None) -> str:
    if report is None:
        return ", its use not sampled yet"
    over = f"; over their allocation: {', '.join(report.over_allocated)}" if report.over_allocated else ""
    return (
        f", reserve {usd(report.reserve)}, allocated {usd(report.allocated)}, margin in use"
        f" {usd(report.utilized)} ({percent(report.utilization_pct)}){over}"
    )


def _trader_row(trader: TraderStatus, now: datetime) -> list[str]:
    last = trader.last_decision
    refusal = trader.refusals[0] if trader.refusals else None
    return [
        trader.id,
        _trader_state(trader),
        usd(trader.equity),
        usd(trader.pnl_usd),
        str(trader.open_positions),
        _time(last.at if last else None, now),
        _decided(last) if last else "-",
        f"deciding since {_time(trader.deciding_since, now)}"
        if trader.deciding_since
        else _time(trader.next_decision_at, now),
        cost_text(trader.models_today) if trader.models_today else "-",
        f"{refusal.code} {refusal.symbol}" if refusal else "-",
    ]


def _decided(last: LastDecision) -> str:
    acts_first = sorted(last.actions, key=lambda action: action.startswith(_IDLE))
    shown = acts_first[:_ACTIONS_SHOWN]
    if len(last.actions) > _ACTIONS_SHOWN:
        shown[-1] += f" and {len(last.actions) - _ACTIONS_SHOWN} more"
    return outcome_text(last.outcome, last.errors, shown, last.dropped)


def _time(at: datetime | None, now: datetime) -> str:
    return f"{at:%H:%M:%S}" if at is not None and at.date() == now.date() else instant(at)


def _trader_state(trader: TraderStatus) -> str:
    if trader.state == TraderState.RUNNING:
        return trader.state if trader.watched else f"{trader.state} (no worker runs)"
    return f"{trader.state} ({trader.reason})" if trader.reason else trader.state


def _position_row(position: PositionStatus) -> list[str]:
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
