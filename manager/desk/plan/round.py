"""What one round decides, as one pure function over the stages (docs/rules.md 3)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from exchanges.types import Symbol
from manager.desk.plan.conflict_resolver import resolve
from manager.desk.plan.dust import NO_DUST, sweep_dust
from manager.desk.plan.external_overlap import within_room
from manager.desk.plan.netting import net
from manager.desk.plan.outcomes import Clamp, Conflict, Denial, NetPlan, Reduce, SizedEntry, StopChange
from manager.desk.plan.outstanding import beside_outstanding
from manager.desk.plan.resource_allocator import allocate
from manager.desk.plan.risk_manager import check_account, check_local
from manager.desk.plan.values import AccountView
from manager.state.records import IntentId, IntentRow, PositionKey


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundPlan:
    """Hold what a round will do before netting, and everything it denied; `done` are intents with nothing to do."""

    reduces: tuple[Reduce, ...] = ()
    stops: tuple[StopChange, ...] = ()
    entries: tuple[SizedEntry, ...] = ()
    denials: tuple[Denial, ...] = ()
    clamps: tuple[Clamp, ...] = ()
    conflicts: tuple[Conflict, ...] = ()
    done: tuple[IntentId, ...] = ()

    def crossing_symbols(self) -> set[Symbol]:
        """Return the symbols that are both bought and sold, so that some flow will cross inside."""
        flow = [(reduce.symbol, reduce.side.sign) for reduce in self.reduces]
        flow += [(entry.candidate.symbol, entry.candidate.direction) for entry in self.entries]
        return {symbol for symbol, sign in flow if sign > 0} & {symbol for symbol, sign in flow if sign < 0}


def plan_round(
    view: AccountView,
    intents: Sequence[IntentRow],
    waiting: Mapping[PositionKey, Decimal],
    dust: frozenset[PositionKey] = NO_DUST,
) -> RoundPlan:
    """Take intents through local checks, resolution, sizing and the account's checks.

    `waiting` is what earlier reduces may still take off each book: a reduce asks only for what is left beside it, so
    that it is safe whether they fill or not. `dust` are positions too small to be closed alone: each is offered again
    when its symbol trades.
    """
    local = check_local(view, intents, dust)
    beside = beside_outstanding(view, (*local.reduces, *sweep_dust(view, local, dust)), waiting)
    reduces = within_room(view, beside, waiting)
    resolution = resolve(view, local.entries, reduces)
    sizing = allocate(view, resolution.kept, reduces)
    checked = check_account(view, sizing.entries, reduces, dust)
    return RoundPlan(
        reduces=reduces,
        stops=local.stops,
        entries=checked.entries,
        denials=(*local.denials, *resolution.denials, *sizing.denials, *checked.denials),
        clamps=(*local.clamps, *sizing.clamps, *checked.clamps),
        conflicts=(*resolution.conflicts, *sizing.conflicts, *checked.conflicts),
        done=local.done,
    )


def net_round(view: AccountView, plan: RoundPlan, blocked: frozenset[PositionKey]) -> NetPlan:
    """Cross and net a plan, without the reduces of books whose stop could not be taken out of the way.

    An entry on a symbol with a blocked reduce stays out too: its limits counted on that reduce.
    """
    if not blocked:
        return net(view, plan.reduces, plan.entries)
    reduces = [reduce for reduce in plan.reduces if reduce.key not in blocked]
    symbols = {symbol for _, symbol in blocked}
    netted = net(view, reduces, [e for e in plan.entries if e.candidate.symbol not in symbols])
    detail = "a reduce of this symbol waits for its stop's cancel to be confirmed"
    waiting = [entry.candidate.intent for entry in plan.entries if entry.candidate.symbol in symbols]
    late = tuple(Denial.of(intent, "REDUCE_INCOMPLETE", detail) for intent in waiting)
    return replace(netted, denials=(*netted.denials, *late))
