"""What a template sees: plain values of a context, and what is left out of them when a prompt grows too long."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from executor import contract
from executor.prompts.sample import example_replies

CLOSES_SHOWN: Final = 30
CANDLES_SHOWN: Final = 16
LONG_SHOWN: Final = 12
LONG_EVERY: Final = 4
TRADES_SHOWN: Final = 10
DENIALS_SHOWN: Final = 20
_LONGEST_LINE: Final = 300
_MOST_DIGITS: Final = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """Say how much of each list a prompt holds; the candles of `long` are LONG_EVERY times as long as the base ones."""

    closes: int = CLOSES_SHOWN
    candles: int = CANDLES_SHOWN
    long: int = LONG_SHOWN
    trades: int = TRADES_SHOWN
    denials: int = DENIALS_SHOWN
    others: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenMarket:
    """Keep of one symbol what a prompt prints, as plain values; satisfies MarketView wherever it is sent or stored."""

    symbol: str
    mark: Decimal
    age_s: float
    indicators: contract.Indicators
    base_s: float = 0.0
    funding_rate: Decimal | None = None
    open_interest: Decimal | None = None
    last_closes: tuple[float, ...] = ()
    last_candles: tuple[contract.Candle, ...] = ()
    long_candles: tuple[contract.Candle, ...] = ()

    @staticmethod
    def of(symbol: str, view: contract.MarketView, *, candles: bool = True) -> "SeenMarket":
        """Return a view as plain values, with its candles or without."""
        return SeenMarket(
            symbol=symbol,
            mark=view.mark,
            age_s=view.age_s,
            indicators=view.indicators,
            base_s=view.base_s,
            funding_rate=view.funding_rate,
            open_interest=view.open_interest,
            last_closes=tuple(view.closes(CLOSES_SHOWN)),
            last_candles=tuple(view.candles(CANDLES_SHOWN)) if candles else (),
            long_candles=tuple(view.candles(LONG_SHOWN, LONG_EVERY)) if candles else (),
        )

    def closes(self, count: int) -> Sequence[float]:
        """Return up to `count` closes, oldest first, of those that were kept."""
        return self.last_closes[-count:] if count > 0 else ()

    def candles(self, count: int, every: int = 1) -> Sequence[contract.Candle]:
        """Return up to `count` candles, oldest first; only the two series that a prompt prints are kept."""
        kept = self.last_candles if every == 1 else self.long_candles if every == LONG_EVERY else ()
        return kept[-count:] if count > 0 else ()


# The order of docs/concepts/prompts.md: each step is taken only when all before it were not enough.
CUTS: Final[tuple[tuple[str, Mapping[str, Any]], ...]] = (
    ("long candles", {"long": 0}),
    ("candles but 8", {"candles": 8}),
    ("candles", {"candles": 0}),
    ("closes but 10", {"closes": 10}),
    ("closed trades but 3", {"trades": 3}),
    ("closed trades", {"trades": 0}),
    ("other traders", {"others": False}),
    ("denials but 3", {"denials": 3}),
    ("closes", {"closes": 0}),
)


def cut_steps() -> tuple[tuple[tuple[str, ...], Shown], ...]:
    """Return the whole, then each further cut: the names of all cuts made so far and what is still shown."""
    steps: list[tuple[tuple[str, ...], Shown]] = [((), Shown())]
    for name, changes in CUTS:
        names, shown = steps[-1]
        steps.append(((*names, name), replace(shown, **changes)))
    return tuple(steps)


@dataclass(frozen=True, slots=True, kw_only=True)
class SymbolData:
    """Show one symbol to a template as plain values, so that no feed or account is reachable from it."""

    symbol: str
    mark: Decimal
    age_s: float
    funding_rate: Decimal | None
    open_interest: Decimal | None
    indicators: contract.Indicators
    base_s: float
    closes: tuple[float, ...] = field(repr=False)
    candles: tuple[contract.Candle, ...] = field(repr=False)
    long_candles: tuple[contract.Candle, ...] = field(repr=False)

    @staticmethod
    def of(symbol: str, view: contract.MarketView, shown: Shown) -> "SymbolData":
        """Return as much of a view as is shown."""
        return SymbolData(
            symbol=symbol,
            mark=view.mark,
            age_s=view.age_s,
            funding_rate=view.funding_rate,
            open_interest=view.open_interest,
            indicators=view.indicators,
            base_s=view.base_s,
            closes=tuple(view.closes(shown.closes)) if shown.closes else (),
            candles=tuple(view.candles(CANDLES_SHOWN)[-shown.candles :]) if shown.candles else (),
            long_candles=tuple(view.candles(LONG_SHOWN, LONG_EVERY)) if shown.long else (),
        )


# Plain values whose fields a sandboxed template may read without further checks; no method and nothing inherited.
PLAIN_FIELDS: Final[Mapping[type[Any], frozenset[str]]] = {
    kind: frozenset(item.name for item in fields(kind))
    for kind in (
        contract.AccountInfo,
        contract.Candle,
        contract.ClosedTrade,
        contract.Indicators,
        contract.Limits,
        contract.NetExposure,
        contract.PerformanceView,
        contract.PositionInfo,
        contract.Denial,
        contract.RemainingBudget,
        contract.RestingOrder,
        SymbolData,
    )
}


def template_values(
    context: contract.Context, shown: Shown | None = None, cuts: tuple[str, ...] = ()
) -> dict[str, object]:
    """Return the names a template may use: plain values of `context`, nothing that leads to a feed or a secret.

    `cuts` names what was left out, so that a template does not say there is none of it.
    """
    shown = shown or Shown()
    details = context.details
    others = details.others if details is not None and shown.others else None
    denials = context.denials[max(0, len(context.denials) - shown.denials) :]
    return {
        "trader_id": context.trader_id,
        "trader_name": context.trader_name,
        "now": context.now,
        "symbols": context.symbols,
        "account": context.account,
        "positions": context.positions,
        "performance": context.performance,
        "limits": context.limits,
        "denials": denials,
        "refusals": denials,  # as templates called them before
        "budget": details.budget if details is not None else None,
        "orders": details.orders if details is not None else (),
        "trades": details.trades[: shown.trades] if details is not None else (),
        "others": others,
        "examples": example_replies(context.limits, context.symbols),
        "market": {symbol: SymbolData.of(symbol, view, shown) for symbol, view in context.market.items()},
        "long_every": LONG_EVERY,
        "cuts": cuts,
    }


def number(value: Decimal | float | None, digits: int = 7) -> str:
    """Write a number plainly with at most `digits` significant digits, and a missing one as n/a."""
    if value is None:
        return "n/a"
    text = f"{value:.{min(digits, _MOST_DIGITS)}g}"
    if type(value) is float and text.isascii() and "e" not in text and "n" not in text:
        return text
    if not text[-1].isdigit():
        return "n/a"
    if "e" in text or "E" in text:
        return f"{Decimal(text).normalize():f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def line(text: str) -> str:
    """Fold text that others wrote into one short line, so that it cannot pass for a section of the prompt."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())[:_LONGEST_LINE]


