"""Contexts and replies for tests of executors."""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from executor.contract import Context, Indicators, Limits, PositionInfo
from executor.prompts.sample import SampleView, sample_context

BTC = "BTC/USDT:USDT"
SOL = "SOL/USDT:USDT"


def open_item(**changes: Any) -> dict[str, Any]:
    """Return a valid open of BTC with `changes`; a change to `...` removes the field."""
    item = {
        "symbol": BTC,
        "action": "open_long",
        "leverage": 3,
        "position_size_usd": 500,
        "stop_loss": 98,
        "take_profit": 107,
        "confidence": 80,
        **changes,
    }
    return {name: value for name, value in item.items() if value is not ...}


def reply_text(*items: object) -> str:
    """Return a reply with `items`."""
    return json.dumps({"reasoning": "because", "decisions": list(items)})


def market_context(
    indicators: Mapping[str, Indicators],
    *,
    marks: Mapping[str, Decimal] | None = None,
    positions: tuple[PositionInfo, ...] = (),
    limits: Limits | None = None,
) -> Context:
    """Return a context without positions of its own on the given symbols, marked at 100."""
    views = {
        symbol: SampleView(symbol=symbol, mark=(marks or {}).get(symbol, Decimal(100)), indicators=values)
        for symbol, values in indicators.items()
    }
    return replace(
        sample_context(),
        symbols=tuple(indicators),
        market=views,
        positions=positions,
        limits=limits or Limits(),
        denials=(),
    )


def position(symbol: str, quantity: str) -> PositionInfo:
    """Return a position of `quantity`, entered and marked at 100."""
    return PositionInfo(
        symbol=symbol,
        quantity=Decimal(quantity),
        entry_price=Decimal(100),
        mark=Decimal(100),
        unrealized_pnl=Decimal(0),
        leverage=3,
        margin=Decimal(30),
        liquidation_price=None,
        stop_loss=Decimal(95),
        take_profit=None,
        opened_at=datetime(2025, 1, 15, 9, tzinfo=UTC),
    )
