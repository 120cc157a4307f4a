"""Rounded money adds up: start + moved + PnL = equity, and what the PnL is made of gives that PnL."""

from dataclasses import dataclass
from decimal import Decimal

from hypothesis import example, given
from hypothesis import strategies as st

from manager.views.adding_up import InCents

ZERO, CENT = Decimal(0), Decimal("0.01")
FINE = st.integers(-(10**13), 10**13).map(lambda n: Decimal(n) / 10**8)
MAYBE = st.just(ZERO) | FINE
HALF = Decimal("0.005")


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    realized: Decimal
    fees: Decimal
    funding: Decimal
    unrealized: Decimal | None


def pnl_of(parts: Parts) -> Decimal:
    return parts.realized - parts.fees + parts.funding + (parts.unrealized or ZERO)


PARTS = st.builds(Parts, realized=MAYBE, fees=MAYBE.map(abs), funding=MAYBE, unrealized=MAYBE)
NOTHING = Parts(realized=ZERO, fees=ZERO, funding=ZERO, unrealized=ZERO)


@given(MAYBE, MAYBE, PARTS)
@example(HALF, HALF, NOTHING)
@example(HALF, HALF, Parts(realized=HALF, fees=ZERO, funding=ZERO, unrealized=ZERO))
@example(10_000 / Decimal(3), Decimal(-1) / 3, Parts(realized=ZERO, fees=Decimal(2) / 3, funding=ZERO, unrealized=HALF))
def test_what_is_shown_adds_up_and_is_off_by_a_cent_or_two_at_most(
    start: Decimal, moved: Decimal, parts: Parts
) -> None:
    exact = (start, moved, pnl_of(parts), start + moved + pnl_of(parts))
    told = InCents.rounded(start, moved, exact[3])
    assert told.pnl_usd is not None
    assert told.equity is not None
    assert told.start_usd + told.moved_usd + told.pnl_usd == told.equity
    assert (told.start_usd, told.equity) == (round(start, 2), round(exact[3], 2))
    for shown, amount in zip(told, exact, strict=True):
        assert shown is not None
        assert shown == round(shown, 2)
        assert abs(shown - amount) <= 2 * CENT
    assert exact[2] or told.pnl_usd == ZERO, "who has made nothing is shown nothing"
    realized, fees, funding, unrealized = told.parts(parts)
    assert unrealized is not None
    assert realized - fees + funding + unrealized == told.pnl_usd
    given = (parts.realized, parts.fees, parts.funding, parts.unrealized or ZERO)
    for shown, amount in zip((realized, fees, funding, unrealized), given, strict=True):
        assert abs(shown - amount) <= 4 * CENT
        assert amount or not shown, "what is not there is not shown"


def test_what_has_no_mark_has_neither_equity_nor_pnl() -> None:
    told = InCents.rounded(Decimal("33.335"), ZERO, None)
    unmarked = Parts(realized=HALF, fees=Decimal("0.006"), funding=ZERO, unrealized=None)
    assert told.parts(unmarked) == (ZERO, CENT, ZERO, None)
    assert told == (Decimal("33.34"), ZERO, None, None)
