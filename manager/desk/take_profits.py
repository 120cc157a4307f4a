"""Fire the take-profits that cannot rest at the venue: the desk watches them itself (docs/rules.md 8)."""

from datetime import datetime, timedelta

from manager.desk.legs import Legs
from manager.desk.plan.outcomes import ProtectionPlan, ProtectiveLeg
from manager.desk.plan.protection import fired_take_profits
from manager.desk.session import Session
from manager.state.records import FillPartRow, IntentRow, IntentStatus, OrderPurpose, RoundRow

_INTENTS_READ = 50


class TakeProfits:
    """Watch take-profits in one session, and close what has reached its own."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._state = session.state
        self._legs = Legs(session)

    async def fire(self, plan: ProtectionPlan) -> bool:
        """Fire what was touched and tell whether any was; the stop's cancel is confirmed first.

        What rests only from now on was watched until now, so what touched it meanwhile still counts.
        """
        resting = {(order.guards, order.purpose) for order in self._state.outstanding.legs()}
        late = [leg for leg in plan.place if leg.purpose is OrderPurpose.TAKE_PROFIT]
        watch = [*plan.watch, *(leg for leg in late if (leg.key, leg.purpose) not in resting)]
        return bool(watch) and await self._fire(watch)

    def keep_unfired(self, plan: ProtectionPlan) -> None:
        """Let what was told of take-profits that could not be fired stay open: rounds protect, they do not fire."""
        for leg in plan.watch:
            if self._session.runtime.back_off.recent(leg, self._session.clock.now()):
                self._legs.keep_refused(leg)
                self._legs.keep_cancels(leg.key)

    async def _fire(self, watch: list[ProtectiveLeg]) -> bool:
        session, view = self._session, self._session.view()
        waiting, markets = self._state.outstanding.reduces(), session.snapshot.symbols
        ranges = {symbol: one.last_range or (one.mark, one.mark) for symbol, one in markets.items()}
        fired = False
        for leg in fired_take_profits(view, watch, ranges):
            held = view.traders[leg.trader_id].book.positions.get(leg.symbol)
            if held is None or held.opened_at >= view.at or leg.key in waiting or self._legs.waits(leg):
                continue
            if not await self._touched_since_set(leg, held.opened_at):
                continue
            cleared = await self._legs.clear(leg.key, stops_too=True)
            if not cleared.gone:
                session.runtime.back_off.note(leg, session.clock.now(), refused=True)
            elif not cleared.filled:
                await self._legs.place([leg], fire=True)
                fired = True
        return fired

    async def _touched_since_set(self, leg: ProtectiveLeg, opened_at: datetime) -> bool:
        """Tell whether a price was reached while it stood: by a candle that began after it, or by a later mark."""
        snapshot = self._session.snapshot
        market = snapshot.symbols[leg.symbol]
        if market.range_began is None:
            return True
        set_at = await self._set_at(leg)
        since = opened_at if set_at is None else max(opened_at, set_at)
        if market.range_began >= since:
            return True
        marked_at = snapshot.at - timedelta(seconds=market.age_s)
        return marked_at > since and (market.mark - leg.trigger_price) * leg.side.sign <= 0

    async def _set_at(self, leg: ProtectiveLeg) -> datetime | None:
        """Return since when a take-profit stands: its position's newest entry fill, or the round that moved it.

        None when neither is stored.
        """
        account_id = self._session.runtime.account_id
        mine = {"account_id": account_id, "trader_id": leg.trader_id}
        entries = {**mine, "symbol": leg.symbol, "purpose": OrderPurpose.ENTRY.value}
        async with self._session.reading() as tx:
            since = [part.at for part in await tx.find(FillPartRow, entries, newest_first="at", limit=1)]
            done = {**mine, "status": IntentStatus.DONE}
            for intent in await tx.find(IntentRow, done, newest_first="decided_at", limit=_INTENTS_READ):
                if intent.decision.symbol == leg.symbol and intent.decision.take_profit is not None:
                    moved = await tx.get(RoundRow, account_id, intent.round_id)
                    since.extend([moved.at] if moved is not None else [])
                    break
        return max(since, default=None)
