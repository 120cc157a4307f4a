"""The trader's own rules, in the order of the registry: who may enter at all, on what facts, how much, with which stop.

Those on size look at the position that would result.
"""

from datetime import timedelta
from decimal import Decimal
from typing import Protocol

from exchanges.precision import ceil_to_tick, floor_to_tick
from exchanges.types import ZERO, Instrument, Symbol
from manager.desk.plan.liquidation import liquidation_price
from manager.desk.plan.outcomes import plain
from manager.desk.plan.values import AccountView, TraderView
from manager.desk.risk.rule import Finding, cut_to, deny
from manager.desk.risk.standing import OpenCase, sendable
from manager.state.kinds import SwitchScope
from manager.state.records import PositionKey, TraderState, TradingState

HUNDRED = Decimal(100)
SAFE_MODE_FAILURES = 3
_HOUR = timedelta(hours=1)


class Guarded(Protocol):
    """Present a position that will result, with its stop and take-profit where they would rest."""

    @property
    def view(self) -> AccountView: ...
    @property
    def trader(self) -> TraderView: ...
    @property
    def symbol(self) -> Symbol: ...
    @property
    def direction(self) -> int: ...
    @property
    def instrument(self) -> Instrument: ...
    @property
    def entry_price(self) -> Decimal: ...
    @property
    def leverage(self) -> int: ...
    @property
    def stop_loss(self) -> Decimal | None: ...
    @property
    def take_profit(self) -> Decimal | None: ...


def trading_disabled(case: OpenCase) -> Finding | None:
    """Deny while the service's switch is off."""
    if case.view.rules.trading_enabled:
        return None
    return deny("trading is disabled: manager.trading_enabled is false")


def halted(case: OpenCase) -> Finding | None:
    """Deny while the service, the tenant, the account or the trader is halted."""
    return _in_state(case.view, case.trader, TradingState.HALTED)


def reducing(case: OpenCase) -> Finding | None:
    """Deny while the service, the tenant, the account or the trader may only reduce."""
    return _in_state(case.view, case.trader, TradingState.REDUCING)


def _in_state(view: AccountView, trader: TraderView, state: TradingState) -> Finding | None:
    if view.trading_state is state:
        scope = view.trading_scope
        whose = f"account {view.account_id}" if scope is SwitchScope.ACCOUNT else f"the {scope}"
        return deny(f"{whose} is {state}", scope=scope)
    if trader.trading_state is state:
        return deny(f"trader {trader.spec.id} is {state}", scope=SwitchScope.TRADER)
    return None


def being_closed(case: OpenCase) -> Finding | None:
    """Deny while an operator closes the position, or flattens all of the trader's."""
    if case.trader_id in case.view.flattening:
        return deny("a flatten of the trader, its account or its tenant is under way", scope="flatten")
    if PositionKey(case.trader_id, case.symbol) in case.view.closing:
        return deny("an operator's close of the position is not done yet", scope="position")
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
    """Deny more entries in an hour than the limit, those that may still fill and those of this round included."""
    limit = case.trader.spec.limits.max_entries_per_hour
    since = case.view.at - _HOUR
    entries = sum(1 for at in case.trader.recent_entries if at > since)
    entries += case.trader.reserved_entries + case.standing.entries
    if entries < limit:
        return None
    return deny("the trader has used its entries of this hour", entries=entries, limit=limit)


def intent_stale(case: OpenCase) -> Finding | None:
    """Deny an entry once the trader's next decision is due."""
    expires = case.intent.expires_at
    if expires is None or case.view.at < expires:
        return None
    return deny("the intent has expired", expires_at=expires.isoformat(), at=case.view.at.isoformat())


def account_stale(case: OpenCase) -> Finding | None:
    """Deny when the account was not read from the venue in this round."""
    truth, began = case.view.truth_at, case.view.began_at or case.view.at
    if truth is not None and truth >= began:
        return None
    read = truth.isoformat() if truth is not None else "never"
    return deny("the account's truth is older than this round", truth_at=read, began_at=began.isoformat())


def symbol_not_allowed(case: OpenCase) -> Finding | None:
    """Deny a symbol that is not among the trader's."""
    if case.symbol in case.trader.spec.symbols:
        return None
    return deny(f"{case.symbol} is not among the symbols of {case.trader_id}")


def instrument_halted(case: OpenCase) -> Finding | None:
    """Deny what the venue does not list or does not trade now."""
    if case.instrument.tradable:
        return None
    return deny(f"{case.symbol} is not listed or not tradable at the venue")


