"""Reconcile the opens of several traders on one symbol (RULES.md 4).

What counts as a conflict does not depend on the strategy; what becomes of it does. No standing position is ever closed.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import ROUND_DOWN, Decimal, localcontext

from exchanges.types import Symbol
from manager.desk.plan.values import (
    UNRANKED,
    ZERO,
    AccountView,
    Candidate,
    Conflict,
    ConflictStrategy,
    Denial,
    Reduce,
    Resolution,
)
from manager.state.records import PositionKey

CONFLICT_CODES = frozenset({"DIRECTION", "DUPLICATE"})
SIZE_STEP = Decimal("1E-8")
_EXACT_DIGITS = 80

Rank = tuple[Decimal, datetime, str, int, str]


def rank(candidate: Candidate, strategy: ConflictStrategy) -> Rank:
    """Return the sort key of the resolver's order: first_come by time, else by confidence, high first, None last."""
    if strategy is ConflictStrategy.FIRST_COME:
        precedence = ZERO
    else:
        precedence = -(UNRANKED if candidate.confidence is None else candidate.confidence)
    return precedence, candidate.decided_at, candidate.trader_id, candidate.intent.n, candidate.intent.intent_id


def resolve(view: AccountView, entries: Sequence[Candidate], reduces: Sequence[Reduce]) -> Resolution:
    """Return the entries that stand, in the resolver's order, the denials, and every conflict.

    Standing positions are the books after `reduces`, which the round assumes to fill, and the reservations.
    """
    if not entries:
        return Resolution()
    strategy = view.rules.conflict_strategy
    ordered = sorted(entries, key=lambda candidate: rank(candidate, strategy))
    by_symbol: dict[Symbol, list[Candidate]] = defaultdict(list)
    for candidate in ordered:
        by_symbol[candidate.symbol].append(candidate)
    result = _Outcome()
    net = strategy is ConflictStrategy.NET
    standing = {} if net else _standing(view, by_symbol, reduces)
    for symbol in sorted(by_symbol):
        wishes = by_symbol[symbol]
        if symbol in standing:
            wishes = _against_standing(wishes, standing[symbol], strategy, result)
        if len(wishes) > 1:
            wishes = _among_wishes(wishes, strategy, result)
        result.kept.extend(wishes)
    kept = result.kept if len(by_symbol) == 1 else sorted(result.kept, key=lambda kept: rank(kept, strategy))
    return Resolution(kept=tuple(kept), denials=tuple(result.denials), conflicts=tuple(result.conflicts))


@dataclass(slots=True)
class _Outcome:
    kept: list[Candidate] = field(default_factory=list)
    denials: list[Denial] = field(default_factory=list)
    conflicts: list[Conflict] = field(default_factory=list)

    def drop(self, candidate: Candidate, code: str, detail: str) -> None:
        self.denials.append(
            Denial(
                intent_id=candidate.intent.intent_id,
                trader_id=candidate.trader_id,
                symbol=candidate.symbol,
                code=code,
                detail=detail,
                numbers={"size_usd": str(candidate.size_usd)},
            )
        )

    def record(self, kind: str, symbol: Symbol, involved: Mapping[str, Decimal | None], outcome: str) -> None:
        severity = "high" if kind == "direction" else "low"
        self.conflicts.append(
            Conflict(
                type=kind,
                symbol=symbol,
                traders=tuple(involved),
                confidences=tuple(involved.values()),
                severity=severity,
                outcome=outcome,
            )
        )


def _standing(
    view: AccountView, symbols: Mapping[Symbol, object], reduces: Sequence[Reduce]
) -> dict[Symbol, dict[int, set[str]]]:
    """Return, by symbol and direction, which traders hold or may hold a position; a symbol nobody holds is absent."""
    taken: dict[PositionKey, Decimal] = defaultdict(Decimal)
    for reduce in reduces:
        taken[PositionKey(reduce.trader_id, reduce.symbol)] += reduce.side.sign * reduce.quantity
    standing: dict[Symbol, dict[int, set[str]]] = {}
    for trader_id, trader in view.traders.items():
        for symbol, position in trader.book.positions.items():
            if symbol in symbols and position.quantity + taken.get(PositionKey(trader_id, symbol), ZERO):
                holders = standing.setdefault(symbol, {1: set(), -1: set()})
                holders[position.direction].add(trader_id)
    for reservation in view.reservations:
        if reservation.symbol in symbols and reservation.quantity:
            holders = standing.setdefault(reservation.symbol, {1: set(), -1: set()})
            holders[1 if reservation.quantity > 0 else -1].add(reservation.trader_id)
    return standing


def _against_standing(
    wishes: Sequence[Candidate], holders: Mapping[int, set[str]], strategy: ConflictStrategy, result: _Outcome
) -> list[Candidate]:
    opposed: list[Candidate] = []
    late: list[Candidate] = []
    stay: list[Candidate] = []
    for wish in wishes:
        own = {wish.trader_id}
        if holders[-wish.direction] - own:
            opposed.append(wish)
        elif strategy is ConflictStrategy.FIRST_COME and holders[wish.direction] - own:
            late.append(wish)
        else:
            stay.append(wish)
    for direction in (1, -1):
        refused = [wish for wish in opposed if wish.direction == direction]
        _refuse_for_holders(refused, holders[-direction], "DIRECTION", result)
        refused = [wish for wish in late if wish.direction == direction]
        _refuse_for_holders(refused, holders[direction], "DUPLICATE", result)
    return stay


