"""What passes a gate, who is turned away, and what its breaker learns from how calls end."""

import asyncio
from decimal import Decimal
from time import sleep

import anyio
import pytest

from executor.contract import Usage
from executor.errors import CircuitOpen, ModelTimeout, RateLimited, Unauthorized
from executor.models.gate import BreakerSettings, Circuit, EndpointGate, GateSettings, Pacing, time_left
from executor.models.profile import TokenPrices
from manual_pacing import ManualPacing

SILENCE_S = 0.05
BREAKER = BreakerSettings(failures=2, open_s=30.0)


def gate(time: ManualPacing, per_minute: int | None = None, places: int = 2) -> EndpointGate:
    settings = GateSettings(
        max_concurrency=places, requests_per_minute=per_minute, breaker=BREAKER, silence_s=SILENCE_S
    )
    return EndpointGate("model 'm'", settings, time.pacing())


async def fail(at: EndpointGate, error: Exception) -> None:
    try:
        async with at.entered():
            raise error
    except type(error) as raised:
        if raised is not error:
            raise


def test_failures_in_a_row_shut_the_gate_and_one_success_opens_it() -> None:
    async def run() -> None:
        time = ManualPacing()
        at = gate(time)
        await fail(at, ModelTimeout("slow"))
        await fail(at, ModelTimeout("slow"))
        with pytest.raises(CircuitOpen, match=r"failed 2 times in a row \(slow\); left alone for another 30 s"):
            async with at.entered():
                pytest.fail("a shut gate let a call through")
        time.now += 30.0
        async with at.entered():
            with pytest.raises(CircuitOpen, match="until the one call under way"):
                await asyncio.ensure_future(fail(at, CircuitOpen("not reached")))
        assert at.circuit is Circuit.CLOSED

    asyncio.run(run())


def test_an_answer_that_is_no_success_still_shows_that_the_endpoint_is_there() -> None:
    async def run() -> None:
        at = gate(ManualPacing())
        for _ in range(3):
            await fail(at, ModelTimeout("slow"))
            await fail(at, Unauthorized("bad key"))
        assert at.circuit is Circuit.CLOSED

    asyncio.run(run())


@pytest.mark.parametrize(("silent_s", "expected"), [(1.1 * SILENCE_S, Circuit.OPEN), (0.9 * SILENCE_S, Circuit.CLOSED)])
def test_a_deadline_after_a_long_silence_counts_against_the_endpoint(silent_s: float, expected: Circuit) -> None:
    async def run() -> None:
        time = ManualPacing()
        at = gate(time)
        for _ in range(2):
            with anyio.move_on_after(0.02):
                async with at.entered():
                    time.now += silent_s
                    await anyio.sleep_forever()
        assert at.circuit is expected

    asyncio.run(run())


def test_a_trader_that_is_stopped_says_nothing_about_the_endpoint() -> None:
    async def run() -> None:
        time = ManualPacing()
        at = gate(time)

        async def call() -> None:
            async with at.entered():
                time.now += 60.0
                await asyncio.Event().wait()

        for _ in range(4):
            task = asyncio.ensure_future(call())
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert at.circuit is Circuit.CLOSED

    asyncio.run(run())


def test_calls_go_in_the_order_in_which_they_came() -> None:
    async def run() -> list[int]:
        at, entered = gate(ManualPacing(), places=1), list[int]()

        async def call(number: int) -> None:
            async with at.entered():
                entered.append(number)
                await asyncio.sleep(0)

        await asyncio.gather(*(call(number) for number in range(8)))
        return entered

    assert asyncio.run(run()) == list(range(8))


def test_a_call_waits_for_its_minute_but_not_past_its_deadline() -> None:
    async def run() -> None:
        time = ManualPacing()
        at = gate(time, per_minute=1)
        for _ in range(3):
            async with at.entered():
                pass
        assert time.slept == [60.0, 60.0]
        with anyio.fail_after(30.0), pytest.raises(RateLimited, match="for 60 s") as caught:
            async with at.entered():
                pytest.fail("a second call in a minute")
        assert caught.value.retry_after_s == 60.0

    asyncio.run(run())