def market_stale(case: OpenCase) -> Finding | None:
    """Deny without a mark, or with one older than its window."""
    if case.mark is None:
        return deny(f"{case.symbol} has no mark", mark="none")
    rules = case.view.rules
    intervals = rules.data_age_intervals
    limit_s = rules.max_data_age_s if intervals is None else intervals * case.mark.interval_s
    if case.mark.age_s <= limit_s:
        return None
    return deny("the mark is too old", age_s=case.mark.age_s, limit_s=limit_s)


def symbol_unresolved(case: OpenCase) -> Finding | None:
    """Deny while an order's outcome is not known, or EXTERNAL opposes the books or would be opposed by the entry."""
    if case.symbol in case.view.unresolved:
        return deny(f"an order on {case.symbol} has no known outcome yet")
    external = case.view.external.quantity(case.symbol)
    if not external:
        return None
    if external * case.direction < ZERO:
        return deny("the entry would trade against an external position", external=external)
    for trader_id, trader in case.view.traders.items():
        held = trader.book.quantity(case.symbol)
        if held * external < ZERO:
            return deny(f"an external position opposes the book of {trader_id}", external=external, book=held)
    return None


def entry_price_moved(case: OpenCase) -> Finding | None:
    """Deny when the mark has left the range of prices, at ticks within it, at which the trader wanted to enter."""
    highest, lowest, tick = (*_entry_range(case), case.instrument.tick)
    if highest is not None and case.price > floor_to_tick(highest, tick):
        return deny("the mark is above max_entry_price", mark=case.price, max_entry_price=highest, **_tick(case))
    if lowest is not None and case.price < ceil_to_tick(lowest, tick):
        return deny("the mark is below min_entry_price", mark=case.price, min_entry_price=lowest, **_tick(case))
    return None


def _entry_range(case: OpenCase) -> tuple[Decimal | None, Decimal | None]:
    return case.intent.decision.max_entry_price, case.intent.decision.min_entry_price


def _tick(case: OpenCase) -> dict[str, Decimal]:
    return {} if case.instrument.tick is None else {"tick": case.instrument.tick}


def opposite_own_position(case: OpenCase) -> Finding | None:
    """Deny an entry against the trader's own position, unless this round closes all of it first."""
    if case.standing.direction(case.symbol) != -case.direction:
        return None
    held = case.standing.held(case.symbol)
    return deny("the trader holds or opens the other side; close it first", held=held)


def max_positions_trader(case: OpenCase) -> Finding | None:
    """Deny one position more than the trader may hold; adding to one is no new position, unless it is dust."""
    limit, counted = case.trader.spec.limits.max_positions, case.standing.counted()
    if case.symbol in counted or len(counted) < limit:
        return None
    return deny("the trader holds as many positions as it may", positions=len(counted), limit=limit)


def leverage(case: OpenCase) -> Finding | None:
    """Lower leverage to the smaller of the trader's cap for the symbol and the venue's."""
    cap = min(case.trader.spec.limits.max_leverage(case.symbol), case.instrument.max_leverage)
    if case.leverage <= cap:
        return None
    numbers = {"leverage": plain(case.leverage), "limit": plain(cap)}
    return Finding(detail="leverage is above its cap", numbers=numbers, leverage=cap)


def below_min_notional(case: OpenCase) -> Finding | None:
    """Deny a size that, floored to the lot, is below the venue's minimum."""
    if sendable(case.size_usd, case.price, case.instrument):
        return None
    return deny(
        "the size is below the venue's minimum", size_usd=case.size_usd, minimum_usd=case.instrument.min_notional,
        lot=case.instrument.lot, mark=case.price,
    )  # fmt: skip


def max_position_size(case: OpenCase) -> Finding | None:
    """Cut an entry so that the resulting position's notional stays within the trader's limit."""
    detail = "the position would be larger than the trader may hold"
    return _within_size(case, case.trader.spec.limits.max_position_size_usd, detail)


def position_exposure(case: OpenCase) -> Finding | None:
    """Cut an entry so that the resulting position's notional stays within its share of the trader's allocation."""
    pct, allocated = case.trader.spec.limits.max_single_position_exposure_pct, case.trader.allocated
    if pct is None:
        return None
    detail = "the position would be too large a part of the trader's allocation"
    return _within_size(case, allocated * pct / HUNDRED, detail, allocated=allocated, limit_pct=pct)


def _within_size(case: OpenCase, limit: Decimal, detail: str, **numbers: Decimal) -> Finding | None:
    held = case.standing.notional(case.symbol) + case.standing.reserved_notional(case.symbol)
    if held + case.size_usd <= limit:
        return None
    return cut_to(limit - held, detail, size_usd=case.size_usd, held_usd=held, limit_usd=limit, **numbers)


