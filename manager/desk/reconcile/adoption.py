"""Find orders again whose state is not known, or that the venue lists no more, and take them as they are there."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Final

from exchanges.errors import ExchangeError
from exchanges.types import ClientOrderId, OrderReport
from manager.desk.reconcile.fills import FillBooking
from manager.desk.session import Session
from manager.state.records import OrderId, OrderRow, OrderState

ABSENCE_PROOF: Final = timedelta(seconds=30)
ENFORCED_PROOF: Final = timedelta(seconds=1)


class Adoption:
    """Look up orders in one session; "not found" proves absence only some time after the order could last arrive."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._state = session.state
        self._fills = FillBooking(session)

    async def look_up_unresolved(self) -> None:
        """Look up every order without an outcome; one that its send window has passed for long is proven absent."""
        unresolved = self._state.outstanding.unresolved()
        for_closes = await self._proof_of_closes(unresolved)
        for order in unresolved:
            now, proof = self._session.clock.now(), for_closes if order.closes else ABSENCE_PROOF
            report, failure = await self._look_up(order)
            if report is not None:
                await self._fills.apply_report(order, report)
            elif failure is None and order.send_before is not None and now > order.send_before + proof:
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

    async def _proof_of_closes(self, unresolved: Sequence[OrderRow]) -> timedelta:
        """Return how long after its expiry a close that is not found is surely absent (docs/rules.md 8).

        Where the venue lets it expire by its own clock, that is soon: what its clock is off is measured now.
        """
        exchange, clock = self._session.exchange, self._session.clock
        able = exchange.capabilities.enforces_expiry and exchange.capabilities.lookup_authoritative
        if not able or not any(order.closes for order in unresolved):
            return ABSENCE_PROOF
        before = clock.now()
        try:
            told = await exchange.fetch_time()
        except ExchangeError:
            return ABSENCE_PROOF
        skew = max(abs(told - before), abs(told - clock.now()))
        return min(ENFORCED_PROOF + skew, ABSENCE_PROOF)

    async def _look_up(self, order: OrderRow) -> tuple[OrderReport | None, ExchangeError | None]:
        try:
            return await self._session.exchange.lookup_order(ClientOrderId(order.order_id), order.symbol), None
        except ExchangeError as failure:
            return None, failure
