"""Carry out one round: stops out of the way, everything persisted, reduces, then entry by entry with its stop."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal

from exchanges.types import Symbol
from manager.desk.account_state import Execution, Part
from manager.desk.protector import clear_legs, protect
from manager.desk.risk_manager import check_desk
from manager.desk.round import RoundPlan, net_round, plan_round
from manager.desk.session import Session, is_shared, outstanding_reduces
from manager.desk.submission import order_row, persist, send, set_leverage
from manager.desk.values import Cross, Denial, NetPlan, PlannedOrder, Reduce
from manager.state.records import (
    ConflictRow,
    IntentRow,
    IntentStatus,
    OrderPurpose,
    OrderRow,
    OrderState,
    RoundRow,
    VerdictRow,
)

_REPLANS = 3


async def execute_round(session: Session) -> None:
    """Plan and carry out a round over the session's pending intents; truth and protection come before."""
    for _ in range(_REPLANS):
        intents = [i for i in session.state.intents.values() if i.status is IntentStatus.PENDING]
        if not intents:
            return
        plan = plan_round(session.desk(), intents, outstanding_reduces(session.state))
        blocked, moved = await _clear_the_way(session, plan)
        if not moved:
            await _carry_out(session, plan, blocked)
            return
        await protect(session)


async def _clear_the_way(session: Session, plan: RoundPlan) -> tuple[frozenset[tuple[str, Symbol]], bool]:
    """Cancel the legs of books about to be reduced; return what stays blocked, and whether a leg filled meanwhile.

    A book alone on its symbol keeps its reduce-only stop until it is flat. Where other books hold the symbol, or flow
    will cross inside, the stop's cancel is confirmed first: left behind, it would trade another trader's quantity.
    """
    blocked: set[tuple[str, Symbol]] = set()
    moved = False
    crossing = _crossing_symbols(plan)
    for reduce in plan.reduces:
        shared = reduce.symbol in crossing or is_shared(session.state, reduce.trader_id, reduce.symbol)
        gone, filled = await clear_legs(session, reduce.trader_id, reduce.symbol, stops_too=shared)
        if not gone:
            blocked.add((reduce.trader_id, reduce.symbol))
        moved = moved or filled
    return frozenset(blocked), moved


def _crossing_symbols(plan: RoundPlan) -> set[Symbol]:
    buys = {r.symbol for r in plan.reduces if r.side.sign > 0}
    buys |= {e.candidate.symbol for e in plan.entries if e.candidate.direction > 0}
    sells = {r.symbol for r in plan.reduces if r.side.sign < 0}
    sells |= {e.candidate.symbol for e in plan.entries if e.candidate.direction < 0}
    return buys & sells


async def _carry_out(session: Session, plan: RoundPlan, blocked: frozenset[tuple[str, Symbol]]) -> None:
    netted = net_round(session.desk(), plan, blocked)
    before = {(r.trader_id, r.symbol): _held(session, r) for r in plan.reduces}
    rows = [order_row(session, planned) for planned in netted.orders]
    _record(session, plan, netted)
    for cross in netted.crosses:
        _book_cross(session, cross)
    await persist(session, rows)
    reduced: set[Symbol] = {cross.symbol for cross in netted.crosses}
    incomplete: set[Symbol] = set()
    for row in [row for row in rows if row.purpose is OrderPurpose.REDUCE]:
        sent = await send(session, row)
        reduced.add(row.symbol)
        if sent.state is not OrderState.FILLED:
            incomplete.add(row.symbol)
    entries = [row for row in rows if row.purpose is OrderPurpose.ENTRY]
    if reduced:
        await protect(session)
    for row, planned in zip(entries, [o for o in netted.orders if o.purpose is OrderPurpose.ENTRY], strict=True):
        await _enter(session, row, planned, plan, incomplete)
    _finish_closes(session, plan, before)
    await session.flush()


async def _enter(
    session: Session, row: OrderRow, planned: PlannedOrder, plan: RoundPlan, incomplete: set[Symbol]
) -> None:
    """Send one entry and place its stops, unless a reduce it counted on is incomplete."""
    if incomplete and _no_longer_fits(session, planned, plan, incomplete):
        await _deny(session, row, "REDUCE_INCOMPLETE", "a reduce that this entry counted on is not terminal")
        return
    if not await set_leverage(session, row.symbol):
        await _deny(session, row, "INSUFFICIENT_MARGIN", "the venue did not take the leverage")
        return
    sent = await send(session, row)
    if sent.filled:
        await protect(session)


def _no_longer_fits(session: Session, planned: PlannedOrder, plan: RoundPlan, incomplete: set[Symbol]) -> bool:
    if planned.symbol in incomplete:
        return True
    wanted = {share.intent_id for share in planned.shares}
    entries = [entry for entry in plan.entries if entry.candidate.intent.intent_id in wanted]
    desk = session.desk()
    desk = replace(desk, reservations=tuple(r for r in desk.reservations if r.symbol != planned.symbol))
    return bool(check_desk(desk, entries, ()).denials)


async def _deny(session: Session, row: OrderRow, code: str, detail: str) -> None:
    session.state.put_order(
        replace(row, state=OrderState.DENIED, reason=f"{code}: {detail}", updated_at=session.clock.now())
    )
    for share in row.shares:
        intent = session.state.intents.get(share.intent_id)
        if intent is not None:
            _set_intent(session, intent, IntentStatus.DENIED, code)
        _verdict(
            session,
            "denial",
            Denial(intent_id=share.intent_id, trader_id=share.trader_id, symbol=row.symbol, code=code, detail=detail),
        )
    await session.flush()


