"""Place and cancel the legs of positions, their resting stops and take-profits (docs/rules.md 8)."""

from manager.desk.plan.external_overlap import automatic_limits
from manager.desk.plan.outcomes import ProtectionPlan, ProtectiveLeg
from manager.desk.reconcile.reader import Reconciler
from manager.desk.session import Session
from manager.desk.submission import CancelResult, Submission, was_refused
from manager.state.records import OrderId, OrderPurpose, OrderRow, OrderState, PositionKey


class Legs:
    """Carry out plans of legs in one session; a leg that the venue refuses is asked for less and less often."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._state = session.state
        self._submission = Submission(session)
        self._outstanding = session.state.outstanding

    async def carry_out(self, plan: ProtectionPlan) -> bool:
        """Place, then cancel; return whether the books or the plan may have changed by it."""
        ready = []
        for leg in plan.place:
            if self.waits(leg):
                continue
            results = [await self._submission.cancel(old) for old in plan.cancel if self._goes_first(old, leg)]
            if any(result.filled for result in results):
                await Reconciler(self._session).book_news()
                return True
            if all(result.gone for result in results):
                ready.append(leg)
        sent = await self.place(ready)
        for order_id in plan.cancel:
            old = self._state.orders[order_id]
            if old.state.live and not self._is_last_stop(old):
                result = await self._submission.cancel(order_id)
                if result.filled:
                    await Reconciler(self._session).book_news()
                    return True
        return any(order.state is not OrderState.ACCEPTED for order in sent)

    async def place(self, legs: list[ProtectiveLeg], *, fire: bool = False) -> list[OrderRow]:
        """Send legs, or take-profits to be executed at once (`fire`), and tell of those that are refused."""
        rows = [self._submission.leg_row(leg, fire=fire) for leg in legs]
        if rows:
            await self._submission.persist(rows)
        sent = []
        for leg, row in zip(legs, rows, strict=True):
            order = await self._submission.send(row)
            self._note(leg, order)
            sent.append(order)
        return sent

    async def clear(self, key: PositionKey, *, stops_too: bool) -> CancelResult:
        """Cancel a position's take-profit, and its stop if asked, before the position is closed in another way.

        Return whether all are surely gone and whether any had filled. The confirmed stop goes last: it stays where
        anything else is not gone.
        """
        gone, filled = True, False
        for order in sorted(self._outstanding.legs(), key=_clearing_order):
            if order.guards != key or (order.purpose is OrderPurpose.STOP and not (stops_too and gone)):
                continue
            result = await self._submission.cancel(order.order_id)
            gone, filled = gone and result.gone, filled or result.filled
        return CancelResult(gone=gone, filled=filled)

    def keep_cancels(self, key: PositionKey) -> None:
        """Let the incidents of cancels stay open in a pass that does not try these cancels again yet."""
        for order in self._outstanding.legs():
            self._session.keep_incident(
                "CANCEL_UNKNOWN", trader_id=key.trader_id, symbol=key.symbol, which=order.order_id
            )

    def waits(self, leg: ProtectiveLeg) -> bool:
        """Tell whether the venue refused this very leg a moment ago; then it stays told."""
        waits = self._session.runtime.back_off.waits(leg, self._session.clock.now())
        if waits:
            self.keep_refused(leg)
        return waits

    def keep_refused(self, leg: ProtectiveLeg) -> None:
        """Let what was told of a refused leg stay open."""
        trader_id, symbol = leg.key
        self._session.keep_incident("PROTECTION_REFUSED", trader_id=trader_id, symbol=symbol, which=leg.purpose)

    def _note(self, leg: ProtectiveLeg, sent: OrderRow) -> None:
        now, refused = self._session.clock.now(), was_refused(sent)
        self._session.runtime.back_off.note(leg, now, refused=refused)
        if refused:
            detail, (trader_id, symbol) = f"{leg.purpose} at {leg.trigger_price}: {sent.reason}", leg.key
            self._session.incident("PROTECTION_REFUSED", detail, trader_id=trader_id, symbol=symbol, which=leg.purpose)

    def _goes_first(self, order_id: OrderId, leg: ProtectiveLeg) -> bool:
        """Tell whether an order must go before `leg` replaces it: were one plain, both could open a position."""
        old = self._state.orders[order_id]
        same = old.purpose is leg.purpose and old.guards == leg.key
        return same and not (leg.reduce_only and old.reduce_only)

    def _is_last_stop(self, old: OrderRow) -> bool:
        """Tell whether a confirmed stop must stay: no other one stands for its position, and it cannot flip it."""
        key = old.guards
        held = self._state.books[key.trader_id].quantity(key.symbol)
        if old.purpose is not OrderPurpose.STOP or old.state is not OrderState.ACCEPTED or held * old.side.sign >= 0:
            return False
        for other in self._outstanding.legs():
            confirmed = other.purpose is OrderPurpose.STOP and other.state is OrderState.ACCEPTED
            if confirmed and other.guards == key and other.order_id != old.order_id:
                return False
        if old.reduce_only and not self._outstanding.is_shared(key):
            return True
        return old.quantity - old.filled <= automatic_limits(self._session.view()).get(key, abs(held))


def _clearing_order(order: OrderRow) -> tuple[bool, bool]:
    return order.purpose is OrderPurpose.STOP, order.state is OrderState.ACCEPTED
