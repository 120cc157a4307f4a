"""What a replay is asked to do."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Final

DECISIONS: Final = "decisions.jsonl"
RECORDINGS_DEFAULT: Final = Path(".propdesk") / "recordings"


class ModelsMode(StrEnum):
    """Say what a replay does where a model is to decide: read recordings only, call, or call and keep."""

    RECORDED = "recorded"
    LIVE = "live"
    RECORD = "record"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayRequest:
    """Name the inputs and outputs of one replay; `progress` is told the finished share, 0 to 1,
    and how many decisions were taken, also while a model is waited for.

    `note` is told what is left out of the inputs. Models are not called unless `models` says so.
    """

    config: Path
    candles: Path
    funding: Path | None = None
    start: datetime | None = None
    end: datetime | None = None
    decisions: Path | None = None
    models: ModelsMode = ModelsMode.RECORDED
    recordings: Path = RECORDINGS_DEFAULT
    out: Path | None = None
    progress: Callable[[float, int], None] | None = None
    note: Callable[[str], None] | None = None
