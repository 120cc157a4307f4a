"""Venue truth against the books: fills and funding are booked once, unknown orders looked up, strangers noticed."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

from exchanges.errors import ExchangeError
from exchanges.market import Snapshot
from exchanges.types import ClientOrderId, OrderReport, PositionReport, Symbol
from manager.desk.incidents.log import Subject
from manager.desk.plan.values import ZERO
from manager.desk.reconcile.news import apply_report, book_news
from manager.desk.session import Session, Truth
from manager.state.records import UNALLOCATED, LedgerKind, OrderState

ABSENCE_PROOF = timedelta(seconds=30)


async def reconcile(session: Session) -> None:
    """Read the venue's truth and book everything new; raise VenueUnavailable when it cannot be read.

    Afterwards `session.truth` and `session.snapshot` are set and `session.unresolved` names the symbols that take no
    entries.
    """
    await _open_books(session)
    await _look_up_unknown(session)
    await session.flush()
    await book_news(session)
    await _read_truth(session)
    wrong = _mismatches(session)
    if wrong:
        await book_news(session)
        await _read_truth(session)
        wrong = _mismatches(session)
    _resolve_symbols(session, wrong)
    await session.flush()


async def _open_books(session: Session) -> None:
    state = session.state
    if UNALLOCATED in state.heads:
        return
    balance = await session.exchange.fetch_balance()
    at = session.clock.now()
    state.move_capital(LedgerKind.DEPOSIT, [(UNALLOCATED, balance.cash)], "initial", at)
    state.put_account(replace(state.account, fills_since=at, funding_since=at))
    await session.flush()


async def _look_up_unknown(session: Session) -> None:
    now = session.clock.now()
    for order in session.state.outstanding.unresolved():
        try:
            report = await session.exchange.lookup_order(ClientOrderId(order.order_id), order.symbol)
        except ExchangeError:
            report = None
            now_proves = False
        else:
            now_proves = order.send_before is not None and now > order.send_before + ABSENCE_PROOF
        if report is not None:
            await apply_report(session, order, report)
        elif now_proves:
            session.state.put_order(
                replace(order, state=OrderState.ABSENT, reason="the venue never had it", updated_at=now)
            )
        elif order.state is OrderState.PENDING:
            session.state.put_order(replace(order, state=OrderState.UNKNOWN, updated_at=now))


async def _read_truth(session: Session) -> None:
    exchange = session.exchange
    at = session.clock.now()
    positions = {report.symbol: report for report in await exchange.fetch_positions()}
    orders = {str(report.client_order_id): report for report in await exchange.fetch_open_orders()}
    balance = await exchange.fetch_balance()
    snapshot = await _snapshot(session)
    session.read(Truth(at=at, balance=balance, positions=positions, open_orders=orders), snapshot)
    await _end_vanished(session, orders)


async def _snapshot(session: Session) -> Snapshot:
    """Return the market, empty when it cannot be read: stops must stand even then, entries find no mark."""
    try:
        return await session.runtime.market.snapshot(frozenset(session.runtime.instruments))
    except ExchangeError as failure:
        session.incident("MARKET_UNAVAILABLE", str(failure))
        return Snapshot(session.clock.now(), {})


async def _end_vanished(session: Session, orders: Mapping[str, OrderReport]) -> None:
    """Settle orders that the books think resting and the venue does not list: filled, cancelled or expired there.

    One that the venue does not find either confirms nothing any more: it is looked up until its absence is proven.
    """
    for order in list(session.state.orders.values()):
        if order.state is OrderState.ACCEPTED and order.order_id not in orders:
            why = "the venue neither lists nor finds it"
            try:
                report = await session.exchange.lookup_order(ClientOrderId(order.order_id), order.symbol)
            except ExchangeError as failure:
                report, why = None, str(failure)
            if report is None:
                detail = f"{order.order_id}: {why}"
                session.incident("ORDER_UNKNOWN", detail, symbol=order.symbol, which=order.order_id)
                session.state.put_order(replace(order, state=OrderState.UNKNOWN))
            elif report.status.terminal:
                await apply_report(session, order, report)


def _mismatches(session: Session) -> set[Symbol]:
    held: dict[Symbol, Decimal] = {}
    for book in session.state.books.values():
        for symbol, position in book.positions.items():
            held[symbol] = held.get(symbol, ZERO) + position.quantity
    venue: dict[Symbol, PositionReport] = dict(session.truth.positions)
    return {
        symbol
        for symbol in held.keys() | venue.keys()
        if held.get(symbol, ZERO) != (venue[symbol].quantity if symbol in venue else ZERO)
    }


def _resolve_symbols(session: Session, wrong: set[Symbol]) -> None:
    unresolved = session.state.outstanding.unresolved()
    for order in unresolved:
        about = Subject(code="ORDER_UNKNOWN", symbol=order.symbol, which=order.order_id)
        if not session.incidents.keep(about):
            detail = f"{order.order_id}: {order.reason or 'it has no known outcome'}"
            session.incident(about.code, detail, symbol=order.symbol, which=order.order_id)
    session.unresolved = {order.symbol for order in unresolved}
    for symbol in sorted(wrong):
        about = Subject(code="POSITION_MISMATCH", symbol=symbol)
        if symbol not in session.unresolved or session.incidents.keep(about):
            detail = "the venue's position differs from the sum of the books"
            session.incident(about.code, detail, symbol=symbol)
    session.unresolved |= wrong
