"""Time, injected: the only module that reads the machine's clock."""

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


class Clock(Protocol):
    """Tell the time; `boot_s` is monotonic seconds that also count while the machine sleeps."""

    def now(self) -> datetime: ...
    def boot_s(self) -> float: ...
    async def sleep(self, seconds: float) -> None: ...


class SystemClock:
    """Read the machine's clock."""

    def now(self) -> datetime:
        """Return the current instant in UTC."""
        return datetime.now(UTC)

    def boot_s(self) -> float:
        """Return seconds since boot; unlike the wall clock it never jumps, and a frozen process sees it move on."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    async def sleep(self, seconds: float) -> None:
        """Wait for `seconds`."""
        import asyncio

        await asyncio.sleep(seconds)


class ManualClock:
    """Stand still until moved: for replay and tests."""

    def __init__(self, start: datetime) -> None:
        self._now = start

    def now(self) -> datetime:
        """Return the instant last set."""
        return self._now

    def boot_s(self) -> float:
        """Return the instant as seconds since the epoch, so leases follow simulated time."""
        return (self._now - EPOCH).total_seconds()

    async def sleep(self, seconds: float) -> None:
        """Move on by `seconds` at once."""
        self.set(self._now + timedelta(seconds=seconds))

    def set(self, instant: datetime) -> None:
        """Move to `instant`; raise ValueError when it lies in the past."""
        if instant < self._now:
            raise ValueError(f"clock cannot go back from {self._now.isoformat()} to {instant.isoformat()}")
        self._now = instant


def from_ms(ms: int) -> datetime:
    """Return the UTC instant of `ms` milliseconds since the epoch, exactly."""
    return EPOCH + timedelta(milliseconds=ms)


def to_ms(instant: datetime) -> int:
    """Return milliseconds since the epoch, rounded down."""
    return (instant - EPOCH) // _MILLISECOND
