"""Switches, life cycle and pace: who may open at all."""

from datetime import timedelta

from manager.desk.plan.values import AccountView, TraderView, plain
from manager.desk.risk.rule import Finding, refuse
from manager.desk.risk.standing import Wish
from manager.state.records import TraderState, TradingState

SAFE_MODE_FAILURES = 3
_HOUR = timedelta(hours=1)


def trading_disabled(wish: Wish) -> Finding | None:
    """Refuse while the service's switch is off."""
    if wish.view.rules.trading_enabled:
        return None
    return refuse("trading is disabled: manager.trading_enabled is false")


def halted(wish: Wish) -> Finding | None:
    """Refuse while the account or the trader is halted."""
    return _in_state(wish.view, wish.trader, TradingState.HALTED)


def reducing(wish: Wish) -> Finding | None:
    """Refuse while the account or the trader may only reduce."""
    return _in_state(wish.view, wish.trader, TradingState.REDUCING)


def _in_state(view: AccountView, trader: TraderView, state: TradingState) -> Finding | None:
    if view.trading_state is state:
        return refuse(f"account {view.account_id} is {state}", scope="account")
    if trader.trading_state is state:
        return refuse(f"trader {trader.spec.id} is {state}", scope="trader")
    return None


def trader_isolated(wish: Wish) -> Finding | None:
    """Refuse an isolated trader."""
    if wish.trader.state is not TraderState.ISOLATED:
        return None
    return refuse(f"trader {wish.trader_id} is isolated", state=wish.trader.state)


def trader_not_running(wish: Wish) -> Finding | None:
    """Refuse a trader that is stopped, paused or in error."""
    if wish.trader.state in (TraderState.RUNNING, TraderState.ISOLATED):
        return None
    return refuse(f"trader {wish.trader_id} is {wish.trader.state}, expected running", state=wish.trader.state)


def safe_mode(wish: Wish) -> Finding | None:
    """Refuse after three failed decisions in a row."""
    failed = wish.trader.failed_decisions
    if failed < SAFE_MODE_FAILURES:
        return None
    return refuse(f"the last {failed} decisions failed", failed_decisions=failed, limit=SAFE_MODE_FAILURES)


def max_drawdown(wish: Wish) -> Finding | None:
    """Refuse while the trader has fallen further from its peak than its limit."""
    drawdown, limit = wish.trader.drawdown_pct, wish.trader.spec.limits.max_drawdown_pct
    if drawdown <= limit:
        return None
    detail = f"drawdown of {plain(drawdown)} % is above the trader's limit of {plain(limit)} %"
    return refuse(detail, drawdown_pct=drawdown, limit_pct=limit)


def cooldown(wish: Wish) -> Finding | None:
    """Refuse for a while after a stop was hit."""
    stopped, wait_s = wish.trader.last_stop_at, wish.trader.spec.limits.cooldown_after_stop_s
    if stopped is None or wish.view.at >= stopped + timedelta(seconds=wait_s):
        return None
    return refuse("the trader was stopped out a moment ago", last_stop_at=stopped.isoformat(), cooldown_s=wait_s)


def entry_rate(wish: Wish) -> Finding | None:
    """Refuse more entries in an hour than the limit, those of this round included."""
    limit = wish.trader.spec.limits.max_entries_per_hour
    since = wish.view.at - _HOUR
    entries = sum(1 for at in wish.trader.recent_entries if at > since) + wish.standing.entries
    if entries < limit:
        return None
    return refuse("the trader has used its entries of this hour", entries=entries, limit=limit)
