"""Book what the venue paid or took as funding, split among the books that held the symbol then (docs/rules.md 9)."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal

from exchanges.types import ZERO, Fill, FundingPayment
from manager.desk.plan.booking import Held, funding_parts
from manager.desk.plan.late import held_at
from manager.desk.reconcile.past import Past
from manager.desk.session import Session
from manager.state.funding import FundingRow
from manager.state.records import ROUNDING
from manager.state.store import Search
from traders.spec import TraderId

DIFFERENCE_USD = Decimal("0.01")
_EXPLAINED_USD = Decimal("1E-9")


class FundingBooking:
    """Book funding payments in one session; what the books do not account for goes to ROUNDING."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._state = session.state
        self._past = Past(session)

    async def unbooked(self, listed: Sequence[FundingPayment]) -> Sequence[FundingPayment]:
        """Return the payments that are not booked yet, each once."""
        seen, account_id = self._session.runtime.seen, self._session.runtime.account_id
        fresh = {payment.key: payment for payment in listed if not seen.has(payment)}
        if not fresh:
            return ()
        async with self._session.reading() as tx:
            known = await tx.known_payments(account_id, list(fresh))
        seen.note(fresh[key] for key in known)
        return [payment for key, payment in fresh.items() if key not in known]

    async def book(self, payment: FundingPayment) -> None:
        """Book a payment on what the books held at its instant: without the parts that traded after it."""
        account, symbol = self._state.account, payment.symbol
        size, held = self._session.instrument(symbol).contract_size, self._state.held(symbol)
        parts = self._split(payment, held)
        is_past = account.fills_since is not None and account.fills_since > payment.at
        if is_past or payment.at < self._session.clock.now() or abs(parts.get(ROUNDING, ZERO)) > _EXPLAINED_USD:
            booked = await self._past.parts(symbol, payment.at)
            parts = self._split(payment, held_at(payment, held, booked, size))
        row = FundingRow(
            tenant_id=account.tenant_id,
            account_id=account.account_id,
            payment=payment.key,
            symbol=symbol,
            at=payment.at,
            rate=payment.rate,
            mark=payment.mark,
            amount=payment.amount,
            parts=parts,
        )
        self._post(replace(row, parts={}), parts, f"funding/{payment.key}")
        rounding = parts.get(ROUNDING, ZERO)
        if abs(rounding) > DIFFERENCE_USD:
            detail = f"the venue paid {payment.amount}, the books account for all but {rounding}"
            self._session.incident("FUNDING_DIFFERENCE", detail, symbol=symbol)

    async def correct(self, late: Fill) -> None:
        """Correct by postings what was split without a fill that has just been booked and came before."""
        where = {"account_id": self._session.runtime.account_id, "symbol": late.symbol}
        await self._session.flush()
        async with self._session.reading() as tx:
            [rows] = await tx.search(Search(kind=FundingRow, where=where, newest_first="at", since=late.at))
        rows = [row for row in rows if row.at > late.at or abs(row.parts.get(ROUNDING, ZERO)) > _EXPLAINED_USD]
        if not rows:
            return
        booked, held = await self._past.parts(late.symbol, late.at), self._state.held(late.symbol)
        size = self._session.instrument(late.symbol).contract_size
        for row in rows:
            payment = FundingPayment(symbol=row.symbol, at=row.at, rate=row.rate, mark=row.mark, amount=row.amount)
            parts = self._split(payment, held_at(payment, held, booked, size)) if row.rate else row.parts
            if parts != row.parts:
                self._post(row, parts, f"funding/{row.payment}/{late.trade_id}")

    def _split(self, payment: FundingPayment, held: Held) -> dict[str, Decimal]:
        size = self._session.instrument(payment.symbol).contract_size
        parts: dict[str, Decimal] = dict(funding_parts(payment, held, size))
        rounding = payment.amount - sum(parts.values(), ZERO)
        return {**parts, ROUNDING: rounding} if rounding else parts

    def _post(self, row: FundingRow, parts: Mapping[str, Decimal], ref: str) -> None:
        """Post what each book lacks of its part, and keep what it has now."""
        for owner in sorted({*row.parts, *parts}):
            missing = parts.get(owner, ZERO) - row.parts.get(owner, ZERO)
            if missing:
                self._state.fund(TraderId(owner), row.symbol, missing, ref, row.at)
        self._state.upsert(replace(row, parts=parts))
