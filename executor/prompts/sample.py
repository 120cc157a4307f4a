"""Made-up values for prompts: the example every template shows, and a context to try a template with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from executor import contract

PLACEHOLDERS: Final = ("ONE_OF_YOUR_SYMBOLS", "ANOTHER_OF_YOUR_SYMBOLS")
_MARK: Final = 100.0
_RISK: Final = 2.0
_LONG_MARK: Final = Decimal("104123.4")
_NOW: Final = datetime(2025, 1, 15, 12, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleView:
    """Show one symbol with a fixed, invented history; satisfies MarketView."""

    symbol: str
    mark: Decimal
    indicators: contract.Indicators
    age_s: float = 1.5
    funding_rate: Decimal | None = Decimal("0.0001")
    open_interest: Decimal | None = None
    base_s: float = 900.0

    @staticmethod
    def of(symbol: str, mark: Decimal) -> "SampleView":
        """Return the view of a market at `mark`, its indicators in proportion."""
        scale = float(mark) / _MARK
        known = {item.name: getattr(_INDICATORS, item.name) * scale for item in fields(_INDICATORS)}
        return SampleView(
            symbol=symbol, mark=mark, indicators=contract.Indicators(**known), open_interest=Decimal(81234)
        )

    def closes(self, count: int) -> Sequence[float]:
        """Return `count` closes that rise to the mark."""
        mark = float(self.mark)
        return [round(mark * (1 - 0.001 * back), 4) for back in range(count - 1, -1, -1)]

    def candles(self, count: int, every: int = 1) -> Sequence[contract.Candle]:
        """Return `count` candles that rise to the mark."""
        step = timedelta(seconds=every * self.base_s)
        closes = list(enumerate(reversed(self.closes(count))))
        return [
            contract.Candle(
                at=_NOW - back * step, open=close - 0.1, high=close + 0.2, low=close - 0.3, close=close, volume=1500.0
            )
            for back, close in reversed(closes)
        ]


def example_replies(limits: contract.Limits, symbols: Sequence[str]) -> Mapping[str, dict[str, Any]]:
    """Return a reply that opens long and one that opens short, within `limits`; the imagined mark is 100.

    Words stand for the symbols, so that an example that is sent back as it is cannot trade. It depends on nothing that
    changes between decisions.
    """
    return {
        "long": _example(limits, symbols, contract.Action.OPEN_LONG, contract.Action.CLOSE_LONG),
        "short": _example(limits, symbols, contract.Action.OPEN_SHORT, contract.Action.CLOSE_SHORT),
    }


def sample_context(
    symbols: Sequence[str] = ("BTC/USDT:USDT", "SOL/USDT:USDT"), limits: contract.Limits | None = None
) -> contract.Context:
    """Return a context with a position, details and a denial; its last symbol has no history yet.

    Symbols in the middle have figures as long as a market's, so that a prompt for many is as long as a real one.
    """
    first = symbols[0]
    views = {symbol: SampleView.of(symbol, Decimal(100) if symbol == first else _LONG_MARK) for symbol in symbols}
    views[symbols[-1]] = SampleView(
        symbol=symbols[-1], mark=Decimal("20.5"), indicators=contract.Indicators(), funding_rate=None
    )
    return contract.Context(
        trader_id="sample",
        trader_name="Sample trader",
        now=_NOW,
        symbols=tuple(symbols),
        account=_ACCOUNT,
        positions=(replace(_POSITION, symbol=first),),
        performance=contract.PerformanceView(trades=4, win_rate=50.0, pnl_usd=Decimal("12.5"), pnl_pct=1.25),
        limits=limits or contract.Limits(),
        market=views,
        denials=(contract.Denial(symbol=first, action="open_long", code="COOLDOWN", detail="600 s left"),),
        details=contract.Details(
            budget=contract.RemainingBudget(entries=2, positions=2, margin_usd=Decimal("565.83"), drawdown_pct=18.5),
            orders=(replace(_ORDER, symbol=first),),
            trades=(replace(_TRADE, symbol=first),),
            others=(contract.NetExposure(symbol=first, quantity=Decimal("0.4"), notional_usd=Decimal(40)),),
        ),
    )


def _example(
    limits: contract.Limits, symbols: Sequence[str], opening: contract.Action, closing: contract.Action
) -> dict[str, Any]:
    side = 1 if opening is contract.Action.OPEN_LONG else -1
    reward = _RISK * float(limits.min_risk_reward_ratio) * 1.1
    opened = {
        "symbol": PLACEHOLDERS[0],
        "action": str(opening),
        "leverage": min(3, limits.max_leverage(symbols[0])),
        "position_size_usd": float(limits.max_position_size_usd) / 2,
        "stop_loss": _MARK - side * _RISK,
        "take_profit": round(_MARK + side * min(reward, 0.9 * _MARK), 2),
        "confidence": max(80.0, float(limits.min_confidence)),
        "invalidation": "what would prove this wrong",
        "reasoning": "why this trade",
    }
    closed = {"symbol": PLACEHOLDERS[1], "action": str(closing), "fraction": 0.5, "reasoning": "why less of it"}
    return {
        "reasoning": "what the market does and what follows",
        "decisions": [opened, *([closed] * (len(symbols) > 1))],
    }


_ACCOUNT: Final = contract.AccountInfo(
    equity=Decimal("1012.50"),
    allocated=Decimal(1000),
    available=Decimal("958.33"),
    margin_used=Decimal("41.67"),
    unrealized_pnl=Decimal("1.875"),
    realized_pnl=Decimal("12.5"),
    fees=Decimal("1.4"),
    funding=Decimal("-0.2"),
)
_INDICATORS: Final = contract.Indicators(
    ema_20=99.8,
    ema_50=99.1,
    macd=0.21,
    macd_signal=0.17,
    rsi_14=58.2,
    atr_14=0.45,
    bollinger_upper=101.2,
    bollinger_lower=98.3,
    high_20=100.9,
    low_20=98.4,
    change_1h_pct=0.6,
    volume=1520.0,
)
_POSITION: Final = contract.PositionInfo(
    symbol="",
    quantity=Decimal("-1.25"),
    entry_price=Decimal("101.5"),
    mark=Decimal(100),
    unrealized_pnl=Decimal("1.875"),
    leverage=3,
    margin=Decimal("41.67"),
    liquidation_price=Decimal("133.2"),
    stop_loss=Decimal("103.5"),
    take_profit=None,
    opened_at=_NOW - timedelta(hours=3),
    peak_pnl=Decimal("4.5"),
)
_ORDER: Final = contract.RestingOrder(
    symbol="", purpose="stop", quantity=Decimal("1.25"), trigger_price=Decimal("103.5"), state="accepted"
)
_TRADE: Final = contract.ClosedTrade(
    symbol="",
    at=_NOW - timedelta(hours=5),
    how="take_profit",
    quantity=Decimal(2),
    price=Decimal("98.1"),
    pnl_usd=Decimal("6.2"),
    fee_usd=Decimal("0.09"),
)
