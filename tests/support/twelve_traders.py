"""A config with twelve baseline traders of four opposite temperaments that share one paper account and its symbols."""

import json
from collections.abc import Sequence
from pathlib import Path

STRATEGIES = ("first_come", "highest_confidence", "aggregate", "proportional", "net")
STYLES = ("trend", "mean_reversion", "breakout", "short_biased")
RISK = {
    "max_positions": 4,
    "max_position_size_usd": 900,
    "min_confidence": 60,
    "min_risk_reward_ratio": 1.5,
    "max_entries_per_hour": 60,
    "cooldown_after_stop": "5m",
}


def twelve_traders(symbols: Sequence[str], strategy: str, interval: str = "1h") -> str:
    """Return the config as text: each style thrice, on all symbols, the even and the odd ones, all overlapping."""
    parts = (list(symbols), list(symbols[::2]) or list(symbols), list(symbols[1::2]) or list(symbols))
    traders = [
        {
            "id": f"{style}_{number}",
            "exchange": "desk",
            "executor": {"type": "baseline", "style": style},
            "symbols": part,
            "decision_interval": interval,
            "risk_params": RISK,
        }
        for style in STYLES
        for number, part in enumerate(parts)
    ]
    config = {
        "manager": {"total_equity_usd": 24_000, "conflict_strategy": strategy},
        "global_limits": {"max_positions": 40, "max_margin_usage_pct": 85, "max_symbol_exposure_pct": 50},
        "exchanges": {"desk": {"type": "paper", "market": {"type": "synthetic"}}},
        "traders": traders,
    }
    return json.dumps(config, indent=1)


def write_twelve(folder: Path, symbols: Sequence[str], strategy: str, interval: str = "1h") -> Path:
    """Write the config into `folder` and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{strategy}.yaml"
    path.write_text(twelve_traders(symbols, strategy, interval), encoding="utf-8")
    return path
