"""Persist, send, persist the outcome: an order is in the database before the venue can see it, and is sent once.

Four outcomes: DENIED never left, REJECTED the venue said no, ACCEPTED it stands or is done, UNKNOWN it may stand.
Nothing here sends an order a second time; UNKNOWN is looked up when the account is reconciled.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

import structlog

from exchanges.client_ids import new_client_order_id
from exchanges.errors import ExchangeError, OrderDenied, OrderRejected
from exchanges.types import BracketId, ClientOrderId, OrderRequest, OrderType, Symbol, TimeInForce
from manager.desk.plan.outcomes import PlannedOrder, ProtectiveLeg
from manager.desk.reconcile.fills import FillBooking
from manager.desk.session import Session
from manager.state.records import OrderId, OrderPurpose, OrderRow, OrderState, Share

_LOG = structlog.get_logger(__name__)
_TYPES = {OrderPurpose.STOP: OrderType.STOP, OrderPurpose.TAKE_PROFIT: OrderType.TAKE_PROFIT}


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelResult:
    """Say whether a resting order is surely gone, and whether it had filled before it went."""

    gone: bool
    filled: bool


class Submission:
    """Send and cancel the orders of one session."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._fills = FillBooking(session)

    def order_row(self, planned: PlannedOrder) -> OrderRow:
        """Return the row of a planned market order, with a client order id that no other order has."""
        return self._row(planned, OrderType.MARKET, leg=planned.purpose)

    def leg_row(self, leg: ProtectiveLeg, *, fire: bool = False) -> OrderRow:
        """Return the row of a protective leg; its bracket begins with the trader, by which paper orders touches."""
        planned = PlannedOrder(
            symbol=leg.symbol,
            side=leg.side,
            purpose=leg.purpose,
            quantity=leg.quantity,
            reduce_only=leg.reduce_only,
            shares=(Share(trader_id=leg.trader_id, quantity=leg.quantity),),
        )
        row = self._row(planned, _TYPES[leg.purpose], leg=f"{leg.purpose}.{leg.trader_id}")
        bracket = BracketId(f"{leg.trader_id}.{leg.symbol}")
        reason = "fired" if fire else ""
        return replace(row, bracket=bracket, trigger_price=leg.trigger_price, fired=fire, reason=reason)

    async def persist(self, orders: Sequence[OrderRow]) -> None:
        """Write the orders, with whatever else the session has pending, before any of them can be sent."""
        for order in orders:
            self._session.state.new_order(order)
        await self._session.flush()

    async def send(self, order: OrderRow) -> OrderRow:
        """Send one persisted order and persist its outcome with its fills; return the order as it then stands."""
        session, now = self._session, self._session.clock.now()
        too_late = order.send_before is not None and now > order.send_before
        if too_late or session.clock.boot_s() > session.lease_until_s:
            return await self._settle(order, OrderState.DENIED, "not sent: the lease or the send window had passed")
        try:
            report = await session.exchange.create_order(_request(order))
        except OrderRejected as answer:
            return await self._settle(order, OrderState.REJECTED, f"{answer.code}: {answer}")
        except OrderDenied as answer:
            return await self._settle(order, OrderState.DENIED, str(answer))
        except (ExchangeError, OSError, TimeoutError, ValueError) as failure:
            _LOG.warning("order_outcome_unknown", order_id=order.order_id, error=str(failure))
            detail = f"{order.order_id}: {failure}"
            session.unresolved.add(order.symbol)
            session.incident("ORDER_UNKNOWN", detail, symbol=order.symbol, which=order.order_id)
            return await self._settle(order, OrderState.UNKNOWN, str(failure))
        order = await self._fills.apply_report(order, report, first=True)
        await session.flush()
        return order

    async def cancel(self, order_id: OrderId) -> CancelResult:
        """Cancel a resting order and book what it had filled; `gone` is False when the venue's answer is not known.

        That is an incident, unless the order itself has no known outcome and the venue does not have it: one is open
        for that already.
        """
        session, order = self._session, self._session.state.orders[order_id]
        before = order.filled
        if session.clock.boot_s() > session.lease_until_s:
            return CancelResult(gone=False, filled=False)
        try:
            report = await session.exchange.cancel_order(ClientOrderId(order_id), order.symbol)
        except (ExchangeError, OSError, TimeoutError, ValueError) as failure:
            _LOG.warning("cancel_outcome_unknown", order_id=order_id, error=str(failure))
            if not (order.state.unresolved and isinstance(failure, OrderRejected)):
                (trader_id, symbol), detail = order.guards, f"{order_id}: {failure}"
                session.incident("CANCEL_UNKNOWN", detail, trader_id=trader_id, symbol=symbol, which=order_id)
            return CancelResult(gone=False, filled=False)
        order = await self._fills.apply_report(order, report)
        await self._session.flush()
        return CancelResult(gone=report.status.terminal, filled=report.filled > before or order.filled > before)

    async def set_leverage(self, symbol: Symbol) -> bool:
        """Set the venue's leverage before the first entry: min(venue maximum, the largest cap among its traders).

        Source: docs/rules.md 7. It is never lowered under a position. False when the venue did not take it.
        """
        runtime, traders = self._session.runtime, self._session.state.traders.values()
        caps = [row.spec.limits.max_leverage(symbol) for row in traders if symbol in row.spec.symbols]
        wanted = min(runtime.instruments[symbol].max_leverage, max(caps, default=1))
        report = self._session.truth.positions.get(symbol)
        held = report is not None
        current = runtime.leverages.get(symbol) or (report.leverage if report is not None else None)
        if current == wanted or (current is not None and held and wanted < current):
            return True
        try:
            await self._session.exchange.set_leverage(symbol, wanted)
        except ExchangeError as failure:
            self._session.incident("LEVERAGE_REFUSED", f"leverage {wanted}: {failure}", symbol=symbol)
            return False
        runtime.leverages[symbol] = wanted
        return True

    def _row(self, planned: PlannedOrder, kind: OrderType, *, leg: str) -> OrderRow:
        now, number = self._session.clock.now(), self._session.next_leg()
        account = self._session.state.account
        where = (account.tenant_id, account.account_id, str(account.opened_at), self._session.round_id)
        named = new_client_order_id(*where, planned.symbol, leg, str(number))
        return OrderRow(
            tenant_id=account.tenant_id,
            account_id=account.account_id,
            order_id=OrderId(named),
            round_id=self._session.round_id,
            symbol=planned.symbol,
            side=planned.side,
            type=kind,
            purpose=planned.purpose,
            quantity=planned.quantity,
            created_at=now,
            shares=planned.shares,
            n=number,
            reduce_only=planned.reduce_only,
            send_before=now + timedelta(seconds=self._session.runtime.rules.send_window_s),
        )

    async def _settle(self, order: OrderRow, state: OrderState, reason: str) -> OrderRow:
        order = replace(order, state=state, reason=reason, updated_at=self._session.clock.now())
        self._session.state.put_order(order)
        await self._session.flush()
        return order


def was_refused(sent: OrderRow) -> bool:
    """Tell whether an order surely does not stand and nothing of it was executed, because somebody said no."""
    return sent.state in (OrderState.REJECTED, OrderState.DENIED)


def _request(order: OrderRow) -> OrderRequest:
    closes = order.purpose in (OrderPurpose.REDUCE, OrderPurpose.LIQUIDATION)
    rests = closes or (order.type is not OrderType.MARKET and not order.fired)
    return OrderRequest(
        client_order_id=ClientOrderId(order.order_id),
        symbol=order.symbol,
        side=order.side,
        type=order.type,
        quantity=order.quantity,
        trigger_price=order.trigger_price,
        reduce_only=order.reduce_only,
        time_in_force=TimeInForce.GTC if rests else TimeInForce.IOC,
        send_before=order.send_before,
        bracket=order.bracket,
        liquidation=order.purpose is OrderPurpose.LIQUIDATION,
    )
