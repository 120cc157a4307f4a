"""What a hand-made replay scenario is: plain data that the harness writes to files and the oracle computes from."""

from dataclasses import dataclass, field
from typing import Any

MINUTE_MS = 60_000
START_MS = 1_735_689_600_000
JUDGED = ("expect", "bad", "skipped", "size", "lev")
Item = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """Describe one replay on one-minute candles from START_MS on.

    `bars` are "open high low close" or None by symbol. Batches are (index of the candle that closes, trader, items);
    an item may carry what a hand computed beside its fields: `expect` (the code of its denial), `bad` (invalid),
    `skipped` (lost in a conflict), `size` and `lev` (after clamps). Funding is (stamp in ms, symbol, rate).
    """

    bars: dict[str, list[str | None]]
    traders: dict[str, dict[str, Any]]
    batches: list[tuple[int, str, list[Item]]] = field(default_factory=list)
    funding: list[tuple[int, str, str]] = field(default_factory=list)
    manager: dict[str, Any] = field(default_factory=dict)
    limits: dict[str, Any] = field(default_factory=dict)
    paper: dict[str, Any] = field(default_factory=dict)
    instruments: dict[str, dict[str, Any]] = field(default_factory=dict)


def close_ms(index: int) -> int:
    """Return the instant in ms at which the candle of this index closes."""
    return START_MS + (index + 1) * MINUTE_MS


def flat(count: int, price: str) -> list[str | None]:
    """Return candles that stand still."""
    return [f"{price} {price} {price} {price}"] * count


def opens(symbol: str, side: str, usd: str, **more: Any) -> Item:
    """Return the item of an open; confidence 80 and leverage 1 unless given, numbers as strings."""
    base = {"symbol": symbol, "action": f"open_{side}", "leverage": 1, "position_size_usd": usd, "confidence": 80}
    return {**base, **more}


def closes(symbol: str, side: str, **more: Any) -> Item:
    """Return the item of a close."""
    return {"symbol": symbol, "action": f"close_{side}", **more}
