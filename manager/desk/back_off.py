"""What the venue refused a moment ago: it is asked again in the next pass, then less and less often."""

from collections.abc import Hashable
from datetime import datetime, timedelta
from typing import Final

FIRST: Final = timedelta(seconds=0.5)
MOST: Final = timedelta(seconds=5)
_FORGOTTEN_AFTER: Final = timedelta(minutes=1)


class BackOff:
    """Remember what was refused and how often in a row; anything else about the same position is asked at once.

    Only this process knows it, so another one asks at once too.
    """

    def __init__(self) -> None:
        self._refused: dict[Hashable, tuple[int, datetime]] = {}

    def note(self, what: Hashable, now: datetime, *, refused: bool) -> None:
        """Take in an answer of the venue."""
        times = self._refused.pop(what, (0, now))[0] if self.recent(what, now) else 0
        for old in [key for key, (_, at) in self._refused.items() if now - at > _FORGOTTEN_AFTER]:
            del self._refused[old]
        if refused:
            self._refused[what] = (times + 1, now)

    def waits(self, what: Hashable, now: datetime) -> bool:
        """Tell whether it is too early to ask again: FIRST at first, twice as long each time, to MOST."""
        times, at = self._refused.get(what, (0, now))
        return times > 0 and now - at < min(MOST, FIRST * 2 ** min(times - 1, 8))

    def recent(self, what: Hashable, now: datetime) -> bool:
        """Tell whether it was refused when it was asked last, within the last minute."""
        known = self._refused.get(what)
        return known is not None and now - known[1] <= _FORGOTTEN_AFTER