def test_what_the_endpoint_asks_to_wait_holds_everybody() -> None:
    async def run() -> None:
        time = ManualPacing()
        at = gate(time)
        await fail(at, RateLimited("slow down", retry_after_s=20.0))
        async with at.entered():
            assert time.slept == [20.0]

    asyncio.run(run())


@pytest.mark.parametrize("asked_s", [86_400.0, 1.7e9, 1e300])
def test_no_endpoint_is_left_alone_for_longer_than_five_minutes(asked_s: float) -> None:
    async def run() -> None:
        time = ManualPacing()
        at = gate(time)
        await fail(at, RateLimited("slow down", retry_after_s=asked_s))
        with anyio.fail_after(30.0), pytest.raises(RateLimited, match="asked to be left alone for 300 s") as caught:
            async with at.entered():
                pytest.fail("a call was let through")
        assert "requests_per_minute" not in str(caught.value)
        async with at.entered():
            assert time.slept == [300.0]

    asyncio.run(run())


def test_the_words_of_a_wait_hold_on_a_clock_that_runs() -> None:
    async def run() -> None:
        at = EndpointGate("model 'm'", GateSettings(max_concurrency=1), Pacing())
        await fail(at, RateLimited("slow down", retry_after_s=86_400.0))
        with anyio.fail_after(1.0), pytest.raises(RateLimited, match="asked to be left alone for 300 s"):
            async with at.entered():
                pytest.fail("a call was let through")

    asyncio.run(run())


def test_a_place_that_gets_free_at_the_deadline_is_no_limit_of_the_endpoint() -> None:
    """The deadline is past before the loop has ended the call: that is a timeout, and no rate was asked of anybody."""

    async def run() -> None:
        clock = ManualPacing()

        def slowly() -> float:
            sleep(0.02)
            return clock.now

        at = EndpointGate("model 'm'", GateSettings(max_concurrency=1), Pacing(monotonic=slowly, sleep=clock.sleep))
        with anyio.move_on_after(0.03) as scope:
            async with at.entered():
                await anyio.sleep_forever()
        assert scope.cancelled_caught

    asyncio.run(run())


def test_a_call_that_is_given_up_leaves_its_minute_to_the_next() -> None:
    async def run() -> None:
        time, waits = ManualPacing(), asyncio.Event()

        async def wait(seconds: float) -> None:
            waits.set()
            await asyncio.Event().wait()

        settings = GateSettings(max_concurrency=9, requests_per_minute=1)
        at = EndpointGate("model 'm'", settings, Pacing(monotonic=lambda: time.now, sleep=wait))

        async def call() -> None:
            async with at.entered():
                pass

        await call()
        given_up = [asyncio.ensure_future(call()) for _ in range(5)]
        await waits.wait()
        for task in given_up:
            task.cancel()
        await asyncio.gather(*given_up, return_exceptions=True)
        time.now += 60.0
        await asyncio.wait_for(call(), 1)

    asyncio.run(run())


def test_a_call_is_refused_at_once_if_those_before_it_use_up_its_time() -> None:
    async def run() -> None:
        time = ManualPacing()
        settings = GateSettings(max_concurrency=9, requests_per_minute=1)
        at = EndpointGate("model 'm'", settings, Pacing(monotonic=lambda: time.now, sleep=asyncio.sleep))

        async def call() -> None:
            async with at.entered():
                pass

        await call()
        waiting = asyncio.ensure_future(call())
        await asyncio.sleep(0)
        with anyio.fail_after(100.0), pytest.raises(RateLimited, match="for 120 s"):
            await call()
        waiting.cancel()

    asyncio.run(run())


