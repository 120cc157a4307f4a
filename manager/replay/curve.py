"""Equity at every candle close, in columns (RULES.md 1): peaks, drawdowns, hourly returns, and books about to break."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from exchanges.clock import from_ms, to_ms
from exchanges.types import Symbol
from manager.desk.session import Session
from manager.desk.values import Desk
from traders import performance
from traders.book import Book
from traders.performance import Performance

Floats = npt.NDArray[np.float64]
_HOUR_MS = 3_600_000
_WIDER = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Closes:
    """Hold the closes of all symbols at all instants (ms, rising): symbols are rows, gaps carry the last close."""

    instants: npt.NDArray[np.int64]
    symbols: Mapping[Symbol, int]
    prices: Floats
    contract_sizes: Mapping[Symbol, float]
    maintenance: Mapping[Symbol, float]


class ReplaySampler:
    """Sample every book at every candle close; money stays Decimal in the books, curves are ratios and so floats.

    `publish` says whether the next `after` writes the curves to the books' rows; between decisions nobody reads them.
    """

    def __init__(self, closes: Closes, *, keep: bool = False) -> None:
        self._closes = closes
        self._next = 0
        self._curves: dict[str, Performance] = {}
        self._kept: list[tuple[int, dict[str, Floats]]] = []
        self._keep = keep
        self.publish = True

    def before(self, session: Session) -> None:
        """Sample the closes before this instant with the books as they were."""
        last = int(np.searchsorted(self._closes.instants, to_ms(session.clock.now()), side="left"))
        if last > self._next:
            self._sample(session, last)

    def after(self, session: Session, desk: Desk) -> None:
        """Sample the close at this instant with the books as they are now."""
        last = int(np.searchsorted(self._closes.instants, to_ms(session.clock.now()), side="right"))
        if last > self._next:
            self._sample(session, last)
        if self.publish:
            for trader_id in desk.traders:
                head = session.state.head(trader_id)
                curve = self._curves.get(trader_id)
                if curve is not None:
                    session.state.set_head(replace(head, performance=_merge(head.performance, curve)))

    def first_breach(self, books: Iterable[Book], after_ms: int, until_ms: int) -> int | None:
        """Return the first instant in (after, until] at which a book may be below its maintenance margin.

        Decided in floats and widened: an instant returned must be checked exactly, one not returned need not be.
        """
        first = int(np.searchsorted(self._closes.instants, after_ms, side="right"))
        last = int(np.searchsorted(self._closes.instants, until_ms, side="right"))
        if first >= last:
            return None
        breach = last
        for book in books:
            if not book.positions:
                continue
            spare = float(book.cash) + self._worth(book, first, breach, after_maintenance=True)
            low = np.flatnonzero(spare < _WIDER * abs(float(book.cash)))
            if len(low):
                breach = first + int(low[0])
                if breach == first:
                    break
        return int(self._closes.instants[breach]) if breach < last else None

    def curves(self) -> Sequence[tuple[int, dict[str, Floats]]]:
        """Return the kept samples as (first index, equity by trader) blocks, for the export."""
        return self._kept

    def instants(self, first: int, count: int) -> npt.NDArray[np.int64]:
        """Return the instants in ms of a kept block."""
        return self._closes.instants[first : first + count]

    def _sample(self, session: Session, last: int) -> None:
        first, self._next = self._next, last
        block: dict[str, Floats] = {}
        for trader_id, head in session.state.heads.items():
            if trader_id not in session.state.traders:
                continue
            book = session.state.books[trader_id]
            if book.positions:
                equity = float(book.cash) + self._worth(book, first, last)
            else:
                equity = np.full(last - first, float(book.cash))
            if self._keep:
                block[trader_id] = equity
            curve = _merge(head.performance, self._curves.get(trader_id, head.performance))
            self._curves[trader_id] = _extend(curve, equity, self._closes.instants[first:last])
        if self._keep:
            self._kept.append((first, block))

    def _worth(self, book: Book, first: int, last: int, *, after_maintenance: bool = False) -> Floats:
        closes = self._closes
        total = np.zeros(last - first)
        for symbol, position in book.positions.items():
            size = float(position.quantity) * closes.contract_sizes[symbol]
            weight = size - abs(size) * closes.maintenance[symbol] if after_maintenance else size
            total += weight * closes.prices[closes.symbols[symbol], first:last] - float(position.cost)
        return total


def _merge(head: Performance, curve: Performance) -> Performance:
    """Take units and trades from the book's row, where flows and closes are noted, the rest from the curve."""
    return replace(
        curve, units=head.units, trades=head.trades, wins=head.wins, won_usd=head.won_usd, lost_usd=head.lost_usd
    )


def _extend(curve: Performance, equity: Floats, instants: npt.NDArray[np.int64]) -> Performance:
    if curve.units <= 0:
        return curve
    navs = np.maximum(equity / curve.units, 0.0)
    peaks = np.maximum.accumulate(np.maximum(navs, curve.peak_nav))
    fall = float(np.max(1.0 - navs / peaks))
    hours = instants // _HOUR_MS
    started = -1 if curve.hour is None else to_ms(curve.hour) // _HOUR_MS
    if hours[-1] != started:
        for index in np.flatnonzero(np.diff(hours, prepend=started)):
            at = from_ms(int(instants[index]))
            curve = performance.hour_passed(curve, float(navs[index]), at)
    return replace(curve, nav=float(navs[-1]), peak_nav=float(peaks[-1]), max_drawdown=max(curve.max_drawdown, fall))
