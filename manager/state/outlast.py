"""Do again what the database did not take while it was away, for as long as it may be only restarting."""

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import structlog

from exchanges.clock import Clock
from manager.state.errors import CommitUnknown, DatabaseAway

R = TypeVar("R")
_log = structlog.get_logger(__name__)
OUTLAST_S: Final = 60.0
_FIRST_PAUSE_S: Final = 0.5
_LAST_PAUSE_S: Final = 5.0


async def outlast(clock: Clock, act: Callable[[], Awaitable[R]], *, what: str) -> R:
    """Return what `act` does, which may be done twice; raise DatabaseAway or CommitUnknown when it stays away."""
    until_s, pause_s = clock.boot_s() + OUTLAST_S, _FIRST_PAUSE_S
    while True:
        try:
            return await act()
        except (DatabaseAway, CommitUnknown) as error:
            if clock.boot_s() + pause_s >= until_s:
                raise
            _log.warning("waits_for_database", what=what, error=str(error), again_in_s=pause_s)
        await clock.sleep(pause_s)
        pause_s = min(pause_s * 2, _LAST_PAUSE_S)
