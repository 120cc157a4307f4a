"""Write down what a round decided: its verdicts, conflicts, and what became of each intent."""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal

from manager.desk.plan.outstanding import close_is_done
from manager.desk.plan.round import RoundPlan
from manager.desk.plan.values import Clamp, Conflict, Denial, NetPlan, Reduce
from manager.desk.risk.rule import plain
from manager.desk.session import Session
from manager.state.records import (
    ConflictRow,
    IntentStatus,
    OrderPurpose,
    PositionKey,
    RoundRow,
    VerdictKind,
    VerdictRow,
)


def record(session: Session, plan: RoundPlan, netted: NetPlan) -> None:
    """Add the round, its verdicts, conflicts and the intents' new states to the next boundary."""
    state = session.state
    denials = (*plan.denials, *netted.denials)
    for stop in plan.stops:
        state.protect(stop.trader_id, stop.symbol, stop.stop_loss, stop.take_profit)
    for denial in denials:
        verdict(session, VerdictKind.DENIAL, denial)
    for clamp in plan.clamps:
        verdict(session, VerdictKind.CLAMP, _denial_of(clamp))
    for conflict in plan.conflicts:
        _conflict(session, conflict)
    _settle_intents(session, plan, denials, _ordered(netted, OrderPurpose.REDUCE))
    _mark_dust(session, netted.dust)
    state.upsert(
        RoundRow(
            tenant_id=state.account.tenant_id,
            account_id=state.account.account_id,
            round_id=session.round_id,
            at=session.clock.now(),
            equity=session.view().equity,
            counts={
                "entries": len(plan.entries),
                "reduces": len(plan.reduces),
                "denials": len(denials),
                "clamps": len(plan.clamps),
                "conflicts": len(plan.conflicts),
                "orders": len(netted.orders),
                "crosses": len(netted.crosses),
            },
        )
    )


def _ordered(netted: NetPlan, purpose: OrderPurpose) -> set[str]:
    orders = (order for order in netted.orders if order.purpose is purpose)
    return {share.intent_id for order in orders for share in order.shares}


def _settle_intents(session: Session, plan: RoundPlan, denials: Sequence[Denial], closing_first: set[str]) -> None:
    refused = {denial.intent_id: denial.code for denial in denials}
    entered = {entry.candidate.intent.intent_id for entry in plan.entries}
    reducing = {reduce.intent_id for reduce in plan.reduces}
    done = {*plan.done, *(stop.intent_id for stop in plan.stops)}
    for intent in list(session.state.intents.values()):
        key = intent.intent_id
        if key in entered and key not in refused and key not in closing_first:
            session.state.settle(intent, IntentStatus.CONSUMED, session.round_id)
        elif key in reducing:
            continue
        elif key in refused:
            session.state.settle(intent, IntentStatus.DENIED, session.round_id, refused[key])
        elif key in done:
            session.state.settle(intent, IntentStatus.DONE, session.round_id)


def finish_closes(session: Session, plan: RoundPlan, netted: NetPlan, before: Mapping[PositionKey, Decimal]) -> None:
    """End the intents of reduces that did their work; an untouched one waits for the next round."""
    opening = _ordered(netted, OrderPurpose.ENTRY)
    for reduce in plan.reduces:
        intent = session.state.intents.get(reduce.intent_id)
        if intent is None or intent.status is not IntentStatus.PENDING:
            continue
        key = PositionKey(reduce.trader_id, reduce.symbol)
        held = session.state.books[reduce.trader_id].quantity(reduce.symbol)
        taken, opens = before[key] - abs(held), intent.intent_id in opening
        if close_is_done(intent.decision, held=held, taken=taken, asked=reduce.quantity, opens=opens):
            session.state.settle(intent, IntentStatus.DONE, session.round_id)


def held_by(session: Session, reduce: Reduce) -> Decimal:
    """Return the unsigned quantity that a reduce could still take."""
    return abs(session.state.books[reduce.trader_id].quantity(reduce.symbol))


def _mark_dust(session: Session, dust: Iterable[Reduce]) -> None:
    for reduce in (one for one in dust if one.closes):
        detail = f"{reduce.quantity} is below what the venue takes"
        session.incident("DUST", detail, trader_id=reduce.trader_id, symbol=reduce.symbol)
        session.state.flag(reduce.trader_id, reduce.symbol, dust=True, unprotected_since=None)


def verdict(session: Session, kind: VerdictKind, denial: Denial) -> None:
    """Record one denial or clamp of this round."""
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


def _conflict(session: Session, conflict: Conflict) -> None:
    account = session.state.account
    session.state.insert(
        ConflictRow(
            tenant_id=account.tenant_id,
            account_id=account.account_id,
            round_id=session.round_id,
            n=session.next_leg(),
            type=conflict.type,
            symbol=conflict.symbol,
            traders=conflict.traders,
            confidences=tuple("" if c is None else str(c) for c in conflict.confidences),
            severity=conflict.severity,
            outcome=conflict.outcome,
            at=session.clock.now(),
        )
    )


def _denial_of(clamp: Clamp) -> Denial:
    return Denial(
        intent_id=clamp.intent_id,
        trader_id=clamp.trader_id,
        symbol=clamp.symbol,
        code=clamp.code,
        detail=f"cut from {plain(clamp.before)} to {plain(clamp.after)}",
        numbers={"before": str(clamp.before), "after": str(clamp.after)},
    )
