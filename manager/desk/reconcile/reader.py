"""Read the venue's truth and hold the books against it: everything new is booked once, differences are noticed."""

from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from exchanges.errors import ExchangeError
from exchanges.market import Snapshot
from exchanges.types import ZERO, Fill, FundingPayment, Symbol
from manager.desk.reconcile.adoption import Adoption
from manager.desk.reconcile.fills import FillBooking
from manager.desk.reconcile.funding import FundingBooking
from manager.desk.session import Session, Truth
from manager.state.records import UNALLOCATED, LedgerKind, OrderId

SINCE_FIRST = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


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
            await self.book_news()
            await self._read_truth()
            wrong = self._mismatches()
        self._block_unresolved(wrong)
        await self._session.flush()

    async def book_news(self) -> None:
        """Book new fills and funding in the order of their instants; of one instant, fills come first."""
        state, fills, funding = self._state, FillBooking(self._session), FundingBooking(self._session)
        since = state.account.fills_since
        payments = await funding.unbooked(SINCE_FIRST)
        seen = await self._session.exchange.fetch_fills(since or SINCE_FIRST)
        new = await fills.unbooked(seen)
        if seen:
            since = seen[-1].at
        news: list[Fill | FundingPayment] = sorted(
            [*new, *payments], key=lambda item: (item.at, isinstance(item, FundingPayment))
        )
        for item in news:
            if isinstance(item, FundingPayment):
                funding.book(item)
            else:
                fills.book(item)
        account = state.account
        paid_until = max((payment.at for payment in payments), default=account.funding_since)
        if since != account.fills_since or paid_until != account.funding_since:
            state.put_account(replace(account, fills_since=since, funding_since=paid_until))
        if news:
            await self._session.flush()

    async def _open_books(self) -> None:
        if UNALLOCATED in self._state.heads:
            return
        balance = await self._session.exchange.fetch_balance()
        at = self._session.clock.now()
        self._state.move_capital(LedgerKind.DEPOSIT, [(UNALLOCATED, balance.cash)], "initial", at)
        self._state.put_account(replace(self._state.account, fills_since=at, funding_since=at))
        await self._session.flush()

    async def _read_truth(self) -> None:
        exchange = self._session.exchange
        at = self._session.clock.now()
        positions = {report.symbol: report for report in await exchange.fetch_positions()}
        orders = {OrderId(report.client_order_id): report for report in await exchange.fetch_open_orders()}
        balance = await exchange.fetch_balance()
        snapshot = await self._snapshot()
        self._session.read(Truth(at=at, balance=balance, positions=positions, open_orders=orders), snapshot)
        await self._adoption.settle_unlisted(orders)

    async def _snapshot(self) -> Snapshot:
        """Return the market, empty when it cannot be read: stops must stand even then, entries find no mark."""
        runtime = self._session.runtime
        try:
            return await runtime.market.snapshot(frozenset(runtime.instruments))
        except ExchangeError as failure:
            self._session.incident("MARKET_UNAVAILABLE", str(failure))
            return Snapshot(self._session.clock.now(), {})

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
