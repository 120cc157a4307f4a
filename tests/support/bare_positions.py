"""What of invariants 1, 2, 5 and 6 a faulty desk breaks, read from the venue and not from what the desk believes."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import ROUND_FLOOR, Decimal

from exchanges.types import ClientOrderId, OrderStatus, OrderType, Symbol
from faulty_desk import AT, FaultyDesk
from manager.state.records import (
    FillPartRow,
    FillRow,
    IncidentRow,
    OrderId,
    OrderPurpose,
    OrderRow,
    OrderState,
    PositionKey,
    PositionRow,
)
from traders.book import EXTERNAL

ZERO = Decimal(0)
GRACE = timedelta(seconds=5)
LOT = Decimal("0.000001")
MINIMUM_USD = Decimal(5)
TOLD = {"NAKED_POSITION", "STOP_FAILED"}
Key = PositionKey


@dataclass(slots=True)
class BareWatch:
    """Look at the venue after each job, and note the positions whose stop is missing for too long without a word.

    Too long: the job began when the position had had no stop for more than the grace, in a process that could work: it
    lives, and the venue answers. Where an order without an outcome forbids a stop and a close, the desk must say so.
    """

    desk: FaultyDesk
    untold: list[str] = field(default_factory=list)
    bare: dict[Key, datetime] = field(default_factory=dict)
    _stops: dict[Key, frozenset[str]] = field(default_factory=dict)
    _works_since: datetime | None = None

    async def look(self, began: datetime, *, worked: bool) -> None:
        """Take in what stands after a job; a death or a venue that does not answer starts the grace anew."""
        now = self.desk.clock.now()
        able = worked and now - began <= GRACE
        self._works_since = (self._works_since or now) if able else None
        missing = await uncovered(self.desk)
        self.bare = {key: since for key, since in self.bare.items() if key in missing}
        for key, what in missing.items():
            since = await self._since(key, now)
            late = self._works_since is not None and began - max(since, self._works_since) > GRACE
            if late and not await self._told(key, since):
                self.untold.append(f"{what} since {since}, at {now}")

    async def _since(self, key: Key, now: datetime) -> datetime:
        """Return since when a position is bare; while the desk could not know of a stop's end yet, from now on."""
        held, orders = await self._rows(key)
        stops = [o for o in orders if o.purpose is OrderPurpose.STOP and o.state is OrderState.ACCEPTED]
        ids = frozenset(order.order_id for order in stops)
        confirmed = sum((o.quantity - o.filled for o in stops), ZERO) >= abs(held.quantity)
        if confirmed and ids != self._stops.get(key):
            self._stops[key] = ids
            self.bare.pop(key, None)
            return now
        since = self.bare.setdefault(key, now)
        self.bare[key] = max(since, await self._stood(key, held.quantity, since))
        return self.bare[key]

    async def _stood(self, key: Key, held: Decimal, since: datetime) -> datetime:
        """Return when the venue took the newest whole stop that came and went between two looks, else `since`."""
        orders: Sequence[OrderRow] = await self.desk.find(OrderRow, symbol=key[1], purpose=OrderPurpose.STOP)
        mine = [o for o in orders if o.quantity >= abs(held) and any(share.trader_id == key[0] for share in o.shares)]
        for order in sorted(mine, key=lambda o: o.created_at, reverse=True):
            if order.created_at <= since:
                return since
            report = await self.desk.paper.lookup_order(ClientOrderId(order.order_id), order.symbol)
            if report is not None and report.status is OrderStatus.CANCELED:
                return order.created_at
        return since

    async def _told(self, key: Key, since: datetime) -> bool:
        held, _ = await self._rows(key)
        where = {"trader_id": key[0], "symbol": key[1]}
        incidents = await self.desk.find(IncidentRow, **where)
        codes = {one.code for one in incidents if one.resolved_at is None or one.at >= since}
        return held.unprotected_since is not None and bool(codes & TOLD)

    async def _rows(self, key: Key) -> tuple[PositionRow, Sequence[OrderRow]]:
        rows = await self.desk.find(PositionRow, trader_id=key[0], symbol=key[1])
        live = [order for order in await self.desk.live() if order.symbol == key[1]]
        return rows[0], [order for order in live if any(share.trader_id == key[0] for share in order.shares)]


def closes(order: OrderRow) -> bool:
    """Tell whether an order takes a position off in another way than a resting stop or target."""
    fired = order.purpose is OrderPurpose.TAKE_PROFIT and not order.reduce_only
    return fired or order.purpose in (OrderPurpose.REDUCE, OrderPurpose.LIQUIDATION)


