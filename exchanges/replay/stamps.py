"""Tell the unit of a time stamp: recorded data is in milliseconds since 1970, of the years 2009 to 2099."""

from datetime import UTC, datetime
from typing import Final

from exchanges.clock import to_ms

FIRST_MS: Final = to_ms(datetime(2009, 1, 1, tzinfo=UTC))
LAST_MS: Final = to_ms(datetime(2100, 1, 1, tzinfo=UTC)) - 1
_UNITS: Final = (
    (1_000, 1, "seconds; multiply by 1000"),
    (1, 1_000, "microseconds; divide by 1000"),
    (1, 1_000_000, "nanoseconds; divide by 1000000"),
    (60_000, 1, "minutes; multiply by 60000"),
)


def wrong_unit(stamp: int) -> str:
    """Return what was expected of a stamp that is no time of these years in ms, and its mend; empty for a sound one."""
    if FIRST_MS <= stamp <= LAST_MS:
        return ""
    expected = "milliseconds since 1970 (UTC), of the years 2009 to 2099"
    for times, divided, unit in _UNITS:
        if FIRST_MS <= stamp * times // divided <= LAST_MS:
            return f"{expected}; this looks like {unit}"
    return f"{expected}; repair or remove the row"
