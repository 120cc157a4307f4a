"""Write down what a round decided: its verdicts, conflicts, and what became of each intent."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

import structlog

from exchanges.types import ZERO
from manager.desk.plan.attribution import attribute
from manager.desk.plan.isolation import VIOLATIONS_WITHIN, is_violation, rules_of
from manager.desk.plan.operator_closes import being_closed
from manager.desk.plan.outcomes import Clamp, Conflict, Denial, NetPlan
from manager.desk.plan.outstanding import close_is_done
from manager.desk.plan.round import RoundPlan
from manager.desk.session import Session
from manager.state.journal import ConflictRow
from manager.state.kinds import IntentStatus, OrderPurpose, VerdictKind
from manager.state.records import IntentId, PositionKey, RoundRow, Share, VerdictRow

_LOG = structlog.get_logger(__name__)


class Recorder:
    """Add the rows of one session's round to its boundaries."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._state = session.state
        self._held_before: dict[PositionKey, Decimal] = {}

    def record(self, plan: RoundPlan, netted: NetPlan) -> None:
        """Add the round, its verdicts, conflicts and the intents' new states to the next boundary."""
        state, waiting = self._state, self._awaiting_entries()
        denials = tuple(one for one in (*plan.denials, *netted.denials) if one.intent_id not in waiting)
        self._held_before = {reduce.key: abs(self._held(reduce.key)) for reduce in plan.reduces}
        for stop in plan.stops:
            state.protect(stop.key, stop.stop_loss, stop.take_profit)
        for denial in denials:
            self.verdict(VerdictKind.DENIAL, denial)
        self._note_violations(denials)
        for clamp in plan.clamps:
            self.verdict(VerdictKind.CLAMP, clamp)
        for conflict in plan.conflicts:
            self._conflict(conflict)
        self._settle_intents(plan, netted)
        self._mark_dust(netted)
        state.upsert(
            RoundRow(
                tenant_id=state.account.tenant_id,
                account_id=state.account.account_id,
                round_id=self._session.round_id,
                at=self._session.clock.now(),
                equity=self._session.view().equity,
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

    def finish_closes(self, plan: RoundPlan, netted: NetPlan) -> None:
        """End the intents of reduces that did their work; an untouched one waits for the next round."""
        opening, waiting = netted.ordered(OrderPurpose.ENTRY), self._state.outstanding.reduces()
        taken, emptied = self._taken(plan, netted)
        waits_for_entry = self._awaiting_entries()
        for reduce in plan.reduces:
            intent = self._state.intents.get(reduce.intent_id)
            if intent is None or intent.status is not IntentStatus.PENDING or intent.intent_id in waits_for_entry:
                continue
            unsettled = intent.intent_id in opening or reduce.key in waiting
            held = ZERO if reduce.key in emptied else self._held(reduce.key)
            took, lot = taken.get(intent.intent_id, ZERO), self._session.instrument(reduce.symbol).lot
            if close_is_done(intent.decision, reduce.side, held, taken=took, lot=lot, unsettled=unsettled):
                self._state.settle(intent, IntentStatus.DONE, self._session.round_id)
            elif intent.asked_by and reduce.key in self._state.dust:
                # Left pending, it would close what the trader opens next on the symbol.
                self._state.settle(intent, IntentStatus.DONE, self._session.round_id, "DUST")

    def verdict(self, kind: VerdictKind, verdict: Denial | Clamp) -> None:
        """Record one denial or clamp of this round."""
        account = self._state.account
        self._state.insert(
            VerdictRow(
                tenant_id=account.tenant_id,
                account_id=account.account_id,
                round_id=self._session.round_id,
                n=self._session.next_leg(),
                kind=kind,
                code=verdict.code,
                trader_id=verdict.trader_id,
                symbol=verdict.symbol,
                intent_id=verdict.intent_id,
                detail=verdict.detail,
                at=self._session.clock.now(),
                numbers=verdict.numbers,
            )
        )

    def _note_violations(self, denials: Sequence[Denial]) -> None:
        """Keep when a trader was denied what it may not ask for; as many instants as could ever count."""
        view, now = self._session.view(), self._session.clock.now()
        counts = Counter(denial.trader_id for denial in denials if is_violation(denial.code))
        for trader_id, count in counts.items():
            limit = rules_of(view, view.traders[trader_id]).violations_per_day or 0
            head = self._state.head(trader_id)
            recent = tuple(at for at in head.violations if now - at < VIOLATIONS_WITHIN)
            noted = (*recent, *[now] * count)[-limit:] if limit else ()
            if noted != head.violations:
                self._state.set_head(replace(head, violations=noted))

    def _taken(self, plan: RoundPlan, netted: NetPlan) -> tuple[dict[IntentId, Decimal], set[PositionKey]]:
        """Return what each close took in crosses and orders, and the positions taken whole.

        An entry of the round may stand where a whole position was closed, so the book alone does not tell.
        """
        taken: dict[IntentId, Decimal] = {}

        def note(share: Share, quantity: Decimal) -> None:
            taken[share.intent_id] = taken.get(share.intent_id, ZERO) + abs(quantity)

        for part in (part for cross in netted.crosses for part in cross.parts):
            if part.purpose is OrderPurpose.REDUCE:
                note(part.share, part.quantity)
        for order in self._state.orders.values():
            if order.purpose is OrderPurpose.REDUCE and order.round_id == self._session.round_id and order.filled:
                lot = self._session.instrument(order.symbol).lot
                for share, quantity in zip(order.shares, attribute(order.shares, ZERO, order.filled, lot), strict=True):
                    note(share, quantity)
        left = dict(self._held_before)
        for reduce in plan.reduces:
            left[reduce.key] -= taken.get(reduce.intent_id, ZERO)
        return taken, {key for key, quantity in left.items() if quantity <= ZERO}

    def _awaiting_entries(self) -> set[IntentId]:
        """Return the closes of operators whose position an entry may still make or widen: what it fills is theirs."""
        entries = self._state.outstanding.entries()
        asked = being_closed(self._state.intents.values()) if entries else {}
        return {intent.intent_id for key, intent in asked.items() if key in entries}

    def _held(self, key: PositionKey) -> Decimal:
        return self._state.books[key.trader_id].quantity(key.symbol)

    def _conflict(self, conflict: Conflict) -> None:
        account = self._state.account
        _LOG.info(
            "conflict",
            account=account.account_id,
            type=conflict.type,
            symbol=conflict.symbol,
            severity=conflict.severity,
            traders=conflict.told_traders,
            outcome=conflict.outcome,
        )
        self._state.insert(
            ConflictRow(
                tenant_id=account.tenant_id,
                account_id=account.account_id,
                round_id=self._session.round_id,
                n=self._session.next_leg(),
                type=conflict.type,
                symbol=conflict.symbol,
                traders=conflict.traders,
                confidences=tuple("" if c is None else str(c) for c in conflict.confidences),
                severity=conflict.severity,
                outcome=conflict.outcome,
                at=self._session.clock.now(),
            )
        )

    def _settle_intents(self, plan: RoundPlan, netted: NetPlan) -> None:
        """Settle what is decided now; a reduce is settled once it is done, and an entry behind it with it."""
        waiting, found = self._awaiting_entries(), (*plan.denials, *netted.denials)
        denied: dict[IntentId, str] = {one.intent_id: one.code for one in found if one.intent_id not in waiting}
        entered = {entry.candidate.intent.intent_id for entry in plan.entries}
        reducing, closing_first = {reduce.intent_id for reduce in plan.reduces}, netted.ordered(OrderPurpose.REDUCE)
        done = {*plan.done, *(stop.intent_id for stop in plan.stops)}
        for intent in list(self._state.intents.values()):
            key, round_id = intent.intent_id, self._session.round_id
            if key in entered and key not in denied and key not in closing_first:
                self._state.settle(intent, IntentStatus.CONSUMED, round_id)
            elif key in reducing:
                continue
            elif key in denied:
                self._state.settle(intent, IntentStatus.DENIED, round_id, denied[key])
            elif key in done:
                self._state.settle(intent, IntentStatus.DONE, round_id)

    def _mark_dust(self, netted: NetPlan) -> None:
        for reduce in (one for one in netted.dust if one.closes):
            detail = f"{reduce.quantity} is below what the venue takes"
            self._session.incident("DUST", detail, trader_id=reduce.trader_id, symbol=reduce.symbol)
            self._state.flag(reduce.key, dust=True, unprotected_since=None)
