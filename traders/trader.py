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


_TO_RUN: Mapping[TraderState, tuple[str, ...]] = {
    _S.STOPPED: ("start",),
    _S.PAUSED: ("resume",),
    _S.ERROR: ("stop", "start"),
    _S.ISOLATED: ("stop", "start"),
}


def move(trader_id: TraderId, current: TraderState, to: TraderState) -> TraderState:
    """Return `to` when the move is legal; raise IllegalMove otherwise, which says what an operator can do."""
    if to in LEGAL_MOVES[current]:
        return to
    if to is current:
        raise IllegalMove(f"trader {trader_id} is {current} already; nothing is changed")
    acts = ", then ".join(f"`propdesk traders {act} {trader_id}`" for act in _TO_RUN.get(current, ()))
    raise IllegalMove(f"trader {trader_id} is {current} and cannot become {to}; to let it run: {acts}")