def margin_usage_trader(case: OpenCase) -> Finding | None:
    """Cut an entry so that the trader's margin stays within its share of the trader's equity."""
    equity, usage_pct = case.standing.equity, case.trader.spec.limits.max_margin_usage_pct
    limit = max(ZERO, equity) * usage_pct / HUNDRED
    return _within_margin(case, limit, "the trader's margin usage would exceed its limit")


def allocation_exceeded(case: OpenCase) -> Finding | None:
    """Cut an entry so that the trader's margin stays within the smaller of its allocation and its equity."""
    limit = max(ZERO, min(case.trader.allocated, case.standing.equity))
    return _within_margin(case, limit, "the trader's allocation does not cover the margin")


def _within_margin(case: OpenCase, limit: Decimal, detail: str) -> Finding | None:
    other = case.standing.margin_without(case.symbol)
    held = case.standing.notional(case.symbol)
    fits = other + case.standing.margin(case.symbol) <= limit
    most = (limit - other) * case.leverage - held if fits else ZERO
    if case.size_usd <= most:
        return None
    return cut_to(
        most, detail, size_usd=case.size_usd, leverage=case.leverage, held_usd=held, other_margin_usd=other,
        limit_usd=limit, equity=case.standing.equity, allocated=case.trader.allocated,
    )  # fmt: skip


def confidence_too_low(case: OpenCase) -> Finding | None:
    """Deny a confidence below the trader's minimum; a missing one passes."""
    confidence, limit = case.intent.decision.confidence, case.trader.spec.limits.min_confidence
    if confidence is None or confidence >= limit:
        return None
    return deny("confidence is below the trader's minimum", confidence=confidence, limit=limit)


def stop_loss_missing(case: OpenCase) -> Finding | None:
    """Deny an entry without a stop where stops are required; a standing stop of the same position will do."""
    if case.stop_loss is not None or not case.trader.spec.limits.stop_loss_enabled:
        return None
    return deny("the open has no stop_loss and the trader requires one")


def take_profit_missing(case: OpenCase) -> Finding | None:
    """Deny an entry without a take-profit where they are required; a standing one of the same position will do."""
    if case.take_profit is not None or not case.trader.spec.limits.take_profit_enabled:
        return None
    return deny("the open has no take_profit and the trader requires one")


def stop_loss_wrong_side(case: OpenCase) -> Finding | None:
    """Deny a stop that would not rest strictly on the losing side of the mark."""
    if case.stop_loss is None or (case.price - case.stop_loss) * case.direction > ZERO:
        return None
    side = "below" if case.direction > 0 else "above"
    return deny(f"the stop must be {side} the mark", stop_loss=case.stop_loss, mark=case.price, **_tick(case))


def take_profit_wrong_side(case: OpenCase) -> Finding | None:
    """Deny a take-profit that would not rest strictly on the winning side of the mark."""
    if case.take_profit is None or (case.take_profit - case.price) * case.direction > ZERO:
        return None
    side, rests = "above" if case.direction > 0 else "below", case.take_profit
    return deny(f"the take-profit must be {side} the mark", take_profit=rests, mark=case.price, **_tick(case))


def risk_reward_too_low(case: Guarded) -> Finding | None:
    """Deny when (take_profit - entry) / (entry - stop_loss) is below the trader's minimum.

    The entry is the average of the position that will result, which is the mark for a new one. A stop beyond the entry
    risks nothing; a minimum of 0 asks for no reward, even of an add that could only lose less.
    """
    limit = case.trader.spec.limits.min_risk_reward_ratio
    if case.stop_loss is None or case.take_profit is None or not limit:
        return None
    entry = case.entry_price
    reward = (case.take_profit - entry) * case.direction
    risk = (entry - case.stop_loss) * case.direction
    if reward >= limit * risk:
        return None
    return deny(
        "the reward is too small for the risk", ratio=reward / risk, limit=limit,
        entry=entry, stop_loss=case.stop_loss, take_profit=case.take_profit,
    )  # fmt: skip


def stop_beyond_liquidation(case: Guarded) -> Finding | None:
    """Deny a stop that lies at or behind the price of liquidation of the whole position, where it could never help."""
    if case.stop_loss is None:
        return None
    account, rate = case.view.liquidation_prices.get(case.symbol), case.instrument.maintenance_rate
    price = liquidation_price(case.direction, case.entry_price, case.leverage, rate, account)
    if (case.stop_loss - price) * case.direction > ZERO:
        return None
    return deny(
        "the position would be liquidated before its stop",
        stop_loss=case.stop_loss, liquidation=price, entry=case.entry_price, leverage=case.leverage,
    )  # fmt: skip
