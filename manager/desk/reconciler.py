"""Venue truth against the books: fills and funding are booked once, unknown orders looked up, strangers noticed."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

from exchanges.errors import ExchangeError
from exchanges.types import Fill, FillKind, FundingPayment, OrderReport, OrderStatus, PositionReport, Symbol
from manager.desk.booking import book_fill, funding_parts
from manager.desk.session import Session, Truth, is_unresolved
from manager.state.records import (
    ROUNDING,
    UNALLOCATED,
    FillRow,
    LedgerKind,
    OrderRow,
    OrderState,
    TradingState,
)
from manager.state.store import Store

ZERO = Decimal(0)
ABSENCE_PROOF = timedelta(seconds=30)
_SINCE_FIRST = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
_ENDED = {
    OrderStatus.FILLED: OrderState.FILLED,
    OrderStatus.CANCELED: OrderState.CANCELED,
    OrderStatus.EXPIRED: OrderState.EXPIRED,
    OrderStatus.REJECTED: OrderState.REJECTED,
}


async def reconcile(session: Session, store: Store) -> None:
    """Read the venue's truth and book everything new; raise VenueUnavailable when it cannot be read.

    Afterwards `session.truth` and `session.snapshot` are set and `session.unresolved` names the symbols that take no
    entries.
    """
    await _open_books(session)
    await _look_up_unknown(session)
    await _book_news(session, store)
    await _read_truth(session)
    if _mismatches(session):
        await _book_news(session, store)
        await _read_truth(session)
    _resolve_symbols(session)
    await session.flush()


async def apply_report(session: Session, order: OrderRow, report: OrderReport) -> OrderRow:
    """Book what a venue's report says of one order; fills it mentions but does not carry are fetched later.

    An order ends in the books only when every fill the venue counted is booked.
    """
    for fill in report.fills:
        order = book_one(session, fill, order)
    order = session.state.orders.get(order.order_id, order)
    state = OrderState.ACCEPTED
    if report.status.terminal and order.filled >= report.filled:
        state = _ENDED[report.status]
    order = replace(
        order,
        state=state,
        venue_order_id=report.venue_order_id or order.venue_order_id,
        reason=report.reason or order.reason,
        updated_at=session.clock.now(),
    )
    session.state.put_order(order)
    return order


def book_one(session: Session, fill: Fill, order: OrderRow | None) -> OrderRow:
    """Book one venue fill, once; return the order after it (for a foreign fill, whatever was given)."""
    state = session.state
    booked = book_fill(fill, order, state.books, state.instruments[fill.symbol])
    state.insert(
        FillRow(
            tenant_id=session.runtime.tenant_id,
            account_id=session.runtime.account_id,
            trade_id=fill.trade_id,
            order_id=order.order_id if order else "",
            symbol=fill.symbol,
            side=fill.side,
            quantity=fill.quantity,
            price=fill.price,
            fee=fill.fee,
            liquidity=fill.liquidity,
            kind=fill.kind,
            at=fill.at,
        )
    )
    state.book(booked.execution)
    if booked.foreign:
        what = "an execution beyond what the books hold" if order else "a trade this desk did not make"
        session.incident(
            "EXTERNAL_FILL", f"{what}: {fill.side} {booked.foreign} {fill.symbol} at {fill.price}", symbol=fill.symbol
        )
    if fill.kind is not FillKind.TRADE:
        session.incident("ACCOUNT_LIQUIDATION", f"{fill.kind} {fill.side} {fill.quantity}", symbol=fill.symbol)
        _halt(session, f"{fill.kind} of {fill.symbol} at {fill.at.isoformat()}")
    if booked.order is not None:
        state.put_order(booked.order)
        return booked.order
    return order  # type: ignore[return-value]  # a foreign fill has no order, and its caller ignores the answer


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
    for order in [o for o in session.state.orders.values() if is_unresolved(o)]:
        try:
            report = await session.exchange.lookup_order(order.order_id, order.symbol)  # type: ignore[arg-type]  # our id is the client id
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
            session.incident("ORDER_UNKNOWN", f"order {order.order_id} has no known outcome", symbol=order.symbol)


async def _book_news(session: Session, store: Store) -> None:
    """Book new fills and funding in the order of their instants; of one instant, fills come first."""
    state = session.state
    account = state.account
    seen = await session.exchange.fetch_fills(account.fills_since or _SINCE_FIRST)
    fills = await _unbooked(session, store, seen)
    funding: Sequence[FundingPayment] = ()
    if session.exchange.capabilities.reports_funding:
        funding = await session.exchange.fetch_funding(account.funding_since or _SINCE_FIRST)
    funding = [payment for payment in funding if not _funding_known(session, payment)]
    fills_since = seen[-1].at if seen else account.fills_since
    if not fills and not funding:
        if fills_since != account.fills_since:
            state.put_account(replace(account, fills_since=fills_since))
        return
    news: list[Fill | FundingPayment] = sorted([*fills, *funding], key=lambda item: (item.at, _is_funding(item)))
    for item in news:
        if isinstance(item, FundingPayment):
            _book_funding(session, item)
        else:
            order = state.orders.get(item.client_order_id) if item.client_order_id else None
            book_one(session, item, order)
    account = state.account
    state.put_account(replace(account, fills_since=fills_since, funding_since=_last_funding(session, funding)))
    await _close_ended(session)
    await session.flush()


async def _unbooked(session: Session, store: Store, fills: Sequence[Fill]) -> Sequence[Fill]:
    """Return the fills not booked yet, with the orders of late ones, already ended here, read back."""
    if not fills:
        return fills
    orders = session.state.orders
    account_id = session.runtime.account_id
    async with store.transaction(session.runtime.tenant_id) as tx:
        known = await tx.known_trades(account_id, [fill.trade_id for fill in fills])
        new = [fill for fill in fills if fill.trade_id not in known]
        for order_id in {fill.client_order_id for fill in new if fill.client_order_id} - orders.keys():
            order = await tx.get(OrderRow, account_id, order_id)
            if order is not None:
                orders[order_id] = order
    return new


async def _close_ended(session: Session) -> None:
    """Ask the venue about partly filled orders that it may have ended meanwhile."""
    for order in list(session.state.orders.values()):
        if order.state is OrderState.ACCEPTED and order.filled and order.filled < order.quantity:
            report = await session.exchange.lookup_order(order.order_id, order.symbol)  # type: ignore[arg-type]  # as above
            if report is not None and report.status.terminal and order.filled >= report.filled:
                session.state.put_order(
                    replace(order, state=_ENDED[report.status], reason=report.reason, updated_at=session.clock.now())
                )


async def _read_truth(session: Session) -> None:
    exchange = session.exchange
    at = session.clock.now()
    positions = {report.symbol: report for report in await exchange.fetch_positions()}
    orders = {str(report.client_order_id): report for report in await exchange.fetch_open_orders()}
    balance = await exchange.fetch_balance()
    snapshot = await session.runtime.market.snapshot(frozenset(session.runtime.instruments))
    session.read(Truth(at=at, balance=balance, positions=positions, open_orders=orders), snapshot)
    await _end_vanished(session, orders)


async def _end_vanished(session: Session, orders: dict[str, OrderReport]) -> None:
    """Settle orders that the books think resting and the venue does not list: cancelled or expired there."""
    for order in list(session.state.orders.values()):
        if order.state is OrderState.ACCEPTED and order.order_id not in orders:
            report = await session.exchange.lookup_order(order.order_id, order.symbol)  # type: ignore[arg-type]  # as above
            if report is not None and report.status.terminal and order.filled >= report.filled:
                await apply_report(session, order, replace(report, fills=()))


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


def _resolve_symbols(session: Session) -> None:
    session.unresolved = {order.symbol for order in session.state.orders.values() if is_unresolved(order)}
    for symbol in sorted(_mismatches(session) - session.unresolved):
        session.unresolved.add(symbol)
        session.incident("POSITION_MISMATCH", "the venue's position differs from the sum of the books", symbol=symbol)


def _book_funding(session: Session, payment: FundingPayment) -> None:
    state = session.state
    ref = _funding_ref(payment)
    parts = funding_parts(payment, state.books, state.instruments[payment.symbol].contract_size)
    for trader_id, amount in parts:
        state.fund(trader_id, payment.symbol, amount, ref, payment.at)
    rounding = payment.amount - sum((amount for _, amount in parts), ZERO)
    if rounding:
        state.fund(ROUNDING, payment.symbol, rounding, ref, payment.at)
    if abs(rounding) > Decimal("0.01"):
        session.incident(
            "FUNDING_DIFFERENCE",
            f"the venue paid {payment.amount}, the books account for all but {rounding}",
            symbol=payment.symbol,
        )


def _funding_ref(payment: FundingPayment) -> str:
    return f"funding/{payment.symbol}/{payment.at.isoformat()}"


def _funding_known(session: Session, payment: FundingPayment) -> bool:
    since = session.state.account.funding_since
    return since is not None and payment.at <= since


def _last_funding(session: Session, funding: Sequence[FundingPayment]) -> datetime | None:
    return max((payment.at for payment in funding), default=session.state.account.funding_since)


def _is_funding(item: Fill | FundingPayment) -> bool:
    return isinstance(item, FundingPayment)


def _halt(session: Session, reason: str) -> None:
    account = session.state.account
    if account.trading_state is not TradingState.HALTED:
        session.state.put_account(replace(account, trading_state=TradingState.HALTED, state_reason=reason))
