"""Carry out the protection plan: a stop stands for every position, and none outlives it (RULES.md 8)."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

from exchanges.types import Side, Symbol
from manager.desk.incidents.log import Subject
from manager.desk.plan.external_overlap import automatic_limits, overlaps
from manager.desk.plan.outstanding import without_outstanding
from manager.desk.plan.protection import fired_take_profits, plan_protection
from manager.desk.plan.values import AccountView, PlannedOrder, ProtectionPlan, ProtectiveLeg
from manager.desk.reconcile.reader import Reconciler
from manager.desk.session import Session
from manager.desk.submission import cancel, leg_row, order_row, persist, send, was_refused
from manager.state.records import OrderId, OrderPurpose, OrderRow, OrderState, PositionKey, Share
from traders.book import Position
from traders.spec import TraderId

_PASSES = 4


async def fire_take_profits(session: Session) -> bool:
    """Fire the touched targets that do not rest at the venue, before anything else happens; tell whether any was."""
    plan = _plan(session)
    return await _fire(session, [*plan.watch, *_watched_until_now(session, plan)])


async def protect(session: Session) -> None:
    """Bring resting stops and targets in line with the books.

    A position whose stop does not stand past the grace is closed and an incident raised.
    """
    plan = _plan(session)
    for _ in range(_PASSES):
        if not await _carry_out(session, plan):
            break
        plan = _plan(session)
    await _close_unprotected(session, _plan(session) if plan.place or plan.cancel else plan)
    _keep_unfired(session, plan)
    _report_overlaps(session)


async def clear_legs(session: Session, trader_id: TraderId, symbol: Symbol, *, stops_too: bool) -> tuple[bool, bool]:
    """Cancel a position's target, and its stop if asked, before the position is closed in another way.

    Return (all surely gone, any had filled). The confirmed stop goes last: it stays where anything else is not gone.
    """
    gone, filled = True, False
    for order in sorted(session.state.outstanding.legs(), key=_clearing_order):
        if order.symbol != symbol or order.shares[0].trader_id != trader_id:
            continue
        if order.purpose is OrderPurpose.STOP and not (stops_too and gone):
            continue
        result = await cancel(session, order.order_id)
        gone, filled = gone and result.gone, filled or result.filled
    return gone, filled


def keep_cancels(session: Session, trader_id: TraderId, symbol: Symbol) -> None:
    """Let the incidents of cancels stay open in a pass that does not try these cancels again yet."""
    for order in session.state.outstanding.legs():
        subject = Subject(code="CANCEL_UNKNOWN", trader_id=trader_id, symbol=symbol, which=order.order_id)
        session.incidents.keep(subject)


def _clearing_order(order: OrderRow) -> tuple[bool, bool]:
    return order.purpose is OrderPurpose.STOP, order.state is OrderState.ACCEPTED


def _plan(session: Session) -> ProtectionPlan:
    held, state = session.view(), session.state
    # Alone on its symbol a reduce-only stop is safe whether the reduce fills or not, so it stays until it has.
    view = without_outstanding(held, state.outstanding.reduces(harmless=False))
    return plan_protection(view, session.state.outstanding.legs(), dust=state.dust, held=held)


async def _carry_out(session: Session, plan: ProtectionPlan) -> bool:
    """Place, then cancel; return whether the books or the plan may have changed by it."""
    again = False
    place = []
    for leg in plan.place:
        if _waits(session, leg):
            continue
        results = [await cancel(session, order_id) for order_id in plan.cancel if _first(session, leg, order_id)]
        if any(result.filled for result in results):
            await Reconciler(session).book_news()
            return True
        if all(result.gone for result in results):
            place.append(leg)
    if place:
        rows = [leg_row(session, leg) for leg in place]
        await persist(session, rows)
        for leg, row in zip(place, rows, strict=True):
            sent = await send(session, row)
            again = again or sent.state is not OrderState.ACCEPTED
            _note_answer(session, leg, sent)
    for order_id in plan.cancel:
        resting = session.state.orders[order_id]
        if resting.state.live and not _last_stop(session, resting):
            result = await cancel(session, order_id)
            if result.filled:
                await Reconciler(session).book_news()
                return True
    return again


def _waits(session: Session, leg: ProtectiveLeg) -> bool:
    """Tell whether the venue refused this very leg a moment ago; then it stays told."""
    waits = session.runtime.refusals.waits(leg, session.clock.now())
    if waits:
        session.incidents.keep(_refusal(leg))
    return waits


def _note_answer(session: Session, leg: ProtectiveLeg, sent: OrderRow) -> None:
    refused = was_refused(sent)
    session.runtime.refusals.note(leg, session.clock.now(), refused=refused)
    if refused:
        detail = f"{leg.purpose} at {leg.trigger_price}: {sent.reason}"
        session.incidents.tell(_refusal(leg), detail, session.clock.now())


def _refusal(leg: ProtectiveLeg) -> Subject:
    return Subject(code="PROTECTION_REFUSED", trader_id=leg.trader_id, symbol=leg.symbol, which=leg.purpose)


def _first(session: Session, leg: ProtectiveLeg, order_id: OrderId) -> bool:
    """Tell whether an order must go before `leg` replaces it: were one of them plain, both could open a position."""
    order = session.state.orders[order_id]
    same = (order.shares[0].trader_id, order.symbol, order.purpose) == (leg.trader_id, leg.symbol, leg.purpose)
    return same and not (leg.reduce_only and order.reduce_only)


def _last_stop(session: Session, old: OrderRow) -> bool:
    """Tell whether a confirmed stop must stay: no other one stands for its position, and it cannot flip it."""
    trader_id = old.shares[0].trader_id
    held = session.state.books[trader_id].quantity(old.symbol)
    if old.purpose is not OrderPurpose.STOP or old.state is not OrderState.ACCEPTED or held * old.side.sign >= 0:
        return False
    others = (
        o for o in session.state.outstanding.legs() if o.purpose is OrderPurpose.STOP and o.order_id != old.order_id
    )
    if any(
        o.state is OrderState.ACCEPTED and (o.shares[0].trader_id, o.symbol) == PositionKey(trader_id, old.symbol)
        for o in others
    ):
        return False
    alone = old.reduce_only and not session.state.outstanding.is_shared(PositionKey(trader_id, old.symbol))
    limits = automatic_limits(session.view())
    return alone or old.quantity - old.filled <= limits.get(PositionKey(trader_id, old.symbol), abs(held))


def _watched_until_now(session: Session, plan: ProtectionPlan) -> list[ProtectiveLeg]:
    """Return the targets that rest only from now on: what touched them while they were watched still counts."""
    resting = {(o.shares[0].trader_id, o.symbol, o.purpose) for o in session.state.outstanding.legs()}
    targets = [leg for leg in plan.place if leg.purpose is OrderPurpose.TAKE_PROFIT]
    return [leg for leg in targets if (leg.trader_id, leg.symbol, leg.purpose) not in resting]


async def _fire(session: Session, watch: Sequence[ProtectiveLeg]) -> bool:
    """Fire touched targets that cannot rest: the stop's cancel is confirmed first (RULES.md 8)."""
    if not watch:
        return False
    view = session.view()
    waiting = session.state.outstanding.reduces()
    fired = False
    for leg in fired_take_profits(view, watch, _ranges(session, view)):
        held = view.traders[leg.trader_id].book.positions.get(leg.symbol)
        if held is None or held.opened_at >= view.at or (leg.trader_id, leg.symbol) in waiting or _waits(session, leg):
            continue
        if not await _touched_since_set(session, leg, held.opened_at):
            continue
        gone, filled = await clear_legs(session, leg.trader_id, leg.symbol, stops_too=True)
        if not gone:
            session.runtime.refusals.note(leg, session.clock.now(), refused=True)
        if not gone or filled:
            continue
        row = leg_row(session, leg, fire=True)
        await persist(session, [row])
        _note_answer(session, leg, await send(session, row))
        fired = True
    return fired


