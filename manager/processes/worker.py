"""One trading worker: the queue's jobs on the desk's handlers, and the orchestrator beside them."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from manager.jobs.handlers import DeskHandlers, DeskParts
from manager.jobs.queue import QueueRunner
from manager.jobs.slots import GateKey, GatePlaces, Slots
from manager.jobs.worker import QueueWorker, WorkerSettings
from manager.orchestrator import Orchestrator, Pace
from manager.state.store import AccountKey


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerParts:
    """Hold what one worker is made of; the runner is open, and the one that the desk defers to.

    `gates` are the endpoints that decide, `one_gate` that all traders wait at the same.
    """

    desk: DeskParts
    runner: QueueRunner
    settings: WorkerSettings
    pace: Pace
    gates: Mapping[GateKey, GatePlaces] = field(default_factory=dict)
    one_gate: bool = False


async def serve(parts: WorkerParts, stop: asyncio.Event) -> None:
    """Trade until `stop` is set and the jobs under way have ended; raise SchemaMoved if the database's schema moved."""
    desk = parts.desk
    accounts = [AccountKey(tenant_id=tenant, account_id=account) for tenant, account in desk.accounts]
    slots = Slots(parts.settings.decision_concurrency, parts.gates, desk.clock.boot_s, alone=parts.one_gate)
    orchestrator = Orchestrator(desk.store, parts.runner, desk.clock, accounts, parts.pace, slots)
    worker = QueueWorker(parts.runner, DeskHandlers(desk), parts.settings, slots)
    async with asyncio.TaskGroup() as group:
        group.create_task(orchestrator.run(stop), name="orchestrator")
        group.create_task(worker.run(stop), name="queue-worker")
    if worker.moved is not None:
        raise worker.moved
