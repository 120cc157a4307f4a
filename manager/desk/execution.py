"""Carry out one round: stops out of the way, everything persisted, reduces, then entry by entry with its stop."""

from dataclasses import replace

from exchanges.types import Symbol
from manager.desk.plan.booking import Execution, Part
from manager.desk.plan.risk_manager import check_account
from manager.desk.plan.round import RoundPlan, net_round, plan_round
from manager.desk.plan.values import Cross, Denial, PlannedOrder
from manager.desk.protector import clear_legs, protect
from manager.desk.recording import finish_closes, held_by, record, verdict
from manager.desk.session import Session
from manager.desk.submission import order_row, persist, send, set_leverage
from manager.state.records import (
    IntentId,
    IntentStatus,
    OrderPurpose,
    OrderRow,
    OrderState,
    PositionKey,
    VerdictKind,
)


async def execute_round(session: Session) -> bool:
    """Plan and carry out a round over the session's pending intents; truth and protection come before.

    False when a stop or target filled while it was taken out of the way: the round starts anew from the truth.
    """
    under_way = {
        share.intent_id
        for order in session.state.orders.values()
        if order.purpose is OrderPurpose.REDUCE and order.state.live
        for share in order.shares
    }
    pending = (i for i in session.state.intents.values() if i.status is IntentStatus.PENDING)
    intents = [intent for intent in pending if intent.intent_id not in under_way]
    if not intents:
        return True
    state = session.state
    plan = plan_round(session.view(), intents, state.outstanding.reduces(), state.dust)
    blocked, moved = await _clear_the_way(session, plan)
    if moved:
        return False
    await _carry_out(session, plan, blocked)
    return True


async def _clear_the_way(session: Session, plan: RoundPlan) -> tuple[frozenset[PositionKey], bool]:
    """Cancel the legs of books about to be reduced; return what stays blocked, and whether a leg filled meanwhile.

    A book alone on its symbol keeps its reduce-only stop until it is flat. Where other books hold the symbol, flow will
    cross inside, or a stop is still plain, its cancel is confirmed first: left behind, it would trade another trader's
    quantity or open a position.
    """
    blocked: set[PositionKey] = set()
    moved = False
    crossing = _crossing_symbols(plan)
    for reduce in plan.reduces:
        key = PositionKey(reduce.trader_id, reduce.symbol)
        first = reduce.symbol in crossing or session.state.outstanding.must_clear(key)
        gone, filled = await clear_legs(session, reduce.trader_id, reduce.symbol, stops_too=first)
        if not gone and first:
            blocked.add(key)
        moved = moved or filled
    return frozenset(blocked), moved


def _crossing_symbols(plan: RoundPlan) -> set[Symbol]:
    buys = {r.symbol for r in plan.reduces if r.side.sign > 0}
    buys |= {e.candidate.symbol for e in plan.entries if e.candidate.direction > 0}
    sells = {r.symbol for r in plan.reduces if r.side.sign < 0}
    sells |= {e.candidate.symbol for e in plan.entries if e.candidate.direction < 0}
    return buys & sells


async def _carry_out(session: Session, plan: RoundPlan, blocked: frozenset[PositionKey]) -> None:
    netted = net_round(session.view(), plan, blocked)
    before = {PositionKey(r.trader_id, r.symbol): held_by(session, r) for r in plan.reduces}
    rows = [order_row(session, planned) for planned in netted.orders]
    record(session, plan, netted)
    for cross in netted.crosses:
        await set_leverage(session, cross.symbol)
        _book_cross(session, cross)
    await persist(session, rows)
    reduced: set[Symbol] = {cross.symbol for cross in netted.crosses}
    incomplete: set[Symbol] = {symbol for _, symbol in blocked}
    short: set[str] = {trader_id for trader_id, _ in blocked}
    for row in [row for row in rows if row.purpose is OrderPurpose.REDUCE]:
        sent = await send(session, row)
        reduced.add(row.symbol)
        if sent.state is not OrderState.FILLED:
            incomplete.add(row.symbol)
            short.update(share.trader_id for share in row.shares)
    entries = [row for row in rows if row.purpose is OrderPurpose.ENTRY]
    if reduced or plan.stops:
        await protect(session)
    for row, planned in zip(entries, [o for o in netted.orders if o.purpose is OrderPurpose.ENTRY], strict=True):
        if any(share.trader_id in short for share in row.shares):
            await _deny(
                session, row, "REDUCE_INCOMPLETE", "a trader's own limits counted on a reduce that is not terminal"
            )
            continue
        await _enter(session, row, planned, plan, incomplete)
    finish_closes(session, plan, netted, before)
    await session.flush()


async def _enter(
    session: Session, row: OrderRow, planned: PlannedOrder, plan: RoundPlan, incomplete: set[Symbol]
) -> None:
    """Send one entry and place its stops, unless a reduce it counted on is incomplete."""
    if row.symbol in session.unresolved:
        await _deny(session, row, "SYMBOL_UNRESOLVED", "an order on this symbol has no known outcome yet")
        return
    if incomplete and _no_longer_fits(session, planned, plan, incomplete):
        await _deny(session, row, "REDUCE_INCOMPLETE", "a reduce that this entry counted on is not terminal")
        return
    if not await set_leverage(session, row.symbol):
        await _deny(session, row, "INSUFFICIENT_MARGIN", "the venue did not take the leverage")
        return
    for share in row.shares:
        _consume(session, share.intent_id)
    sent = await send(session, row)
    if sent.filled:
        await protect(session)


def _no_longer_fits(session: Session, planned: PlannedOrder, plan: RoundPlan, incomplete: set[Symbol]) -> bool:
    if planned.symbol in incomplete:
        return True
    wanted = {share.intent_id for share in planned.shares}
    entries = [entry for entry in plan.entries if entry.candidate.intent.intent_id in wanted]
    view = session.view()
    view = replace(view, reservations=tuple(r for r in view.reservations if r.symbol != planned.symbol))
    again = check_account(view, entries, ())
    return bool(again.denials or again.clamps)


def _consume(session: Session, intent_id: IntentId) -> None:
    intent = session.state.intents.get(intent_id)
    if intent is not None and intent.status is IntentStatus.PENDING:
        session.state.settle(intent, IntentStatus.CONSUMED, session.round_id)


async def _deny(session: Session, row: OrderRow, code: str, detail: str) -> None:
    """Refuse an entry; a target position whose close is not through stays pending and is tried again as a whole."""
    session.state.put_order(
        replace(row, state=OrderState.DENIED, reason=f"{code}: {detail}", updated_at=session.clock.now())
    )
    for share in row.shares:
        intent = session.state.intents.get(share.intent_id)
        waits = code == "REDUCE_INCOMPLETE" and intent is not None and intent.status is IntentStatus.PENDING
        if intent is not None and not waits:
            session.state.settle(intent, IntentStatus.DENIED, session.round_id, code)
        verdict(
            session,
            VerdictKind.DENIAL,
            Denial(intent_id=share.intent_id, trader_id=share.trader_id, symbol=row.symbol, code=code, detail=detail),
        )
    await session.flush()


def _book_cross(session: Session, cross: Cross) -> None:
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
    session.state.book(
        Execution(
            trade_id=f"cross/{session.round_id}/{session.next_leg()}",
            symbol=cross.symbol,
            price=cross.price,
            at=session.clock.now(),
            parts=parts,
        )
    )
