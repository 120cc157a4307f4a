"""Book what the venue executed, each fill once: own fills, late ones, and external ones (docs/rules.md 7, 9)."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from exchanges.errors import ExchangeError
from exchanges.types import ZERO, ClientOrderId, Fill, FillKind, OrderReport, OrderStatus
from manager.desk.plan.attribution import attribute
from manager.desk.plan.booking import book_fill
from manager.desk.plan.late import Resplit, is_late
from manager.desk.plan.outstanding import close_is_done
from manager.desk.reconcile.funding import FundingBooking
from manager.desk.reconcile.past import Past
from manager.desk.session import Session
from manager.state.kinds import IntentStatus, OrderPurpose, OrderState, TradingState
from manager.state.records import FillRow, OrderId, OrderRow, PositionKey

ENDED = {
    OrderStatus.FILLED: OrderState.FILLED,
    OrderStatus.CANCELED: OrderState.CANCELED,
    OrderStatus.EXPIRED: OrderState.EXPIRED,
    OrderStatus.REJECTED: OrderState.REJECTED,
}


class FillBooking:
    """Book fills in one session, to the books they belong to; what no book can take is EXTERNAL's."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._state = session.state
        self._past = Past(session)

    async def apply_report(self, order: OrderRow, report: OrderReport, *, first: bool = False) -> OrderRow:
        """Book what a venue's report says of one order, fills that are booked already left out.

        An order ends in the books only when every fill the venue counted is booked; a report that counts more than it
        carries is completed by a lookup. `first` says that the order was sent just now, so nothing of it is booked.
        """
        order = await self._book_own(order, report.fills, first=first)
        if order.filled < report.filled:
            found = None
            with suppress(ExchangeError):  # it stays open in the books, so the next pass asks again
                found = await self._session.exchange.lookup_order(ClientOrderId(order.order_id), order.symbol)
            if found is not None:
                order, report = await self._book_own(order, found.fills), found
        state = OrderState.ACCEPTED
        if report.status.terminal and order.filled >= report.filled:
            state = ENDED[report.status]
        order = replace(
            order,
            state=state,
            venue_order_id=report.venue_order_id or order.venue_order_id,
            reason=report.reason or order.reason,
            updated_at=self._session.clock.now(),
        )
        self._state.put_order(order)
        self._end_closes(order)
        return order

    async def unbooked(self, fills: Sequence[Fill]) -> Sequence[Fill]:
        """Return the fills not booked yet, each once, with the orders of late ones, already ended here, read back."""
        session, orders, seen = self._session, self._state.orders, self._session.runtime.seen
        fresh = list({f.trade_id: f for f in fills if f.trade_id not in session.booked and not seen.has(f)}.values())
        if not fresh:
            return fresh
        account_id = session.runtime.account_id
        async with session.reading() as tx:
            known = await tx.known_trades(account_id, [fill.trade_id for fill in fresh])
            session.booked |= known
            seen.note(fill for fill in fresh if fill.trade_id in known)
            new = [fill for fill in fresh if fill.trade_id not in known]
            for order_id in {OrderId(fill.client_order_id) for fill in new if fill.client_order_id} - orders.keys():
                order = await tx.get(OrderRow, account_id, order_id)
                if order is not None:
                    orders[order_id] = order
        return new

    async def book(self, fill: Fill) -> None:
        """Book one fill that is not booked yet, to its order's books, or by what it is where no order is known."""
        await self._book(fill, self._state.orders.get(OrderId(fill.client_order_id)) if fill.client_order_id else None)

    async def _book_own(self, order: OrderRow, fills: Sequence[Fill], *, first: bool = False) -> OrderRow:
        for fill in fills if first else await self.unbooked(fills):
            await self._book(fill, order)
            order = self._state.orders[order.order_id]
        return order

    async def _book(self, fill: Fill, order: OrderRow | None) -> None:
        """Book one fill; one that comes late takes its place, and what was split after it is corrected."""
        session, account = self._session, self._state.account
        session.booked.add(fill.trade_id)
        split = None
        if is_late(fill, account.fills_since, account.newest_trade):
            split = await self._past.resplit(fill, order)
        if split is None:
            booked = book_fill(fill, order, self._state.held(fill.symbol), session.instrument(fill.symbol))
            split = Resplit(booked=booked, executions=(booked.execution,))
        self._enter(fill, order, split)
        newest = (fill.at, fill.trade_id)
        if account.fills_since is None or newest > (account.fills_since, account.newest_trade):
            self._state.put_account(replace(self._state.account, fills_since=fill.at, newest_trade=fill.trade_id))
        if account.funding_since is not None and fill.at <= account.funding_since:
            await FundingBooking(session).correct(fill)

    def _enter(self, fill: Fill, order: OrderRow | None, split: Resplit) -> None:
        session, symbol, booked = self._session, fill.symbol, split.booked
        self._state.insert(
            FillRow(
                tenant_id=session.runtime.tenant_id,
                account_id=session.runtime.account_id,
                trade_id=fill.trade_id,
                order_id=order.order_id if order else OrderId(""),
                symbol=symbol,
                side=fill.side,
                quantity=fill.quantity,
                price=fill.price,
                fee=fill.fee,
                liquidity=fill.liquidity,
                kind=fill.kind,
                at=fill.at,
            )
        )
        for execution in split.executions:
            self._state.book(execution)
        if booked.external:
            what = "an execution beyond what the books hold" if order else "a trade this desk did not make"
            detail = f"{what}: {fill.side} {booked.external} {symbol} at {fill.price}"
            session.incident("EXTERNAL_FILL", detail, symbol=symbol)
        if fill.kind is not FillKind.TRADE:
            session.incident("ACCOUNT_LIQUIDATION", f"{fill.kind} {fill.side} {fill.quantity}", symbol=symbol)
            self._halt(f"{fill.kind} of {symbol} at {fill.at.isoformat()}")
        if booked.order is not None:
            self._state.put_order(booked.order)
            self._end_closes(booked.order)

    def _end_closes(self, order: OrderRow) -> None:
        """End the closes whose order has ended, however late."""
        if order.purpose is not OrderPurpose.REDUCE or order.state.live or not order.filled:
            return
        lot = self._session.instrument(order.symbol).lot
        received = attribute(order.shares, ZERO, order.filled, lot)
        for share, taken in zip(order.shares, received, strict=True):
            intent = self._state.intents.get(share.intent_id)
            if intent is None or intent.status is not IntentStatus.PENDING:
                continue
            key, decision = PositionKey(share.trader_id, order.symbol), intent.decision
            if intent.asked_by and key in self._state.outstanding.entries():
                continue
            held = self._state.books[share.trader_id].quantity(order.symbol)
            unsettled = bool(not held and decision.target_quantity) or key in self._state.outstanding.reduces()
            if close_is_done(decision, order.side, held, taken=taken, lot=lot, unsettled=unsettled):
                self._state.settle(intent, IntentStatus.DONE, order.round_id)

    def _halt(self, reason: str) -> None:
        account = self._state.account
        if account.trading_state is not TradingState.HALTED:
            self._state.put_account(replace(account, trading_state=TradingState.HALTED, state_reason=reason))
