"""What passes a gate, who is turned away, and what its breaker learns from how calls end."""

import asyncio
from decimal import Decimal

import anyio
import pytest

from executor.contract import Usage
from executor.errors import CircuitOpen, ModelTimeout, RateLimited, Unauthorized
from executor.models.breaker import BreakerSettings, Circuit
from executor.models.gate import EndpointGate, GateSettings, time_left
from executor.models.profile import TokenPrices
from manual_pacing import ManualPacing

BREAKER = BreakerSettings(failures=2, open_s=30.0)


def gate(time: ManualPacing, per_minute: int | None = None, places: int = 2) -> EndpointGate:
    settings = GateSettings(max_concurrency=places, requests_per_minute=per_minute, breaker=BREAKER)
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
        with pytest.raises(CircuitOpen, match="failed 2 times in a row; left alone for another 30 s"):
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


@pytest.mark.parametrize(("silent_s", "expected"), [(5.0, Circuit.OPEN), (4.9, Circuit.CLOSED)])
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
