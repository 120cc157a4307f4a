"""The instants at which a trader decides: epoch multiples of its interval, shifted by its phase."""

from datetime import datetime, timedelta

from exchanges.clock import EPOCH


def last_slot(now: datetime, interval_s: int, phase_s: int = 0) -> datetime:
    """Return the latest slot at or before `now`."""
    elapsed = (now - EPOCH) // timedelta(seconds=1)
    return EPOCH + timedelta(seconds=(elapsed - phase_s) // interval_s * interval_s + phase_s)


def next_slot(now: datetime, interval_s: int, phase_s: int = 0) -> datetime:
    """Return the earliest slot strictly after `now`."""
    return last_slot(now, interval_s, phase_s) + timedelta(seconds=interval_s)
