"""Round money to cents so that what is read together adds up, on every screen alike, whatever the rounding."""

from decimal import Decimal
from typing import Final, NamedTuple, Protocol

from exchanges.types import ZERO

_DIGITS: Final = 2


class Money(Protocol):
    """Show the money of a book, an account or a desk; equity is None where a position has no mark."""

    @property
    def start_usd(self) -> Decimal: ...
    @property
    def moved_usd(self) -> Decimal: ...
    @property
    def equity(self) -> Decimal | None: ...


class PnlParts(Protocol):
    """Show what a PnL comes from: realized - fees + funding + unrealized; the last is None where it is not known."""

    @property
    def realized(self) -> Decimal: ...
    @property
    def fees(self) -> Decimal: ...
    @property
    def funding(self) -> Decimal: ...
    @property
    def unrealized(self) -> Decimal | None: ...


class InCents(NamedTuple):
    """Hold start, moved capital, PnL and equity in whole cents, of which start + moved + PnL = equity holds.

    The PnL gives way, which changes at every look; one that is nothing stays so, and then moved does.
    """

    start_usd: Decimal
    moved_usd: Decimal
    pnl_usd: Decimal | None
    equity: Decimal | None

    @classmethod
    def of(cls, money: Money) -> "InCents":
        """Return the money in cents."""
        return cls.rounded(money.start_usd, money.moved_usd, money.equity)

    @classmethod
    def rounded(cls, start: Decimal, moved: Decimal, equity: Decimal | None) -> "InCents":
        """Return amounts in cents; PnL and equity are None together."""
        start_cents, moved_cents = _cents(start), _cents(moved)
        if equity is None:
            return cls(start_cents, moved_cents, None, None)
        cents = _cents(equity)
        if equity == start + moved:
            return cls(start_cents, cents - start_cents, ZERO, cents)
        return cls(start_cents, moved_cents, cents - start_cents - moved_cents, cents)

    def parts(self, of: PnlParts) -> tuple[Decimal, Decimal, Decimal, Decimal | None]:
        """Return realized, fees, funding and unrealized in cents, which add up to this PnL.

        Unrealized, an estimate, takes the rounding; without any, the first of funding, fees and realized that is there.
        """
        realized, fees, funding = map(_cents, (of.realized, of.fees, of.funding))
        if of.unrealized is None or self.pnl_usd is None:
            return realized, fees, funding, None
        unrealized = _cents(of.unrealized)
        rest = self.pnl_usd - (realized - fees + funding + unrealized)
        if of.unrealized:
            unrealized += rest
        elif of.funding:
            funding += rest
        elif of.fees:
            fees -= rest
        else:
            realized += rest
        return realized, fees, funding, unrealized


def _cents(amount: Decimal) -> Decimal:
    return round(amount, _DIGITS)