def _refuse_for_holders(refused: Sequence[Candidate], holders: set[str], code: str, result: _Outcome) -> None:
    if not refused:
        return
    opposite = code == "DIRECTION"
    held = _word(-refused[0].direction if opposite else refused[0].direction)
    names = sorted(holders)
    for wish in refused:
        others = [name for name in names if name != wish.trader_id]
        standing = f"{', '.join(others)} {_holds(others)} a {held}"
        result.drop(wish, code, f"{_word(wish.direction)} of {wish.trader_id} refused: {standing}")
    involved = _confidences(refused)
    outcome = f"kept the standing {held} that {', '.join(names)} {_holds(names)}; dropped {_names(refused)}"
    for name in names:
        involved.setdefault(name, None)
    result.record(code.lower(), refused[0].symbol, involved, outcome)


def _holds(names: Sequence[str]) -> str:
    return "holds" if len(names) == 1 else "hold"


def _among_wishes(wishes: list[Candidate], strategy: ConflictStrategy, result: _Outcome) -> list[Candidate]:
    leader = wishes[0]
    side = [wish for wish in wishes if wish.direction == leader.direction]
    other = [wish for wish in wishes if wish.direction != leader.direction]
    if strategy is ConflictStrategy.NET:
        return _stand_all(wishes, (side, other), result)
    if other and strategy is ConflictStrategy.AGGREGATE:
        side = _cancel(side, other, result)
    elif other:
        why = "came first" if strategy is ConflictStrategy.FIRST_COME else "is the most confident"
        for wish in other:
            result.drop(wish, "DIRECTION", f"{leader.trader_id} {why} and goes {_word(leader.direction)}")
        outcome = f"kept {_names(side)} ({_word(leader.direction)}); dropped {_names(other)}"
        result.record("direction", leader.symbol, _confidences(wishes), outcome)
    if strategy is ConflictStrategy.FIRST_COME:
        return _earliest_only(side, result)
    _note_merge(side, result)
    return side


def _stand_all(
    wishes: list[Candidate], sides: tuple[list[Candidate], list[Candidate]], result: _Outcome
) -> list[Candidate]:
    side, other = sides
    if other:
        outcome = f"kept {_names(side)} ({_word(side[0].direction)}) and {_names(other)} ({_word(other[0].direction)})"
        result.record("direction", wishes[0].symbol, _confidences(wishes), f"{outcome}, each in its own book")
    _note_merge(side, result)
    _note_merge(other, result)
    return wishes


def _cancel(side: Sequence[Candidate], other: Sequence[Candidate], result: _Outcome) -> list[Candidate]:
    """Cancel equal notional; return what is left of the larger side, each wish cut pro rata."""
    mine = sum((wish.size_usd for wish in side), ZERO)
    theirs = sum((wish.size_usd for wish in other), ZERO)
    larger, smaller = (side, other) if mine >= theirs else (other, side)
    total, gone = max(mine, theirs), min(mine, theirs)
    dropped = [*smaller, *larger] if mine == theirs else smaller
    left = [] if mine == theirs else _scaled(larger, total - gone, total)
    for wish in dropped:
        against = "long" if wish.direction < 0 else "short"
        result.drop(wish, "DIRECTION", f"cancelled by {against} wishes: {gone} USD against {total} USD")
    kept = ", ".join(f"{wish.trader_id} {wish.size_usd} USD" for wish in left) or "nobody"
    outcome = f"cancelled {gone} USD of each side; kept {kept}; dropped {_names(dropped)}"
    result.record("direction", side[0].symbol, _confidences([*side, *other]), outcome)
    return left


def _scaled(wishes: Sequence[Candidate], left: Decimal, total: Decimal) -> list[Candidate]:
    with localcontext(prec=_EXACT_DIGITS):
        sizes = [(wish.size_usd * left / total).quantize(SIZE_STEP, rounding=ROUND_DOWN) for wish in wishes]
    return [replace(wish, size_usd=size) for wish, size in zip(wishes, sizes, strict=True)]


def _earliest_only(side: Sequence[Candidate], result: _Outcome) -> list[Candidate]:
    first = side[0].trader_id
    late = [wish for wish in side if wish.trader_id != first]
    if not late:
        return list(side)
    for wish in late:
        result.drop(wish, "DUPLICATE", f"{first} came first and goes {_word(wish.direction)} too")
    result.record("duplicate", side[0].symbol, _confidences(side), f"kept {first}; dropped {_names(late)}")
    return [wish for wish in side if wish.trader_id == first]


def _note_merge(side: Sequence[Candidate], result: _Outcome) -> None:
    involved = _confidences(side)
    if len(involved) > 1:
        result.record("duplicate", side[0].symbol, involved, f"kept {_names(side)}, merged into one order")


def _confidences(wishes: Sequence[Candidate]) -> dict[str, Decimal | None]:
    found: dict[str, Decimal | None] = {}
    for wish in wishes:
        found.setdefault(wish.trader_id, wish.confidence)
    return found


def _names(wishes: Sequence[Candidate]) -> str:
    return ", ".join(dict.fromkeys(wish.trader_id for wish in wishes))


def _word(direction: int) -> str:
    return "long" if direction > 0 else "short"
