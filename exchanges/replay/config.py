"""Settings of a replay market."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayConfig:
    """Name the files of a recorded market, and from when to when they are read; both None: all of them."""

    candles: Path
    funding: Path | None = None
    start: datetime | None = None
    end: datetime | None = None
