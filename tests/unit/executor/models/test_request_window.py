"""An endpoint never gets more requests in any minute than configured, and loses none it could have had."""

from hypothesis import given
from hypothesis import strategies as st

from executor.models.gate import WINDOW_S, RequestWindow

GAPS = st.lists(st.floats(0, 90, allow_nan=False), min_size=1, max_size=80)


def send(window: RequestWindow, now: float) -> float:
    at = now + window.wait_s(now)
    window.take(at)
    return at


@given(GAPS, st.integers(1, 8))
def test_no_minute_holds_more_than_the_limit(gaps: list[float], limit: int) -> None:
    window, now, sent = RequestWindow(limit), 0.0, list[float]()
    for gap in gaps:
        now = send(window, now + gap)
        sent.append(now)
    for first, later in zip(sent, sent[limit:], strict=False):
        assert later - first >= WINDOW_S - 1e-6


@given(GAPS, st.integers(1, 8))
def test_a_request_waits_only_while_its_minute_is_full(gaps: list[float], limit: int) -> None:
    window, now, sent = RequestWindow(limit), 0.0, list[float]()
    for gap in gaps:
        now += gap
        expected = max(now, *([sent[-limit] + WINDOW_S] if len(sent) >= limit else [now]))
        now = send(window, now)
        assert abs(now - expected) < 1e-6
        sent.append(now)


@given(GAPS, st.integers(1, 6), st.integers(0, 20))
def test_the_wait_behind_others_is_what_it_is_once_they_went(gaps: list[float], limit: int, ahead: int) -> None:
    window, now = RequestWindow(limit), 0.0
    for gap in gaps:
        now = send(window, now + gap)
    foreseen = now + window.wait_s(now, ahead)
    for _ in range(ahead):
        now = send(window, now)
    assert abs(send(window, now) - foreseen) < 1e-6


def test_nothing_goes_while_the_endpoint_asks_to_wait() -> None:
    for window in (RequestWindow(None), RequestWindow(100)):
        window.hold(12.0)
        window.hold(5.0)
        assert (window.wait_s(2.0), window.held_s(2.0), window.wait_s(20.0)) == (10.0, 10.0, 0.0)


def test_without_a_limit_everything_goes_at_once() -> None:
    window = RequestWindow(None)
    assert {send(window, 7.0) for _ in range(1_000)} == {7.0}


def test_of_two_limits_the_lower_one_holds_at_once() -> None:
    window = RequestWindow(5)
    for _ in range(3):
        window.take(10.0)
    window.tighten(2)
    assert window.wait_s(10.0) == WINDOW_S
    window.tighten(50)
    window.tighten(None)
    assert window.wait_s(10.0) == WINDOW_S
