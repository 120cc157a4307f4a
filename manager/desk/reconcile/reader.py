"""Read the venue's truth and hold the books against it: everything new is booked once, differences are noticed."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

from exchanges.types import ZERO, Symbol
from manager.desk.reconcile.adoption import Adoption
from manager.desk.reconcile.cash import CashBooking
from manager.desk.reconcile.news import LOOK_BACK, LOOK_BACK_DIFFERING, News
from manager.desk.session import Session, Truth
from manager.state.records import UNALLOCATED, LedgerKind, OrderId


class Reconciler:
    """Bring one session's books in line with what the venue says."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._state = session.state
        self._adoption = Adoption(session)

    async def reconcile(self) -> None:
        """Read the venue's truth and book everything new; raise VenueUnavailable when it cannot be read.

        Afterwards the session's `truth` and `snapshot` are set and `unresolved` names the symbols that take no entries.
        """
        await self._open_books()
        await self._adoption.look_up_unresolved()
        await self._session.flush()
        await self.book_news()
        await self._read_truth()
        wrong = self._mismatches()
        if wrong:
            await self.book_news(look_back=LOOK_BACK_DIFFERING)
            await self._read_truth()
            wrong = self._mismatches()
        self._block_unresolved(wrong)
        await self._session.flush()

    async def book_news(self, *, look_back: timedelta = LOOK_BACK) -> None:
        """Book everything new, each once, and what is listed late with it.

        In the order of its instants; of one instant cash comes first, then fills, then funding.
        """
        await News(self._session).book(look_back)

    async def _open_books(self) -> None:
        if UNALLOCATED in self._state.heads:
            return
        cash = CashBooking(self._session)
        told = await self._session.exchange.fetch_cash(self._session.clock.now())
        balance = await self._session.exchange.fetch_balance()
        at = self._session.clock.now()
        self._state.move_capital(LedgerKind.DEPOSIT, [(UNALLOCATED, balance.cash)], "initial", at)
        cash.book_as_held(told)
        opened = replace(self._state.account, books_since=at, fills_since=at, funding_since=at, cash_since=at)
        self._state.put_account(opened)
        await self._session.flush()

    async def _read_truth(self) -> None:
        exchange = self._session.exchange
        at = self._session.clock.now()
        positions = {report.symbol: report for report in await exchange.fetch_positions()}
        orders = {OrderId(report.client_order_id): report for report in await exchange.fetch_open_orders()}
        balance = await exchange.fetch_balance()
        snapshot = await self._session.look_at_market()
        self._session.read(Truth(at=at, balance=balance, positions=positions, open_orders=orders), snapshot)
        await self._adoption.settle_unlisted(orders)

    def _mismatches(self) -> set[Symbol]:
        """Return the symbols on which the venue's position is not the sum of the books."""
        held: dict[Symbol, Decimal] = {}
        for book in self._state.books.values():
            for symbol, position in book.positions.items():
                held[symbol] = held.get(symbol, ZERO) + position.quantity
        venue = {symbol: report.quantity for symbol, report in self._session.truth.positions.items()}
        return {symbol for symbol in held.keys() | venue.keys() if held.get(symbol, ZERO) != venue.get(symbol, ZERO)}

    def _block_unresolved(self, wrong: set[Symbol]) -> None:
        """Take no entries on symbols whose orders or positions are not known, and tell of each once."""
        session, unresolved = self._session, self._state.outstanding.unresolved()
        for order in unresolved:
            if not session.keep_incident("ORDER_UNKNOWN", symbol=order.symbol, which=order.order_id):
                detail = f"{order.order_id}: {order.reason or 'it has no known outcome'}"
                session.incident("ORDER_UNKNOWN", detail, symbol=order.symbol, which=order.order_id)
        session.unresolved = {order.symbol for order in unresolved}
        for symbol in sorted(wrong):
            if symbol not in session.unresolved or session.keep_incident("POSITION_MISMATCH", symbol=symbol):
                detail = "the venue's position differs from the sum of the books"
                session.incident("POSITION_MISMATCH", detail, symbol=symbol)
        session.unresolved |= wrong
