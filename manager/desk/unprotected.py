"""Close what no confirmed stop guards: after the protection grace, or tell NAKED_POSITION where it cannot be closed."""

from dataclasses import replace
from datetime import timedelta

from exchanges.types import Side
from manager.desk.legs import Legs
from manager.desk.plan.external_overlap import automatic_limits
from manager.desk.plan.outcomes import PlannedOrder, ProtectionPlan
from manager.desk.plan.protection import plan_protection
from manager.desk.session import Session
from manager.desk.submission import Submission, was_refused
from manager.state.records import OrderPurpose, OrderState, PositionKey, Share
from traders.book import Position


class Unprotected:
    """Follow the positions of one session that have no confirmed stop (docs/rules.md 8)."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._state = session.state
        self._submission = Submission(session)
        self._legs = Legs(session)

    async def close_past_grace(self, plan: ProtectionPlan) -> None:
        """Note since when a position is unprotected, and close it once that is longer than the protection grace."""
        now = self._session.clock.now()
        unprotected = {*plan.unprotected, *self._beside_a_close()}
        grace = timedelta(seconds=self._session.runtime.rules.protection_grace_s)
        for key, row in list(self._state.positions.items()):
            if key not in unprotected:
                if row.unprotected_since is not None:
                    self._state.flag(key, dust=row.dust, unprotected_since=None)
                continue
            since = row.unprotected_since or now
            self._state.flag(key, dust=row.dust, unprotected_since=since)
            if now - since > grace:
                await self._close(key)
        for key in unprotected - self._state.positions.keys():
            if key.symbol in self._state.books[key.trader_id].positions:
                self._state.flag(key, dust=False, unprotected_since=now)

    def _beside_a_close(self) -> set[PositionKey]:
        """Return what a close without an outcome may end, and no confirmed stop covers until then."""
        unresolved = self._state.outstanding.unresolved_reduces()
        if not unresolved:
            return set()
        plan = plan_protection(self._session.view(), self._state.outstanding.legs(), dust=self._state.dust)
        return unresolved & set(plan.unprotected)

    async def _close(self, key: PositionKey) -> None:
        """Close a position once: a stop of it without an outcome must be out of the way, or be doubled."""
        outstanding = self._state.outstanding
        held = self._state.books[key.trader_id].positions.get(key.symbol)
        if key in outstanding.unresolved_reduces():
            self._tell(key, "a close without an outcome forbids another, or a stop for all")
        if held is None or key in outstanding.reduces():
            return
        planned = self._whole_close(key, held)
        if self._session.runtime.back_off.waits(planned, self._session.clock.now()):
            self._legs.keep_cancels(key)
            return
        if await self._doubled(key):
            return
        cleared = await self._legs.clear(key, stops_too=True)
        if cleared.filled:
            return
        if not cleared.gone and outstanding.must_clear(key):
            self._tell(key, "one that may stand forbids a second or a close: both could be executed")
            return
        await self._send_close(key, planned)

    def _whole_close(self, key: PositionKey, held: Position) -> PlannedOrder:
        quantity = automatic_limits(self._session.view()).get(key, abs(held.quantity))
        return PlannedOrder(
            symbol=key.symbol,
            side=Side.SELL if held.quantity > 0 else Side.BUY,
            purpose=OrderPurpose.REDUCE,
            quantity=quantity,
            shares=(Share(trader_id=key.trader_id, quantity=quantity),),
            reduce_only=not self._state.outstanding.is_shared(key),
        )

    async def _send_close(self, key: PositionKey, planned: PlannedOrder) -> None:
        """Send a close and tell of it, before it leaves and after: again only if it was not told or took anything."""
        session, (trader_id, symbol) = self._session, key
        told = session.keep_incident("NAKED_POSITION", trader_id=trader_id, symbol=symbol)
        what = f"no stop stood past the grace: the close of {planned.quantity}"
        if not told:
            session.incident("STOP_FAILED", f"{what} is sent", trader_id=trader_id, symbol=symbol)
        row = replace(self._submission.order_row(planned), reason="no stop stood")
        await self._submission.persist([row])
        sent = await self._submission.send(row)
        session.runtime.back_off.note(planned, session.clock.now(), refused=was_refused(sent))
        if sent.filled or not told:
            detail = f"{what} is {sent.state}, {sent.filled} filled"
            session.incident("STOP_FAILED", detail, trader_id=trader_id, symbol=symbol)
        if not sent.filled:
            self._tell(key, f"the close of {planned.quantity} is {sent.state}: {sent.reason}")

    def _tell(self, key: PositionKey, why: str) -> None:
        detail = f"no stop is confirmed past the grace, and {why}"
        self._session.incident("NAKED_POSITION", detail, trader_id=key.trader_id, symbol=key.symbol)

    async def _doubled(self, key: PositionKey) -> bool:
        """Place a second stop beside one without an outcome where other books hold the symbol; tell whether it stands.

        Only while all legs of the symbol are reduce-only and its books point one way: whichever stops stand, they
        cannot turn the account's position over.
        """
        outstanding = self._state.outstanding
        legs = [order for order in outstanding.legs() if order.symbol == key.symbol]
        stops = [order for order in legs if order.purpose is OrderPurpose.STOP and order.guards == key]
        if len(stops) != 1 or not stops[0].state.unresolved or not outstanding.is_shared(key):
            return False
        if not all(order.reduce_only for order in legs):
            return False
        wanted = plan_protection(self._session.view(), ()).place
        second = [leg for leg in wanted if leg.purpose is OrderPurpose.STOP and leg.key == key and leg.reduce_only]
        if not second or self._legs.waits(second[0]):
            return False
        [sent] = await self._legs.place(second[:1])
        return sent.state is OrderState.ACCEPTED
