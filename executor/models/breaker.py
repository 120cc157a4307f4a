"""When an endpoint is left alone: a circuit breaker over consecutive failures (pure; time is given)."""

from dataclasses import dataclass
from enum import StrEnum


class Circuit(StrEnum):
    """Name the state of a breaker: all calls pass, none does, or one to see whether the endpoint is back."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerSettings:
    """Say after how many failures in a row a breaker opens, and for how many seconds."""

    failures: int = 5
    open_s: float = 30.0


class CircuitBreaker:
    """Count what became of admitted calls; those that began before the breaker last opened count no more.

    Instants are seconds of a monotonic clock.
    """

    def __init__(self, settings: BreakerSettings) -> None:
        self._settings = settings
        self._failures = 0
        self._opened_at: float | None = None
        self._probe: int | None = None
        self._calls = 0
        self._first = 0

    def state(self, now: float) -> Circuit:
        """Return the state at `now`."""
        if self._opened_at is None:
            return Circuit.CLOSED
        return Circuit.OPEN if self.wait_s(now) > 0 else Circuit.HALF_OPEN

    def wait_s(self, now: float) -> float:
        """Return the seconds until a call may be tried; 0 if at once."""
        return 0.0 if self._opened_at is None else max(0.0, self._opened_at + self._settings.open_s - now)

    def admit(self, now: float) -> int | None:
        """Return the number of an admitted call, to be given back with its result, or None if it must not be made."""
        state = self.state(now)
        if state is Circuit.OPEN or (state is Circuit.HALF_OPEN and self._probe is not None):
            return None
        self._calls += 1
        if state is Circuit.HALF_OPEN:
            self._probe = self._calls
        return self._calls

    def succeeded(self, call: int) -> None:
        """Note that the endpoint answered; the probe's answer closes the breaker."""
        if self._opened_at is None:
            self._failures = 0 if call >= self._first else self._failures
        elif call == self._probe:
            self._opened_at = self._probe = None
            self._failures, self._first = 0, call

    def failed(self, call: int, now: float) -> None:
        """Note a failure; enough of them in a row, or the probe's, open the breaker."""
        if self._opened_at is None:
            self._failures += call >= self._first
            if self._failures >= self._settings.failures:
                self._opened_at = now
        elif call == self._probe:
            self._opened_at, self._probe = now, None

    def abandoned(self, call: int) -> None:
        """Note that a call ended without saying anything about the endpoint."""
        if call == self._probe:
            self._probe = None
