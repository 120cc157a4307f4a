"""Equity at every candle close in columns: peaks, falls, hourly returns, books about to break (docs/rules.md 1)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Protocol

import numpy as np
import numpy.typing as npt

from exchanges.clock import from_ms, to_ms
from exchanges.types import Symbol
from manager.desk.plan.values import AccountView
from manager.desk.session import Session
from manager.state.records import BookRow, PositionRow
from manager.state.store import AccountRows
from traders.book import Book
from traders.performance import Performance
from traders.spec import TraderId

Floats = npt.NDArray[np.float64]
_HOUR_MS = 3_600_000
_WIDER = 1e-9


class Holding(Protocol):
    """Show one position of any book: signed quantity and cost."""

    @property
    def symbol(self) -> Symbol: ...
    @property
    def quantity(self) -> Decimal: ...
    @property
    def cost(self) -> Decimal: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Closes:
    """Hold the closes of all symbols at all instants (ms, rising): symbols are rows, gaps carry the last close."""

    instants: npt.NDArray[np.int64]
    symbols: Mapping[Symbol, int]
    prices: Floats
    contract_sizes: Mapping[Symbol, float]
    maintenance: Mapping[Symbol, float]

    def span(self, after_ms: int, until_ms: int) -> tuple[int, int]:
        """Return the indices of the instants in (after, until] as a half-open range."""
        first, last = self.instants.searchsorted((after_ms, until_ms), side="right")
        return int(first), int(last)


class ReplaySampler:
    """Sample every book at every candle close; money stays Decimal in the books, curves are ratios and so floats.

    `publish` says whether the next `after` writes the curves to the books' rows; between decisions nobody reads them.
    """

    def __init__(self, closes: Closes, traders: Sequence[TraderId], *, keep: bool = False) -> None:
        self._closes = closes
        self._traders = tuple(traders)
        self._index = {trader_id: index for index, trader_id in enumerate(self._traders)}
        self._curves = _Curves(len(traders))
        self._next = 0
        self._before: tuple[int, tuple[Book, ...]] | None = None
        self._kept: list[tuple[int, Floats]] = []
        self._keep = keep
        self.publish = True

    def before(self, session: Session) -> None:
        """Remember the books as they were until this instant, before its first job changes them."""
        now_ms = to_ms(session.clock.now())
        if self._before is not None:
            at_ms, books = self._before
            if at_ms == now_ms:
                return
            self._sample_books(session, books, int(self._closes.instants.searchsorted(at_ms, side="left")))
        self._before = (now_ms, self._own(session))

    def after(self, session: Session, desk: AccountView) -> None:
        """Sample the closes before this instant with the books as they were, the close at it with those of now."""
        own, instants = self._own(session), self._closes.instants
        now_ms = to_ms(session.clock.now())
        if self._before is not None:
            books = self._before[1]
            if any(book is not held for book, held in zip(own, books, strict=True)):
                self._sample_books(session, books, int(instants.searchsorted(now_ms, side="left")))
            self._before = None
        self._sample_books(session, own, int(instants.searchsorted(now_ms, side="right")))
        if self.publish:
            for index in self._curves.take_changed():
                head = session.state.head(self._traders[index])
                session.state.set_head(replace(head, performance=self._curves.of(index, head.performance)))

    def current(self, head: BookRow) -> Performance:
        """Return the curve as far as it is sampled."""
        return self._curves.of(self._index[head.trader_id], head.performance)

    def pass_to(self, at: datetime, rows: AccountRows) -> None:
        """Sample the closes up to this instant with the books as they are stored, where no job does it."""
        last = int(self._closes.instants.searchsorted(to_ms(at), side="right"))
        if last <= self._next:
            return
        count = len(self._traders)
        cash, bases = np.zeros(count), _Bases.empty(count)
        held: list[list[PositionRow]] = [[] for _ in self._traders]
        for head in rows.books:
            index = self._index.get(head.trader_id)
            if index is not None:
                cash[index] = float(head.cash)
                bases.note(index, head.performance)
        for position in rows.positions:
            if position.trader_id in self._index:
                held[self._index[position.trader_id]].append(position)
        self._sample(cash, held, bases, last)

    def first_breach(
        self, cash: Sequence[Decimal], positions: Sequence[Sequence[Holding]], after_ms: int, until_ms: int
    ) -> int | None:
        """Return the first instant in (after, until] at which a book may be below its maintenance margin.

        `cash` and `positions` are given book by book. Decided in floats and widened: an instant returned must be
        checked exactly, one not returned need not be.
        """
        return self._first_below(cash, positions, (after_ms, until_ms), after_maintenance=True)

    def first_fall(self, spare: Decimal, positions: Sequence[Holding], after_ms: int, until_ms: int) -> int | None:
        """Return the first instant in (after, until] at which these positions together may have lost more than `spare`.

        Decided as `first_breach` is.
        """
        return self._first_below([spare], [positions], (after_ms, until_ms), after_maintenance=False)

    def _first_below(
        self,
        cash: Sequence[Decimal],
        positions: Sequence[Sequence[Holding]],
        between_ms: tuple[int, int],
        *,
        after_maintenance: bool,
    ) -> int | None:
        first, last = self._closes.span(*between_ms)
        if first >= last or not positions:
            return None
        level = np.array([float(amount) for amount in cash])
        spare = self._worth(positions, first, last, after_maintenance=after_maintenance) + level[:, None]
        breached = (spare < _WIDER * np.abs(level)[:, None]).any(axis=0)
        found = int(breached.argmax())
        return int(self._closes.instants[first + found]) if breached[found] else None

    def curves(self) -> Iterable[tuple[npt.NDArray[np.int64], str, Floats]]:
        """Yield the kept samples as (instants in ms, trader, equity) blocks, for the export."""
        for first, block in self._kept:
            instants = self._closes.instants[first : first + block.shape[1]]
            for index, trader_id in enumerate(self._traders):
                yield instants, trader_id, block[index]

    def _own(self, session: Session) -> tuple[Book, ...]:
        books = session.state.books
        return tuple(books[trader_id] for trader_id in self._traders)

    def _sample_books(self, session: Session, own: Sequence[Book], last: int) -> None:
        if last <= self._next:
            return
        heads = session.state.heads
        cash = np.array([float(book.cash) for book in own])
        bases = _Bases.empty(len(own))
        for index, trader_id in enumerate(self._traders):
            if trader_id in heads:
                bases.note(index, heads[trader_id].performance)
        self._sample(cash, [tuple(book.positions.values()) for book in own], bases, last)

    def _sample(self, cash: Floats, held: Sequence[Sequence[Holding]], bases: "_Bases", last: int) -> None:
        first, self._next = self._next, last
        equity = self._worth(held, first, last) + cash[:, None]
        if self._keep:
            self._kept.append((first, equity))
        self._curves.stand(bases)
        self._curves.extend(bases.units, equity + bases.released[:, None], self._closes.instants[first:last])

    def _worth(
        self, books: Sequence[Sequence[Holding]], first: int, last: int, *, after_maintenance: bool = False
    ) -> Floats:
        closes = self._closes
        weights = np.zeros((len(books), len(closes.symbols)))
        cost = np.zeros((len(books), 1))
        for index, positions in enumerate(books):
            for position in positions:
                size = float(position.quantity) * closes.contract_sizes[position.symbol]
                if after_maintenance:
                    size -= abs(size) * closes.maintenance[position.symbol]
                weights[index, closes.symbols[position.symbol]] += size
                cost[index, 0] += float(position.cost)
        return weights @ closes.prices[:, first:last] - cost


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bases:
    """What the equity of each trader is measured against: its units, and what was released while it winds down.

    A curve without units stands still at `nav`, where its last flow left it.
    """

    units: Floats
    released: Floats
    nav: Floats

    @classmethod
    def empty(cls, count: int) -> "_Bases":
        return cls(units=np.zeros(count), released=np.zeros(count), nav=np.ones(count))

    def note(self, index: int, curve: Performance) -> None:
        self.nav[index] = curve.nav
        self.units[index], self.released[index] = curve.units, float(curve.released_usd)


class _Curves:
    """The running sums of traders.performance, one vector entry a trader; `changed` since they were last taken."""

    def __init__(self, count: int) -> None:
        self.nav = np.ones(count)
        self.peak = np.ones(count)
        self.fall = np.zeros(count)
        self.hour = -1
        self.hour_nav = np.ones(count)
        self.returns = np.zeros(count, dtype=np.int64)
        self.mean = np.zeros(count)
        self.m2 = np.zeros(count)
        self.started = np.zeros(count, dtype=bool)
        self.since_ms = np.zeros(count, dtype=np.int64)
        self.changed = np.zeros(count, dtype=bool)
        self.sampled_at: datetime | None = None

    def take_changed(self) -> list[int]:
        """Return which curves have changed since the last call."""
        found: list[int] = np.flatnonzero(self.changed).tolist()
        self.changed[:] = False
        return found

    def stand(self, bases: _Bases) -> None:
        """Take over where flows left the curves without units: what was lost between the last close and the flow."""
        nav = np.where(bases.units > 0, self.nav, bases.nav)
        moved = nav != self.nav
        if moved.any():
            self.changed |= moved
            self.nav, self.peak = nav, np.maximum(self.peak, nav)
            self.fall = np.maximum(self.fall, 1.0 - nav / self.peak)

    def extend(self, units: Floats, equity: Floats, instants: npt.NDArray[np.int64]) -> None:
        alive = units > 0
        if not alive.any():
            return
        self.sampled_at = from_ms(int(instants[-1]))
        navs = np.maximum(equity / np.where(alive, units, 1.0)[:, None], 0.0)
        peaks = np.maximum.accumulate(np.maximum(navs, self.peak[:, None]), axis=1)
        falls = (1.0 - navs / peaks).max(axis=1)
        self._pass_hours(alive, navs, instants)
        nav = np.where(alive, navs[:, -1], self.nav)
        peak = np.where(alive, peaks[:, -1], self.peak)
        fall = np.where(alive, np.maximum(self.fall, falls), self.fall)
        self.changed |= (nav != self.nav) | (peak != self.peak) | (fall != self.fall)
        self.nav, self.peak, self.fall = nav, peak, fall

    def _pass_hours(self, alive: npt.NDArray[np.bool_], navs: Floats, instants: npt.NDArray[np.int64]) -> None:
        hours = instants // _HOUR_MS
        if hours[-1] == self.hour and not (alive & ~self.started).any():
            return
        for index in np.flatnonzero(np.diff(hours, prepend=self.hour)) if hours[-1] != self.hour else (0,):
            self.since_ms = np.where(alive & ~self.started, instants[index], self.since_ms)
            self._pass_hour(alive, navs[:, index], new_hour=bool(hours[index] != self.hour))
            self.hour = int(hours[index])

    def _pass_hour(self, alive: npt.NDArray[np.bool_], nav: Floats, *, new_hour: bool) -> None:
        first = alive & ~self.started
        again = alive & self.started & (self.hour_nav > 0) if new_hour else np.zeros_like(alive)
        earned = np.where(again, nav / np.where(again, self.hour_nav, 1.0) - 1.0, 0.0)
        self.returns = self.returns + again
        delta = earned - self.mean
        mean = self.mean + np.where(again, delta / np.maximum(self.returns, 1), 0.0)
        self.m2 = self.m2 + np.where(again, delta * (earned - mean), 0.0)
        self.mean = mean
        self.hour_nav = np.where(first | (alive & new_hour), nav, self.hour_nav)
        self.started = self.started | first
        self.changed |= first | (alive & new_hour)

    def of(self, index: int, head: Performance) -> Performance:
        """Return one curve as a value; units, released capital and trades come from the book's row."""
        return Performance(
            units=head.units,
            released_usd=head.released_usd,
            nav=float(self.nav[index]),
            peak_nav=float(self.peak[index]),
            max_drawdown=float(self.fall[index]),
            hour=from_ms(self.hour * _HOUR_MS) if self.started[index] else None,
            hour_nav=float(self.hour_nav[index]),
            returns=int(self.returns[index]),
            mean=float(self.mean[index]),
            m2=float(self.m2[index]),
            trades=head.trades,
            wins=head.wins,
            won_usd=head.won_usd,
            lost_usd=head.lost_usd,
            sampled_at=self.sampled_at if self.started[index] else None,
            since=from_ms(int(self.since_ms[index])) if self.started[index] else None,
            closed_at=head.closed_at,
        )
