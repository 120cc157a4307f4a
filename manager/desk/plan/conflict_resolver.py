"""Reconcile the entries of several traders on one symbol; the conflict strategies, one row each (docs/rules.md 4).

What counts as a conflict does not depend on the strategy; what becomes of it does. No standing position is ever closed.
To add a strategy: its functions and one row here, and its name in `ConflictStrategy`.
"""

from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import ROUND_DOWN, Decimal, localcontext
from fractions import Fraction
from typing import Final

from exchanges.types import ZERO, Symbol
from manager.desk.plan.outcomes import Candidate, Conflict, Denial, Reduce, Resolution
from manager.desk.plan.values import UNRANKED, AccountView, ConflictStrategy
from manager.state.records import PositionKey
from traders.spec import TraderId

CONFLICT_CODES = frozenset({"DIRECTION", "DUPLICATE"})
_SIZE_DIGITS = 8
SIZE_STEP = Decimal(1).scaleb(-_SIZE_DIGITS)
_EXACT_DIGITS = 80

Rank = tuple[Decimal, datetime, str, int, str]
Holders = Mapping[int, set[TraderId]]
Takes = Callable[[Candidate, Decimal], bool]


class Conflicts:
    """Collect what a resolution denies and which conflicts it met."""

    def __init__(self) -> None:
        self._denials: list[Denial] = []
        self._conflicts: list[Conflict] = []

    def deny(self, entry: Candidate, code: str, detail: str) -> None:
        """Deny one entry."""
        self._denials.append(Denial.of(entry.intent, code, detail, size_usd=entry.size_usd))

    def record(self, kind: str, entries: Sequence[Candidate], outcome: str, holders: Iterable[TraderId] = ()) -> None:
        """Record one conflict between those who want entries on a symbol, and those who hold it."""
        self._conflicts.append(Conflict.between(kind, entries, outcome, holders))

    def yield_to(self, holders: set[TraderId], entries: Sequence[Candidate], code: str) -> None:
        """Deny entries of one direction because others hold, or may hold, a position on the symbol."""
        if not entries:
            return
        held = _side(-entries[0].direction if code == "DIRECTION" else entries[0].direction)
        names = sorted(holders)
        for entry in entries:
            others = [name for name in names if name != entry.trader_id]
            hold = "holds" if len(others) == 1 else "hold"
            detail = f"{_side(entry.direction)} of {entry.trader_id} denied: {', '.join(others)} {hold} a {held}"
            self.deny(entry, code, detail)
        hold = "holds" if len(names) == 1 else "hold"
        outcome = f"kept the standing {held} that {', '.join(names)} {hold}; denied {_names(entries)}"
        self.record(code.lower(), entries, outcome, names)

    def keep_leading_side(self, entries: Sequence[Candidate], why: str) -> list[Candidate]:
        """Return the entries on the side of the first one and deny the others."""
        side, other = _sides(entries)
        if other:
            leader = side[0]
            for entry in other:
                self.deny(entry, "DIRECTION", f"{leader.trader_id} {why} and goes {_side(leader.direction)}")
            outcome = f"kept {_names(side)} ({_side(leader.direction)}); denied {_names(other)}"
            self.record("direction", entries, outcome)
        return side

    def note_merge(self, side: Sequence[Candidate]) -> list[Candidate]:
        """Record that entries of several traders become one order, and return them."""
        if len({entry.trader_id for entry in side}) > 1:
            self.record("duplicate", side, f"kept {_names(side)}, merged into one order")
        return list(side)

    def resolution(self, kept: Iterable[Candidate]) -> Resolution:
        """Return everything collected."""
        return Resolution(kept=tuple(kept), denials=tuple(self._denials), conflicts=tuple(self._conflicts))


@dataclass(frozen=True, slots=True, kw_only=True)
class Strategy:
    """Hold one row: how entries are ranked, what standing positions and other entries do to them, how margin is dealt.

    `standing` and `among` get the entries of one symbol by rank and return those that stay; without `standing` what
    others hold opposes nothing. `deal` gets all entries by rank, the free margin, and whether the venue takes a size.
    """

    rank: Callable[[Candidate], Rank]
    standing: Callable[[Conflicts, Sequence[Candidate], Holders], list[Candidate]] | None
    among: Callable[[Conflicts, Sequence[Candidate]], list[Candidate]]
    deal: Callable[[Sequence[Candidate], Decimal, Takes], list[Decimal]]


def by_time(entry: Candidate) -> Rank:
    """Rank the earliest decision first."""
    return ZERO, *entry.tie_break


def by_confidence(entry: Candidate) -> Rank:
    """Rank the highest confidence first, a missing one last."""
    return -(UNRANKED if entry.confidence is None else entry.confidence), *entry.tie_break


