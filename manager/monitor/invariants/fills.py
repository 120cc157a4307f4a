"""Check that each fill is split exactly (invariant 2): quantities and fees of the parts add up to it."""

from collections.abc import Iterable
from decimal import Decimal

from exchanges.types import ZERO
from manager.monitor.invariants.facts import Violation
from manager.state.records import FillPartRow, FillRow


def fills_split_exactly(fills: Iterable[FillRow], parts: Iterable[FillPartRow]) -> list[Violation]:
    """Return the fills whose parts do not add up; parts without a fill are crosses and must add up to zero."""
    quantities: dict[str, Decimal] = {}
    fees: dict[str, Decimal] = {}
    for part in parts:
        quantities[part.trade_id] = quantities.get(part.trade_id, ZERO) + part.quantity
        fees[part.trade_id] = fees.get(part.trade_id, ZERO) + part.fee
    found = []
    for fill in fills:
        signed, fee = quantities.pop(fill.trade_id, ZERO), fees.get(fill.trade_id, ZERO)
        if signed != fill.quantity * fill.side.sign or fee != fill.fee:
            detail = f"fill {fill.side} {fill.quantity} fee {fill.fee}, parts {signed} fee {fee}"
            found.append(Violation(invariant="attribution", subject=fill.trade_id, detail=detail))
    found.extend(
        Violation(invariant="cross", subject=trade_id, detail=f"parts add up to {rest}, not to 0")
        for trade_id, rest in quantities.items()
        if rest
    )
    return found
