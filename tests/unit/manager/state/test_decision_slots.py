"""Slots are epoch multiples of the interval, shifted by the phase; every instant lies between two of them."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchanges.clock import EPOCH
from manager.state.records import ScheduleRow
from state_rows import make_row

INSTANTS = st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - bounds are naive


@given(now=INSTANTS, interval_s=st.integers(1, 100_000), phase_s=st.integers(0, 100_000))
def test_an_instant_lies_between_its_slots(now: datetime, interval_s: int, phase_s: int) -> None:
    schedule = make_row(ScheduleRow, interval_s=interval_s, phase_s=phase_s)
    last, after = schedule.slot(now), schedule.next_slot(now)
    assert last <= now < after
    assert after - last == timedelta(seconds=interval_s)
    assert (last - EPOCH) % timedelta(seconds=interval_s) == timedelta(seconds=phase_s % interval_s)


@pytest.mark.parametrize(("second", "last", "after"), [(0, 0, 180), (179, 0, 180), (180, 180, 360), (181, 180, 360)])
def test_a_slot_belongs_to_what_follows_it(second: int, last: int, after: int) -> None:
    start = datetime(2025, 1, 1, tzinfo=UTC)
    now = start + timedelta(seconds=second)
    schedule = make_row(ScheduleRow, interval_s=180)
    assert schedule.slot(now) == start + timedelta(seconds=last)
    assert schedule.next_slot(now) == start + timedelta(seconds=after)
