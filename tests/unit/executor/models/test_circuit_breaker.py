"""A breaker opens on failures in a row, lets one call try later, and believes only that one."""

from hypothesis import given
from hypothesis import strategies as st

from executor.models.gate import BreakerSettings, Circuit, CircuitBreaker

SETTINGS = BreakerSettings(failures=3, open_s=30.0)
STEPS = st.lists(st.sampled_from(["admit", "succeed", "fail", "abandon", "wait"]), max_size=60)


def opened(at: float = 0.0) -> CircuitBreaker:
    breaker = CircuitBreaker(SETTINGS)
    for _ in range(3):
        breaker.failed(admitted(breaker, at), at)
    return breaker


def admitted(breaker: CircuitBreaker, now: float) -> int:
    call = breaker.admit(now)
    assert call is not None
    return call


def test_it_opens_after_failures_in_a_row_only() -> None:
    breaker = CircuitBreaker(SETTINGS)
    for _ in range(2):
        breaker.failed(admitted(breaker, 0.0), 0.0)
    breaker.succeeded(admitted(breaker, 0.0))
    for _ in range(2):
        breaker.failed(admitted(breaker, 0.0), 0.0)
    assert breaker.state(0.0) is Circuit.CLOSED
    breaker.failed(admitted(breaker, 1.0), 1.0)
    assert (breaker.state(1.0), breaker.wait_s(11.0), breaker.admit(30.9)) == (Circuit.OPEN, 20.0, None)


def test_one_call_tries_after_the_wait_and_closes_it() -> None:
    breaker = opened()
    probe = admitted(breaker, 30.0)
    assert breaker.state(30.0) is Circuit.HALF_OPEN
    assert breaker.admit(30.0) is None
    breaker.succeeded(probe)
    assert breaker.state(30.0) is Circuit.CLOSED
    assert breaker.admit(30.0) is not None


def test_a_failed_try_opens_it_again_for_the_whole_time() -> None:
    breaker = opened()
    breaker.failed(admitted(breaker, 30.0), 40.0)
    assert breaker.admit(69.9) is None
    assert breaker.admit(70.0) is not None


def test_a_try_that_was_cut_short_leaves_room_for_the_next() -> None:
    breaker = opened()
    breaker.abandoned(admitted(breaker, 30.0))
    assert breaker.admit(30.0) is not None


def test_calls_from_before_do_not_move_an_open_breaker() -> None:
    breaker = CircuitBreaker(SETTINGS)
    old = [admitted(breaker, 0.0) for _ in range(9)]
    for call in old[:3]:
        breaker.failed(call, 0.0)
    breaker.succeeded(old[3])
    breaker.failed(old[4], 20.0)
    assert breaker.state(29.0) is Circuit.OPEN
    breaker.succeeded(admitted(breaker, 30.0))
    for call in old[5:9]:
        breaker.failed(call, 31.0)
    assert breaker.state(31.0) is Circuit.CLOSED


@given(STEPS)
def test_it_never_lets_two_calls_try_and_never_stays_shut(steps: list[str]) -> None:
    breaker, now, calls = CircuitBreaker(SETTINGS), 0.0, list[int]()
    probes = 0
    for step in steps:
        match step:
            case "wait":
                now += 10.0
            case "admit":
                was = breaker.state(now)
                call = breaker.admit(now)
                assert was is not Circuit.OPEN or call is None
                probes += was is Circuit.HALF_OPEN and call is not None
                assert was is not Circuit.HALF_OPEN or probes <= 1
                calls += [] if call is None else [call]
            case "succeed" if calls:
                breaker.succeeded(calls.pop())
                probes = 0
            case "fail" if calls:
                breaker.failed(calls.pop(), now)
                probes = 0
            case "abandon" if calls:
                breaker.abandoned(calls.pop())
                probes = 0
    for call in calls:
        breaker.abandoned(call)
    assert breaker.admit(now + SETTINGS.open_s) is not None
