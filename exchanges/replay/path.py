"""Recorded candles as the prices of a paper venue."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal

from exchanges.clock import from_ms, to_ms
from exchanges.price_path import Bar
from exchanges.replay.columns import CandleColumns, Floats, FundingColumns, SymbolColumns
from exchanges.types import ZERO, Instrument, Symbol

WIDENED = 1e-9
FIRST_CHUNK = 256
CHUNK = 8192


def exact(value: float) -> Decimal:
    """Return the decimal that a candle's float was written as."""
    return Decimal(repr(float(value)))


class ReplayPath:
    """Answer price questions from columns; a price counts as known from its candle's end, an open from its begin."""

    def __init__(
        self,
        columns: CandleColumns,
        funding: FundingColumns | None = None,
        instruments: Mapping[Symbol, Instrument] | None = None,
    ) -> None:
        self._columns = columns
        self._funding = funding or FundingColumns([])
        self._interval = timedelta(milliseconds=columns.interval_ms)
        given = instruments or {}
        self._instruments = {symbol: given.get(symbol) or Instrument(symbol=symbol) for symbol in columns.symbols}
        self._marks: dict[Symbol, tuple[int, tuple[Decimal, datetime]]] = {}
        self._bars: dict[Symbol, tuple[int, Bar]] = {}
        self._at: tuple[datetime, int] = (from_ms(0), 0)

    @property
    def interval(self) -> timedelta:
        """Return the length of a candle."""
        return self._interval

    @property
    def instruments(self) -> Mapping[Symbol, Instrument]:
        """Return the recorded symbols, with the given or the default terms."""
        return self._instruments

    async def load(self, until: datetime) -> None:
        """Have everything already."""

    def live_from(self, at: datetime) -> datetime:
        """Return `at`: orders arrive at candle closes, where the next candle begins."""
        return at

    def mark(self, symbol: Symbol, at: datetime) -> tuple[Decimal, datetime] | None:
        """Return the close of the last candle that ended, and its end; in a gap it stays and ages."""
        columns = self._columns.by_symbol.get(symbol)
        row = -1 if columns is None else columns.rows_ended(self._ms(at)) - 1
        if columns is None or row < 0:
            return None
        known = self._marks.get(symbol)
        if known is None or known[0] != row:
            known = self._marks[symbol] = (row, (exact(columns.close[row]), from_ms(columns.ends[row])))
        return known[1]

    def execution_price(self, symbol: Symbol, at: datetime) -> Decimal | None:
        """Return the open of the candle that begins at `at`; None in a gap."""
        columns = self._columns.by_symbol.get(symbol)
        row = None if columns is None else columns.row_beginning(self._ms(at))
        return None if columns is None or row is None else exact(columns.open[row])

    def volume(self, symbol: Symbol, at: datetime) -> Decimal:
        """Return the volume of the candle that begins at `at`, zero in a gap."""
        columns = self._columns.by_symbol[symbol]
        row = columns.row_beginning(self._ms(at))
        return ZERO if row is None else exact(columns.volume[row])

    def last_bar(self, symbol: Symbol, at: datetime) -> Bar | None:
        """Return the candle that ended in the interval up to `at`; None in a gap."""
        columns = self._columns.by_symbol.get(symbol)
        row = None if columns is None else columns.row_ending(self._ms(at))
        if columns is None or row is None:
            return None
        known = self._bars.get(symbol)
        if known is None or known[0] != row:
            known = self._bars[symbol] = (row, self._bar(columns, row))
        return known[1]

    def bars(self, symbol: Symbol, after: datetime, until: datetime) -> Sequence[Bar]:
        """Return the candles that end in (after, until], oldest first."""
        columns = self._columns.by_symbol.get(symbol)
        if columns is None:
            return []
        rows = range(columns.rows_ended(to_ms(after)), columns.rows_ended(to_ms(until)))
        return [self._bar(columns, row) for row in rows]

    def next_touch(
        self, symbol: Symbol, after: datetime, until: datetime, at_or_below: Decimal | None, at_or_above: Decimal | None
    ) -> datetime | None:
        """Return the end of the first candle ending in (after, until] that reaches a price, exactly."""
        columns = self._columns.by_symbol.get(symbol)
        if columns is None:
            return None
        first, last = columns.rows_ended(to_ms(after)), columns.rows_ended(to_ms(until))
        found = None
        if at_or_below is not None:
            found = _first_reach(columns.low, first, last, at_or_below, -1)
        if at_or_above is not None:
            above = _first_reach(columns.high, first, last if found is None else found, at_or_above, 1)
            found = found if above is None else above
        return None if found is None else from_ms(columns.ends[found])

    def next_price(self, symbol: Symbol, after: datetime, until: datetime) -> datetime | None:
        """Return the begin of the first candle that begins in (after, until]."""
        columns = self._columns.by_symbol.get(symbol)
        if columns is None:
            return None
        row = columns.rows_ended(to_ms(after) + columns.interval_ms)
        begin_ms = columns.ends[row] - columns.interval_ms if row < len(columns.ends) else None
        return None if begin_ms is None or begin_ms > to_ms(until) else from_ms(begin_ms)

    def next_below(
        self, weights: Mapping[Symbol, Decimal], level: Decimal, after: datetime, until: datetime
    ) -> datetime | None:
        """Return the first instant in (after, until] at which sum(weight x mark) may be below `level`."""
        floats = {symbol: float(weight) for symbol, weight in weights.items()}
        found = self._columns.first_below(floats, float(level), to_ms(after), to_ms(until))
        return None if found is None else from_ms(found)

    def next_funding(self, symbol: Symbol, after: datetime, until: datetime) -> datetime | None:
        """Return the first recorded funding instant of `symbol` in (after, until]."""
        found = self._funding.next_instant(symbol, to_ms(after), to_ms(until))
        return None if found is None else from_ms(found)

    def funding(self, after: datetime, until: datetime) -> Sequence[tuple[Symbol, datetime, Decimal]]:
        """Return the recorded rates in (after, until]; those of symbols without candles are left out."""
        found = self._funding.between(to_ms(after), to_ms(until))
        known = self._columns.by_symbol
        return [(rate.symbol, from_ms(rate.at_ms), rate.rate) for rate in found if rate.symbol in known]

    def _ms(self, at: datetime) -> int:
        last = self._at
        if last[0] is at:
            return last[1]
        at_ms = to_ms(at)
        self._at = (at, at_ms)
        return at_ms

    def _bar(self, columns: SymbolColumns, row: int) -> Bar:
        end = from_ms(columns.ends[row])
        opened, high, low, close, volume = (
            exact(column[row]) for column in (columns.open, columns.high, columns.low, columns.close, columns.volume)
        )
        return Bar(end - self._interval, end, opened, high, low, close, volume)


def _first_reach(prices: Floats, first: int, last: int, level: Decimal, sign: int) -> int | None:
    """Prefilter in floats widened by one part in 10^9, decide each candidate in Decimal; chunks grow."""
    widened = float(level) * (1 - sign * WIDENED)
    size = FIRST_CHUNK
    while first < last:
        stop = min(first + size, last)
        chunk = prices[first:stop]
        near = chunk >= widened if sign > 0 else chunk <= widened
        hit = int(near.argmax())
        if not near[hit]:
            first = stop
            size = CHUNK
            continue
        candidate = exact(chunk[hit])
        if (candidate >= level) if sign > 0 else (candidate <= level):
            return first + hit
        first += hit + 1
    return None
