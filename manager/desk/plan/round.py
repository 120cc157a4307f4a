"""What one round decides, as one pure function over the stages (RULES.md 3)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from exchanges.precision import floor_to_lot
from exchanges.types import Side, Symbol
from manager.desk.plan.conflict_resolver import resolve
from manager.desk.plan.external_overlap import within_room
from manager.desk.plan.netting import net
from manager.desk.plan.resource_allocator import allocate
from manager.desk.plan.risk_manager import check_account, check_local
from manager.desk.plan.values import (
    AccountView,
    Clamp,
    Conflict,
    Denial,
    LocalVerdict,
    NetPlan,
    Reduce,
    SizedEntry,
    StopChange,
)
from manager.state.records import IntentRow, PositionKey


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundPlan:
    """Hold what a round will do before netting, and everything it refused; `done` are intents with nothing to do."""

    reduces: tuple[Reduce, ...] = ()
    stops: tuple[StopChange, ...] = ()
    entries: tuple[SizedEntry, ...] = ()
    denials: tuple[Denial, ...] = ()
    clamps: tuple[Clamp, ...] = ()
    conflicts: tuple[Conflict, ...] = ()
    done: tuple[str, ...] = ()

    def crossing_symbols(self) -> set[Symbol]:
        """Return the symbols that are both bought and sold, so that some flow will cross inside."""
        flow = [(reduce.symbol, reduce.side.sign) for reduce in self.reduces]
        flow += [(entry.candidate.symbol, entry.candidate.direction) for entry in self.entries]
        return {symbol for symbol, sign in flow if sign > 0} & {symbol for symbol, sign in flow if sign < 0}


def plan_round(
    view: AccountView,
    intents: Sequence[IntentRow],
    waiting: Mapping[PositionKey, Decimal],
    dust: frozenset[PositionKey] = frozenset(),
) -> RoundPlan:
    """Take intents through local checks, resolution, sizing and desk checks.

    `waiting` is what earlier reduces may still take off each book: a reduce asks only for what is left beside it, so
    that it is safe whether they fill or not. `dust` are positions too small to be closed alone: each is offered again
    when its symbol trades.
    """
    local = check_local(view, intents, dust)
    beside = _beside(view, (*local.reduces, *_swept(view, local, dust)), waiting)
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
    reduces = [r for r in plan.reduces if PositionKey(r.trader_id, r.symbol) not in blocked]
    symbols = {symbol for _, symbol in blocked}
    netted = net(view, reduces, [e for e in plan.entries if e.candidate.symbol not in symbols])
    late = tuple(_incomplete(e) for e in plan.entries if e.candidate.symbol in symbols)
    return replace(netted, denials=(*netted.denials, *late))


def _swept(view: AccountView, local: LocalVerdict, dust: frozenset[PositionKey]) -> list[Reduce]:
    traded = {reduce.symbol for reduce in local.reduces} | {entry.symbol for entry in local.entries}
    asked = {PositionKey(reduce.trader_id, reduce.symbol) for reduce in local.reduces}
    asked |= {PositionKey(entry.trader_id, entry.symbol) for entry in local.entries}
    swept = []
    for trader_id, symbol in sorted(dust - asked):
        held = view.traders[trader_id].book.positions.get(symbol)
        if symbol in traded and held is not None:
            side = Side.SELL if held.quantity > 0 else Side.BUY
            swept.append(Reduce(trader_id=trader_id, symbol=symbol, side=side, quantity=abs(held.quantity)))
    return swept


def _incomplete(entry: SizedEntry) -> Denial:
    candidate = entry.candidate
    return Denial(
        intent_id=candidate.intent.intent_id,
        trader_id=candidate.trader_id,
        symbol=candidate.symbol,
        code="REDUCE_INCOMPLETE",
        detail="a reduce of this symbol waits for its stop's cancel to be confirmed",
    )


def _beside(view: AccountView, reduces: Sequence[Reduce], waiting: Mapping[PositionKey, Decimal]) -> tuple[Reduce, ...]:
    if not waiting:
        return tuple(reduces)
    kept: list[Reduce] = []
    for reduce in reduces:
        taken = waiting.get(PositionKey(reduce.trader_id, reduce.symbol))
        if taken is None:
            kept.append(reduce)
            continue
        held = abs(view.traders[reduce.trader_id].book.quantity(reduce.symbol))
        left = floor_to_lot(min(reduce.quantity, held - taken), view.instruments[reduce.symbol].lot)
        if left > 0:
            kept.append(replace(reduce, quantity=left))
    return tuple(kept)
