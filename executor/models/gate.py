"""What stands before an endpoint, shared by all who call it: its places, its rate and its circuit breaker."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from math import inf
from typing import Final

import anyio

from executor.errors import (
    CallNotMade,
    CircuitOpen,
    ModelError,
    ModelOverloaded,
    ModelTimeout,
    ModelUnreachable,
    PassingFailure,
    RateLimited,
    UnreadableAnswer,
)
from executor.models.breaker import BreakerSettings, Circuit, CircuitBreaker
from executor.models.rate import RequestWindow

SILENCE_S: Final = 5.0
_ENDPOINT_FAILED: Final = (ModelTimeout, ModelUnreachable, ModelOverloaded, UnreadableAnswer)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pacing:
    """Tell the seconds of a monotonic clock and wait on it: the event loop's, unless a test brings its own."""

    monotonic: Callable[[], float] = anyio.current_time
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep


@dataclass(frozen=True, slots=True, kw_only=True)
class GateSettings:
    """Limit an endpoint; a call cut off after `silence_s` without an answer counts as a failure of the endpoint."""

    max_concurrency: int
    requests_per_minute: int | None = None
    breaker: BreakerSettings = field(default_factory=BreakerSettings)
    silence_s: float = SILENCE_S


def time_left() -> float:
    """Return the seconds until the deadline of whoever asked; infinity without one."""
    deadline = anyio.current_effective_deadline()
    return inf if deadline == inf else deadline - anyio.current_time()


class EndpointGate:
    """Let calls through to one endpoint, in the order in which they come; belongs to one event loop.

    A call holds a place while it waits for its minute and while it runs, never between retries.
    """

    def __init__(self, where: str, settings: GateSettings, pacing: Pacing) -> None:
        self._where = where
        self._settings = settings
        self._pacing = pacing
        self._places = anyio.CapacityLimiter(settings.max_concurrency)
        self._window = RequestWindow(settings.requests_per_minute)
        self._breaker = CircuitBreaker(settings.breaker)

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
        if self.circuit is Circuit.OPEN:
            raise self._open()
        async with self._places:
            await self._turn()
            started = self._pacing.monotonic()
            call = self._breaker.admit(started)
            if call is None:
                raise self._open()
            try:
                yield
            except ModelError as error:
                self._note(call, error)
                raise
            except BaseException:
                self._note_cut(call, started)
                raise
            self._breaker.succeeded(call)

    async def _turn(self) -> None:
        patience_s = time_left()
        while (wait_s := self._window.reserve(self._pacing.monotonic(), patience_s)) > 0:
            if wait_s > patience_s:
                raise RateLimited(
                    f"{self._where} takes no more calls for {wait_s:.0f} s, which is past the deadline; "
                    f"raise requests_per_minute or ask less often",
                    retry_after_s=wait_s,
                )
            await self._pacing.sleep(wait_s)
            if not self._window.held_s(self._pacing.monotonic()):
                return
            patience_s = time_left()

    def _note(self, call: int, error: ModelError) -> None:
        now = self._pacing.monotonic()
        if isinstance(error, PassingFailure) and error.retry_after_s:
            self._window.hold(now + error.retry_after_s)
        if isinstance(error, _ENDPOINT_FAILED):
            self._breaker.failed(call, now)
        elif isinstance(error, CallNotMade):
            self._breaker.abandoned(call)
        else:
            self._breaker.succeeded(call)

    def _note_cut(self, call: int, started: float) -> None:
        """A deadline that ends a long wait tells of the endpoint; a stopped trader or a short wait tells nothing."""
        now = self._pacing.monotonic()
        late = anyio.current_effective_deadline() <= anyio.current_time()
        if late and now - started >= self._settings.silence_s:
            self._breaker.failed(call, now)
        else:
            self._breaker.abandoned(call)

    def _open(self) -> CircuitOpen:
        wait_s = self._breaker.wait_s(self._pacing.monotonic())
        when = f"for another {wait_s:.0f} s" if wait_s else "until the one call under way shows that it is back"
        return CircuitOpen(f"{self._where} failed {self._settings.breaker.failures} times in a row; left alone {when}")