def _keep_unfired(session: Session, plan: ProtectionPlan) -> None:
    """Let what was told of targets that could not be fired stay open: rounds protect, they do not fire."""
    for leg in plan.watch:
        if session.runtime.refusals.recent(leg, session.clock.now()):
            session.incidents.keep(_refusal(leg))
            keep_cancels(session, leg.trader_id, leg.symbol)


async def _touched_since_set(session: Session, leg: ProtectiveLeg, opened_at: datetime) -> bool:
    """Tell whether a target was reached while it stood: by a candle that began after it, or by a later mark."""
    view = session.snapshot.symbols[leg.symbol]
    if view.range_began is None:
        return True
    set_at = await session.take_profit_since(leg.trader_id, leg.symbol)
    since = opened_at if set_at is None else max(opened_at, set_at)
    if view.range_began >= since:
        return True
    marked_at = session.snapshot.at - timedelta(seconds=view.age_s)
    return marked_at > since and (view.mark - leg.trigger_price) * leg.side.sign <= 0


def _ranges(session: Session, view: AccountView) -> Mapping[Symbol, tuple[Decimal, Decimal]]:
    """Return low and high of each symbol's last candle, the mark alone where a feed has none."""
    return {
        symbol: one.last_range if one.last_range is not None else (one.mark, one.mark)
        for symbol, one in session.snapshot.symbols.items()
        if symbol in view.marks
    }


def _report_overlaps(session: Session) -> None:
    for overlap in overlaps(session.view()):
        session.incident(
            "EXTERNAL_OVERLAP",
            f"EXTERNAL stands with {overlap.external} against {overlap.total} of the books: stops, targets and closes "
            f"trade at most {overlap.room} until an operator assigns or crosses it",
            symbol=overlap.symbol,
        )