def yield_to_opposite(conflicts: Conflicts, entries: Sequence[Candidate], holders: Holders) -> list[Candidate]:
    """Deny entries against another trader's position; no standing position is ever closed."""
    opposed: list[Candidate] = []
    stay: list[Candidate] = []
    for entry in entries:
        (opposed if holders[-entry.direction] - {entry.trader_id} else stay).append(entry)
    for direction in (1, -1):
        conflicts.yield_to(holders[-direction], [e for e in opposed if e.direction == direction], "DIRECTION")
    return stay


def yield_to_any(conflicts: Conflicts, entries: Sequence[Candidate], holders: Holders) -> list[Candidate]:
    """Deny entries on a symbol that another trader holds: it came earlier."""
    stay = []
    opposed: list[Candidate] = []
    late: list[Candidate] = []
    for entry in entries:
        own = {entry.trader_id}
        if holders[-entry.direction] - own:
            opposed.append(entry)
        elif holders[entry.direction] - own:
            late.append(entry)
        else:
            stay.append(entry)
    for direction in (1, -1):
        conflicts.yield_to(holders[-direction], [e for e in opposed if e.direction == direction], "DIRECTION")
        conflicts.yield_to(holders[direction], [e for e in late if e.direction == direction], "DUPLICATE")
    return stay


def keep_earliest(conflicts: Conflicts, entries: Sequence[Candidate]) -> list[Candidate]:
    """Keep the entries of whoever came first."""
    side = conflicts.keep_leading_side(entries, "came first")
    first = side[0].trader_id
    late = [entry for entry in side if entry.trader_id != first]
    for entry in late:
        conflicts.deny(entry, "DUPLICATE", f"{first} came first and goes {_side(entry.direction)} too")
    if late:
        conflicts.record("duplicate", side, f"kept {first}; denied {_names(late)}")
    return [entry for entry in side if entry.trader_id == first]


def keep_most_confident(conflicts: Conflicts, entries: Sequence[Candidate]) -> list[Candidate]:
    """Keep everybody on the side of the most confident one."""
    return conflicts.note_merge(conflicts.keep_leading_side(entries, "is the most confident"))


def cancel_out(conflicts: Conflicts, entries: Sequence[Candidate]) -> list[Candidate]:
    """Cancel equal notional of both sides and keep what is left of the larger one, each entry cut pro rata."""
    side, other = _sides(entries)
    if not other:
        return conflicts.note_merge(side)
    mine = sum((entry.size_usd for entry in side), ZERO)
    theirs = sum((entry.size_usd for entry in other), ZERO)
    larger, smaller = (side, other) if mine >= theirs else (other, side)
    total, gone = max(mine, theirs), min(mine, theirs)
    denied = [*smaller, *larger] if mine == theirs else smaller
    left = []
    for entry in larger if mine != theirs else ():
        with localcontext(prec=_EXACT_DIGITS):
            size = (entry.size_usd * (total - gone) / total).quantize(SIZE_STEP, rounding=ROUND_DOWN)
        left.append(replace(entry, size_usd=size))
    for entry in denied:
        against = "long" if entry.direction < 0 else "short"
        conflicts.deny(entry, "DIRECTION", f"cancelled by {against} entries: {gone} USD against {total} USD")
    kept = ", ".join(f"{entry.trader_id} {entry.size_usd} USD" for entry in left) or "nobody"
    outcome = f"cancelled {gone} USD of each side; kept {kept}; denied {_names(denied)}"
    conflicts.record("direction", [*side, *other], outcome)
    return conflicts.note_merge(left)


def keep_all(conflicts: Conflicts, entries: Sequence[Candidate]) -> list[Candidate]:
    """Keep everybody, each in its own book."""
    side, other = _sides(entries)
    if other:
        outcome = f"kept {_names(side)} ({_side(side[0].direction)}) and {_names(other)} ({_side(other[0].direction)})"
        conflicts.record("direction", entries, f"{outcome}, each in its own book")
    conflicts.note_merge(side)
    conflicts.note_merge(other)
    return list(entries)


def deal_in_order(entries: Sequence[Candidate], free: Decimal, takes: Takes) -> list[Decimal]:
    """Return sizes that spend the margin in order; one that ends too small for the venue spends nothing."""
    sizes = []
    left = Fraction(max(free, ZERO))
    for entry in entries:
        size = min(entry.size_usd, _floored(left * entry.leverage))
        sizes.append(size)
        if takes(entry, size):
            left -= Fraction(size) / entry.leverage
    return sizes


