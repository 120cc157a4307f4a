"""What a replay is asked to do."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayRequest:
    """Name the inputs and outputs of one replay; `progress` is told the finished share, 0 to 1."""

    config: Path
    candles: Path
    funding: Path | None = None
    start: datetime | None = None
    end: datetime | None = None
    decisions: Path | None = None
    out: Path | None = None
    progress: Callable[[float], None] | None = None
