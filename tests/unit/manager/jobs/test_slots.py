"""A worker takes what it can serve: its slots, each endpoint's places, and a quarter kept from any one endpoint."""

from collections.abc import Mapping
from contextlib import ExitStack

import pytest

from manager.jobs.runner import Job, JobKind
from manager.jobs.slots import GateKey, GatePlaces, Slots
from manager.state.records import DEFAULT_TENANT, AccountId, TenantId
from traders.spec import TraderId

ACME = TenantId("acme")
GATES: Mapping[GateKey, GatePlaces] = {
    (DEFAULT_TENANT, "small"): GatePlaces(shared="a", places=3),
    (ACME, "also small"): GatePlaces(shared="a", places=3),
    (DEFAULT_TENANT, "wide"): GatePlaces(shared="b", places=64),
}


def _job(gate: str = "", tenant: TenantId = DEFAULT_TENANT) -> Job:
    return Job(kind=JobKind.DECIDE, tenant_id=tenant, account_id=AccountId("a"), trader_id=TraderId("t"), gate=gate)


def _free(slots: Slots, *waiting: Job) -> dict[str, int]:
    return {room.gate: room.free for room in slots.room(waiting)}


class Time:
    """Tell the seconds that a test says."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_what_runs_and_what_waits_for_a_worker_takes_slots() -> None:
    slots = Slots(8, GATES, Time())
    assert slots.free(()) == 8
    with slots.taken(_job()), slots.taken(_job("small")):
        assert slots.free([_job(), _job("wide")]) == 4
    assert slots.free(()) == 8
    assert slots.free([_job()] * 20) == 0


def test_names_of_one_endpoint_share_its_places() -> None:
    slots = Slots(8, GATES, Time())
    with slots.taken(_job("small")):
        assert _free(slots, _job("also small", ACME)) == {"small": 1, "also small": 1, "wide": 6}
        assert _free(slots, *[_job("also small", ACME)] * 5)["small"] == 0


@pytest.mark.parametrize(
    ("count", "alone", "most"), [(8, False, 6), (8, True, 8), (64, False, 48), (2, False, 1), (1, False, 1)]
)
def test_no_endpoint_may_have_all_the_slots_unless_there_is_no_other(count: int, alone: bool, most: int) -> None:
    slots = Slots(count, GATES, Time(), alone=alone)
    assert _free(slots)["wide"] == most
    with ExitStack() as held:
        for _ in range(most):
            held.enter_context(slots.taken(_job("wide")))
        assert _free(slots)["wide"] == 0
        assert slots.free(()) == count - most


def test_how_long_decisions_take_is_learnt_from_those_that_ended() -> None:
    time = Time()
    slots = Slots(8, GATES, time)
    took = []
    for seconds in (10.0, 10.0, 0.1, 0.1, *[0.1] * 20):
        with slots.taken(_job("wide")):
            time.now += seconds
        took.append({room.gate: room.takes_s for room in slots.room(())})
    assert [one["wide"] for one in took[:3]] == [10, 10, 9]
    assert took[-1] == {"small": 0, "also small": 0, "wide": 0}


def test_a_decision_that_fails_gives_its_slot_back() -> None:
    slots = Slots(2, GATES, Time())
    with pytest.raises(RuntimeError), slots.taken(_job("wide")):
        raise RuntimeError
    assert slots.free(()) == 2
