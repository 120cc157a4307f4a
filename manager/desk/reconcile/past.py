"""Read what is booked from an instant on, to give late news its place (docs/rules.md 9)."""

from collections.abc import Sequence
from datetime import datetime

from exchanges.types import Fill, Symbol
from manager.desk.plan.late import History, Resplit, resplit
from manager.desk.session import Session
from manager.state.records import FillPartRow, FillRow, OrderId, OrderRow
from manager.state.store import Search


class Past:
    """Look back in one session; what it has not written yet is written first."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def resplit(self, fill: Fill, order: OrderRow | None) -> Resplit | None:
        """Return how a late fill and what came after it are split; None where a cross was decided without it."""
        session = self._session
        history = await self._history(fill.symbol, fill.at)
        if not history.is_split_by_fills:
            return None
        return resplit(fill, order, history, session.state.held(fill.symbol), session.instrument(fill.symbol))

    async def parts(self, symbol: Symbol, since: datetime) -> Sequence[FillPartRow]:
        """Return the parts of fills and crosses of a symbol from an instant on."""
        await self._session.flush()
        async with self._session.reading() as tx:
            [parts] = await tx.search(self._since(FillPartRow, symbol, since))
        return parts

    async def _history(self, symbol: Symbol, since: datetime) -> History:
        session = self._session
        await session.flush()
        async with session.reading() as tx:
            fills, parts = await tx.search(*(self._since(kind, symbol, since) for kind in (FillRow, FillPartRow)))
            orders: dict[OrderId, OrderRow] = {}
            for order_id in {fill.order_id for fill in fills if fill.order_id}:
                order = session.state.orders.get(order_id)
                order = order or await tx.get(OrderRow, session.runtime.account_id, order_id)
                if order is not None:
                    orders[order_id] = order
        return History(fills=fills, parts=parts, orders=orders)

    def _since(self, kind: type[FillRow] | type[FillPartRow], symbol: Symbol, since: datetime) -> Search:
        where = {"account_id": self._session.runtime.account_id, "symbol": symbol}
        return Search(kind=kind, where=where, newest_first="at", since=since)
