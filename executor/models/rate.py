"""How many requests an endpoint gets in a minute (pure; the caller waits)."""

from collections import deque
from typing import Final

WINDOW_S: Final = 60.0


class RequestWindow:
    """Hand out the instants at which requests may go: never more than `per_minute` of them within any 60 seconds.

    Instants are seconds of a monotonic clock and never decrease.
    """

    def __init__(self, per_minute: int | None) -> None:
        self._given: deque[float] | None = deque(maxlen=per_minute) if per_minute else None
        self._held_until = 0.0

    def hold(self, until: float) -> None:
        """Give nothing before `until`."""
        self._held_until = max(self._held_until, until)

    def held_s(self, now: float) -> float:
        """Return the seconds for which nothing is given yet."""
        return max(0.0, self._held_until - now)

    def reserve(self, now: float, patience_s: float) -> float:
        """Return the seconds to wait for the next instant, which is taken unless that is more than `patience_s`."""
        at = max(now, self._held_until)
        given = self._given
        if given:
            at = max(at, given[-1])
            if len(given) == given.maxlen:
                at = max(at, given[0] + WINDOW_S)
        if given is not None and at - now <= patience_s:
            given.append(at)
        return at - now
