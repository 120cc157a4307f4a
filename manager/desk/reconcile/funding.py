"""Book what the venue paid or took as funding, split among the books that held the symbol then (docs/rules.md 9)."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

from exchanges.types import ZERO, FundingPayment
from manager.desk.plan.booking import funding_parts
from manager.desk.session import Session
from manager.state.records import ROUNDING, FillPartRow

DIFFERENCE_USD = Decimal("0.01")
_PARTS_READ = 20


class FundingBooking:
    """Book funding payments in one session; what the books do not account for goes to ROUNDING."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._state = session.state
        self._later: Sequence[FillPartRow] = ()

    async def unbooked(self, first: datetime) -> Sequence[FundingPayment]:
        """Return the payments that are not booked yet; an account that has none is read from `first` on."""
        if not self._session.exchange.capabilities.reports_funding:
            return ()
        since = self._state.account.funding_since
        listed = await self._session.exchange.fetch_funding(since or first)
        payments = [payment for payment in listed if since is None or payment.at > since]
        if payments:
            self._later = await self._parts_after(min(payment.at for payment in payments))
        return payments

    def book(self, payment: FundingPayment) -> None:
        """Book a payment on what the books held at its instant: without the parts that traded after it."""
        state, symbol = self._state, payment.symbol
        ref = f"funding/{symbol}/{payment.at.isoformat()}"
        held = {owner: book.quantity(symbol) for owner, book in state.books.items()}
        for part in self._later:
            if part.symbol == symbol and part.at > payment.at:
                held[part.trader_id] -= part.quantity
        parts = funding_parts(payment, held, self._session.instrument(symbol).contract_size)
        for trader_id, amount in parts:
            state.fund(trader_id, symbol, amount, ref, payment.at)
        rounding = payment.amount - sum((amount for _, amount in parts), ZERO)
        if rounding:
            state.fund(ROUNDING, symbol, rounding, ref, payment.at)
        if abs(rounding) > DIFFERENCE_USD:
            detail = f"the venue paid {payment.amount}, the books account for all but {rounding}"
            self._session.incident("FUNDING_DIFFERENCE", detail, symbol=symbol)

    async def _parts_after(self, at: datetime) -> Sequence[FillPartRow]:
        """Return the booked parts of fills and crosses later than `at`, those not written yet included."""
        found = [row for row in self._state.pending.inserts if isinstance(row, FillPartRow)]
        if at < self._session.clock.now():
            async with self._session.reading() as tx:
                for owner in self._state.books:
                    where, limit = {"account_id": self._session.runtime.account_id, "trader_id": owner}, _PARTS_READ
                    parts = await tx.find(FillPartRow, where, newest_first="at", limit=limit)
                    while len(parts) == limit and parts[-1].at > at:
                        limit *= 10
                        parts = await tx.find(FillPartRow, where, newest_first="at", limit=limit)
                    found.extend(parts)
        return [part for part in found if part.at > at]
