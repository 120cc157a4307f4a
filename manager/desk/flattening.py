"""Carry on the flattens of an account: ask for what is still held, tell what does not close, end what is done."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Final

from exchanges.clock import to_ms
from exchanges.types import Symbol
from executor.contract import OPENS, Action
from manager.desk.plan.leftovers import CloseFacts, told_order, waited_for
from manager.desk.plan.operator_closes import OperatorAsk, being_closed, close_rows
from manager.desk.plan.outcomes import plain
from manager.desk.session import Session
from manager.state.acts import FlattenRow, LeftPosition
from manager.state.kinds import EventKind, FlattenState, IntentStatus
from manager.state.records import EventRow, OrderRow, PositionKey, PositionRow
from traders.book import EXTERNAL
from traders.spec import TraderId

_ENTERING: Final = OPENS | {Action.TARGET}
_PATIENCE: Final = timedelta(seconds=10)


class Flattening:
    """Look after the open flattens of one session's account; rounds carry out the closes that it asks for."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._state = session.state

    def keep(self) -> None:
        """Ask once for each position in scope, however often it comes back; end a flatten whose scope is flat.

        Dust and EXTERNAL stay. It does not end while an order in its scope may still fill.
        """
        for row in list(self._state.flattens.values()):
            held = self._held(row)
            open_ = [position for position in held if not position.dust]
            keys = {PositionKey(position.trader_id, position.symbol) for position in held}
            waits = waited_for(row, self._state.orders.values(), self._state.traders, keys)
            if not open_ and not waits:
                self._end(row, tuple(self._facts().why_left(position) for position in held))
                continue
            self._ask(row, open_)
            if self._session.clock.now() - row.at > _PATIENCE:
                self._tell(row, [self._facts().why_left(position) for position in open_], waits)

    def _held(self, row: FlattenRow) -> list[PositionRow]:
        state = self._state
        mine = (trader_id for trader_id in sorted(state.traders) if row.covers(trader_id))
        keys = [PositionKey(owner, symbol) for owner in mine for symbol in sorted(state.books[owner].positions)]
        return [state.position_row(key) for key in keys]

    def _ask(self, row: FlattenRow, held: list[PositionRow]) -> None:
        state, asked = self._state, being_closed(self._state.intents.values())
        missing: dict[TraderId, dict[Symbol, Decimal]] = {}
        for position in held:
            if PositionKey(position.trader_id, position.symbol) not in asked:
                missing.setdefault(position.trader_id, {})[position.symbol] = position.quantity
        now = self._session.clock.now()
        ref = f"{to_ms(now)}/{row.flatten_id}.{self._session.round_id}"
        ask = OperatorAsk(actor=row.actor, reason=row.reason, at=now, ref=ref)
        for trader_id, quantities in missing.items():
            state.ask(*close_rows(state.traders[trader_id], quantities, ask))

    def _facts(self) -> CloseFacts:
        external = self._state.books[EXTERNAL].positions
        return CloseFacts(
            orders=tuple(self._state.orders.values()),
            incidents=tuple(row for row in self._session.incidents.standing if row.code == "CANCEL_UNKNOWN"),
            external={symbol: position.quantity for symbol, position in external.items()},
        )

    def _tell(self, row: FlattenRow, left: list[LeftPosition], waits: tuple[OrderRow, ...]) -> None:
        told = [f"{one.trader_id} {one.symbol} {plain(one.quantity)}: {one.detail}" for one in left]
        told += [f"waits for an order: {told_order(order)}" for order in waits]
        detail = f"begun at {row.at:%Y-%m-%d %H:%M:%S} UTC by {row.actor}, not closed yet: {'; '.join(told)}"
        self._session.incident("FLATTEN_INCOMPLETE", detail, which=row.flatten_id)

    def _end(self, row: FlattenRow, left: tuple[LeftPosition, ...]) -> None:
        """End it, and let no open that was decided meanwhile be taken afterwards."""
        state, now = self._state, self._session.clock.now()
        for intent in list(state.intents.values()):
            waits = intent.status is IntentStatus.PENDING and not intent.asked_by
            if waits and row.covers(intent.trader_id) and intent.decision.action in _ENTERING:
                state.settle(intent, IntentStatus.SUPERSEDED, self._session.round_id)
        ended = FlattenState.LEFT if left else FlattenState.FLAT
        state.end_flatten(replace(row, state=ended, ended_at=now, remaining=left))
        told = "; ".join(f"{one.trader_id} {one.symbol} {plain(one.quantity)} stays: {one.detail}" for one in left)
        state.insert(
            EventRow(
                tenant_id=row.tenant_id,
                event_id=f"{row.account_id}/{row.flatten_id}/ended",
                at=now,
                actor="desk",
                kind=EventKind.FLATTEN_ENDED,
                account_id=row.account_id,
                trader_id=row.trader_id,
                before=row.state,
                after=ended,
                reason=told or f"flat; asked for by {row.actor}: {row.reason}",
            )
        )
