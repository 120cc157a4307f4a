"""The two risk checks of a round: each trader's own, then the account's (docs/rules.md 3 and 5).

Reducing passes everything: no switch, state or limit blocks a close, and none takes more than the book holds.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import groupby

from exchanges.types import ZERO, Symbol
from executor.contract import CLOSES, OPENS, PASSIVE, Action
from manager.desk.plan.dust import NO_DUST
from manager.desk.plan.outcomes import Candidate, Clamp, Denial, LocalVerdict, Reduce, SizedEntry, Sizing, StopChange
from manager.desk.plan.values import AccountView
from manager.desk.risk.exposures import Entry, Exposures
from manager.desk.risk.registry import ACCOUNT_RULES, ADJUST_RULES, LOCAL_RULES, NO_POSITION, WIDENING_RULES
from manager.desk.risk.rule import apply_rules
from manager.desk.risk.standing import OpenCase, Standing
from manager.state.records import IntentId, IntentRow, PositionKey
from traders.spec import TraderId

_CLOSING = CLOSES | {Action.TARGET}


def check_local(
    view: AccountView, intents: Sequence[IntentRow], dust: frozenset[PositionKey] = NO_DUST
) -> LocalVerdict:
    """Return what each trader's own limits let through; within a batch closes, then adjust_stop, then entries.

    The result does not depend on the order of the input. `dust` positions do not count as positions.
    """
    local = _LocalCheck(intent.intent_id for intent in intents if intent.decision.action in PASSIVE)
    active = sorted((intent for intent in intents if intent.decision.action not in PASSIVE), key=_order)
    for trader_id, own in groupby(active, key=lambda intent: intent.trader_id):
        trader = view.traders.get(trader_id)
        if trader is None:
            for intent in own:
                local.deny(intent, "TRADER_NOT_RUNNING", f"{trader_id} is no trader of this account")
            continue
        small = frozenset(symbol for owner, symbol in dust if owner == trader_id)
        standing = Standing(view, trader, small)
        for _, batch in groupby(own, key=lambda intent: intent.decision_id):
            local.check(standing, tuple(batch))
    return local.verdict()


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
        checked = apply_rules(ACCOUNT_RULES, Entry.of(exposures, sized))
        if checked.denial is not None:
            denials.append(checked.denial)
            continue
        exposures.accept(checked.case)
        kept.append(checked.case.sized)
        clamps.extend(checked.clamps)
    return Sizing(entries=tuple(kept), denials=tuple(denials), clamps=tuple(clamps))


class _LocalCheck:
    """Collect what the traders' own checks say of their intents, batch by batch."""

    def __init__(self, passive: Iterable[IntentId]) -> None:
        self._entries: list[Candidate] = []
        self._reduces: list[Reduce] = []
        self._stops: list[StopChange] = []
        self._denials: list[Denial] = []
        self._clamps: list[Clamp] = []
        self._done = list(passive)

    def verdict(self) -> LocalVerdict:
        return LocalVerdict(
            entries=tuple(self._entries),
            reduces=tuple(self._reduces),
            stops=tuple(self._stops),
            denials=tuple(self._denials),
            clamps=tuple(self._clamps),
            done=tuple(sorted(self._done)),
        )

    def deny(self, intent: IntentRow, code: str, detail: str, **numbers: object) -> None:
        self._denials.append(Denial.of(intent, code, detail, **numbers))

    def check(self, standing: Standing, batch: Sequence[IntentRow]) -> None:
        """Check one trader's batch: closes, then adjust_stop, then entries."""
        reduced = {i.intent_id for i in batch if i.decision.action in _CLOSING and self._reduce(standing, i)}
        for intent in batch:
            if intent.decision.action is Action.ADJUST_STOP:
                self._adjust(standing, intent)
        for intent in batch:
            if intent.decision.action in OPENS:
                self._enter(OpenCase.of_open(standing, intent))
            elif intent.decision.action is Action.TARGET:
                case = OpenCase.of_target_position(standing, intent)
                if case is not None:
                    self._enter(case)
                elif intent.intent_id not in reduced:
                    self._done.append(intent.intent_id)

    def _reduce(self, standing: Standing, intent: IntentRow) -> bool:
        is_target_position = intent.decision.action is Action.TARGET
        if not is_target_position and not standing.holds(intent):
            self._deny_without_position(standing, intent)
            return False
        reduce = standing.reduce_to_target_position(intent) if is_target_position else standing.close(intent)
        if reduce is not None:
            self._reduces.append(reduce)
        elif not is_target_position:
            self._done.append(intent.intent_id)
        return reduce is not None

    def _adjust(self, standing: Standing, intent: IntentRow) -> None:
        decision, position = intent.decision, standing.position(Symbol(intent.decision.symbol))
        if position is None:
            self._deny_without_position(standing, intent)
            return
        if decision.stop_loss is None and decision.take_profit is None:
            self._done.append(intent.intent_id)
            return
        case, old, new = OpenCase.of_adjustment(standing, intent, position), position.stop_loss, decision.stop_loss
        widens = new is not None and old is not None and (new - old) * case.direction < ZERO
        checked = apply_rules(WIDENING_RULES if widens or case.mark is None else ADJUST_RULES, case)
        if checked.denial is not None:
            self._denials.append(checked.denial)
            return
        self._stops.append(
            StopChange(
                trader_id=intent.trader_id,
                symbol=case.symbol,
                intent_id=intent.intent_id,
                stop_loss=decision.stop_loss,
                take_profit=decision.take_profit,
            )
        )

    def _enter(self, case: OpenCase) -> None:
        checked = apply_rules(LOCAL_RULES, case)
        if checked.denial is not None:
            self._denials.append(checked.denial)
            return
        passed, decision = checked.case, case.intent.decision
        case.standing.add(passed)
        self._clamps.extend(checked.clamps)
        self._entries.append(
            Candidate(
                intent=case.intent,
                trader_id=case.trader_id,
                symbol=passed.symbol,
                direction=passed.direction,
                size_usd=passed.size_usd,
                leverage=passed.leverage,
                confidence=decision.confidence,
                decided_at=case.intent.decided_at,
                stop_loss=decision.stop_loss,
                take_profit=decision.take_profit,
            )
        )

    def _deny_without_position(self, standing: Standing, intent: IntentRow) -> None:
        held = standing.held(Symbol(intent.decision.symbol))
        detail = f"{intent.decision.action} names a position that the book does not hold"
        self.deny(intent, NO_POSITION.code, detail, held=held)


def _order(intent: IntentRow) -> tuple[TraderId, datetime, str, int, IntentId]:
    return intent.trader_id, intent.decided_at, intent.decision_id, intent.n, intent.intent_id
