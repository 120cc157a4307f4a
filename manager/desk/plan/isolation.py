"""Which traders are to be isolated and why; a bankrupt book comes first, whatever state its trader is in."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from manager.desk.plan.solvency import newly_bankrupt
from manager.desk.plan.values import AccountView, TraderView
from manager.state.records import StateCode, TraderState
from traders.spec import IsolationRules, TraderId

VIOLATIONS_WITHIN = timedelta(hours=24)
_VIOLATIONS: Final = frozenset(
    {"SYMBOL_NOT_ALLOWED", "CONFIDENCE_TOO_LOW", "RISK_REWARD_TOO_LOW", "OPPOSITE_OWN_POSITION"}
)
_VIOLATION_PREFIXES: Final = ("STOP_", "TAKE_PROFIT_")


@dataclass(frozen=True, slots=True, kw_only=True)
class Isolation:
    """Say that a trader is to be isolated, by which code, and in words for people."""

    trader_id: TraderId
    code: StateCode
    reason: str


def is_violation(code: str) -> bool:
    """Tell whether a denial with this code counts for isolation: the trader asked for what it knows it may not."""
    return code in _VIOLATIONS or code.startswith(_VIOLATION_PREFIXES)


def rules_of(view: AccountView, trader: TraderView) -> IsolationRules:
    """Return the account's rules of isolation with the trader's own in their place."""
    return view.rules.isolation.with_own(trader.spec)


def unfit(view: AccountView) -> tuple[Isolation, ...]:
    """Return the traders to be isolated now, in the order of their ids; those that decide for a code of their own."""
    broke = newly_bankrupt(view)
    found = [
        Isolation(trader_id=name, code=StateCode.BANKRUPT, reason="its equity fell to 0 or below by its own results")
        for name in broke
    ]
    for trader_id, trader in sorted(view.traders.items()):
        if trader.bankrupt and not _stands(trader):
            reason = "its book is bankrupt until it is funded"
            found.append(Isolation(trader_id=trader_id, code=StateCode.BANKRUPT, reason=reason))
        elif trader.state is TraderState.RUNNING and trader_id not in broke:
            found += _earned(view, trader)
    return tuple(sorted(found, key=lambda one: one.trader_id))


def _stands(trader: TraderView) -> bool:
    """Tell whether a bankrupt trader is out of the way: isolated for it, or stopped since by an operator."""
    return trader.state_code is StateCode.BANKRUPT or trader.state is TraderState.STOPPED


def _earned(view: AccountView, trader: TraderView) -> list[Isolation]:
    rules, name = rules_of(view, trader), trader.spec.id
    floor, trades = rules.sharpe_below, rules.min_trades
    if floor is not None and trader.closed_trades >= trades and trader.sharpe is not None and trader.sharpe < floor:
        reason = f"Sharpe below {floor} over at least {trades} trades"
        return [Isolation(trader_id=name, code=StateCode.SHARPE, reason=reason)]
    since = view.at - VIOLATIONS_WITHIN
    count, limit = sum(at > since for at in trader.violations), rules.violations_per_day
    entered = trader.last_entry_at is not None and trader.last_entry_at > since
    if limit is not None and count >= limit and not entered:
        reason = f"{count} of its decisions within 24 h were denied by its own limits, and no entry was taken"
        return [Isolation(trader_id=name, code=StateCode.VIOLATIONS, reason=reason)]
    return []
