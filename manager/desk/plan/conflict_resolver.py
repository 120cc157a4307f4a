"""Reconcile the entries of several traders on one symbol (docs/rules.md 4).

What counts as a conflict does not depend on the strategy; what becomes of it does. No standing position is ever closed.
"""

from collections import defaultdict
from collections.abc import Container, Sequence
from decimal import Decimal

from exchanges.types import Symbol
from manager.desk.plan.conflict_strategies import Conflicts, Holders, strategy_of
from manager.desk.plan.outcomes import Candidate, Reduce, Resolution
from manager.desk.plan.values import ZERO, AccountView
from manager.state.records import PositionKey
from traders.spec import TraderId

CONFLICT_CODES = frozenset({"DIRECTION", "DUPLICATE"})


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
