"""What a trader may see: snapshot + its own book + its limits -> the executor's context (pure)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from types import MappingProxyType

from exchanges.clock import from_ms
from exchanges.market import IndicatorRow, Snapshot, SymbolView
from exchanges.types import ZERO, Symbol
from executor.contract import AccountInfo, Candle, Context, Denial, Indicators, PositionInfo
from traders import performance
from traders.book import Book, liquidation_estimate
from traders.performance import Performance
from traders.spec import TraderSpec

# What is stored for these codes names other traders and what they hold or want.
_WITHOUT_NAMES: Mapping[str, str] = {
    "DIRECTION": "another trader of this account stands on the other side or was more confident",
    "DUPLICATE": "another trader of this account came first with the same side",
    "SYMBOL_UNRESOLVED": "an order on this symbol has no known outcome, or a position of others stands against it",
}
# The checks of the whole account: of their numbers, these alone are the trader's own.
_OF_THE_ACCOUNT = frozenset(
    (
        "INSUFFICIENT_MARGIN",
        "MARGIN_USAGE_GLOBAL",
        "MAX_POSITIONS_GLOBAL",
        "OPEN_ORDERS_LIMIT",
        "SYMBOL_EXPOSURE",
        "UNREALIZED_LOSS",
    )
)
_OWN_NUMBERS = frozenset(("size_usd", "leverage", "notional", "min_notional"))
_SAID_IN_DETAIL = frozenset(("before", "after"))


@dataclass(frozen=True, slots=True)
class MarketSymbol:
    """Show one symbol of a snapshot in the executor's terms."""

    symbol: str
    mark: Decimal
    age_s: float
    funding_rate: Decimal | None
    indicators: Indicators
    source: SymbolView
    _series: dict[tuple[int, int], Sequence[Candle]] = field(default_factory=dict, repr=False, compare=False)

    @property
    def open_interest(self) -> Decimal | None:
        """Return the open interest in contracts, None where the feed has none."""
        return self.source.open_interest

    @property
    def base_s(self) -> float:
        """Return the length of the base candles in seconds."""
        return self.source.base_s

    def closes(self, count: int) -> Sequence[float]:
        """Return up to `count` closes of the base interval, oldest first."""
        return self.source.closes(count)

    def candles(self, count: int, every: int = 1) -> Sequence[Candle]:
        """Return up to `count` closed candles of `every` base intervals each, oldest first; made once for all."""
        known = self._series.get((count, every))
        if known is None:
            known = self._series[count, every] = [
                Candle(
                    at=from_ms(one.end_ms),
                    open=one.open,
                    high=one.high,
                    low=one.low,
                    close=one.close,
                    volume=one.volume,
                )
                for one in self.source.candles(count, every)
            ]
        return known


@dataclass(slots=True)
class MarketViews:
    """Translate each snapshot once, however many traders ask for it."""

    _snapshot: Snapshot | None = None
    _views: Mapping[str, MarketSymbol] = field(default_factory=dict)
    _indicators: dict[str, tuple[IndicatorRow, Indicators]] = field(default_factory=dict)

    def of(self, snapshot: Snapshot) -> Mapping[str, MarketSymbol]:
        """Return the executor's view of every symbol in `snapshot`."""
        if snapshot is not self._snapshot:
            self._views = {symbol: self._view(view) for symbol, view in snapshot.symbols.items()}
            self._snapshot = snapshot
        return self._views

    def _view(self, view: SymbolView) -> MarketSymbol:
        row = view.indicators
        known = self._indicators.get(view.symbol)
        if known is None or known[0] is not row:
            known = self._indicators[view.symbol] = (row, self._translated(row))
        return MarketSymbol(view.symbol, view.mark, view.age_s, view.funding_rate, known[1], view)

    @staticmethod
    def _translated(row: IndicatorRow) -> Indicators:
        return Indicators(
            ema_20=row.ema_20,
            ema_50=row.ema_50,
            macd=row.macd,
            macd_signal=row.macd_signal,
            rsi_14=row.rsi_14,
            atr_14=row.atr_14,
            bollinger_upper=row.bollinger_upper,
            bollinger_lower=row.bollinger_lower,
            high_20=row.high_20,
            low_20=row.low_20,
            change_1h_pct=row.change_1h_pct,
            volume=row.volume,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnState:
    """Hold what belongs to the trader itself: book, allocated capital in USD, performance and last denials."""

    book: Book
    allocated: Decimal
    performance: Performance
    denials: tuple[Denial, ...] = ()

    def positions(
        self, views: Mapping[str, MarketSymbol], maintenance: Mapping[Symbol, Decimal]
    ) -> tuple[PositionInfo, ...]:
        """Return the positions of its book; one without a price is valued at its entry."""
        shown = []
        for symbol, held in self.book.positions.items():
            view, rate, entry = views.get(symbol), maintenance.get(symbol), held.entry_price
            mark = view.mark if view is not None else entry
            shown.append(
                PositionInfo(
                    symbol=symbol,
                    quantity=held.quantity,
                    entry_price=entry,
                    mark=mark,
                    unrealized_pnl=held.unrealized(mark),
                    leverage=held.leverage,
                    margin=held.margin(mark),
                    liquidation_price=None
                    if rate is None
                    else liquidation_estimate(held.direction, entry, held.leverage, rate),
                    stop_loss=held.stop_loss,
                    take_profit=held.take_profit,
                    opened_at=held.opened_at,
                )
            )
        return tuple(shown)


def told_denial(
    symbol: str, action: str, code: str, detail: str, numbers: Mapping[str, str] = MappingProxyType({})
) -> Denial:
    """Return a denial as its trader may read it: it names no other trader, and no figure of others or the account."""
    if code in _WITHOUT_NAMES:
        return Denial(symbol=symbol, action=action, code=code, detail=_WITHOUT_NAMES[code])
    shown = [
        f"{name} {value}"
        for name, value in numbers.items()
        if name not in _SAID_IN_DETAIL and (code not in _OF_THE_ACCOUNT or name in _OWN_NUMBERS)
    ]
    return Denial(
        symbol=symbol, action=action, code=code, detail="; ".join([detail, ", ".join(shown)] if shown else [detail])
    )


def build_context(
    spec: TraderSpec,
    own: OwnState,
    views: Mapping[str, MarketSymbol],
    maintenance: Mapping[Symbol, Decimal],
    now: datetime,
) -> Context:
    """Return the context of one decision; it holds nothing of other traders and no total of the account.

    A symbol without any price yet is left out of `market`.
    """
    book = own.book
    positions = own.positions(views, maintenance)
    unrealized = margin = ZERO
    for info in positions:
        unrealized += info.unrealized_pnl
        margin += info.margin
    equity = book.cash + unrealized
    return Context(
        trader_id=spec.id,
        trader_name=spec.name,
        now=now,
        symbols=spec.symbols,
        account=AccountInfo(
            equity=equity,
            allocated=own.allocated,
            available=max(ZERO, min(own.allocated, equity) - margin),
            margin_used=margin,
            unrealized_pnl=unrealized,
            realized_pnl=book.realized,
            fees=book.fees,
            funding=book.funding,
        ),
        positions=positions,
        performance=performance.view(own.performance, equity - book.capital, now),
        limits=spec.limits,
        market={symbol: views[symbol] for symbol in spec.symbols if symbol in views},
        denials=own.denials,
    )
