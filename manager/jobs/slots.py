"""How many decisions a worker can still take: its slots, and the places at each model's gate."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil
from typing import Final

from manager.jobs.runner import Job
from manager.state.records import TenantId
from manager.state.store import GateRoom

GateKey = tuple[TenantId, str]
_NEWER: Final = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class GatePlaces:
    """Say how many calls an endpoint takes at once; gates of one `shared` name are the same endpoint."""

    shared: str
    places: int


def key_of(job: Job) -> GateKey:
    """Return which gate a decision waits at."""
    return (job.tenant_id, job.gate)


class Slots:
    """Count the decisions of one worker by gate, and how long they take of late; belongs to one event loop.

    Where decisions wait at different gates, none may have all the slots: a quarter is left to the others, so that one
    slow endpoint holds nobody else up.
    """

    def __init__(
        self, count: int, gates: Mapping[GateKey, GatePlaces], monotonic: Callable[[], float], *, alone: bool = False
    ) -> None:
        self._count = count
        self._gates = gates
        self._monotonic = monotonic
        self._most = count if alone else max(1, count - max(1, count // 4))
        self._running: Counter[GateKey] = Counter()
        self._takes_s: dict[GateKey, float] = {}

    @property
    def count(self) -> int:
        """Return how many there are."""
        return self._count

    @contextmanager
    def taken(self, job: Job) -> Iterator[None]:
        """Hold a slot within the block."""
        key, began = key_of(job), self._monotonic()
        self._running[key] += 1
        try:
            yield
        finally:
            self._running[key] -= 1
            took = self._monotonic() - began
            known = self._takes_s.get(key, took)
            self._takes_s[key] = known + _NEWER * (took - known)

    def free(self, waiting: Sequence[Job]) -> int:
        """Return how many more decisions can begin now, beside those that wait for a worker already."""
        return max(0, self._count - self._running.total() - len(waiting))

    def room(self, waiting: Sequence[Job]) -> list[GateRoom]:
        """Return the room at each gate, beside those that wait for a worker already."""
        held = self._running + Counter(map(key_of, waiting))
        of_endpoint: Counter[str] = Counter()
        for key, gate in self._gates.items():
            of_endpoint[gate.shared] += held[key]
        return [
            GateRoom(
                tenant_id=key[0],
                gate=key[1],
                shared=gate.shared,
                free=max(0, min(gate.places, self._most) - of_endpoint[gate.shared]),
                takes_s=ceil(self._takes_s.get(key, 0.0)) if self._takes_s.get(key, 0.0) >= 1 else 0,
            )
            for key, gate in self._gates.items()
        ]