async def uncovered(desk: FaultyDesk) -> dict[Key, str]:
    """Return the positions that nothing at the venue closes or stops, as far as it may (docs/rules.md 7)."""
    orders = {order.order_id: order for order in await desk.live()}
    covered: dict[tuple[str, Symbol, int], Decimal] = defaultdict(lambda: ZERO)
    for report in await desk.paper.fetch_open_orders():
        row = orders.get(OrderId(report.client_order_id))
        if row is not None and (report.type is OrderType.STOP or closes(row)):
            for share in row.shares:
                rests = min(share.quantity, report.quantity - report.filled)
                covered[share.trader_id, row.symbol, row.side.sign] += rests
    positions: Sequence[PositionRow] = await desk.find(PositionRow)
    found = {}
    for held in positions:
        if held.trader_id != EXTERNAL and not held.dust:
            needed = _guarded(desk, held, positions, orders.values())
            stands = covered[held.trader_id, held.symbol, -1 if held.quantity > 0 else 1]
            if stands < needed:
                key = PositionKey(held.trader_id, held.symbol)
                found[key] = f"{held.trader_id} holds {held.quantity} {held.symbol}, stops of {stands} stand"
    return found


def _guarded(
    desk: FaultyDesk, held: PositionRow, positions: Sequence[PositionRow], orders: Iterable[OrderRow]
) -> Decimal:
    same = [row for row in positions if row.symbol == held.symbol]
    external = sum((row.quantity for row in same if row.trader_id == EXTERNAL), ZERO)
    if external * held.quantity >= ZERO:
        return abs(held.quantity)
    taken: dict[str, Decimal] = defaultdict(lambda: ZERO)
    for order in orders:
        if order.symbol == held.symbol and closes(order):
            for share in order.shares:
                taken[share.trader_id] += min(share.quantity, order.quantity - order.filled)
    books = {
        row.trader_id: max(ZERO, abs(row.quantity) - taken[row.trader_id])
        for row in same
        if row.trader_id != EXTERNAL and row.quantity * external < ZERO
    }
    total = sum(books.values(), ZERO)
    room = max(ZERO, total - abs(external))
    share_of_room = (books[held.trader_id] * room / total).quantize(LOT, ROUND_FLOOR) if total else ZERO
    price = desk.path.execution_price(held.symbol, desk.clock.now())
    assert price is not None
    return share_of_room if share_of_room * price >= MINIMUM_USD else ZERO


async def stale_orders(desk: FaultyDesk) -> list[str]:
    """Return the venue's open orders that could open or turn over a book: they must be gone once all is settled."""
    known = {order.order_id: order for order in await desk.live()}
    found = []
    for report in await desk.paper.fetch_open_orders():
        row = known.get(OrderId(report.client_order_id))
        held = ZERO if row is None else await desk.held(row.shares[0].trader_id, report.symbol)
        if row is None or held * report.side.sign >= ZERO or report.quantity - report.filled > abs(held):
            found.append(f"{report.client_order_id} rests for {report.quantity}, {held} held")
    return found


async def misbooked(desk: FaultyDesk) -> list[str]:
    """Return the venue's fills that are not booked once, exactly and in full; and what a desk's order opened.

    Only a reduce-only order may take what its book no longer holds: it arrived late, and cannot turn the account over.
    """
    orders = {order.order_id: order for order in await desk.find(OrderRow)}
    booked = [row.trade_id for row in await desk.find(FillRow)]
    parts: dict[str, list[FillPartRow]] = defaultdict(list)
    found = []
    for part in await desk.find(FillPartRow):
        parts[part.trade_id].append(part)
        own = part.trader_id == EXTERNAL and part.order_id
        if own and not orders[part.order_id].reduce_only:
            found.append(f"{part.order_id} traded {part.quantity} that no book held")
    for fill in await desk.paper.fetch_fills(AT - timedelta(days=1)):
        whole = sum((part.quantity for part in parts[fill.trade_id]), ZERO) == fill.quantity * fill.side.sign
        paid = sum((part.fee for part in parts[fill.trade_id]), ZERO) == fill.fee
        ours = str(fill.client_order_id) in orders
        external = any(part.trader_id == EXTERNAL and not part.order_id for part in parts[fill.trade_id])
        if booked.count(fill.trade_id) != 1 or not whole or not paid or ours is external:
            found.append(f"fill {fill.trade_id} of {fill.quantity} is booked as {parts[fill.trade_id]}")
    return found
