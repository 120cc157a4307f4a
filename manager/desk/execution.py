"""Carry out one round: stops out of the way, everything persisted, reduces, then entry by entry with its stop."""

from dataclasses import replace

from exchanges.types import Symbol
from manager.desk.legs import Legs
from manager.desk.plan.booking import Execution, Part
from manager.desk.plan.netting import may_reduce_only
from manager.desk.plan.outcomes import Cross, Denial, PlannedOrder
from manager.desk.plan.risk_manager import check_account
from manager.desk.plan.round import RoundPlan, net_round, plan_round
from manager.desk.protector import Protector
from manager.desk.recording import Recorder
from manager.desk.session import Session
from manager.desk.submission import Submission
from manager.state.kinds import IntentStatus, OrderPurpose, OrderState, VerdictKind
from manager.state.records import IntentId, IntentRow, OrderRow, PositionKey
from traders.spec import TraderId


class RoundExecution:
    """Trade one session's pending intents, once; truth and protection come before."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._state = session.state
        self._submission = Submission(session)
        self._legs = Legs(session)
        self._protector = Protector(session)
        self._recorder = Recorder(session)
        self._incomplete: set[Symbol] = set()
        self._short: set[TraderId] = set()

    async def run(self) -> bool:
        """Plan and carry out the round.

        False when a stop or take-profit filled while it was taken out of the way: the round starts anew from the truth.
        """
        intents = self._intents()
        if not intents:
            return True
        plan = plan_round(self._session.view(), intents, self._state.outstanding.reduces(), self._state.dust)
        blocked, moved = await self._clear_the_way(plan)
        if moved:
            return False
        await self._carry_out(plan, blocked)
        return True

    def _intents(self) -> list[IntentRow]:
        """Return the pending intents, those left out that an order under way carries out."""
        under_way = {
            share.intent_id
            for order in self._state.orders.values()
            if order.purpose is OrderPurpose.REDUCE and order.state.live
            for share in order.shares
        }
        pending = (i for i in self._state.intents.values() if i.status is IntentStatus.PENDING)
        return [intent for intent in pending if intent.intent_id not in under_way]

    async def _clear_the_way(self, plan: RoundPlan) -> tuple[frozenset[PositionKey], bool]:
        """Cancel the legs of books about to be reduced; return what stays blocked, and whether a leg filled meanwhile.

        A book alone on its symbol keeps its reduce-only stop until it is flat. Where other books hold the symbol or
        may, flow will cross inside, or a stop is still plain, its cancel is confirmed first: left behind, or filled
        unseen, it would trade another trader's quantity or open a position.
        """
        blocked: set[PositionKey] = set()
        moved = False
        crossing, view = plan.crossing_symbols(), self._session.view()
        for reduce in plan.reduces:
            plain = not may_reduce_only(view, reduce.symbol, reduce.side)
            first = plain or reduce.symbol in crossing or self._state.outstanding.must_clear(reduce.key)
            cleared = await self._legs.clear(reduce.key, stops_too=first)
            if not cleared.gone and first:
                blocked.add(reduce.key)
            moved = moved or cleared.filled
        return frozenset(blocked), moved

    async def _carry_out(self, plan: RoundPlan, blocked: frozenset[PositionKey]) -> None:
        session, netted = self._session, net_round(self._session.view(), plan, blocked)
        rows = [self._submission.order_row(planned) for planned in netted.orders]
        self._recorder.record(plan, netted)
        for cross in netted.crosses:
            await self._submission.set_leverage(cross.symbol)
            self._book_cross(cross)
        await self._submission.persist(rows)
        self._incomplete = {symbol for _, symbol in blocked}
        self._short = {trader_id for trader_id, _ in blocked}
        reduces = [row for row in rows if row.purpose is OrderPurpose.REDUCE]
        for row in reduces:
            sent = await self._submission.send(row)
            if sent.state is not OrderState.FILLED:
                self._incomplete.add(row.symbol)
                self._short.update(share.trader_id for share in row.shares)
        if reduces or netted.crosses or plan.stops:
            await self._protector.protect()
        for row, planned in zip(rows, netted.orders, strict=True):
            if row.purpose is OrderPurpose.ENTRY:
                await self._enter(row, planned, plan)
        self._recorder.finish_closes(plan, netted)
        await session.flush()

    async def _enter(self, row: OrderRow, planned: PlannedOrder, plan: RoundPlan) -> None:
        """Send one entry and place its stops, unless a reduce it counted on is incomplete."""
        session = self._session
        if any(share.trader_id in self._short for share in row.shares):
            detail = "a trader's own limits counted on a reduce that is not terminal"
            await self._deny(row, "REDUCE_INCOMPLETE", detail)
        elif row.symbol in session.unresolved:
            await self._deny(row, "SYMBOL_UNRESOLVED", "an order on this symbol has no known outcome yet")
        elif self._incomplete and self._no_longer_fits(planned, plan):
            await self._deny(row, "REDUCE_INCOMPLETE", "a reduce that this entry counted on is not terminal")
        elif not await self._submission.set_leverage(row.symbol):
            await self._deny(row, "INSUFFICIENT_MARGIN", "the venue did not take the leverage")
        else:
            for share in row.shares:
                self._consume(share.intent_id)
            sent = await self._submission.send(row)
            if sent.filled:
                await self._protector.protect()

    def _no_longer_fits(self, planned: PlannedOrder, plan: RoundPlan) -> bool:
        if planned.symbol in self._incomplete:
            return True
        wanted = {share.intent_id for share in planned.shares}
        entries = [entry for entry in plan.entries if entry.candidate.intent.intent_id in wanted]
        view = self._session.view()
        view = replace(view, reservations=tuple(r for r in view.reservations if r.symbol != planned.symbol))
        again = check_account(view, entries, ())
        return bool(again.denials or again.clamps)

    def _consume(self, intent_id: IntentId) -> None:
        intent = self._state.intents.get(intent_id)
        if intent is not None and intent.status is IntentStatus.PENDING:
            self._state.settle(intent, IntentStatus.CONSUMED, self._session.round_id)

    async def _deny(self, row: OrderRow, code: str, detail: str) -> None:
        """Deny an entry; a target position whose close is not through stays pending and is tried again as a whole."""
        session = self._session
        denied = replace(row, state=OrderState.DENIED, reason=f"{code}: {detail}", updated_at=session.clock.now())
        self._state.put_order(denied)
        for share in row.shares:
            intent = self._state.intents.get(share.intent_id)
            waits = code == "REDUCE_INCOMPLETE" and intent is not None and intent.status is IntentStatus.PENDING
            if intent is not None and not waits:
                self._state.settle(intent, IntentStatus.DENIED, session.round_id, code)
            denial = Denial(
                intent_id=share.intent_id, trader_id=share.trader_id, symbol=row.symbol, code=code, detail=detail
            )
            self._recorder.verdict(VerdictKind.DENIAL, denial)
        await session.flush()

    def _book_cross(self, cross: Cross) -> None:
        parts = tuple(
            Part(
                trader_id=part.share.trader_id,
                quantity=part.quantity,
                leg=f"/{index}",
                intent_id=part.share.intent_id,
                purpose=part.purpose,
                leverage=part.share.leverage,
                stop_loss=part.share.stop_loss,
                take_profit=part.share.take_profit,
            )
            for index, part in enumerate(cross.parts)
        )
        self._state.book(
            Execution(
                trade_id=f"cross/{self._session.round_id}/{self._session.next_leg()}",
                symbol=cross.symbol,
                price=cross.price,
                at=self._session.clock.now(),
                parts=parts,
            )
        )
