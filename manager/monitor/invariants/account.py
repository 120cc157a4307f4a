"""Check one account: positions (1), protection (5, 6) and money (15), exactly."""

from collections.abc import Callable
from decimal import Decimal

from exchanges.types import ZERO, Symbol
from manager.monitor.invariants.facts import REDUCING, AccountFacts, Violation
from manager.state.records import OrderPurpose, OrderState, PositionKey, PositionRow
from traders.book import EXTERNAL

CENT = Decimal("0.01")
HALF_CENT = Decimal("0.005")
MOST_ROUNDED = Decimal("0.0001")


def positions_match(facts: AccountFacts) -> list[Violation]:
    """Invariant 1: for each symbol the sum of all books' positions is the venue's position."""
    held: dict[Symbol, Decimal] = {}
    for row in facts.rows.positions:
        held[row.symbol] = held.get(row.symbol, ZERO) + row.quantity
    found = []
    for symbol in held.keys() | facts.positions.keys():
        report = facts.positions.get(symbol)
        venue = report.quantity if report is not None else ZERO
        if held.get(symbol, ZERO) != venue:
            found.append(_violation("positions", symbol, f"books {held.get(symbol, ZERO)}, venue {venue}"))
    return found


def money_adds_up(facts: AccountFacts) -> list[Violation]:
    """Invariant 15: the account's money is the sum of all books' money, to the cent.

    Cash minus the cost of open positions is compared, so that no mark is needed: what both sides would be worth at
    any price differs by exactly this.
    """
    books, venue = _money(facts)
    if abs(books - venue) >= HALF_CENT:
        return [_violation("money", facts.rows.account.account_id, f"books {books}, venue {venue}")]
    return []


def cash_difference(facts: AccountFacts) -> Decimal:
    """Return what the venue has more than the books in USD, 0 within the rounding of what it reports.

    A reported number is right to half a unit of its last digit; of an entry price that is at most 1 bp.
    """
    books, venue = _money(facts)
    rounding = HALF_CENT + min(_half_unit(facts.balance.cash), CENT)
    for symbol, report in facts.positions.items():
        off = min(_half_unit(report.entry_price), abs(report.entry_price) * MOST_ROUNDED)
        rounding += abs(report.quantity) * facts.contract_sizes[symbol] * off
    return venue - books if abs(venue - books) > rounding else ZERO


def _money(facts: AccountFacts) -> tuple[Decimal, Decimal]:
    """Return cash minus the cost of positions, of the books and of the venue."""
    books = sum((head.cash for head in facts.rows.books), ZERO)
    books -= sum((row.cost for row in facts.rows.positions), ZERO)
    costs = (one.entry_price * one.quantity * facts.contract_sizes[symbol] for symbol, one in facts.positions.items())
    return books, facts.balance.cash - sum(costs, ZERO)


def _half_unit(number: Decimal) -> Decimal:
    exponent = number.as_tuple().exponent
    return Decimal(5).scaleb(exponent - 1) if isinstance(exponent, int) else ZERO


def positions_protected(facts: AccountFacts) -> list[Violation]:
    """Invariant 5: each trader's position has a confirmed stop for its whole quantity, or is being closed."""
    specs = {row.trader_id: row.spec for row in facts.rows.traders}
    covered: dict[PositionKey, Decimal] = {}
    for order in facts.live_orders():
        confirmed = order.purpose is OrderPurpose.STOP and order.state is OrderState.ACCEPTED
        if confirmed or order.purpose in REDUCING:
            for share in order.shares:
                key = PositionKey(share.trader_id, order.symbol)
                covered[key] = covered.get(key, ZERO) + share.quantity
    return [
        _violation(
            "protection", f"{row.trader_id}/{row.symbol}", f"{row.quantity} held, stop covers {covered.get(key)}"
        )
        for row in facts.rows.positions
        if _needs_stop(row, specs[row.trader_id].limits.stop_loss_enabled if row.trader_id in specs else False)
        and covered.get(key := PositionKey(row.trader_id, row.symbol), ZERO) < abs(row.quantity)
    ]


def no_orphan_protection(facts: AccountFacts) -> list[Violation]:
    """Invariant 6: no stop or take-profit rests for a position that is gone."""
    held = {PositionKey(row.trader_id, row.symbol) for row in facts.rows.positions}
    return [
        _violation("orphan", order.order_id, f"{order.purpose} of {order.quantity} {order.symbol} without a position")
        for order in facts.live_orders()
        if order.purpose.protects and order.guards not in held
    ]


CHECKS: tuple[Callable[[AccountFacts], list[Violation]], ...] = (
    positions_match,
    money_adds_up,
    positions_protected,
    no_orphan_protection,
)


def check_account(facts: AccountFacts) -> list[Violation]:
    """Return every violation of the account's invariants."""
    return [violation for check in CHECKS for violation in check(facts)]


def _needs_stop(row: PositionRow, enabled: bool) -> bool:
    return row.trader_id != EXTERNAL and enabled and not row.dust


def _violation(invariant: str, subject: str, detail: str) -> Violation:
    return Violation(invariant=invariant, subject=subject, detail=detail)
