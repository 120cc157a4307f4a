"""One symbol at one instant, over candles and an indicator table."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

from exchanges.indicators import IndicatorTable
from exchanges.market import BaseCandle, IndicatorRow
from exchanges.paper.path import PricePath
from exchanges.types import Symbol


class CandleView:
    """Show one symbol as of one instant; it keeps only indexes, so that it is cheap to make."""

    __slots__ = (
        "_at",
        "_base_count",
        "_path",
        "_table",
        "age_s",
        "funding_rate",
        "interval_s",
        "mark",
        "open_interest",
        "symbol",
    )

    symbol: Symbol
    mark: Decimal
    age_s: float
    interval_s: float
    funding_rate: Decimal | None
    open_interest: Decimal | None

    def __init__(self, symbol: Symbol, path: PricePath, at: datetime, table: IndicatorTable, base_count: int) -> None:
        self.symbol = symbol
        self._path = path
        self._at = at
        self._table = table
        self._base_count = base_count

    @property
    def indicators(self) -> IndicatorRow:
        """Return the indicators after the last base candle that closed."""
        return self._table.row(self._base_count)

    @property
    def base_s(self) -> float:
        """Return the length in seconds of the candles behind the indicators."""
        return self._table.interval_ms / 1000

    @property
    def last_range(self) -> tuple[Decimal, Decimal] | None:
        """Return low and high of the candle that ended last, None in a gap."""
        bar = self._path.last_bar(self.symbol, self._at)
        return None if bar is None else (bar.low, bar.high)

    @property
    def range_began(self) -> datetime | None:
        """Return when the candle that ended last began, None in a gap."""
        bar = self._path.last_bar(self.symbol, self._at)
        return None if bar is None else bar.begin

    def closes(self, count: int) -> Sequence[float]:
        """Return up to `count` closes of the indicators' base interval, oldest first."""
        return self._table.closes(self._base_count, count)

    def candles(self, count: int, every: int = 1) -> Sequence[BaseCandle]:
        """Return up to `count` closed candles of `every` base intervals each, oldest first."""
        return self._table.candles(self._base_count, count, every)
