"""Why a position that an operator wants closed is not closed yet, or stays, and which orders are waited for."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from exchanges.types import ZERO, Symbol
from manager.desk.plan.outcomes import plain
from manager.state.acts import FlattenRow, LeftPosition
from manager.state.kinds import WhyLeft
from manager.state.records import IncidentRow, OrderRow, PositionKey, PositionRow
from traders.spec import TraderId


def waited_for(
    flatten: FlattenRow, orders: Iterable[OrderRow], traders: Collection[TraderId], held: Collection[PositionKey]
) -> tuple[OrderRow, ...]:
    """Return the orders that may still fill in a flatten's scope: it does not end before their end is known.

    Stops and take-profits of what is `held` are not among them: they go with their position, or stay with dust.
    """
    return tuple(
        order
        for order in orders
        if order.state.live
        and not (order.purpose.protects and order.guards in held)
        and any(flatten.covers(share.trader_id) and share.trader_id in traders for share in order.shares)
    )


def told_order(order: OrderRow) -> str:
    """Say which order is waited for, and what is known of it."""
    of = ", ".join(share.trader_id for share in order.shares)
    known = f"{plain(order.filled)} of it filled"
    if order.state.unresolved:
        known = "it is looked up until its end is known"
    elif order.purpose.protects:
        known = "its position is gone, it is canceled next"
    return f"{order.purpose} of {of}: {order.side} {plain(order.quantity)} {order.symbol} is {order.state}; {known}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseFacts:
    """Hold what tells why positions of one account are still there.

    `orders` are those that may stand, `incidents` are open, `refused` has the newest close of a position where the
    venue said no to it. `watched` tells whether a worker has given a sign of life.
    """

    orders: Sequence[OrderRow]
    incidents: Sequence[IncidentRow]
    external: Mapping[Symbol, Decimal]
    refused: Mapping[PositionKey, OrderRow] = field(default_factory=dict)
    watched: bool = True

    def why_left(self, position: PositionRow) -> LeftPosition:
        """Return the position with the first reason that holds."""
        why, detail = self._why(position)
        return LeftPosition(
            trader_id=position.trader_id,
            symbol=position.symbol,
            quantity=position.quantity,
            why=why,
            detail=detail,
        )

    def _why(self, position: PositionRow) -> tuple[WhyLeft, str]:
        key = PositionKey(position.trader_id, position.symbol)
        if position.dust:
            return WhyLeft.DUST, "too small for the venue; it goes along with the next order of its symbol"
        if not self.watched:
            return WhyLeft.NO_WORKER, "no worker looks after the account; it is closed once one does: `propdesk run`"
        if (told := self._incident("VENUE_UNAVAILABLE")) is not None:
            return WhyLeft.VENUE_UNAVAILABLE, f"the venue cannot be read: {told.detail}"
        if (order := self._order(key)) is not None:
            return self._under_way(order)
        if (told := self._incident("CANCEL_UNKNOWN", key)) is not None:
            return WhyLeft.STOP_IN_THE_WAY, f"its stop must be gone first, its cancel is not confirmed: {told.detail}"
        return self._unsent(position, self.refused.get(key))

    def _unsent(self, position: PositionRow, refused: OrderRow | None) -> tuple[WhyLeft, str]:
        against = self.external.get(position.symbol, ZERO)
        if against * position.quantity < ZERO:
            mend = "a close would open a position there; trade that back by hand first"
            return WhyLeft.EXTERNAL_OVERLAP, f"EXTERNAL holds {plain(against)} against it: {mend}"
        if refused is not None:
            at, again = refused.updated_at or refused.created_at, "it is tried again every 2 s"
            return WhyLeft.REFUSED, f"the venue refused its close at {at:%H:%M:%S} UTC ({refused.reason}); {again}"
        return WhyLeft.WAITING, "the account's next round closes it, within a few seconds"

    def _order(self, key: PositionKey) -> OrderRow | None:
        for order in self.orders:
            mine = any(share.trader_id == key.trader_id for share in order.shares)
            if order.symbol == key.symbol and order.closes and order.state.live and mine:
                return order
        return None

    @staticmethod
    def _under_way(order: OrderRow) -> tuple[WhyLeft, str]:
        if order.state.unresolved:
            told = "was sent and it is not known what became of it; it is looked up until that is known"
            return WhyLeft.UNKNOWN_OUTCOME, f"order {order.order_id} {told}"
        return WhyLeft.UNDER_WAY, f"order {order.order_id} stands at the venue, {plain(order.filled)} of it filled"

    def _incident(self, code: str, key: PositionKey | None = None) -> IncidentRow | None:
        for row in self.incidents:
            if row.code == code and (key is None or (row.trader_id, row.symbol) == key):
                return row
        return None
