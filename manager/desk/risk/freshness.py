"""Whether intent, account and market are fresh enough, and whether the symbol may be traded."""

from manager.desk.plan.values import ZERO, AccountView, Mark
from manager.desk.risk.rule import Finding, deny
from manager.desk.risk.standing import OpenCase


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
    limit_s = _max_age_s(case.view, case.mark)
    if case.mark.age_s <= limit_s:
        return None
    return deny("the mark is too old", age_s=case.mark.age_s, limit_s=limit_s)


def _max_age_s(view: AccountView, mark: Mark) -> float:
    intervals = view.rules.data_age_intervals
    return view.rules.max_data_age_s if intervals is None else intervals * mark.interval_s


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
    """Deny when the mark has left the range of prices at which the trader wanted to enter."""
    highest, lowest = case.intent.decision.max_entry_price, case.intent.decision.min_entry_price
    if highest is not None and case.price > highest:
        return deny("the mark is above max_entry_price", mark=case.price, max_entry_price=highest)
    if lowest is not None and case.price < lowest:
        return deny("the mark is below min_entry_price", mark=case.price, min_entry_price=lowest)
    return None
