"""One trading worker: the queue's jobs on the desk's handlers, and the orchestrator beside them."""

import asyncio
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass

from exchanges.clock import Clock
from manager.desk.sampling import EquitySampler
from manager.desk.session import AccountRuntime
from manager.jobs.handlers import DeskHandlers, DeskParts, ExecutorSource
from manager.jobs.queue import QueueRunner
from manager.jobs.worker import QueueWorker, WorkerSettings
from manager.orchestrator import Orchestrator, Pace
from manager.state.records import AccountId, TenantId
from manager.state.store import AccountKey, Store


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerParts:
    """Hold what one worker is made of; the runner is open."""

    store: Store
    clock: Clock
    runner: QueueRunner
    executors: ExecutorSource
    sampler: EquitySampler
    accounts: Mapping[tuple[TenantId, AccountId], AccountRuntime]
    settings: WorkerSettings
    pace: Pace


async def serve(parts: WorkerParts, stop: asyncio.Event) -> None:
    """Trade until `stop` is set and the jobs under way have ended; raise SchemaMoved if the database's schema moved."""
    handlers = DeskHandlers(
        DeskParts(
            store=parts.store,
            clock=parts.clock,
            runner=parts.runner,
            executors=parts.executors,
            sampler=parts.sampler,
            accounts=parts.accounts,
            keep_prompts=parts.pace.keep_prompts_s > 0,
            holder=f"{socket.gethostname()}:{os.getpid()}",
        )
    )
    accounts = [AccountKey(tenant_id=tenant, account_id=account) for tenant, account in parts.accounts]
    orchestrator = Orchestrator(parts.store, parts.runner, parts.clock, accounts, parts.pace)
    worker = QueueWorker(parts.runner, handlers, parts.settings)
    async with asyncio.TaskGroup() as group:
        group.create_task(orchestrator.run(stop), name="orchestrator")
        group.create_task(worker.run(stop), name="queue-worker")
    if worker.moved is not None:
        raise worker.moved
