"""The two risk checks of a round: each trader's own, then the account's (RULES.md 3 and 5).

Reducing passes everything: no switch, state or limit blocks a close, and none takes more than the book holds.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from itertools import groupby

from exchanges.precision import floor_to_lot, notional
from exchanges.types import Instrument, Symbol
from executor.contract import CLOSES, PASSIVE, Action
from manager.desk.plan.values import (
    AccountView,
    Candidate,
    Clamp,
    Denial,
    LocalVerdict,
    Reduce,
    SizedEntry,
    Sizing,
    StopChange,
)
from manager.desk.risk.exposures import Entry, Exposures
from manager.desk.risk.reducing import close, holds, reduce_to_target
from manager.desk.risk.registry import ACCOUNT_RULES, ADJUST_RULES, LOCAL_RULES, NO_POSITION, WIDENING_RULES
from manager.desk.risk.rule import apply_rules
from manager.desk.risk.standing import Standing, Wish
from manager.state.records import IntentRow, PositionKey
from traders.spec import TraderId

ZERO = Decimal(0)
NO_DUST: frozenset[PositionKey] = frozenset()
_CLOSING = CLOSES | {Action.TARGET}


def check_local(
    view: AccountView, intents: Sequence[IntentRow], dust: frozenset[PositionKey] = NO_DUST
) -> LocalVerdict:
    """Return what each trader's own limits let through; within a batch closes, then adjust_stop, then opens.

    The result does not depend on the order of the input. `dust` positions do not count as positions.
    """
    outcome = _Outcome(done=[intent.intent_id for intent in intents if intent.decision.action in PASSIVE])
    active = sorted((intent for intent in intents if intent.decision.action not in PASSIVE), key=_order)
    for trader_id, own in groupby(active, key=_trader):
        trader = view.traders.get(trader_id)
        if trader is None:
            outcome.denials.extend(_unknown(intent) for intent in own)
            continue
        small = frozenset(symbol for owner, symbol in dust if owner == trader_id)
        standing = Standing(view, trader, small)
        for _, batch in groupby(own, key=_batch):
            _check_batch(standing, tuple(batch), outcome)
    return outcome.verdict()


def check_account(
    view: AccountView,
    entries: Sequence[SizedEntry],
    reduces: Sequence[Reduce],
    dust: frozenset[PositionKey] = NO_DUST,
) -> Sizing:
    """Return the entries that the account's limits let through, cumulatively, in the order given.

    The account is taken after this round's reduces; no limit is exceeded whatever part of the entries fills.
    """
    if not entries:
        return Sizing()
    exposures = Exposures(view, reduces, dust)
    kept: list[SizedEntry] = []
    denials: list[Denial] = []
    clamps: list[Clamp] = []
    for sized in entries:
        checked = apply_rules(ACCOUNT_RULES, _entry(exposures, sized))
        if checked.denial is not None:
            denials.append(checked.denial)
            continue
        exposures.accept(checked.case)
        kept.append(checked.case.sized)
        clamps.extend(checked.clamps)
    return Sizing(entries=tuple(kept), denials=tuple(denials), clamps=tuple(clamps))


@dataclass(slots=True, kw_only=True)
class _Outcome:
    entries: list[Candidate] = field(default_factory=list)
    reduces: list[Reduce] = field(default_factory=list)
    stops: list[StopChange] = field(default_factory=list)
    denials: list[Denial] = field(default_factory=list)
    clamps: list[Clamp] = field(default_factory=list)
    done: list[str] = field(default_factory=list)

    def verdict(self) -> LocalVerdict:
        return LocalVerdict(
            entries=tuple(self.entries),
            reduces=tuple(self.reduces),
            stops=tuple(self.stops),
            denials=tuple(self.denials),
            clamps=tuple(self.clamps),
            done=tuple(sorted(self.done)),
        )


def _check_batch(standing: Standing, batch: Iterable[IntentRow], outcome: _Outcome) -> None:
    moved: set[str] = set()
    for intent in batch:
        if intent.decision.action in _CLOSING and _take(standing, intent, outcome):
            moved.add(intent.intent_id)
    for intent in batch:
        if intent.decision.action is Action.ADJUST_STOP:
            _adjust(standing, intent, outcome)
    for intent in batch:
        action = intent.decision.action
        if action in (Action.OPEN_LONG, Action.OPEN_SHORT):
            _open(standing, _open_wish(standing, intent), outcome)
        elif action is Action.TARGET:
            wish = _target_wish(standing, intent)
            if wish is not None:
                _open(standing, wish, outcome)
            elif intent.intent_id not in moved:
                outcome.done.append(intent.intent_id)


def _take(standing: Standing, intent: IntentRow, outcome: _Outcome) -> bool:
    is_target = intent.decision.action is Action.TARGET
    if not is_target and not holds(standing, intent):
        outcome.denials.append(_no_position(standing, intent))
        return False
    reduce = reduce_to_target(standing, intent) if is_target else close(standing, intent)
    if reduce is not None:
        outcome.reduces.append(reduce)
    elif not is_target:
        outcome.done.append(intent.intent_id)
    return reduce is not None


def _adjust(standing: Standing, intent: IntentRow, outcome: _Outcome) -> None:
    decision, symbol = intent.decision, Symbol(intent.decision.symbol)
    position = standing.position(symbol)
    if position is None:
        outcome.denials.append(_no_position(standing, intent))
        return
    if decision.stop_loss is None and decision.take_profit is None:
        outcome.done.append(intent.intent_id)
        return
    mark = standing.view.marks.get(symbol)
    wish = Wish(
        standing=standing,
        intent=intent,
        symbol=symbol,
        direction=position.direction,
        mark=mark,
        price=mark.price if mark is not None else ZERO,
        entry=position.entry_price,
        instrument=_instrument(standing.view, symbol),
        leverage=position.leverage,
        stop=decision.stop_loss,
        target=decision.take_profit,
    )
    old = position.stop_loss
    widens = wish.stop is not None and old is not None and (wish.stop - old) * position.direction < ZERO
    checked = apply_rules(WIDENING_RULES if widens or mark is None else ADJUST_RULES, wish)
    if checked.denial is not None:
        outcome.denials.append(checked.denial)
        return
    outcome.stops.append(
        StopChange(
            trader_id=intent.trader_id,
            symbol=symbol,
            intent_id=intent.intent_id,
            stop_loss=decision.stop_loss,
            take_profit=decision.take_profit,
        )
    )


def _open(standing: Standing, wish: Wish, outcome: _Outcome) -> None:
    checked = apply_rules(LOCAL_RULES, wish)
    if checked.denial is not None:
        outcome.denials.append(checked.denial)
        return
    passed, decision = checked.case, wish.intent.decision
    standing.add(passed)
    outcome.clamps.extend(checked.clamps)
    outcome.entries.append(
        Candidate(
            intent=wish.intent,
            trader_id=wish.trader_id,
            symbol=passed.symbol,
            direction=passed.direction,
            size_usd=passed.size_usd,
            leverage=passed.leverage,
            confidence=decision.confidence,
            decided_at=wish.intent.decided_at,
            stop_loss=decision.stop_loss,
            take_profit=decision.take_profit,
        )
    )


def _open_wish(standing: Standing, intent: IntentRow) -> Wish:
    direction = 1 if intent.decision.action is Action.OPEN_LONG else -1
    return _wish(standing, intent, direction, intent.decision.position_size_usd or ZERO)


def _target_wish(standing: Standing, intent: IntentRow) -> Wish | None:
    target, symbol = intent.decision.target_quantity, Symbol(intent.decision.symbol)
    if not target:
        return None
    held = standing.held(symbol)
    instrument, mark = _instrument(standing.view, symbol), standing.view.marks.get(symbol)
    opening = standing.planned_usd(symbol) / (mark.price * instrument.contract_size) if mark is not None else ZERO
    more = floor_to_lot(abs(target) - abs(held) - opening, instrument.lot)
    if held * target < ZERO or more <= ZERO:
        return None
    size = notional(more, mark.price, instrument) if mark is not None else ZERO
    return _wish(standing, intent, 1 if target > ZERO else -1, size)


def _wish(standing: Standing, intent: IntentRow, direction: int, size_usd: Decimal) -> Wish:
    decision, symbol = intent.decision, Symbol(intent.decision.symbol)
    mark = standing.view.marks.get(symbol)
    price = mark.price if mark is not None else ZERO
    position = standing.position(symbol)
    same = position if position is not None and position.direction == direction else None
    leverage = decision.leverage or (same.leverage if same is not None else 1)
    return Wish(
        standing=standing,
        intent=intent,
        symbol=symbol,
        direction=direction,
        mark=mark,
        price=price,
        entry=price,
        instrument=_instrument(standing.view, symbol),
        leverage=max(1, leverage),
        size_usd=size_usd,
        stop=decision.stop_loss if decision.stop_loss is not None or same is None else same.stop_loss,
        target=decision.take_profit if decision.take_profit is not None or same is None else same.take_profit,
    )


def _entry(exposures: Exposures, sized: SizedEntry) -> Entry:
    symbol = sized.candidate.symbol
    instrument, price = _instrument(exposures.view, symbol), exposures.view.marks[symbol].price
    worth = notional(sized.quantity, price, instrument)
    return Entry(exposures=exposures, sized=sized, price=price, instrument=instrument, size_usd=worth)


def _instrument(view: AccountView, symbol: Symbol) -> Instrument:
    listed = view.instruments.get(symbol)
    return listed if listed is not None else Instrument(symbol=symbol, tradable=False)


def _no_position(standing: Standing, intent: IntentRow) -> Denial:
    symbol = Symbol(intent.decision.symbol)
    held = standing.held(symbol)
    return Denial(
        intent_id=intent.intent_id,
        trader_id=intent.trader_id,
        symbol=symbol,
        code=NO_POSITION.code,
        detail=f"{intent.decision.action} names a position that the book does not hold",
        numbers={"held": str(held)},
    )


def _unknown(intent: IntentRow) -> Denial:
    return Denial(
        intent_id=intent.intent_id,
        trader_id=intent.trader_id,
        symbol=Symbol(intent.decision.symbol),
        code="TRADER_NOT_RUNNING",
        detail=f"{intent.trader_id} is no trader of this account",
    )


def _order(intent: IntentRow) -> tuple[str, datetime, str, int, str]:
    return intent.trader_id, intent.decided_at, intent.decision_id, intent.n, intent.intent_id


def _trader(intent: IntentRow) -> TraderId:
    return intent.trader_id


def _batch(intent: IntentRow) -> str:
    return intent.decision_id
