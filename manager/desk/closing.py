"""Carry out the closes that the desk makes of itself: as a trader's own would be, market orders that only reduce."""

from collections.abc import Iterable
from dataclasses import replace

from exchanges.types import ZERO
from manager.desk.legs import Legs
from manager.desk.plan.closing import DeskClose, isolated_holdings, losers, over_allocation
from manager.desk.plan.external_overlap import automatic_limits
from manager.desk.plan.outcomes import PlannedOrder
from manager.desk.plan.outstanding import without_outstanding
from manager.desk.session import Session
from manager.desk.submission import Submission, was_refused
from manager.state.records import OrderPurpose, Share


class DeskCloses:
    """Close positions of one session's account; one that is being closed already is left alone."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._submission = Submission(session)
        self._legs = Legs(session)

    async def relieve(self, *, rebalanced: bool) -> None:
        """Close what isolated traders hold, the worst loser, and after a rebalance the excess of others.

        All three look at the account as it is before the first of them; for the loser once an instant.
        """
        session = self._session
        view, now, relieved = session.view(), session.clock.now(), session.runtime.relieved
        taken = session.state.outstanding.reduces()
        flat = isolated_holdings(view)
        worst: tuple[DeskClose, ...] = ()
        taken |= {close.reduce.key: close.reduce.quantity for close in flat}
        if session.all_marked() and now not in relieved:
            relieved.append(now)
            worst = losers(view, taken)
            taken |= {close.reduce.key: close.reduce.quantity for close in worst[:1]}
        excess = over_allocation(without_outstanding(view, taken)) if rebalanced else ()
        await self._close(flat)
        await self._close(worst, most=1)
        await self._close(excess)

    async def _close(self, closes: Iterable[DeskClose], most: int | None = None) -> None:
        """Send what can be sent, at most so many that the venue takes."""
        session, outstanding, taken = self._session, self._session.state.outstanding, 0
        for close in closes:
            if taken == most:
                break
            reduce, limit = close.reduce, automatic_limits(session.view()).get(close.reduce.key)
            quantity = reduce.quantity if limit is None else min(limit, reduce.quantity)
            if quantity <= ZERO or reduce.key in session.state.dust or reduce.key in outstanding.reduces():
                continue
            planned = PlannedOrder(
                symbol=reduce.symbol,
                side=reduce.side,
                purpose=OrderPurpose.REDUCE,
                quantity=quantity,
                shares=(Share(trader_id=reduce.trader_id, quantity=quantity),),
                reduce_only=not outstanding.is_shared(reduce.key),
            )
            if session.runtime.back_off.waits(planned, session.clock.now()):
                self._legs.keep_cancels(reduce.key)
                continue
            must_clear = outstanding.must_clear(reduce.key)
            cleared = await self._legs.clear(reduce.key, stops_too=must_clear)
            if not cleared.filled and (cleared.gone or not must_clear):
                taken += await self._send(close, planned)

    async def _send(self, close: DeskClose, planned: PlannedOrder) -> bool:
        session, reduce = self._session, close.reduce
        row = replace(self._submission.order_row(planned), reason=close.cause.value)
        await self._submission.persist([row])
        sent = await self._submission.send(row)
        session.runtime.back_off.note(planned, session.clock.now(), refused=was_refused(sent))
        detail = f"{planned.side} {planned.quantity} is {sent.state}: {close.cause.value}"
        session.incident("DESK_CLOSE", detail, trader_id=reduce.trader_id, symbol=reduce.symbol)
        return not was_refused(sent)