def instant(moment: datetime) -> str:
    """Write an instant in UTC to the second."""
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC")


def age(since: datetime, now: datetime) -> str:
    """Write how long ago `since` was, to the minute."""
    minutes = max(0, int((now - since).total_seconds()) // 60)
    days, hours = divmod(minutes // 60, 24)
    return f"{days}d {hours}h {minutes % 60}m" if days else f"{hours}h {minutes % 60}m"


def duration(seconds: float) -> str:
    """Write a length of time in its largest whole unit, such as 15m."""
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g}{unit}"
    return f"{seconds:g}s"


def series(candles: tuple[contract.Candle, ...]) -> str:
    """Write candles one a line: closing time, to the second where they are shorter than a minute, and the figures."""
    lines = []
    seconds = any(one.at.second for one in candles)
    for one in candles:
        prices = f"{one.open:.6g} {one.high:.6g} {one.low:.6g} {one.close:.6g} {one.volume:.4g}"
        if "e" in prices or "n" in prices:
            prices = " ".join(number(value, 6) for value in (one.open, one.high, one.low, one.close, one.volume))
        at = one.at
        second = f":{at.second:02}" if seconds else ""
        lines.append(f"{at.month:02}-{at.day:02} {at.hour:02}:{at.minute:02}{second} {prices}")
    return "\n".join(lines)


def numbers(values: Sequence[float], digits: int = 7) -> str:
    """Write several numbers in a row."""
    return ", ".join(number(value, digits) for value in values) or "none"


FILTERS: Final[Mapping[str, Callable[..., str]]] = {
    "number": number,
    "line": line,
    "instant": instant,
    "age": age,
    "duration": duration,
    "series": series,
    "numbers": numbers,
}
