"""An API over a desk in memory, with keys of each role, asked over ASGI."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI
from structlog.testing import capture_logs

from config_files import SOUND, write_config
from desk_factory import AT
from exchanges.clock import ManualClock
from manager.access.keys import Keys, NewKey
from manager.access.lockout import Patience, Rate
from manager.api.app import create_app
from manager.api.desk import Desk
from manager.config import load_config
from manager.state.kinds import Role
from manager.state.memory.store import MemoryStore
from manager.state.records import DEFAULT_TENANT, TenantId
from manager.state.secrets import ServiceKey
from manager.state.store import Store

SECRETS = ServiceKey(value=bytes(range(32)))
BASE = "http://desk"
PATIENT = Patience(refused=1_000_000)
UNLIMITED = Rate(per_s=1, burst=1_000_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiDesk:
    """Hold a served desk; `client` has no key, `keys` has one of each role."""

    desk: Desk
    app: FastAPI
    store: Store
    clock: ManualClock
    client: httpx.AsyncClient
    keys: dict[Role, str]

    async def ask(
        self, method: str, path: str, *, role: Role | None = Role.SERVICE_ADMIN, **more: Any
    ) -> httpx.Response:
        """Ask a route below /api/v1 as a role, without a key for None."""
        headers = {**more.pop("headers", {}), **({"Authorization": f"Bearer {self.keys[role]}"} if role else {})}
        return await self.client.request(method, f"/api/v1{path}", headers=headers, **more)


@asynccontextmanager
async def api_desk(
    folder: Path, text: str = SOUND, store: Store | None = None, patience: Patience = PATIENT
) -> AsyncIterator[ApiDesk]:
    """Serve the desk of a config, synced into a store of its own unless one is given."""
    clock, store = ManualClock(AT), store or MemoryStore()
    config = load_config(write_config(folder, text), {})
    desk = Desk(config=config, clock=clock, secrets=SECRETS, patience=patience, rate=UNLIMITED)
    desk.assemble(store)
    await desk.parts.manager.sync(desk.config)
    keys = await issue_keys(store, clock)
    app = create_app(desk)
    # Tracebacks on a terminal show the locals of each frame, which takes minutes here.
    with capture_logs():
        async with client_of(app) as client:
            yield ApiDesk(desk=desk, app=app, store=store, clock=clock, client=client, keys=keys)


def client_of(app: FastAPI, address: str = "127.0.0.1") -> httpx.AsyncClient:
    """Return a client at an address that asks the application."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False, client=(address, 40_000))
    return httpx.AsyncClient(transport=transport, base_url=BASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """Hold an application, and a key of each role."""

    app: FastAPI
    keys: dict[Role, str]


async def served_desk(folder: Path, text: str = SOUND) -> Served:
    """Return the application of a desk in memory."""
    clock, store = ManualClock(AT), MemoryStore()
    config = load_config(write_config(folder, text), {})
    desk = Desk(config=config, clock=clock, secrets=SECRETS, patience=PATIENT, rate=UNLIMITED)
    desk.assemble(store)
    await desk.parts.manager.sync(desk.config)
    return Served(app=create_app(desk), keys=await issue_keys(store, clock))


async def issue_keys(store: Store, clock: ManualClock, tenant: TenantId = DEFAULT_TENANT) -> dict[Role, str]:
    """Return a key of each role that a tenant may have."""
    ring = Keys(store, SECRETS, clock)
    roles = [role for role in Role if tenant == DEFAULT_TENANT or role is not Role.SERVICE_ADMIN]
    return {role: (await ring.issue(tenant, NewKey(name=role, role=role), actor="test")).text for role in roles}