def _record(session: Session, plan: RoundPlan, netted: NetPlan) -> None:
    """Add the round, its verdicts, conflicts and the intents' new states to the next boundary."""
    state, now = session.state, session.clock.now()
    denials = (*plan.denials, *netted.denials)
    for stop in plan.stops:
        state.protect(stop.trader_id, stop.symbol, stop.stop_loss, stop.take_profit)
    for denial in denials:
        _verdict(session, "denial", denial)
    for drop in plan.dropped:
        _verdict(session, "dropped", drop)
    for clamp in plan.clamps:
        detail = f"cut from {clamp.before} to {clamp.after}"
        _verdict(
            session,
            "clamp",
            Denial(
                intent_id=clamp.intent_id,
                trader_id=clamp.trader_id,
                symbol=clamp.symbol,
                code=clamp.code,
                detail=detail,
                numbers={"before": str(clamp.before), "after": str(clamp.after)},
            ),
        )
    for conflict in plan.conflicts:
        state.insert(
            ConflictRow(
                tenant_id=state.account.tenant_id,
                account_id=state.account.account_id,
                round_id=session.round_id,
                n=session.next_leg(),
                type=conflict.type,
                symbol=conflict.symbol,
                traders=conflict.traders,
                confidences=tuple("" if c is None else str(c) for c in conflict.confidences),
                severity=conflict.severity,
                outcome=conflict.outcome,
                at=now,
            )
        )
    _settle_intents(session, plan, denials)
    _mark_dust(session, netted.dust)
    state.upsert(
        RoundRow(
            tenant_id=state.account.tenant_id,
            account_id=state.account.account_id,
            round_id=session.round_id,
            at=now,
            equity=session.desk().equity,
            counts={
                "entries": len(plan.entries),
                "reduces": len(plan.reduces),
                "denials": len(denials),
                "dropped": len(plan.dropped),
                "clamps": len(plan.clamps),
                "conflicts": len(plan.conflicts),
                "orders": len(netted.orders),
                "crosses": len(netted.crosses),
            },
        )
    )


def _settle_intents(session: Session, plan: RoundPlan, denials: Sequence[Denial]) -> None:
    refused = {denial.intent_id: denial.code for denial in denials}
    dropped = {drop.intent_id: drop.code for drop in plan.dropped}
    entered = {entry.candidate.intent.intent_id for entry in plan.entries}
    reducing = {reduce.intent_id for reduce in plan.reduces}
    done = {*plan.done, *(stop.intent_id for stop in plan.stops)}
    for intent in list(session.state.intents.values()):
        key = intent.intent_id
        if key in entered and key not in refused:
            _set_intent(session, intent, IntentStatus.CONSUMED, "")
        elif key in reducing:
            continue
        elif key in refused:
            _set_intent(session, intent, IntentStatus.DENIED, refused[key])
        elif key in dropped:
            _set_intent(session, intent, IntentStatus.DROPPED, dropped[key])
        elif key in done:
            _set_intent(session, intent, IntentStatus.DONE, "")


def _finish_closes(session: Session, plan: RoundPlan, before: Mapping[tuple[str, Symbol], Decimal]) -> None:
    """End the intents of reduces that did their work; an untouched one waits for the next round.

    A whole close is done when the book is flat, a partial one when anything of it has filled.
    """
    for reduce in plan.reduces:
        intent = session.state.intents.get(reduce.intent_id)
        if intent is None or intent.status is not IntentStatus.PENDING:
            continue
        held = _held(session, reduce)
        if held == 0 or (not reduce.closes and held < before[(reduce.trader_id, reduce.symbol)]):
            _set_intent(session, intent, IntentStatus.DONE, "")


def _held(session: Session, reduce: Reduce) -> Decimal:
    return abs(session.state.books[reduce.trader_id].quantity(reduce.symbol))


def _mark_dust(session: Session, dust: Iterable[Reduce]) -> None:
    for reduce in dust:
        key = (reduce.trader_id, reduce.symbol)
        row = session.state.positions.get(key)
        if row is None or not row.dust:
            session.incident(
                "DUST",
                f"{reduce.quantity} is below what the venue takes",
                trader_id=reduce.trader_id,
                symbol=reduce.symbol,
            )
        session.state.flag(reduce.trader_id, reduce.symbol, dust=True, naked_since=None)


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


def _set_intent(session: Session, intent: IntentRow, status: IntentStatus, code: str) -> None:
    changed = replace(intent, status=status, code=code, round_id=session.round_id)
    session.state.intents[intent.intent_id] = changed
    session.state.upsert(changed)


def _verdict(session: Session, kind: str, denial: Denial) -> None:
    account = session.state.account
    session.state.insert(
        VerdictRow(
            tenant_id=account.tenant_id,
            account_id=account.account_id,
            round_id=session.round_id,
            n=session.next_leg(),
            kind=kind,
            code=denial.code,
            trader_id=denial.trader_id,
            symbol=denial.symbol,
            intent_id=denial.intent_id,
            detail=denial.detail,
            at=session.clock.now(),
            numbers=denial.numbers,
        )
    )
