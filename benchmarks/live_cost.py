"""What a live decision costs: CPU of the worker and of PostgreSQL, everything included, and the queue's share.

`python benchmarks/live_cost.py [SECONDS]`. One worker, one paper account, zero-latency executors, the embedded server
in a temporary folder. A run with no trader running is taken first: what upkeep alone costs.
"""

import asyncio
import json
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import psutil  # type: ignore[import-untyped]  # it ships no types

from exchanges.clock import SystemClock
from manager.bootstrap.live import build_manager, open_parts
from manager.config import Config, load_config
from manager.jobs.queue import QueueRunner
from manager.jobs.runner import Job, JobKind
from manager.jobs.worker import QueueWorker
from manager.processes.worker import serve
from manager.state.database import Database, DatabasePlace
from manager.state.records import DEFAULT_TENANT, AccountId, DecisionRow, OrderRow, RoundRow
from traders.spec import TraderId

TRADERS = 60
QUEUE_JOBS = 2_000
SAMPLE_S = 0.002
HEAD = """\
manager: {conflict_strategy: net, decision_timeout: 5s}
global_limits: {max_positions: 1000, max_symbol_exposure_pct: 5000}
exchanges:
  paper:
    type: paper
    market: {type: synthetic, seed: 11, annual_volatility: 3, outages_per_day: 0, indicator_interval: 15s}
traders:
"""
LINE = """\
  - id: %(run)s.%(style)s%(n)d
    exchange: paper
    executor: {type: baseline, style: %(style)s}
    symbols: ["BTC/USDT:USDT", "ETH/USDT:USDT", "SOL/USDT:USDT"]
    decision_interval: 1s
    auto_start: %(start)s
    risk_params: {min_risk_reward_ratio: 0, min_confidence: 0, cooldown_after_stop: 0s, max_entries_per_hour: 3600}
"""
STYLES = {"idle": ("hold",), "hold": ("hold",), "trading": ("trend", "mean_reversion", "breakout", "short_biased")}
LAYERS = (
    ("procrastinate", "queue"),
    ("manager/jobs/queue", "queue"),
    ("manager/jobs/worker", "queue"),
    ("manager/orchestrator", "scheduler"),
    ("exchanges/paper", "paper venue"),
    ("manager/state/postgres/paper_ledger", "paper venue"),
    ("exchanges/synthetic", "market"),
    ("exchanges/", "market"),
    ("executor/", "executor"),
    ("manager/state", "store"),
    ("manager/desk", "desk"),
    ("manager/jobs/handlers", "desk"),
    ("traders/", "desk"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Hold one run's figures; CPU in ms for each decision, `shares` of the worker's CPU by layer in percent."""

    name: str
    decisions: int
    rounds: int
    orders: int
    wall_s: float
    worker_ms: float
    postgres_ms: float
    worker_cpu_s: float
    postgres_cpu_s: float
    shares: dict[str, float] = field(default_factory=dict)


class Sampler:
    """Take the stack every 2 ms of CPU time and attribute it to the outermost layer that called a library."""

    def __init__(self) -> None:
        self.layers: Counter[str] = Counter()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Sample within the block."""
        signal.signal(signal.SIGPROF, self._take)
        signal.setitimer(signal.ITIMER_PROF, SAMPLE_S, SAMPLE_S)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)

    def _take(self, number: int, frame: FrameType | None) -> None:
        del number
        while frame is not None:
            name = frame.f_code.co_filename
            for part, layer in LAYERS:
                if part in name:
                    self.layers[layer] += 1
                    return
            frame = frame.f_back
        self.layers["event loop"] += 1

    def shares(self) -> dict[str, float]:
        """Return the share of each layer in percent."""
        total = self.layers.total() or 1
        return {layer: round(100 * count / total, 1) for layer, count in self.layers.most_common()}


def postgres_cpu_s(data_dir: Path) -> float:
    """Return the CPU seconds of the server and all its processes, ended ones included."""
    pid = int((data_dir / "postgres" / "data" / "postmaster.pid").read_text().split()[0])
    server = psutil.Process(pid)
    times = server.cpu_times()
    total = times.user + times.system + times.children_user + times.children_system
    for child in server.children():
        own = child.cpu_times()
        total += own.user + own.system
    return float(total)


def config_for(folder: Path, name: str) -> Config:
    """Write and load the config of a run."""
    start = "false" if name == "idle" else "true"
    lines = [
        LINE % {"run": name, "style": STYLES[name][n % len(STYLES[name])], "n": n, "start": start}
        for n in range(TRADERS)
    ]
    path = folder / f"{name}.yaml"
    path.write_text(HEAD + "".join(lines), encoding="utf-8")
    return load_config(path, {})


@asynccontextmanager
async def working(config: Config, database: Database) -> AsyncIterator[Any]:
    """Run a worker within the block and give its store."""
    clock, stop = SystemClock(), asyncio.Event()
    async with open_parts(config, database, clock) as parts:
        await build_manager(parts.desk.store, config, clock).sync(config)
        worker = asyncio.create_task(serve(parts, stop))
        try:
            yield parts.desk.store
        finally:
            stop.set()
            await worker


async def count(store: Any) -> tuple[int, int, int]:
    """Return how many decisions, rounds and orders there are."""
    async with store.transaction(DEFAULT_TENANT) as tx:
        found = [len(await tx.find(kind, {}, limit=1_000_000)) for kind in (DecisionRow, RoundRow, OrderRow)]
    return found[0], found[1], found[2]


async def measure(name: str, data_dir: Path, database: Database, seconds: float) -> Cost:
    """Run one kind of trader for a while and return its cost; the start and the counting stay outside."""
    config, sampler = config_for(data_dir, name), Sampler()
    async with working(config, database) as store:
        await asyncio.sleep(5)
        before = await count(store)
        own, server, began = time.process_time(), postgres_cpu_s(data_dir), time.monotonic()
        with sampler.running():
            await asyncio.sleep(seconds)
        own, server = time.process_time() - own, postgres_cpu_s(data_dir) - server
        wall_s = time.monotonic() - began
        after = await count(store)
    decisions, rounds, orders = (new - old for new, old in zip(after, before, strict=True))
    return Cost(
        name=name,
        decisions=decisions,
        rounds=rounds,
        orders=orders,
        wall_s=round(wall_s, 2),
        worker_ms=round(own * 1000 / max(decisions, 1), 2),
        postgres_ms=round(server * 1000 / max(decisions, 1), 2),
        worker_cpu_s=round(own, 2),
        postgres_cpu_s=round(server, 2),
        shares=sampler.shares(),
    )


class Nothing:
    """Do nothing with a job, and say when the last one came."""

    def __init__(self, jobs: int) -> None:
        self._left = jobs
        self.done = asyncio.Event()

    async def decide(self, job: Job) -> None:
        """Count one down."""
        del job
        self._left -= 1
        if self._left == 0:
            self.done.set()

    round = maintain = decide


async def measure_queue(data_dir: Path, database: Database) -> tuple[float, float]:
    """Return the CPU ms of worker and server to defer, fetch, run and delete one empty decision."""
    clock, handlers, stop = SystemClock(), Nothing(QUEUE_JOBS), asyncio.Event()
    async with QueueRunner(database.queue_dsn) as runner:
        own, server = time.process_time(), postgres_cpu_s(data_dir)
        worker = asyncio.create_task(QueueWorker(runner, handlers).run(stop))
        for n in range(QUEUE_JOBS):
            await runner.defer(
                Job(
                    kind=JobKind.DECIDE,
                    tenant_id=DEFAULT_TENANT,
                    account_id=AccountId("paper"),
                    trader_id=TraderId(f"t{n}"),
                    due_at=clock.now(),
                )
            )
        await handlers.done.wait()
        own, server = time.process_time() - own, postgres_cpu_s(data_dir) - server
        stop.set()
        await worker
    return own * 1000 / QUEUE_JOBS, server * 1000 / QUEUE_JOBS


async def main(seconds: float) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory(prefix="propdesk-cost-") as folder:
        data_dir = Path(folder)
        async with DatabasePlace(data_dir=data_dir).open() as database:
            costs = [await measure(name, data_dir, database, seconds) for name in STYLES]
            queue_worker, queue_server = await measure_queue(data_dir, database)
    idle = costs[0]
    worker_share, server_share = idle.worker_cpu_s / idle.wall_s, idle.postgres_cpu_s / idle.wall_s
    print(f"upkeep alone: worker {worker_share:.1%} of a core, PostgreSQL {server_share:.1%}")
    for cost in costs[1:]:
        upkeep_ms = (worker_share + server_share) * cost.wall_s * 1000 / max(cost.decisions, 1)
        print(
            f"{cost.name}: {cost.decisions} decisions ({cost.decisions / cost.wall_s:.1f}/s), {cost.rounds} rounds, "
            f"{cost.orders} orders; CPU ms a decision: worker {cost.worker_ms} + PostgreSQL {cost.postgres_ms} "
            f"= {cost.worker_ms + cost.postgres_ms:.2f}, of which upkeep {upkeep_ms:.2f}"
        )
        print(f"  worker's CPU by layer, percent: {cost.shares}")
    print(f"queue: CPU ms a job: worker {queue_worker:.2f} + PostgreSQL {queue_server:.2f}")
    print(json.dumps({"costs": [asdict(cost) for cost in costs], "queue_ms": [queue_worker, queue_server]}))


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1]) if len(sys.argv) > 1 else 20.0))
