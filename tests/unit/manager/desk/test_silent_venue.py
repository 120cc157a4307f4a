"""A venue that never answers, or fails in a way of its own: the job ends, an incident says why, nothing is guessed."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from exchanges.errors import VenueUnavailable
from faulty_desk import FaultyDesk, Scene, close, open_long
from manager.desk import session as sessions
from manager.desk.protector import Protector
from manager.state.records import IncidentRow

SOON_S = 0.5
READS = ("fetch_balance", "fetch_positions", "fetch_open_orders", "fetch_fills", "fetch_funding", "fetch_cash")


class Odd:
    """Pass calls on to a venue; those named in `hangs` never answer, those in `fails` raise what no venue should."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.hangs: set[str] = set()
        self.fails: set[str] = set()
        self.slow_s = 0.0
        self.stubborn = False

    @property
    def capabilities(self) -> Any:
        return self._inner.capabilities

    def __getattr__(self, name: str) -> Any:
        async def call(*arguments: Any) -> Any:
            await asyncio.sleep(self.slow_s)
            while name in self.hangs:
                try:
                    await asyncio.sleep(3600)
                except asyncio.CancelledError:
                    if not self.stubborn:
                        raise
                    self.stubborn = False
            if name in self.fails:
                raise KeyError("positions[0].szi")
            return await getattr(self._inner, name)(*arguments)

        return call


async def odd_desk(*traders: str) -> tuple[FaultyDesk, Odd]:
    desk = await FaultyDesk.of(Scene(traders=traders or ("a",)))
    odd = Odd(desk.paper)
    desk.venue.inner = odd  # type: ignore[assignment]  # it passes everything else on
    patient(desk, SOON_S)
    return desk, odd


def patient(desk: FaultyDesk, timeout_s: float = 60) -> None:
    """Go on with another limit of calls."""
    desk._account = replace(desk._account, timeout_s=timeout_s)
    desk.new_process()


@pytest.mark.parametrize("call", READS)
@pytest.mark.parametrize("how", ["hangs", "fails"])
async def test_whatever_a_read_does_is_an_incident_that_ends_with_it(call: str, how: str) -> None:
    desk, odd = await odd_desk()
    await desk.go("a", open_long())
    getattr(odd, how).add(call)
    await desk.maintain(seconds=2)
    await desk.go("a", close())
    [told] = [one for one in await desk.find(IncidentRow, code="VENUE_UNAVAILABLE") if one.resolved_at is None]
    assert call.removeprefix("fetch_").replace("_", " ").split()[0] in told.detail
    assert ("no answer within 0.5 s" if how == "hangs" else "KeyError") in told.detail
    getattr(odd, how).clear()
    patient(desk)
    await desk.maintain(seconds=1)
    assert await desk.open_incidents() == set()
    await desk.round()
    assert await desk.held("a") == 0


async def test_a_call_that_cannot_be_cancelled_holds_nobody() -> None:
    desk, odd = await odd_desk()
    odd.hangs.add("fetch_positions")
    odd.stubborn = True
    await asyncio.wait_for(desk.maintain(), 60)
    assert "VENUE_UNAVAILABLE" in await desk.open_incidents()


async def test_an_order_without_an_answer_is_looked_up_and_not_sent_again() -> None:
    desk, odd = await odd_desk()
    odd.hangs.add("create_order")
    await desk.go("a", open_long())
    [order] = await desk.unresolved()
    assert "no answer within" in order.reason
    odd.hangs.clear()
    patient(desk)
    await desk.maintain(seconds=45)
    assert await desk.unresolved() == []
    assert len(desk.venue.sent) == 1


async def test_a_read_that_fails_while_protecting_is_no_log_line(monkeypatch: pytest.MonkeyPatch) -> None:
    desk, _ = await odd_desk()
    await desk.go("a", open_long())

    async def protect(protector: Protector) -> None:
        raise VenueUnavailable("fills: gone while a stop was replaced")

    with monkeypatch.context() as patch:
        patch.setattr(Protector, "protect", protect)
        await desk.maintain()
        assert "VENUE_UNAVAILABLE" in await desk.open_incidents()
    await desk.maintain()
    assert await desk.open_incidents() == set()


async def test_a_job_ends_at_its_lease_however_many_calls_it_makes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "LEASE_S", 0.5)
    desk, odd = await odd_desk()
    odd.slow_s = 0.15
    await asyncio.wait_for(desk.maintain(), 60)
    [told] = await desk.find(IncidentRow, code="VENUE_UNAVAILABLE")
    assert "lease" in told.detail
    odd.slow_s = 0
    monkeypatch.undo()
    patient(desk)
    await desk.maintain(seconds=1)
    assert await desk.open_incidents() == set()


async def test_a_venue_that_never_answers_keeps_no_other_account_waiting() -> None:
    silent, odd = await odd_desk()
    odd.hangs.update(READS)
    other, _ = await odd_desk()
    patient(other)
    await other.go("a", open_long())
    waiting = asyncio.create_task(silent.maintain())
    await other.maintain(seconds=2)
    assert await other.guarded() == ["a"]
    await waiting


async def test_what_an_order_raises_of_its_own_is_an_unknown_outcome() -> None:
    desk, odd = await odd_desk()
    odd.fails.add("create_order")
    await desk.go("a", open_long())
    [order] = await desk.unresolved()
    assert "KeyError" in order.reason
