"""How many requests an endpoint gets in a minute (pure; the caller waits)."""

from collections import deque
from typing import Final

WINDOW_S: Final = 60.0


class RequestWindow:
    """Tell when the next request may go: never more than `per_minute` of them within any 60 seconds.

    Nothing is promised ahead: a request counts when it goes, so one that is given up leaves its instant to the next.
    Instants are seconds of a monotonic clock and never decrease.
    """

    def __init__(self, per_minute: int | None) -> None:
        self._per_minute = per_minute
        self._sent: deque[float] = deque(maxlen=per_minute or 0)
        self._held_until = 0.0

    def tighten(self, per_minute: int | None) -> None:
        """Take the lower of two limits from now on; None is no limit."""
        if per_minute is not None and (self._per_minute is None or per_minute < self._per_minute):
            self._per_minute = per_minute
            self._sent = deque(self._sent, maxlen=per_minute)

    def hold(self, until: float) -> None:
        """Let nothing go before `until`."""
        self._held_until = max(self._held_until, until)

    def held_s(self, now: float) -> float:
        """Return the seconds for which the endpoint wants nothing."""
        return max(0.0, self._held_until - now)

    def wait_s(self, now: float, ahead: int = 0) -> float:
        """Return the seconds until a request may go that `ahead` others go before."""
        at, limit = max(now, self._held_until), self._per_minute
        if limit is None:
            return at - now
        sent, between = self._sent, list[float]()
        for number in range(ahead + 1):
            before = len(sent) + number - limit
            if before >= 0:
                earlier = sent[before] if before < len(sent) else between[before - len(sent)]
                at = max(at, earlier + WINDOW_S)
            between.append(at)
        return at - now

    def take(self, now: float) -> None:
        """Count a request that goes now."""
        self._sent.append(now)
