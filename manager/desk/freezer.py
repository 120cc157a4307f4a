"""Freeze an account's state for the pure stages; what did not change since the last time is not built again."""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from operator import is_not
from typing import Final

from exchanges.market import Snapshot
from exchanges.types import ZERO, Symbol
from manager.desk.account_state import AccountState
from manager.desk.plan.values import Mark, Reservation, TraderView
from manager.state.records import BookRow, OrderPurpose, OrderRow, ScheduleRow, Share, TraderRow
from traders.book import Book
from traders.spec import TraderId

_NOTHING: Final = (ZERO, 0)


class Freezer:
    """Value books and build trader views at the marks of one snapshot; rows and books are frozen, so identity tells."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.marks = {
            symbol: Mark(price=view.mark, age_s=view.age_s, interval_s=view.interval_s)
            for symbol, view in snapshot.symbols.items()
        }
        self._prices = {symbol: mark.price for symbol, mark in self.marks.items()}
        self._equities: dict[TraderId, tuple[Book, Decimal]] = {}

    def equity(self, books: Mapping[TraderId, Book]) -> Decimal:
        """Return the equity of all books in USD; a position without a price counts at its entry.

        Nothing is known of such a position's PnL, and no entry is made meanwhile.
        """
        return sum((self._equity(owner, book) for owner, book in books.items()), ZERO)

    def deficit(self, books: Iterable[Book]) -> Decimal:
        """Return what books below zero lack together, in USD."""
        return sum((max(ZERO, -self._equity(book.trader_id, book)) for book in books), ZERO)

    def _equity(self, owner: TraderId, book: Book) -> Decimal:
        if not book.positions:
            return book.cash
        known = self._equities.get(owner)
        if known is None or known[0] is not book:
            prices = self._prices
            unrealized = (p.unrealized(prices[symbol]) for symbol, p in book.positions.items() if symbol in prices)
            known = self._equities[owner] = (book, sum(unrealized, book.cash))
        return known[1]

    def reservations(self, state: AccountState) -> tuple[Reservation, ...]:
        """Return the worst case of every entry order that may still fill."""
        reserved = _Reserved(self._prices, state)
        for order in state.orders.values():
            if order.purpose is OrderPurpose.ENTRY and order.state.live:
                reserved.add(order)
        return tuple(reserved.found)

    def traders(self, state: AccountState, reservations: Sequence[Reservation]) -> dict[TraderId, TraderView]:
        """Return every trader as a round sees it; as long as nothing was written, all as they were at the last job."""
        if not reservations and not state.version:
            return state.remembered.keep("views", state.as_read, lambda: self._views(state, reservations))
        return self._views(state, reservations)

    def _views(self, state: AccountState, reservations: Sequence[Reservation]) -> dict[TraderId, TraderView]:
        reserved: dict[TraderId, list[Reservation]] = {}
        for reservation in reservations:
            reserved.setdefault(reservation.trader_id, []).append(reservation)
        views, found = state.remembered.views, {}
        for trader_id, row in state.traders.items():
            head = state.head(trader_id)
            of = (row, head, state.schedules.get(trader_id), state.books[trader_id])
            worst, known = _worst(head, reserved.get(trader_id, ())), views.get(trader_id)
            if known is None or known[1] != worst or any(map(is_not, known[0], of)):
                known = views[trader_id] = (of, worst, self._trader(*of, worst))
            found[trader_id] = known[2]
        return found

    @staticmethod
    def _trader(
        row: TraderRow, head: BookRow, schedule: ScheduleRow | None, book: Book, worst: tuple[Decimal, int]
    ) -> TraderView:
        curve = head.performance
        return TraderView(
            spec=row.spec,
            state=row.state,
            state_code=row.state_code,
            trading_state=row.trading_state,
            book=book,
            seq=row.seq,
            allocated=head.allocated,
            reserved_margin=worst[0],
            recent_entries=tuple(entry.at for entry in head.recent_entries),
            reserved_entries=worst[1],
            last_stop_at=head.last_stop_at,
            drawdown_pct=Decimal(repr(round(curve.drawdown * 100, 6))),
            sharpe=curve.sharpe,
            closed_trades=curve.trades,
            failed_decisions=schedule.failed_decisions if schedule is not None else 0,
            bad_replies=schedule.bad_replies if schedule is not None else 0,
            has_capital=curve.units > 0,
            bankrupt=head.bankrupt_at is not None,
            violations=head.violations,
            last_entry_at=head.last_entry_at,
        )


def _worst(head: BookRow, reservations: Sequence[Reservation]) -> tuple[Decimal, int]:
    """Return the margin of entries that may still fill, and how many of them no fill has counted yet."""
    if not reservations:
        return _NOTHING
    counted = {entry.intent_id for entry in head.recent_entries}
    waiting = {one.intent_id for one in reservations} - counted
    return sum((one.margin for one in reservations), ZERO), len(waiting)


class _Reserved:
    """Sum what live entry orders may still do to each position, the newest leverage counting for the whole of it."""

    def __init__(self, prices: Mapping[Symbol, Decimal], state: AccountState) -> None:
        self.found: list[Reservation] = []
        self._prices = prices
        self._state = state
        self._grown: dict[tuple[TraderId, Symbol, int], tuple[Decimal, Decimal]] = {}

    def add(self, order: OrderRow) -> None:
        """Reserve the worst case of an order: notional and margin in USD.

        A symbol without a mark counts at the mark that the order was planned at.
        """
        contract_size = self._state.instruments[order.symbol].contract_size
        left = order.quantity - order.filled
        for share in order.shares:
            quantity = min(share.quantity, left)
            price = self._prices.get(order.symbol) or share.price or self._entry_price(share.trader_id, order.symbol)
            notional = quantity * price * contract_size
            self.found.append(
                Reservation(
                    trader_id=share.trader_id,
                    symbol=order.symbol,
                    quantity=quantity * order.side.sign,
                    notional=notional,
                    margin=self._margin(order, share, notional),
                    intent_id=share.intent_id,
                )
            )

    def _margin(self, order: OrderRow, share: Share, notional: Decimal) -> Decimal:
        key = (share.trader_id, order.symbol, order.side.sign)
        worth, margin = self._grown.get(key) or self._held(*key)
        needed = max(margin, (worth + notional) / share.leverage)
        self._grown[key] = (worth + notional, needed)
        return needed - margin

    def _held(self, trader_id: TraderId, symbol: Symbol, direction: int) -> tuple[Decimal, Decimal]:
        held = self._state.books[trader_id].positions.get(symbol)
        if held is None or held.direction != direction:
            return ZERO, ZERO
        price = self._prices.get(symbol) or held.entry_price
        return abs(held.value(price)), held.margin(price)

    def _entry_price(self, trader_id: TraderId, symbol: Symbol) -> Decimal:
        held = self._state.books[trader_id].positions.get(symbol)
        return held.entry_price if held is not None else ZERO
