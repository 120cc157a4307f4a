"""One trading worker: the queue's jobs on the desk's handlers, and the orchestrator beside them."""

import asyncio
from dataclasses import dataclass

from manager.jobs.handlers import DeskHandlers, DeskParts
from manager.jobs.queue import QueueRunner
from manager.jobs.worker import QueueWorker, WorkerSettings
from manager.orchestrator import Orchestrator, Pace
from manager.state.store import AccountKey


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerParts:
    """Hold what one worker is made of; the runner is open, and the one that the desk defers to."""

    desk: DeskParts
    runner: QueueRunner
    settings: WorkerSettings
    pace: Pace


async def serve(parts: WorkerParts, stop: asyncio.Event) -> None:
    """Trade until `stop` is set and the jobs under way have ended; raise SchemaMoved if the database's schema moved."""
    desk = parts.desk
    accounts = [AccountKey(tenant_id=tenant, account_id=account) for tenant, account in desk.accounts]
    orchestrator = Orchestrator(desk.store, parts.runner, desk.clock, accounts, parts.pace)
    worker = QueueWorker(parts.runner, DeskHandlers(desk), parts.settings)
    async with asyncio.TaskGroup() as group:
        group.create_task(orchestrator.run(stop), name="orchestrator")
        group.create_task(worker.run(stop), name="queue-worker")
    if worker.moved is not None:
        raise worker.moved
