"""Find orders again whose state is not known, or that the venue lists no more, and take them as they are there."""

from dataclasses import replace
from datetime import timedelta

from exchanges.errors import ExchangeError
from exchanges.types import ClientOrderId, OrderReport
from manager.desk.reconcile.fills import FillBooking
from manager.desk.session import Session
from manager.state.records import OrderId, OrderRow, OrderState

ABSENCE_PROOF = timedelta(seconds=30)


class Adoption:
    """Look up orders in one session; "not found" proves absence only some time after the order could last arrive."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._state = session.state
        self._fills = FillBooking(session)

    async def look_up_unresolved(self) -> None:
        """Look up every order without an outcome; one that its send window has passed for long is proven absent."""
        now = self._session.clock.now()
        for order in self._state.outstanding.unresolved():
            report, failure = await self._look_up(order)
            if report is not None:
                await self._fills.apply_report(order, report)
            elif failure is None and order.send_before is not None and now > order.send_before + ABSENCE_PROOF:
                absent = replace(order, state=OrderState.ABSENT, reason="the venue never had it", updated_at=now)
                self._state.put_order(absent)
            elif order.state is OrderState.PENDING:
                self._state.put_order(replace(order, state=OrderState.UNKNOWN, updated_at=now))

    async def settle_unlisted(self, listed: dict[OrderId, OrderReport]) -> None:
        """Settle orders that the books think resting and the venue does not list: filled, cancelled or expired there.

        One that the venue does not find either confirms nothing any more: it is looked up until its absence is proven.
        """
        for order in list(self._state.orders.values()):
            if order.state is not OrderState.ACCEPTED or order.order_id in listed:
                continue
            report, failure = await self._look_up(order)
            if report is None:
                why = "the venue neither lists nor finds it" if failure is None else str(failure)
                detail = f"{order.order_id}: {why}"
                self._session.incident("ORDER_UNKNOWN", detail, symbol=order.symbol, which=order.order_id)
                self._state.put_order(replace(order, state=OrderState.UNKNOWN))
            elif report.status.terminal:
                await self._fills.apply_report(order, report)

    async def _look_up(self, order: OrderRow) -> tuple[OrderReport | None, ExchangeError | None]:
        try:
            return await self._session.exchange.lookup_order(ClientOrderId(order.order_id), order.symbol), None
        except ExchangeError as failure:
            return None, failure
