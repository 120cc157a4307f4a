"""Whether intent, account and market are fresh enough, and whether the symbol may be traded."""

from exchanges.types import ZERO
from manager.desk.plan.values import AccountView, Mark
from manager.desk.risk.rule import Finding, refuse
from manager.desk.risk.standing import Wish


def intent_stale(wish: Wish) -> Finding | None:
    """Refuse an open once the trader's next decision is due."""
    expires = wish.intent.expires_at
    if expires is None or wish.view.at < expires:
        return None
    return refuse("the intent has expired", expires_at=expires.isoformat(), at=wish.view.at.isoformat())


def account_stale(wish: Wish) -> Finding | None:
    """Refuse when the account was not read from the venue in this round."""
    truth, began = wish.view.truth_at, wish.view.began_at or wish.view.at
    if truth is not None and truth >= began:
        return None
    read = truth.isoformat() if truth is not None else "never"
    return refuse("the account's truth is older than this round", truth_at=read, began_at=began.isoformat())


def symbol_not_allowed(wish: Wish) -> Finding | None:
    """Refuse a symbol that is not among the trader's."""
    if wish.symbol in wish.trader.spec.symbols:
        return None
    return refuse(f"{wish.symbol} is not among the symbols of {wish.trader_id}")


def instrument_halted(wish: Wish) -> Finding | None:
    """Refuse what the venue does not list or does not trade now."""
    if wish.instrument.tradable:
        return None
    return refuse(f"{wish.symbol} is not listed or not tradable at the venue")


def market_stale(wish: Wish) -> Finding | None:
    """Refuse without a mark, or with one older than its window."""
    if wish.mark is None:
        return refuse(f"{wish.symbol} has no mark", mark="none")
    limit_s = _max_age_s(wish.view, wish.mark)
    if wish.mark.age_s <= limit_s:
        return None
    return refuse("the mark is too old", age_s=wish.mark.age_s, limit_s=limit_s)


def _max_age_s(view: AccountView, mark: Mark) -> float:
    intervals = view.rules.data_age_intervals
    return view.rules.max_data_age_s if intervals is None else intervals * mark.interval_s


def symbol_unresolved(wish: Wish) -> Finding | None:
    """Refuse while an order's outcome is not known, or EXTERNAL opposes the books or would be opposed by the entry."""
    if wish.symbol in wish.view.unresolved:
        return refuse(f"an order on {wish.symbol} has no known outcome yet")
    external = wish.view.external.quantity(wish.symbol)
    if not external:
        return None
    if external * wish.direction < ZERO:
        return refuse("the entry would trade against an external position", external=external)
    for trader_id, trader in wish.view.traders.items():
        held = trader.book.quantity(wish.symbol)
        if held * external < ZERO:
            return refuse(f"an external position opposes the book of {trader_id}", external=external, book=held)
    return None


def entry_price_moved(wish: Wish) -> Finding | None:
    """Refuse when the mark has left the range of prices at which the trader wanted to enter."""
    highest, lowest = wish.intent.decision.max_entry_price, wish.intent.decision.min_entry_price
    if highest is not None and wish.price > highest:
        return refuse("the mark is above max_entry_price", mark=wish.price, max_entry_price=highest)
    if lowest is not None and wish.price < lowest:
        return refuse("the mark is below min_entry_price", mark=wish.price, min_entry_price=lowest)
    return None
