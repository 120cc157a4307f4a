"""Who was refused, and why: told as events, of one source and reason at most one a minute."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from exchanges.clock import Clock
from manager.access.lockout import Latest, source_of

EVERY_S: Final = 60.0
MOST_TOLD: Final = 100


class WhyRefused(StrEnum):
    """Name why somebody was refused."""

    NO_KEY = "no_key"
    MALFORMED = "malformed"
    UNKNOWN_KEY = "unknown_key"
    WRONG_KEY = "wrong_key"
    EXPIRED = "expired"
    REVOKED = "revoked"
    OTHER_SERVICE_KEY = "other_service_key"
    ROLE = "role"
    LOCKED_OUT = "locked_out"
    TOO_FAST = "too_fast"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Told:
    at_s: float
    since: int = 0


class RefusedFold:
    """Say which refusals are to be told: the first of a source and reason, then one a minute with the count between.

    However many sources there are, at most MOST_TOLD are told a minute.
    """

    def __init__(self, clock: Clock) -> None:
        self._now: Callable[[], float] = clock.boot_s
        self._told: Latest[_Told] = Latest()
        self._minute = _Told(at_s=clock.boot_s())

    def count(self, source: str, why: WhyRefused) -> int:
        """Count a refusal; return how many there were since the last that was told, 0 where this one is not told."""
        name, now_s = f"{source_of(source)} {why}", self._now()
        known = self._told.get(name)
        since = 1 if known is None else known.since + 1
        if (known is not None and now_s - known.at_s < EVERY_S) or not self._has_room(now_s):
            self._told.put(name, _Told(at_s=now_s - EVERY_S if known is None else known.at_s, since=since))
            return 0
        self._told.put(name, _Told(at_s=now_s))
        return since

    def _has_room(self, now_s: float) -> bool:
        if now_s - self._minute.at_s >= EVERY_S:
            self._minute = _Told(at_s=now_s)
        if self._minute.since >= MOST_TOLD:
            return False
        self._minute = _Told(at_s=self._minute.at_s, since=self._minute.since + 1)
        return True
