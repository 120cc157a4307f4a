"""What stands before an endpoint, shared by all who call it: its places, its rate and its circuit breaker.

Instants are seconds of a monotonic clock.
"""

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from math import inf
from typing import Final

import anyio

from executor import errors
from executor.models.profile import MAX_CONCURRENCY

WINDOW_S: Final = 60.0
SILENCE_S: Final = 5.0
LONGEST_HOLD_S: Final = 300.0
_LONGEST_CAUSE: Final = 300
_ENDPOINT_FAILED: Final = (
    errors.ModelTimeout,
    errors.ModelUnreachable,
    errors.ModelOverloaded,
    errors.UnreadableAnswer,
)


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
    """Leave an endpoint alone after failures in a row; calls that began before it last opened count no more."""

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


class RequestWindow:
    """Tell when the next request may go: never more than `per_minute` of them within any 60 seconds.

    Nothing is promised ahead: a request counts when it goes, so one that is given up leaves its instant to the next.
    Instants never decrease.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Pacing:
    """Tell the seconds of a monotonic clock and wait on it: the event loop's, unless a test brings its own."""

    monotonic: Callable[[], float] = anyio.current_time
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep


@dataclass(frozen=True, slots=True, kw_only=True)
class GateSettings:
    """Limit an endpoint; a call cut off after `silence_s` without an answer counts as a failure of the endpoint.

    As long, others wait for the call that tries whether a failed endpoint is back. Where no `max_concurrency` is given,
    MAX_CONCURRENCY calls may run at once.
    """

    max_concurrency: int | None = None
    requests_per_minute: int | None = None
    breaker: BreakerSettings = field(default_factory=BreakerSettings)
    silence_s: float = SILENCE_S


@dataclass(frozen=True, slots=True, kw_only=True)
class _Probe:
    """The call that tries whether a failed endpoint is back."""

    call: int
    since: float
    ended: anyio.Event = field(default_factory=anyio.Event)


def time_left() -> float:
    """Return the seconds until the deadline of whoever asked; infinity without one."""
    deadline = anyio.current_effective_deadline()
    return inf if deadline == inf else deadline - anyio.current_time()


class EndpointGate:
    """Let calls through to one endpoint, in the order in which they come; belongs to one event loop.

    A call holds a place while it waits for its turn and while it runs, never between retries. What the endpoint asks
    to wait is asked of all, for LONGEST_HOLD_S at most.
    """

    def __init__(self, where: str, settings: GateSettings, pacing: Pacing) -> None:
        self._where = where
        self._settings = settings
        self._pacing = pacing
        self._given_places = settings.max_concurrency
        self._places = anyio.CapacityLimiter(settings.max_concurrency or MAX_CONCURRENCY)
        self._window = RequestWindow(settings.requests_per_minute)
        self._breaker = CircuitBreaker(settings.breaker)
        self._turn = anyio.Lock(fast_acquire=True)
        self._probe: _Probe | None = None
        self._cause = ""

    def tighten(self, max_concurrency: int | None, requests_per_minute: int | None) -> None:
        """Take the lower of each limit that somebody gave from now on, for all who call."""
        if max_concurrency is not None:
            self._given_places = min(self._given_places or max_concurrency, max_concurrency)
            self._places.total_tokens = self._given_places
        self._window.tighten(requests_per_minute)

    @property
    def circuit(self) -> Circuit:
        """Return the state of the breaker."""
        return self._breaker.state(self._pacing.monotonic())

    @property
    def waiting(self) -> int:
        """Return how many calls wait for a place."""
        return self._places.statistics().tasks_waiting

    @asynccontextmanager
    async def entered(self) -> AsyncIterator[None]:
        """Run the block as one call; raise CircuitOpen or RateLimited before it if it must not be made."""
        self._refuse_open()
        async with self._places:
            call, started = await self._admitted()
            try:
                yield
            except errors.ModelError as error:
                self._note(call, error)
                raise
            except BaseException:
                self._note_cut(call, started)
                raise
            finally:
                self._end_probe(call)
            self._breaker.succeeded(call)

    async def _admitted(self) -> tuple[int, float]:
        ahead = self._turn.statistics()
        self._patient_wait_s(ahead.tasks_waiting + ahead.locked)
        async with self._turn:
            await self._probed()
            while (wait_s := self._patient_wait_s()) > 0:
                await self._pacing.sleep(wait_s)
            now = self._pacing.monotonic()
            trying = self._breaker.state(now) is Circuit.HALF_OPEN
            call = self._breaker.admit(now)
            if call is None:
                raise self._open()
            if trying:
                self._probe = _Probe(call=call, since=now)
            self._window.take(now)
            return call, now

    async def _probed(self) -> None:
        """Wait for the call that tries whether the endpoint is back, for the rest of its first `silence_s`."""
        probe = self._probe
        if probe is not None:
            with anyio.move_on_after(probe.since + self._settings.silence_s - self._pacing.monotonic()):
                await probe.ended.wait()

    def _end_probe(self, call: int) -> None:
        if self._probe is not None and self._probe.call == call:
            self._probe.ended.set()
            self._probe = None

    def _patient_wait_s(self, ahead: int = 0) -> float:
        """Return the seconds to wait; raise RateLimited if they are not left."""
        now = self._pacing.monotonic()
        wait_s = self._window.wait_s(now, ahead)
        if wait_s <= max(0.0, time_left()):
            return wait_s
        why, mend = "takes no more calls", "raise requests_per_minute or ask less often"
        if self._window.held_s(now) >= wait_s:
            why, mend = "asked to be left alone", "its provider's limit is used up: ask less often"
        told = f"{self._where} {why} for {wait_s:.0f} s, which is past the deadline; {mend}"
        raise errors.RateLimited(told, retry_after_s=wait_s)

    def _note(self, call: int, error: errors.ModelError) -> None:
        now = self._pacing.monotonic()
        if isinstance(error, errors.PassingFailure) and error.retry_after_s:
            self._window.hold(now + min(error.retry_after_s, LONGEST_HOLD_S))
        if isinstance(error, _ENDPOINT_FAILED):
            self._cause = str(error)[:_LONGEST_CAUSE]
            self._breaker.failed(call, now)
        elif isinstance(error, errors.CallNotMade):
            self._breaker.abandoned(call)
        else:
            self._breaker.succeeded(call)

    def _note_cut(self, call: int, started: float) -> None:
        """A deadline that ends a long wait tells of the endpoint; a stopped trader or a short wait tells nothing."""
        now = self._pacing.monotonic()
        late = anyio.current_effective_deadline() <= anyio.current_time()
        if late and now - started >= self._settings.silence_s:
            self._cause = f"no answer for {now - started:.0f} s"
            self._breaker.failed(call, now)
        else:
            self._breaker.abandoned(call)

    def _refuse_open(self) -> None:
        if self.circuit is Circuit.OPEN:
            raise self._open()

    def _open(self) -> errors.CircuitOpen:
        wait_s = self._breaker.wait_s(self._pacing.monotonic())
        when = f"for another {wait_s:.0f} s" if wait_s else "until the one call under way shows that it is back"
        times = self._settings.breaker.failures
        return errors.CircuitOpen(f"{self._where} failed {times} times in a row ({self._cause}); left alone {when}")
