"""What one measured run of an engine says, and the CPU it took."""

import json
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Hold one run: `bars` that the engine stepped through, CPU seconds of all its processes.

    A decision is one strategy at one full hour, over all its symbols. Orders are counted once for each strategy that
    has a part in them: entries, stops, take-profits and closes, filled or not. `load_s` is CPU that is not in `cpu_s`.
    """

    engine: str
    bars: int
    decisions: int
    orders: int
    fills: int
    cpu_s: float
    wall_s: float
    load_s: float = 0.0
    share: float = 1.0
    violated: int = 0

    def tell(self) -> None:
        """Print the run as one JSON line."""
        sys.stdout.write(json.dumps(asdict(self)) + "\n")

    @staticmethod
    def told(line: str) -> "Run":
        """Return the run of such a line."""
        row: dict[str, Any] = json.loads(line)
        return Run(**row)


def cpu_s() -> float:
    """Return the CPU seconds of this process, its threads and its children that ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


@dataclass(slots=True)
class Took:
    """Hold what a block took."""

    cpu_s: float = 0.0
    wall_s: float = 0.0


@contextmanager
def measured() -> Iterator[Took]:
    """Measure the block."""
    took, cpu, wall = Took(), cpu_s(), time.perf_counter()
    yield took
    took.cpu_s, took.wall_s = cpu_s() - cpu, time.perf_counter() - wall
