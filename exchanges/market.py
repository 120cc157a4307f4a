"""Prices for decisions: one snapshot per (venue, symbols, instant), however many traders ask."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Protocol

from exchanges.clock import Clock
from exchanges.types import Instrument, Symbol


@dataclass(frozen=True, slots=True, kw_only=True)
class IndicatorRow:
    """Hold the indicators of one symbol at its last closed candle, as floats; None until enough candles exist."""

    ema_20: float | None = None
    ema_50: float | None = None
    macd: float | None = None
    macd_signal: float | None = None
    rsi_14: float | None = None
    atr_14: float | None = None
    bollinger_upper: float | None = None
    bollinger_lower: float | None = None
    high_20: float | None = None
    low_20: float | None = None
    change_1h_pct: float | None = None
    volume: float | None = None


@dataclass(frozen=True, slots=True)
class BaseCandle:
    """Hold one closed candle of the indicators' interval, or several joined; `end_ms` is when it closed."""

    end_ms: int
    open: float
    high: float
    low: float
    close: float
    volume: float


class SymbolView(Protocol):
    """Show one symbol at one instant; `age_s` is how old the mark is, `interval_s` its candle length.

    `base_s` is the length of the candles behind the indicators, `open_interest` in contracts, None where a feed has
    none.
    """

    @property
    def symbol(self) -> Symbol: ...
    @property
    def mark(self) -> Decimal: ...
    @property
    def age_s(self) -> float: ...
    @property
    def interval_s(self) -> float: ...
    @property
    def funding_rate(self) -> Decimal | None: ...
    @property
    def open_interest(self) -> Decimal | None: ...
    @property
    def base_s(self) -> float: ...
    @property
    def indicators(self) -> IndicatorRow: ...
    @property
    def last_range(self) -> tuple[Decimal, Decimal] | None:
        """Return low and high of the candle that ended at the snapshot's instant, None where there is none."""
        ...

    @property
    def range_began(self) -> datetime | None:
        """Return when the candle of `last_range` began."""
        ...

    def closes(self, count: int) -> Sequence[float]:
        """Return up to `count` closes of the base interval, oldest first."""
        ...

    def candles(self, count: int, every: int = 1) -> Sequence[BaseCandle]:
        """Return up to `count` closed candles of `every` base intervals each, oldest first."""
        ...


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Freeze the market at one instant; a symbol without any price yet is absent."""

    at: datetime
    symbols: Mapping[Symbol, SymbolView]

    def marks(self) -> dict[Symbol, Decimal]:
        """Return the mark of each symbol."""
        return {symbol: view.mark for symbol, view in self.symbols.items()}


class MarketFeed(Protocol):
    """Read one venue's market; raise VenueUnavailable or MarketDataError, never return a guess."""

    async def instruments(self) -> Mapping[Symbol, Instrument]:
        """Return what the market quotes, by symbol."""
        ...

    async def snapshot(self, symbols: frozenset[Symbol]) -> Snapshot:
        """Return marks and indicators of `symbols` as of now."""
        ...

    async def close(self) -> None:
        """Release connections."""
        ...


class SharedMarket:
    """Share one feed among all traders of a venue: concurrent and repeated questions cost one fetch.

    A snapshot is kept for `max_age_s` of the injected clock; a failed fetch is shared by those who wait for it and
    then forgotten.
    """

    def __init__(self, feed: MarketFeed, clock: Clock, *, max_age_s: float = 1.0) -> None:
        self._feed = feed
        self._clock = clock
        self._max_age_s = max_age_s
        self._done: dict[frozenset[Symbol], Snapshot] = {}
        self._running: dict[frozenset[Symbol], asyncio.Future[Snapshot | None]] = {}

    async def instruments(self) -> Mapping[Symbol, Instrument]:
        """Return what the market quotes, by symbol."""
        return await self._feed.instruments()

    async def snapshot(self, symbols: frozenset[Symbol]) -> Snapshot:
        """Return the shared snapshot of `symbols`."""
        while True:
            done = self._done.get(symbols)
            if done is not None and (self._clock.now() - done.at).total_seconds() < self._max_age_s:
                return done
            running = self._running.get(symbols)
            if running is None:
                return await self._fetch(symbols)
            found = await asyncio.shield(running)
            if found is not None:
                return found

    async def close(self) -> None:
        """Close the feed."""
        await self._feed.close()

    async def _fetch(self, symbols: frozenset[Symbol]) -> Snapshot:
        """Ask the feed for all who wait; when this caller is canceled, one of them asks again."""
        running = self._running[symbols] = asyncio.get_running_loop().create_future()
        try:
            snapshot = self._done[symbols] = await self._feed.snapshot(symbols)
        except Exception as failure:  # whatever went wrong is told to all who wait, and raised again
            running.set_exception(failure)
            running.exception()
            raise
        except BaseException:
            running.set_result(None)
            raise
        else:
            running.set_result(snapshot)
            return snapshot
        finally:
            del self._running[symbols]
