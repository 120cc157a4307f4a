"""A clock for the gates of endpoints that moves only when told to, or when somebody waits on it."""

import asyncio
from dataclasses import dataclass, field

from executor.models.gate import Pacing


@dataclass
class ManualPacing:
    """Stand at `now` seconds; a sleep moves on at once and is noted."""

    now: float = 1_000.0
    slept: list[float] = field(default_factory=list)

    def pacing(self) -> Pacing:
        """Return this clock as gates take it."""
        return Pacing(monotonic=lambda: self.now, sleep=self.sleep)

    async def sleep(self, seconds: float) -> None:
        """Move on by `seconds` and let the others run."""
        self.slept.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)
