"""A live market whose prices a test sets by hand, step by step, in bars of one second."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal

from exchanges.clock import Clock
from exchanges.errors import MarketDataError
from exchanges.market import BaseCandle, IndicatorRow, Snapshot, SymbolView
from exchanges.price_path import Bar
from exchanges.types import Instrument, Symbol

SECOND = timedelta(seconds=1)
DEEP = Decimal(10**9)


@dataclass(slots=True)
class HandPath:
    """Answer prices from the steps given so far; each stands until the next."""

    instruments: Mapping[Symbol, Instrument]
    steps: dict[Symbol, list[tuple[datetime, Decimal]]]
    depth: Decimal = DEEP
    interval: timedelta = SECOND

    def step(self, symbol: Symbol, at: datetime, price: Decimal | int | str) -> None:
        """Let the price be `price` from `at` on; steps come in the order of time."""
        self.steps[symbol].append((at, Decimal(price)))

    async def load(self, until: datetime) -> None:
        """Do nothing: all is here."""

    def live_from(self, at: datetime) -> datetime:
        """Return `at`: an order is live at once."""
        return at

    def mark(self, symbol: Symbol, at: datetime) -> tuple[Decimal, datetime] | None:
        """Return the price at `at`."""
        price = self.execution_price(symbol, at)
        return None if price is None else (price, at)

    def execution_price(self, symbol: Symbol, at: datetime) -> Decimal | None:
        """Return the price at `at`, None before the first."""
        known = [price for since, price in self.steps[symbol] if since <= at]
        return known[-1] if known else None

    def volume(self, symbol: Symbol, at: datetime) -> Decimal:
        """Return the same depth at all times."""
        return self.depth

    def last_bar(self, symbol: Symbol, at: datetime) -> Bar | None:
        """Return the last whole second."""
        return self._bar(symbol, at.replace(microsecond=0))

    def bars(self, symbol: Symbol, after: datetime, until: datetime) -> Sequence[Bar]:
        """Return nothing: no indicators are computed here."""
        return ()

    def next_touch(
        self, symbol: Symbol, after: datetime, until: datetime, at_or_below: Decimal | None, at_or_above: Decimal | None
    ) -> datetime | None:
        """Return the end of the first second in (after, until] that reaches a price."""
        end = after.replace(microsecond=0) + SECOND
        while end <= until:
            bar = self._bar(symbol, end)
            if at_or_below is not None and bar.low <= at_or_below:
                return end
            if at_or_above is not None and bar.high >= at_or_above:
                return end
            end += SECOND
        return None

    def next_price(self, symbol: Symbol, after: datetime, until: datetime) -> datetime | None:
        """Return the next second: there is always a price."""
        return after + SECOND if after + SECOND <= until else None

    def next_below(
        self, weights: Mapping[Symbol, Decimal], level: Decimal, after: datetime, until: datetime
    ) -> datetime | None:
        """Return None: no account is liquidated here."""
        return None

    def next_funding(self, symbol: Symbol, after: datetime, until: datetime) -> datetime | None:
        """Return None: there is no funding."""
        return None

    def funding(self, after: datetime, until: datetime) -> Sequence[tuple[Symbol, datetime, Decimal]]:
        """Return nothing: there is no funding."""
        return ()

    def _bar(self, symbol: Symbol, end: datetime) -> Bar:
        begin = end - SECOND
        first = self.execution_price(symbol, begin)
        assert first is not None
        prices = [first, *(price for at, price in self.steps[symbol] if begin < at <= end)]
        return Bar(begin, end, first, max(prices), min(prices), prices[-1], self.depth)


@dataclass(slots=True)
class HandView:
    """Show one symbol of a hand-set market."""

    symbol: Symbol
    mark: Decimal
    last_range: tuple[Decimal, Decimal] | None
    range_began: datetime | None
    age_s: float = 0.0
    interval_s: float = 1.0
    base_s: float = 60.0
    funding_rate: Decimal | None = None
    open_interest: Decimal | None = None
    indicators: IndicatorRow = field(default_factory=IndicatorRow)

    def closes(self, count: int) -> Sequence[float]:
        """Return nothing."""
        return ()

    def candles(self, count: int, every: int = 1) -> Sequence[BaseCandle]:
        """Return nothing."""
        return ()


@dataclass(slots=True)
class HandFeed:
    """Read a hand-set market; symbols in `hidden` have no price, and nothing can be read while it is `down`.

    Every price is `age_s` old.
    """

    path: HandPath
    clock: Clock
    hidden: set[Symbol] = field(default_factory=set)
    down: bool = False
    age_s: float = 0.0

    async def instruments(self) -> Mapping[Symbol, Instrument]:
        """Return what is quoted."""
        return self.path.instruments

    async def snapshot(self, symbols: frozenset[Symbol]) -> Snapshot:
        """Return each symbol at the clock's instant."""
        if self.down:
            raise MarketDataError("the market is down")
        now = self.clock.now()
        views: dict[Symbol, SymbolView] = {}
        for symbol in symbols - self.hidden:
            bar, price = self.path.last_bar(symbol, now), self.path.execution_price(symbol, now)
            assert bar is not None
            assert price is not None
            views[symbol] = HandView(symbol, price, (bar.low, bar.high), bar.begin, self.age_s)
        return Snapshot(now, views)

    async def close(self) -> None:
        """Do nothing."""
