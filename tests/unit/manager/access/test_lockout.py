"""Who is refused waits a growing time; a key asks at its rate; nothing grows without a bound."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from desk_factory import AT
from exchanges.clock import ManualClock
from manager.access.lockout import (
    MOST_KEPT,
    Bucket,
    Latest,
    Lockout,
    Patience,
    Rate,
    RateLimit,
    Record,
    source_of,
)
from manager.access.refused import EVERY_S, MOST_TOLD, RefusedFold, WhyRefused

SECONDS = st.floats(0, 4000, allow_nan=False)
GAPS = st.lists(SECONDS, max_size=80)
PATIENCE = Patience()


def after(clock: ManualClock, seconds: float) -> None:
    clock.set(clock.now() + timedelta(seconds=seconds))


@given(GAPS)
def test_an_address_is_locked_when_it_is_refused_ten_times_within_five_minutes(gaps: list[float]) -> None:
    record, now_s, locks, last_end = Record(), 0.0, 0, 0.0
    counted: list[float] = []
    for gap in gaps:
        now_s += gap
        before, record = record, record.refused(now_s, PATIENCE)
        if before.wait_s(now_s):
            assert record == before
            continue
        counted = [at for at in counted if now_s - at < 300] + [now_s]
        locks = 0 if locks and now_s - last_end >= 3600 else locks
        if len(counted) < 10:
            assert record.wait_s(now_s) == 0
            continue
        lasts = record.wait_s(now_s)
        assert abs(lasts - min(30 * 2**locks, 900)) < 1e-6
        counted, locks, last_end = [], locks + 1, now_s + lasts
    assert len(record.refused_at) < 10
    assert record.wait_s(now_s) <= 900


def test_each_lock_is_longer_until_there_is_peace() -> None:
    clock = ManualClock(AT)
    lockout, locks = Lockout(clock), []
    for _ in range(7):
        waits = [lockout.refused("192.0.2.7") for _ in range(10)]
        assert waits[:9] == [0] * 9
        locks.append(waits[9])
        after(clock, waits[9])
        assert lockout.wait_s("192.0.2.7") == 0
    assert locks == [30, 60, 120, 240, 480, 900, 900]
    after(clock, 3600)
    assert [lockout.refused("192.0.2.7") for _ in range(10)][9] == 30
    assert lockout.wait_s("192.0.2.8") == 0


def test_many_locks_in_a_row_stay_at_the_longest() -> None:
    record, now_s = Record(), 0.0
    for _ in range(2000):
        for _ in range(10):
            record = record.refused(now_s, PATIENCE)
        assert record.wait_s(now_s) <= 900
        now_s += record.wait_s(now_s)


@given(
    st.lists(st.floats(0, 5, allow_nan=False), max_size=200),
    st.builds(Rate, per_s=st.floats(0.1, 100), burst=st.integers(1, 200)),
)
def test_a_key_never_gets_more_than_its_burst_and_its_rate(gaps: list[float], rate: Rate) -> None:
    bucket, now_s, given_at = Bucket(tokens=rate.burst, at_s=0), 0.0, []
    for gap in gaps:
        now_s += gap
        bucket, wait_s = bucket.taken(now_s, rate)
        if wait_s == 0:
            given_at.append(now_s)
        else:
            assert bucket.taken(now_s + wait_s + 1e-6, rate)[1] == 0
        assert 0 <= bucket.tokens <= rate.burst
    for first, begin in enumerate(given_at):
        for last, end in enumerate(given_at[first:], start=first):
            assert last - first + 1 <= rate.burst + (end - begin) * rate.per_s + 1e-6


def test_the_limit_of_one_key_is_not_that_of_another() -> None:
    clock = ManualClock(AT)
    limit = RateLimit(clock)
    assert [limit.take("one") for _ in range(100)] == [0] * 100
    assert abs(limit.take("one") - 0.02) < 1e-6
    assert limit.take("two") == 0
    after(clock, 0.03)
    assert limit.take("one") == 0
    assert limit.take("one") > 0


def test_a_clock_that_goes_back_gives_nothing() -> None:
    bucket, _ = Bucket(tokens=1, at_s=100).taken(50, Rate())
    assert bucket.taken(60, Rate())[1] > 0


@given(st.lists(st.text(max_size=3), max_size=60), st.integers(1, 8))
def test_what_is_kept_is_bounded_and_the_latest(names: list[str], most: int) -> None:
    kept: Latest[int] = Latest(most=most)
    for place, name in enumerate(names):
        kept.put(name, place)
        assert len(kept) <= most
    latest = list(dict.fromkeys(reversed(names)))[:most]
    assert {name for name in names if kept.get(name) is not None} == set(latest)


def test_addresses_beyond_the_most_are_forgotten() -> None:
    lockout = Lockout(ManualClock(AT))
    for _ in range(10):
        lockout.refused("192.0.2.1")
    for n in range(MOST_KEPT):
        lockout.refused(f"10.{n // 65536}.{n // 256 % 256}.{n % 256}")
    assert lockout.wait_s("192.0.2.1") == 0
    assert len(lockout._records) == MOST_KEPT


def test_a_network_of_ipv6_is_one_source_and_a_mapped_address_is_its_own() -> None:
    assert source_of("2001:db8:1:2:3:4:5:6") == source_of("2001:db8:1:2::1") != source_of("2001:db8:1:3::1")
    assert source_of("::ffff:192.0.2.7") == source_of("192.0.2.7") == "192.0.2.7"
    assert (source_of("testclient"), source_of("")) == ("testclient", "")


def test_of_a_source_and_reason_one_a_minute_is_told_with_the_count() -> None:
    clock = ManualClock(AT)
    fold = RefusedFold(clock)
    assert [fold.count("192.0.2.7", WhyRefused.UNKNOWN_KEY) for _ in range(40)] == [1, *[0] * 39]
    assert fold.count("192.0.2.7", WhyRefused.EXPIRED) == 1
    assert fold.count("192.0.2.8", WhyRefused.UNKNOWN_KEY) == 1
    after(clock, EVERY_S)
    assert [fold.count("192.0.2.7", WhyRefused.UNKNOWN_KEY) for _ in range(2)] == [40, 0]


def test_however_many_sources_there_are_a_minute_tells_a_hundred() -> None:
    clock = ManualClock(AT)
    fold = RefusedFold(clock)
    told = [fold.count(f"192.0.{n // 256}.{n % 256}", WhyRefused.UNKNOWN_KEY) for n in range(500)]
    assert sum(told) == MOST_TOLD
    after(clock, EVERY_S)
    assert fold.count("192.0.1.200", WhyRefused.UNKNOWN_KEY) == 2
