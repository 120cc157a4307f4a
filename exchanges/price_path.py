"""Prices over time, as the paper venue needs them: recorded, synthetic or live."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Protocol

from exchanges.types import Instrument, Symbol


@dataclass(frozen=True, slots=True)
class Bar:
    """Hold the prices and the volume (in contracts) of the time from `begin` to `end`."""

    begin: datetime
    end: datetime
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal


class PricePath(Protocol):
    """Answer what a price was, without state and without awaiting; `(after, until]` always excludes its left end.

    A path over live data answers only for instants that passed; recorded and synthetic ones also for later ones.
    """

    @property
    def interval(self) -> timedelta:
        """Return the length of a bar."""
        ...

    @property
    def instruments(self) -> Mapping[Symbol, Instrument]:
        """Return what has prices, by symbol."""
        ...

    async def load(self, until: datetime) -> None:
        """Make everything up to `until` answerable; only a live path has something to do."""
        ...

    def live_from(self, at: datetime) -> datetime:
        """Return the begin of the first bar that lies wholly after an order placed at `at`."""
        ...

    def mark(self, symbol: Symbol, at: datetime) -> tuple[Decimal, datetime] | None:
        """Return the last price and its instant; None before the first."""
        ...

    def execution_price(self, symbol: Symbol, at: datetime) -> Decimal | None:
        """Return what a market order meets at `at`: replay, the open of the candle that begins then; None in a gap."""
        ...

    def volume(self, symbol: Symbol, at: datetime) -> Decimal:
        """Return the volume in contracts behind `execution_price`."""
        ...

    def last_bar(self, symbol: Symbol, at: datetime) -> Bar | None:
        """Return the bar that ended at `at`, or less than one interval before; None in a gap."""
        ...

    def bars(self, symbol: Symbol, after: datetime, until: datetime) -> Sequence[Bar]:
        """Return the bars that end in (after, until], oldest first."""
        ...

    def next_touch(
        self, symbol: Symbol, after: datetime, until: datetime, at_or_below: Decimal | None, at_or_above: Decimal | None
    ) -> datetime | None:
        """Return the end of the first bar ending in (after, until] whose low or high reaches a given price."""
        ...

    def next_price(self, symbol: Symbol, after: datetime, until: datetime) -> datetime | None:
        """Return the first instant in (after, until] at which `execution_price` exists on the bars' grid."""
        ...

    def next_below(
        self, weights: Mapping[Symbol, Decimal], level: Decimal, after: datetime, until: datetime
    ) -> datetime | None:
        """Return the first bar end in (after, until] at which sum(weight x mark) may be below `level`.

        Decided in floats and widened: an instant returned must be checked exactly, one not returned need not be.
        """
        ...

    def next_funding(self, symbol: Symbol, after: datetime, until: datetime) -> datetime | None:
        """Return the first funding instant of `symbol` in (after, until]."""
        ...

    def funding(self, after: datetime, until: datetime) -> Sequence[tuple[Symbol, datetime, Decimal]]:
        """Return (symbol, instant, rate) in (after, until], by instant, then symbol."""
        ...
