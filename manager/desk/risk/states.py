"""Switches, life cycle and pace: who may open at all."""

from datetime import timedelta

from manager.desk.plan.outcomes import plain
from manager.desk.plan.values import AccountView, TraderView
from manager.desk.risk.rule import Finding, deny
from manager.desk.risk.standing import OpenCase
from manager.state.kinds import TradingState
from manager.state.records import TraderState

SAFE_MODE_FAILURES = 3
_HOUR = timedelta(hours=1)


def trading_disabled(case: OpenCase) -> Finding | None:
    """Deny while the service's switch is off."""
    if case.view.rules.trading_enabled:
        return None
    return deny("trading is disabled: manager.trading_enabled is false")


def halted(case: OpenCase) -> Finding | None:
    """Deny while the account or the trader is halted."""
    return _in_state(case.view, case.trader, TradingState.HALTED)


def reducing(case: OpenCase) -> Finding | None:
    """Deny while the account or the trader may only reduce."""
    return _in_state(case.view, case.trader, TradingState.REDUCING)


def _in_state(view: AccountView, trader: TraderView, state: TradingState) -> Finding | None:
    if view.trading_state is state:
        return deny(f"account {view.account_id} is {state}", scope="account")
    if trader.trading_state is state:
        return deny(f"trader {trader.spec.id} is {state}", scope="trader")
    return None


def trader_isolated(case: OpenCase) -> Finding | None:
    """Deny an isolated trader."""
    if case.trader.state is not TraderState.ISOLATED:
        return None
    return deny(f"trader {case.trader_id} is isolated", state=case.trader.state)


def trader_not_running(case: OpenCase) -> Finding | None:
    """Deny a trader that is stopped, paused or in error."""
    if case.trader.state in (TraderState.RUNNING, TraderState.ISOLATED):
        return None
    return deny(f"trader {case.trader_id} is {case.trader.state}, expected running", state=case.trader.state)


def safe_mode(case: OpenCase) -> Finding | None:
    """Deny after three failed decisions in a row."""
    failed = case.trader.failed_decisions
    if failed < SAFE_MODE_FAILURES:
        return None
    return deny(f"the last {failed} decisions failed", failed_decisions=failed, limit=SAFE_MODE_FAILURES)


def max_drawdown(case: OpenCase) -> Finding | None:
    """Deny while the trader has fallen further from its peak than its limit."""
    drawdown, limit = case.trader.drawdown_pct, case.trader.spec.limits.max_drawdown_pct
    if drawdown <= limit:
        return None
    detail = f"drawdown of {plain(drawdown)} % is above the trader's limit of {plain(limit)} %"
    return deny(detail, drawdown_pct=drawdown, limit_pct=limit)


def cooldown(case: OpenCase) -> Finding | None:
    """Deny for a while after a stop was hit."""
    stopped, wait_s = case.trader.last_stop_at, case.trader.spec.limits.cooldown_after_stop_s
    if stopped is None or case.view.at >= stopped + timedelta(seconds=wait_s):
        return None
    return deny("the trader was stopped out a moment ago", last_stop_at=stopped.isoformat(), cooldown_s=wait_s)


def entry_rate(case: OpenCase) -> Finding | None:
    """Deny more entries in an hour than the limit, those of this round included."""
    limit = case.trader.spec.limits.max_entries_per_hour
    since = case.view.at - _HOUR
    entries = sum(1 for at in case.trader.recent_entries if at > since) + case.standing.entries
    if entries < limit:
        return None
    return deny("the trader has used its entries of this hour", entries=entries, limit=limit)
