"""The life cycle of a virtual trader: a state machine with only legal moves (docs/rules.md 1)."""

from collections.abc import Mapping
from enum import StrEnum

from traders.errors import IllegalMove
from traders.spec import TraderId


class TraderState(StrEnum):
    """Name the states of a trader's life."""

    STOPPED = "stopped"
    RUNNING = "running"
    PAUSED = "paused"
    ERROR = "error"
    ISOLATED = "isolated"


_S = TraderState
LEGAL_MOVES: Mapping[TraderState, frozenset[TraderState]] = {
    _S.STOPPED: frozenset({_S.RUNNING, _S.ERROR, _S.ISOLATED}),
    _S.RUNNING: frozenset({_S.PAUSED, _S.STOPPED, _S.ERROR, _S.ISOLATED}),
    _S.PAUSED: frozenset({_S.RUNNING, _S.STOPPED, _S.ERROR, _S.ISOLATED}),
    _S.ERROR: frozenset({_S.STOPPED, _S.ISOLATED}),
    _S.ISOLATED: frozenset({_S.STOPPED, _S.ERROR}),
}


def move(trader_id: TraderId, current: TraderState, to: TraderState) -> TraderState:
    """Return `to` when the move is legal; raise IllegalMove otherwise."""
    if to in LEGAL_MOVES[current]:
        return to
    legal = ", ".join(sorted(LEGAL_MOVES[current]))
    raise IllegalMove(f"trader {trader_id} is {current} and cannot become {to}; from here it can become: {legal}")
