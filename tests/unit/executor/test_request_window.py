"""An endpoint never gets more requests in any minute than configured, and loses none it could have had."""

from math import inf

from hypothesis import given
from hypothesis import strategies as st

from executor.models.rate import WINDOW_S, RequestWindow

GAPS = st.lists(st.floats(0, 90, allow_nan=False), min_size=1, max_size=80)


@given(GAPS, st.integers(1, 8))
def test_no_minute_holds_more_than_the_limit(gaps: list[float], limit: int) -> None:
    window, now, sent = RequestWindow(limit), 0.0, list[float]()
    for gap in gaps:
        now += gap
        sent.append(now + window.reserve(now, inf))
    assert sent == sorted(sent)
    for first, later in zip(sent, sent[limit:], strict=False):
        assert later - first >= WINDOW_S - 1e-6


@given(GAPS, st.integers(1, 8))
def test_a_request_waits_only_while_its_minute_is_full(gaps: list[float], limit: int) -> None:
    window, now, sent = RequestWindow(limit), 0.0, list[float]()
    for gap in gaps:
        now += gap
        at = now + window.reserve(now, inf)
        full = len(sent) >= limit
        assert at == max([now, *sent[-1:], *([sent[-limit] + WINDOW_S] if full else [])])
        sent.append(at)


@given(GAPS, st.integers(1, 4), st.floats(0, 30))
def test_what_is_not_waited_for_takes_no_place(gaps: list[float], limit: int, patience: float) -> None:
    window, now, sent = RequestWindow(limit), 0.0, list[float]()
    for gap in gaps:
        now += gap
        wait = window.reserve(now, patience)
        if wait <= patience:
            sent.append(now + wait)
        else:
            assert len(sent) >= limit
    for first, later in zip(sent, sent[limit:], strict=False):
        assert later - first >= WINDOW_S - 1e-6


def test_nothing_goes_while_the_endpoint_asks_to_wait() -> None:
    for window in (RequestWindow(None), RequestWindow(100)):
        window.hold(12.0)
        window.hold(5.0)
        assert (window.reserve(2.0, inf), window.held_s(2.0), window.reserve(20.0, inf)) == (10.0, 10.0, 0.0)


def test_without_a_limit_everything_goes_at_once() -> None:
    window = RequestWindow(None)
    assert {window.reserve(7.0, 0.0) for _ in range(1_000)} == {0.0}