async def _close_unprotected(session: Session, plan: ProtectionPlan) -> None:
    now = session.clock.now()
    unprotected = {*plan.unprotected, *_unprotected_beside_a_close(session)}
    grace = timedelta(seconds=session.runtime.rules.protection_grace_s)
    for (trader_id, symbol), row in list(session.state.positions.items()):
        key = PositionKey(trader_id, symbol)
        if key not in unprotected:
            if row.unprotected_since is not None:
                session.state.flag(trader_id, symbol, dust=row.dust, unprotected_since=None)
            continue
        since = row.unprotected_since or now
        session.state.flag(trader_id, symbol, dust=row.dust, unprotected_since=since)
        if now - since > grace:
            await _close(session, trader_id, symbol)
    for trader_id, symbol in unprotected - session.state.positions.keys():
        if symbol in session.state.books[trader_id].positions:
            session.state.flag(trader_id, symbol, dust=False, unprotected_since=now)


def _unprotected_beside_a_close(session: Session) -> set[PositionKey]:
    """Return the positions that a close without an outcome may end, and that no confirmed stop covers until then."""
    unresolved = session.state.outstanding.unresolved_reduces()
    if not unresolved:
        return set()
    return unresolved & set(
        plan_protection(session.view(), session.state.outstanding.legs(), dust=session.state.dust).unprotected
    )


async def _close(session: Session, trader_id: TraderId, symbol: Symbol) -> None:
    """Close a position that no stop guards, once: a stop without an outcome must be out of the way, or be doubled."""
    key = PositionKey(trader_id, symbol)
    held = session.state.books[trader_id].positions.get(symbol)
    if key in session.state.outstanding.unresolved_reduces():
        _tell_unprotected(session, key, "a close without an outcome forbids another, or a stop for all")
    if held is None or key in session.state.outstanding.reduces():
        return
    planned = _whole_close(session, trader_id, held)
    if session.runtime.refusals.waits(planned, session.clock.now()):
        keep_cancels(session, trader_id, symbol)
        return
    if await _doubled(session, trader_id, symbol):
        return
    gone, filled = await clear_legs(session, trader_id, symbol, stops_too=True)
    if filled:
        return
    if not gone and session.state.outstanding.must_clear(key):
        _tell_unprotected(session, key, "one that may stand forbids a second or a close: both could be executed")
        return
    await _send_close(session, key, planned)


def _whole_close(session: Session, trader_id: TraderId, held: Position) -> PlannedOrder:
    quantity = automatic_limits(session.view()).get(PositionKey(trader_id, held.symbol), abs(held.quantity))
    return PlannedOrder(
        symbol=held.symbol,
        side=Side.SELL if held.quantity > 0 else Side.BUY,
        purpose=OrderPurpose.REDUCE,
        quantity=quantity,
        shares=(Share(trader_id=trader_id, quantity=quantity),),
        reduce_only=not session.state.outstanding.is_shared(PositionKey(trader_id, held.symbol)),
    )


async def _send_close(session: Session, key: PositionKey, planned: PlannedOrder) -> None:
    """Send a close and tell of it, before it leaves and after: again only if it was not told or took something off."""
    trader_id, symbol = key
    told = session.incidents.keep(Subject(code="NAKED_POSITION", trader_id=trader_id, symbol=symbol))
    what = f"no stop stood past the grace: the close of {planned.quantity}"
    if not told:
        session.incident("STOP_FAILED", f"{what} is sent", trader_id=trader_id, symbol=symbol)
    row = replace(order_row(session, planned), reason="no stop stood")
    await persist(session, [row])
    sent = await send(session, row)
    session.runtime.refusals.note(planned, session.clock.now(), refused=was_refused(sent))
    if sent.filled or not told:
        detail = f"{what} is {sent.state}, {sent.filled} filled"
        session.incident("STOP_FAILED", detail, trader_id=trader_id, symbol=symbol)
    if not sent.filled:
        _tell_unprotected(session, key, f"the close of {planned.quantity} is {sent.state}: {sent.reason}")


def _tell_unprotected(session: Session, key: PositionKey, why: str) -> None:
    detail = f"no stop is confirmed past the grace, and {why}"
    session.incident("NAKED_POSITION", detail, trader_id=key[0], symbol=key[1])


async def _doubled(session: Session, trader_id: TraderId, symbol: Symbol) -> bool:
    """Place a second stop beside one without an outcome where other books hold the symbol; tell whether it stands.

    Only while all legs of the symbol are reduce-only and its books point one way: whichever stops stand, they cannot
    turn the account's position over.
    """
    legs = [order for order in session.state.outstanding.legs() if order.symbol == symbol]
    stops = [o for o in legs if o.purpose is OrderPurpose.STOP and o.shares[0].trader_id == trader_id]
    if (
        len(stops) != 1
        or not stops[0].state.unresolved
        or not session.state.outstanding.is_shared(PositionKey(trader_id, symbol))
    ):
        return False
    if not all(order.reduce_only for order in legs):
        return False
    wanted = plan_protection(session.view(), ()).place
    key = (trader_id, symbol, OrderPurpose.STOP)
    second = [leg for leg in wanted if (leg.trader_id, leg.symbol, leg.purpose) == key and leg.reduce_only]
    if not second or _waits(session, second[0]):
        return False
    row = leg_row(session, second[0])
    await persist(session, [row])
    sent = await send(session, row)
    _note_answer(session, second[0], sent)
    return sent.state is OrderState.ACCEPTED
