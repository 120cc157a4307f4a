"""What the venue reports, booked once: fills to the books they belong to, funding, and how orders ended."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from exchanges.types import ClientOrderId, Fill, FillKind, FundingPayment, OrderReport, OrderStatus
from manager.desk.plan.attribution import attribute
from manager.desk.plan.booking import book_fill, funding_parts
from manager.desk.plan.outstanding import close_is_done
from manager.desk.plan.values import ZERO
from manager.desk.session import Session
from manager.state.records import (
    ROUNDING,
    FillPartRow,
    FillRow,
    IntentStatus,
    OrderId,
    OrderPurpose,
    OrderRow,
    OrderState,
    TradingState,
)

SINCE_FIRST = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
ENDED = {
    OrderStatus.FILLED: OrderState.FILLED,
    OrderStatus.CANCELED: OrderState.CANCELED,
    OrderStatus.EXPIRED: OrderState.EXPIRED,
    OrderStatus.REJECTED: OrderState.REJECTED,
}


async def apply_report(session: Session, order: OrderRow, report: OrderReport, *, first: bool = False) -> OrderRow:
    """Book what a venue's report says of one order, fills that are booked already left out.

    An order ends in the books only when every fill the venue counted is booked; a report that counts more than it
    carries is completed by a lookup. `first` says that the order was sent just now, so that nothing of it is booked.
    """
    order = await _book_own(session, order, report.fills, first=first)
    if order.filled < report.filled:
        found = await session.exchange.lookup_order(ClientOrderId(order.order_id), order.symbol)
        if found is not None:
            order, report = await _book_own(session, order, found.fills), found
    state = OrderState.ACCEPTED
    if report.status.terminal and order.filled >= report.filled:
        state = ENDED[report.status]
    order = replace(
        order,
        state=state,
        venue_order_id=report.venue_order_id or order.venue_order_id,
        reason=report.reason or order.reason,
        updated_at=session.clock.now(),
    )
    session.state.put_order(order)
    _close_is_done(session, order)
    return order


async def book_news(session: Session) -> None:
    """Book new fills and funding in the order of their instants; of one instant, fills come first."""
    state = session.state
    account = state.account
    funding: Sequence[FundingPayment] = ()
    if session.exchange.capabilities.reports_funding:
        funding = await session.exchange.fetch_funding(account.funding_since or SINCE_FIRST)
    seen = await session.exchange.fetch_fills(account.fills_since or SINCE_FIRST)
    fills = await session.unbooked(seen)
    funding = [payment for payment in funding if not _funding_known(session, payment)]
    fills_since = seen[-1].at if seen else account.fills_since
    if not fills and not funding:
        if fills_since != account.fills_since:
            state.put_account(replace(account, fills_since=fills_since))
        return
    news: list[Fill | FundingPayment] = sorted([*fills, *funding], key=lambda item: (item.at, _is_funding(item)))
    late = await session.parts_after(min(payment.at for payment in funding)) if funding else ()
    for item in news:
        if isinstance(item, FundingPayment):
            _book_funding(session, item, late)
        else:
            _book_one(session, item, state.orders.get(OrderId(item.client_order_id)) if item.client_order_id else None)
    account = state.account
    state.put_account(replace(account, fills_since=fills_since, funding_since=_last_funding(session, funding)))
    await session.flush()


async def _book_own(session: Session, order: OrderRow, fills: Sequence[Fill], *, first: bool = False) -> OrderRow:
    for fill in fills if first else await session.unbooked(fills):
        _book_one(session, fill, order)
        order = session.state.orders[order.order_id]
    return order


def _book_one(session: Session, fill: Fill, order: OrderRow | None) -> None:
    state = session.state
    session.booked.add(fill.trade_id)
    booked = book_fill(fill, order, state.books, session.instrument(fill.symbol))
    state.insert(
        FillRow(
            tenant_id=session.runtime.tenant_id,
            account_id=session.runtime.account_id,
            trade_id=fill.trade_id,
            order_id=order.order_id if order else OrderId(""),
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
        _close_is_done(session, booked.order)


def _close_is_done(session: Session, order: OrderRow) -> None:
    """End the closes whose order has ended, however late."""
    if order.purpose is not OrderPurpose.REDUCE or order.state.live or not order.filled:
        return
    received = attribute(order.shares, ZERO, order.filled, session.instrument(order.symbol).lot)
    for share, taken in zip(order.shares, received, strict=True):
        intent = session.state.intents.get(share.intent_id)
        if intent is None or intent.status is not IntentStatus.PENDING:
            continue
        decision, held = intent.decision, session.state.books[share.trader_id].quantity(order.symbol)
        opens = not held and bool(decision.target_quantity)
        if close_is_done(decision, held=held, taken=taken, asked=share.quantity, opens=opens):
            session.state.settle(intent, IntentStatus.DONE, order.round_id)


def _book_funding(session: Session, payment: FundingPayment, late: Sequence[FillPartRow]) -> None:
    """Book a payment on what the books held at its instant: without the parts of `late` that traded after it."""
    state, symbol = session.state, payment.symbol
    ref = _funding_ref(payment)
    held = {owner: book.quantity(symbol) for owner, book in state.books.items()}
    for part in late:
        if part.symbol == symbol and part.at > payment.at:
            held[part.trader_id] -= part.quantity
    parts = funding_parts(payment, held, session.instrument(payment.symbol).contract_size)
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
