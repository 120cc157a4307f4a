"""The synthetic market as the prices of a paper venue: one-second bars, drawn as straight lines between seconds."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal

import numpy as np

from exchanges.clock import EPOCH
from exchanges.price_path import Bar
from exchanges.synthetic.model import BLOCK_S, SyntheticModel
from exchanges.types import Instrument, Symbol

SECOND = timedelta(seconds=1)
WIDENED = 1e-9


class SyntheticPath:
    """Answer price questions from the model; all symbols trade in lots of 0.000001 and ticks of their last digit."""

    def __init__(self, model: SyntheticModel) -> None:
        self._model = model
        self._digits = {one.symbol: one.digits for one in model.config.symbols}
        self._instruments = {
            symbol: Instrument(symbol=symbol, tick=Decimal(1).scaleb(-digits))
            for symbol, digits in self._digits.items()
        }
        self._funding = model.config.funding_interval_s

    @property
    def interval(self) -> timedelta:
        """Return one second."""
        return SECOND

    @property
    def instruments(self) -> Mapping[Symbol, Instrument]:
        """Return the synthetic symbols."""
        return self._instruments

    async def load(self, until: datetime) -> None:
        """Have every time already."""

    def live_from(self, at: datetime) -> datetime:
        """Return the next whole second: the bar under way began before the order."""
        return at if at.microsecond == 0 else _instant(_second(at) + 1)

    def mark(self, symbol: Symbol, at: datetime) -> tuple[Decimal, datetime] | None:
        """Return the price at `at`, or that of an outage's begin while it lasts."""
        if symbol not in self._digits:
            return None
        second = _second(at)
        outage = self._model.outage(symbol, second)
        if outage is not None:
            return self._exact(symbol, self._model.price(symbol, second)), _instant(outage[0])
        price = self._model.price(symbol, second)
        if at.microsecond:
            price += (self._model.price(symbol, second + 1) - price) * at.microsecond / 1_000_000
        return self._exact(symbol, price), at

    def execution_price(self, symbol: Symbol, at: datetime) -> Decimal | None:
        """Return the price at `at`; None in an outage."""
        mark = self.mark(symbol, at)
        return (
            mark[0] if mark is not None and mark[1] == at and self._model.outage(symbol, _second(at)) is None else None
        )

    def volume(self, symbol: Symbol, at: datetime) -> Decimal:
        """Return the volume of the second under way."""
        second = _second(at)
        return Decimal(repr(float(self._model.volumes(second, second + 1)[self._model.row[symbol], 0])))

    def last_bar(self, symbol: Symbol, at: datetime) -> Bar | None:
        """Return the last full second; None in an outage."""
        second = _second(at)
        bars = self._bars(symbol, second - 1, second)
        return bars[0] if bars else None

    def bars(self, symbol: Symbol, after: datetime, until: datetime) -> Sequence[Bar]:
        """Return the seconds that end in (after, until], without those of an outage."""
        return self._bars(symbol, _second(after), _second(until))

    def next_touch(
        self, symbol: Symbol, after: datetime, until: datetime, at_or_below: Decimal | None, at_or_above: Decimal | None
    ) -> datetime | None:
        """Return the end of the first second ending in (after, until] that reaches a price."""
        row = self._model.row.get(symbol)
        if row is None:
            return None
        lowest = -np.inf if at_or_below is None else float(at_or_below) * (1 + WIDENED)
        highest = np.inf if at_or_above is None else float(at_or_above) * (1 - WIDENED)
        first, last = _second(after), _second(until)
        for number in range(first // BLOCK_S, -(-last // BLOCK_S)):
            span = self._model.range(number)
            if span.low[row] > lowest and span.high[row] < highest:
                continue
            begin = number * BLOCK_S
            for bar in self._bars(symbol, max(first, begin), min(last, begin + BLOCK_S)):
                below = at_or_below is not None and bar.low <= at_or_below
                if below or (at_or_above is not None and bar.high >= at_or_above):
                    return bar.end
        return None

    def next_price(self, symbol: Symbol, after: datetime, until: datetime) -> datetime | None:
        """Return the first whole second in (after, until] outside an outage."""
        second = _second(after) + 1
        while _instant(second) <= until:
            outage = self._model.outage(symbol, second)
            if outage is None:
                return _instant(second)
            second = outage[1]
        return None

    def next_below(
        self, weights: Mapping[Symbol, Decimal], level: Decimal, after: datetime, until: datetime
    ) -> datetime | None:
        """Return the first whole second in (after, until] at which sum(weight x mark) may be below `level`."""
        vector = np.zeros(len(self._model.row))
        for symbol, weight in weights.items():
            vector[self._model.row[symbol]] = float(weight)
        first, last = _second(after) + 1, _second(until) + 1
        for number in range(first // BLOCK_S, -(-last // BLOCK_S)):
            span = self._model.range(number)
            widened = float(level) + WIDENED * (abs(float(level)) + float(np.abs(vector) @ span.ceiling))
            if float(np.minimum(vector * span.floor, vector * span.ceiling).sum()) >= widened:
                continue
            begin = number * BLOCK_S
            low, high = max(first - begin, 0), min(last - begin, BLOCK_S)
            below = vector @ self._model.block(number).prices[:, low:high] < widened
            if below.any():
                return _instant(begin + low + int(below.argmax()))
        return None

    def next_funding(self, symbol: Symbol, after: datetime, until: datetime) -> datetime | None:
        """Return the first multiple of the funding interval in (after, until]."""
        instant = _instant((_second(after) // self._funding + 1) * self._funding)
        return instant if symbol in self._digits and instant <= until else None

    def funding(self, after: datetime, until: datetime) -> Sequence[tuple[Symbol, datetime, Decimal]]:
        """Return the rates of every symbol at each multiple of the funding interval in (after, until]."""
        found = []
        for period in range(_second(after) // self._funding + 1, _second(until) // self._funding + 1):
            second = period * self._funding
            instant = _instant(second)
            found += [(symbol, instant, self.funding_rate(symbol, instant)) for symbol in sorted(self._digits)]
        return found

    def funding_rate(self, symbol: Symbol, at: datetime) -> Decimal:
        """Return the rate of the last funding instant up to `at`."""
        return Decimal(repr(self._model.funding_rate(symbol, _second(at) // self._funding * self._funding)))

    def open_interest(self, symbol: Symbol, at: datetime) -> Decimal:
        """Return the contracts open at the last whole second."""
        return Decimal(repr(self._model.open_interest(symbol, _second(at))))

    def _exact(self, symbol: Symbol, price: float) -> Decimal:
        return Decimal(f"{price:.{self._digits[symbol]}f}")

    def _bars(self, symbol: Symbol, first: int, last: int) -> list[Bar]:
        """The seconds that begin in [first, last)."""
        row = self._model.row.get(symbol)
        if row is None or first >= last:
            return []
        bars = []
        volumes = self._model.volumes(first, last)[row]
        for second in range(first, last):
            block = self._model.block(second // BLOCK_S)
            offset = second - block.begin
            if block.traded[row, offset]:
                opened = self._exact(symbol, float(block.prices[row, offset]))
                close = self._exact(symbol, float(block.prices[row, offset + 1]))
                volume = Decimal(repr(float(volumes[second - first])))
                low, high = min(opened, close), max(opened, close)
                bars.append(Bar(_instant(second), _instant(second + 1), opened, high, low, close, volume))
        return bars


def _second(instant: datetime) -> int:
    return (instant - EPOCH) // SECOND


def _instant(second: int) -> datetime:
    return EPOCH + second * SECOND
