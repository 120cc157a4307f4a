"""Book the venue's cash history to UNALLOCATED: deposits, withdrawals, interest, other fees (docs/rules.md 1)."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from types import MappingProxyType
from typing import Final

from exchanges.types import ZERO, CashKind, CashMovement
from manager.desk.session import Session
from manager.state.records import UNALLOCATED, LedgerKind, LedgerRow
from traders import performance

_KINDS: Final[Mapping[CashKind, LedgerKind]] = MappingProxyType(
    {
        CashKind.DEPOSIT: LedgerKind.DEPOSIT,
        CashKind.WITHDRAWAL: LedgerKind.WITHDRAW,
        CashKind.INTEREST: LedgerKind.INTEREST,
        CashKind.FEE: LedgerKind.VENUE_FEE,
        CashKind.OTHER: LedgerKind.VENUE_OTHER,
    }
)


class CashBooking:
    """Book cash movements in one session; the next rebalance deals them."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def unbooked(self, listed: Sequence[CashMovement]) -> Sequence[CashMovement]:
        """Return the movements that are not booked yet, each once."""
        seen, account_id = self._session.runtime.seen, self._session.runtime.account_id
        fresh = {_ref(one): one for one in listed if not seen.has(one)}
        if not fresh:
            return ()
        where = {"account_id": account_id, "trader_id": UNALLOCATED, "ref": tuple(fresh)}
        async with self._session.reading() as tx:
            known = {row.ref for row in await tx.find(LedgerRow, where, limit=None)}
        seen.note(fresh[ref] for ref in known)
        return [one for ref, one in fresh.items() if ref not in known]

    def book_as_held(self, told: Sequence[CashMovement]) -> None:
        """Remember movements of the very instant of the first balance, which has them already."""
        for one in told:
            self._post(replace(one, amount=ZERO))

    async def book(self, one: CashMovement) -> None:
        """Book a movement, whole, to what no trader has; the account's curve takes it as a flow.

        What was earned or lost since the last sample is of the curve first, whatever the movement takes.
        """
        state = self._session.state
        head = state.head(UNALLOCATED)
        if one.amount and head.performance.sampled_at is not None:
            curve = performance.flow(head.performance, await self._equity(), one.amount)
            state.set_head(replace(head, performance=curve))
        self._post(one)

    async def _equity(self) -> Decimal:
        """Return what all books are worth now; a symbol that the market does not quote counts at its last mark."""
        state = self._session.state
        marks = {symbol: mark.price for symbol, mark in state.account.marks.items()}
        marks.update((await self._session.look_at_market()).marks().items())
        held = [position for book in state.books.values() for position in book.positions.values()]
        unrealized = (one.unrealized(marks.get(one.symbol, one.entry_price)) for one in held)
        return sum(unrealized, sum((book.cash for book in state.books.values()), ZERO))

    def _post(self, one: CashMovement) -> None:
        self._session.state.move_capital(_KINDS[one.kind], [(UNALLOCATED, one.amount)], _ref(one), one.at)


def _ref(one: CashMovement) -> str:
    return f"cash/{one.movement_id}"