@pytest.mark.parametrize("back", [True, False])
def test_others_wait_for_the_call_that_tries_whether_an_endpoint_is_back(back: bool) -> None:
    async def run() -> tuple[list[object], int]:
        time, answered, begun = ManualPacing(), asyncio.Event(), list[int]()
        settings = GateSettings(max_concurrency=9, breaker=BREAKER)
        at = EndpointGate("model 'm'", settings, time.pacing())
        await fail(at, ModelTimeout("slow"))
        await fail(at, ModelTimeout("slow"))
        time.now += 30.0

        async def call(number: int) -> None:
            async with at.entered():
                begun.append(number)
                await answered.wait()
                if not back:
                    raise ModelTimeout("still slow")

        calls = [asyncio.ensure_future(call(number)) for number in range(8)]
        for _ in range(20):
            await asyncio.sleep(0)
        assert begun == [0]
        answered.set()
        return await asyncio.gather(*calls, return_exceptions=True), len(begun)

    results, begun = asyncio.run(run())
    if back:
        assert (results, begun) == ([None] * 8, 8)
    else:
        assert ([type(one) for one in results], begun) == ([ModelTimeout] + [CircuitOpen] * 7, 1)
        assert "(still slow); left alone for another 30 s" in str(results[-1])


def test_a_shut_gate_refuses_at_once_though_all_its_places_are_taken() -> None:
    async def run() -> None:
        time = ManualPacing()
        at, entered = gate(time, places=1), asyncio.Event()

        async def stay() -> None:
            async with at.entered():
                entered.set()
                await asyncio.Event().wait()

        staying = asyncio.ensure_future(stay())
        await entered.wait()
        for _ in range(2):
            at._breaker.failed(99, time.now)
        with anyio.fail_after(1.0), pytest.raises(CircuitOpen):
            async with at.entered():
                pytest.fail("a shut gate let a call through")
        staying.cancel()

    asyncio.run(run())


def test_the_lowest_limits_hold_for_all() -> None:
    async def run() -> None:
        time = ManualPacing()
        at = gate(time, places=5)
        at.tighten(1, 2)
        at.tighten(9, 9)
        async with at.entered():
            waiting = asyncio.ensure_future(fail(at, ModelTimeout("x")))
            await asyncio.sleep(0)
            assert at.waiting == 1
        await waiting
        async with at.entered():
            assert time.slept == [60.0]

    asyncio.run(run())


@pytest.mark.parametrize(("given", "expected"), [((None, None), 64), ((None, 500), 500), ((500, None), 500)])
def test_a_limit_that_nobody_gave_lowers_none_that_somebody_gave(
    given: tuple[int | None, int | None], expected: int
) -> None:
    async def run() -> None:
        at = EndpointGate("model 'm'", GateSettings(max_concurrency=given[0]), ManualPacing().pacing())
        at.tighten(given[1], None)
        released = asyncio.Event()

        async def call() -> None:
            async with at.entered():
                await released.wait()

        calls = [asyncio.ensure_future(call()) for _ in range(expected + 1)]
        await anyio.wait_all_tasks_blocked()
        assert at.waiting == 1
        released.set()
        await asyncio.gather(*calls)

    asyncio.run(run())


def test_the_time_left_is_that_of_the_scope_around() -> None:
    async def run() -> None:
        assert time_left() == float("inf")
        with anyio.fail_after(50.0), anyio.fail_after(10.0):
            await asyncio.sleep(0)
            assert 9.0 < time_left() <= 10.0

    asyncio.run(run())


def test_a_cost_is_exact_and_cached_tokens_are_cheaper() -> None:
    prices = TokenPrices(input=Decimal("0.27"), cached_input=Decimal("0.07"), output=Decimal("1.10"))
    used = Usage(input_tokens=1_000, cached_tokens=600, output_tokens=10)
    assert prices.cost(used) == Decimal("0.000161")
    assert prices.cost(Usage(input_tokens=10, cached_tokens=99)) == Decimal("0.0000007")
    assert prices.cost(Usage()) == 0
