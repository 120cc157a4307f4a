"""Late news of the venue: what came after it is split anew, as if it had been listed in time (docs/rules.md 9).

What a fill gives to each book depends on the fills before it: how far its order was filled, and what the books held.
Its place among them is that of its instant and trade id, whenever it was listed, so every order of listing ends in the
same split. Nothing that is booked is changed: parts and postings are corrected by further ones.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from exchanges.types import ZERO, ClientOrderId, Fill, FundingPayment, Instrument, VenueTradeId
from manager.desk.plan.booking import Booked, Execution, Held, Part, after_fill, book_fill, funding_parts
from manager.state.records import FillPartRow, FillRow, OrderId, OrderRow
from traders.spec import TraderId

CORRECTION = "correction"
_MARK = "~"


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """Hold what is booked of one symbol from an instant on: fills, all parts, and the orders of the fills."""

    fills: Sequence[FillRow]
    parts: Sequence[FillPartRow]
    orders: Mapping[OrderId, OrderRow]

    @property
    def is_split_by_fills(self) -> bool:
        """Tell whether nothing but fills moved the books: a cross was decided on the books as they were known."""
        known = {fill.trade_id for fill in self.fills}
        return all(part.trade_id in known for part in self.parts)


class _Replayed:
    """What books held and how far orders were filled, fill by fill."""

    def __init__(self, held: Held, instrument: Instrument) -> None:
        self.held = defaultdict(Decimal, held)
        self.filled: defaultdict[OrderId, Decimal] = defaultdict(Decimal)
        self._instrument = instrument

    def move(self, part: Part | FillPartRow, times: int = 1) -> None:
        self.held[part.trader_id] += times * part.quantity

    def take(self, fill: Fill, order: OrderRow | None) -> Booked:
        if order is not None:
            behind = self.filled[order.order_id]
            self.filled[order.order_id] = behind + fill.quantity
            order = replace(order, filled=order.filled + behind)
        booked = book_fill(fill, order, self.held, self._instrument)
        for part in booked.execution.parts:
            self.move(part)
        return booked


@dataclass(frozen=True, slots=True, kw_only=True)
class Resplit:
    """Return how a late fill is booked, and all executions that this takes, in the order in which to book them."""

    booked: Booked
    executions: tuple[Execution, ...]


def resplit(late: Fill, order: OrderRow | None, history: History, held: Held, instrument: Instrument) -> Resplit:
    """Split a late fill in its place and what came after it anew; `held` is what the books hold now.

    The parts of each fill still add up to it, and corrections never take a book through zero that ends on its side.
    """
    place = (late.at, late.trade_id)
    later = sorted((row for row in history.fills if (row.at, row.trade_id) > place), key=lambda r: (r.at, r.trade_id))
    names = {row.trade_id for row in later}
    posted = [part for part in history.parts if part.trade_id in names]
    books = _Replayed(held, instrument)
    for part in posted:
        books.move(part, -1)
    for row in later:
        books.filled[row.order_id] -= row.quantity
    first = books.take(late, order)
    pieces = [(late, part) for part in first.execution.parts]
    for row in later:
        fill = _fill(row)
        wanted = books.take(fill, history.orders.get(row.order_id)).execution.parts
        mine = [part for part in posted if part.trade_id == row.trade_id]
        pieces += [(fill, part) for part in _corrections(wanted, mine, late.trade_id)]
    if order is not None:
        first = replace(first, order=after_fill(order, late))
    return Resplit(booked=first, executions=_in_order(pieces, held))


def held_at(payment: FundingPayment, held: Held, parts: Iterable[FillPartRow], contract_size: Decimal) -> Held:
    """Return what each book held at a payment's instant, from what it holds now and all parts from that instant on.

    Whether a fill of that very instant came before the payment, only the venue knows: as many of them are counted, in
    the order of their ids, as explain its amount best. A cross of that instant came after it.
    """
    since = [part for part in parts if part.at >= payment.at]
    then = dict(held)
    for part in since:
        then[part.trader_id] = then.get(part.trader_id, ZERO) - part.quantity
    fills = sorted({part.trade_id for part in since if part.at == payment.at and not is_cross(part.trade_id)})
    best, least = then, _unexplained(payment, then, contract_size)
    for trade_id in fills:
        then = dict(then)
        for part in since:
            if part.trade_id == trade_id:
                then[part.trader_id] = then.get(part.trader_id, ZERO) + part.quantity
        left = _unexplained(payment, then, contract_size)
        if left <= least:
            best, least = then, left
    return best


def is_cross(trade_id: str) -> bool:
    """Tell whether an execution is a trade inside the desk."""
    return trade_id.startswith("cross/")


def is_late(fill: Fill, newest_at: datetime | None, newest_trade: str) -> bool:
    """Tell whether a fill has its place before one that is booked already."""
    return newest_at is not None and (fill.at, fill.trade_id) < (newest_at, newest_trade)


def _unexplained(payment: FundingPayment, held: Held, contract_size: Decimal) -> Decimal:
    return abs(payment.amount - sum((amount for _, amount in funding_parts(payment, held, contract_size)), ZERO))


def _fill(row: FillRow) -> Fill:
    return Fill(
        trade_id=VenueTradeId(row.trade_id),
        client_order_id=ClientOrderId(row.order_id) if row.order_id else None,
        venue_order_id=None,
        symbol=row.symbol,
        side=row.side,
        quantity=row.quantity,
        price=row.price,
        fee=row.fee,
        liquidity=row.liquidity,
        at=row.at,
        kind=row.kind,
    )


def _corrections(wanted: Sequence[Part], posted: Sequence[FillPartRow], late: str) -> list[Part]:
    """Return the parts by which those of a fill that are booked become those that are wanted."""
    missing = {(part.trader_id, part.leg): part for part in wanted}
    had: dict[tuple[TraderId, str], list[FillPartRow]] = {key: [] for key in missing}
    for row in posted:
        had.setdefault((row.trader_id, row.leg.partition(_MARK)[0]), []).append(row)
    found = []
    for (trader_id, leg), rows in sorted(had.items()):
        part = missing.get((trader_id, leg)) or Part(
            trader_id=trader_id, quantity=ZERO, order_id=rows[0].order_id, intent_id=rows[0].intent_id
        )
        quantity = part.quantity - sum((row.quantity for row in rows), ZERO)
        fee = part.fee - sum((row.fee for row in rows), ZERO)
        if quantity or fee:
            further = f"{leg}{_MARK}{late}"
            found.append(replace(part, quantity=quantity, fee=fee, leg=further, purpose=CORRECTION))
    return found


def _in_order(pieces: Sequence[tuple[Fill, Part]], held: Held) -> tuple[Execution, ...]:
    """Book what makes a position larger before what makes it smaller, so that none is closed on the way."""
    net: dict[TraderId, Decimal] = {}
    for _, part in pieces:
        net[part.trader_id] = net.get(part.trader_id, ZERO) + part.quantity
    side = {trader_id: held.get(trader_id, ZERO) or change for trader_id, change in net.items()}
    ordered = sorted(pieces, key=lambda piece: piece[1].quantity * side[piece[1].trader_id] < ZERO)
    return tuple(
        Execution(trade_id=fill.trade_id, symbol=fill.symbol, price=fill.price, at=fill.at, parts=(part,))
        for fill, part in ordered
    )
