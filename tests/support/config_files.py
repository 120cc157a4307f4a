"""Config files for tests: a sound one, and the same with one line changed."""

from pathlib import Path

SOUND = """\
manager:
  total_equity_usd: 10000
  allocation_strategy: fixed
exchanges:
  paper: {type: paper, market: {type: synthetic, seed: 7}, fee_bps: 4.5}
traders:
  - id: one
    exchange: paper
    executor: {type: baseline, style: trend}
    symbols: ["BTC/USDT:USDT"]
    decision_interval: 3m
    allocation_pct: 60
    risk_params: {min_confidence: 80}
  - id: two
    exchange: paper
    executor: {type: baseline, style: breakout}
    symbols: ["ETH/USDT:USDT"]
    decision_interval: 30s
    allocation_pct: 40
"""


def changed(old: str, new: str) -> str:
    """Return the sound config with the only or first `old` replaced; raise ValueError if it is not there."""
    if old not in SOUND:
        raise ValueError(f"{old!r} is not in the sound config")
    return SOUND.replace(old, new, 1)


def write_config(folder: Path, text: str = SOUND) -> Path:
    """Write `text` to config.yaml in `folder` and return its path."""
    path = folder / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return path