def deal_scaled(entries: Sequence[Candidate], free: Decimal, takes: Takes) -> list[Decimal]:
    """Return every size scaled by available / needed margin, in one pass."""
    needed = sum(Fraction(entry.size_usd) / entry.leverage for entry in entries)
    share = min(Fraction(max(free, ZERO)) / needed, Fraction(1))
    return [min(entry.size_usd, _floored(Fraction(entry.size_usd) * share)) for entry in entries]


STRATEGIES: Final[Mapping[ConflictStrategy, Strategy]] = {
    ConflictStrategy.FIRST_COME: Strategy(
        rank=by_time, standing=yield_to_any, among=keep_earliest, deal=deal_in_order,
    ),
    ConflictStrategy.HIGHEST_CONFIDENCE: Strategy(
        rank=by_confidence, standing=yield_to_opposite, among=keep_most_confident, deal=deal_in_order,
    ),
    ConflictStrategy.AGGREGATE: Strategy(
        rank=by_confidence, standing=yield_to_opposite, among=cancel_out, deal=deal_scaled,
    ),
    ConflictStrategy.PROPORTIONAL: Strategy(
        rank=by_confidence, standing=yield_to_opposite, among=keep_most_confident, deal=deal_scaled,
    ),
    ConflictStrategy.NET: Strategy(
        rank=by_confidence, standing=None, among=keep_all, deal=deal_scaled,
    ),
}  # fmt: skip


def strategy_of(name: ConflictStrategy) -> Strategy:
    """Return the row of a strategy; ValueError for one that has none, so that none is ever guessed."""
    row = STRATEGIES.get(name)
    if row is None:
        raise ValueError(f"conflict strategy {name!r} has no row; expected one of {', '.join(STRATEGIES)}")
    return row


def resolve(view: AccountView, entries: Sequence[Candidate], reduces: Sequence[Reduce]) -> Resolution:
    """Return the entries that stand, in the resolver's order, the denials, and every conflict.

    Standing positions are the books after `reduces`, which the round assumes to fill, and the reservations.
    """
    if not entries:
        return Resolution()
    strategy = strategy_of(view.rules.conflict_strategy)
    by_symbol: dict[Symbol, list[Candidate]] = defaultdict(list)
    for entry in sorted(entries, key=strategy.rank):
        by_symbol[entry.symbol].append(entry)
    conflicts = Conflicts()
    standing = standing_positions(view, by_symbol, reduces) if strategy.standing is not None else {}
    kept: list[Candidate] = []
    for symbol in sorted(by_symbol):
        wanted = by_symbol[symbol]
        if strategy.standing is not None and symbol in standing:
            wanted = strategy.standing(conflicts, wanted, standing[symbol])
        if len(wanted) > 1:
            wanted = strategy.among(conflicts, wanted)
        kept.extend(wanted)
    return conflicts.resolution(kept if len(by_symbol) == 1 else sorted(kept, key=strategy.rank))


def standing_positions(
    view: AccountView, symbols: Container[Symbol], reduces: Sequence[Reduce]
) -> dict[Symbol, Holders]:
    """Return, by symbol and direction, which traders hold or may hold a position; a symbol nobody holds is absent."""
    taken: dict[PositionKey, Decimal] = defaultdict(Decimal)
    for reduce in reduces:
        taken[reduce.key] += reduce.side.sign * reduce.quantity
    standing: dict[Symbol, dict[int, set[TraderId]]] = {}
    for trader_id, trader in view.traders.items():
        for symbol, position in trader.book.positions.items():
            if symbol in symbols and position.quantity + taken.get(PositionKey(trader_id, symbol), ZERO):
                holders = standing.setdefault(symbol, {1: set(), -1: set()})
                holders[position.direction].add(trader_id)
    for reservation in view.reservations:
        if reservation.symbol in symbols and reservation.quantity:
            holders = standing.setdefault(reservation.symbol, {1: set(), -1: set()})
            holders[1 if reservation.quantity > 0 else -1].add(reservation.trader_id)
    return dict(standing)


def _sides(entries: Sequence[Candidate]) -> tuple[list[Candidate], list[Candidate]]:
    """Return the entries on the side of the first one, and those on the other side."""
    leading = entries[0].direction
    return [e for e in entries if e.direction == leading], [e for e in entries if e.direction != leading]


def _floored(amount: Fraction) -> Decimal:
    return Decimal(amount.numerator * 10**_SIZE_DIGITS // amount.denominator).scaleb(-_SIZE_DIGITS)


def _names(entries: Sequence[Candidate]) -> str:
    return ", ".join(dict.fromkeys(entry.trader_id for entry in entries))


def _side(direction: int) -> str:
    return "long" if direction > 0 else "short"
