"""Ask each model of a config once, so that none of them slows the answer of another down."""

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import anyio

from exchanges.clock import Clock
from executor.errors import ExecutorConfigError
from executor.models.addresses import same_url
from executor.models.clients import ModelClients
from executor.models.probe import ProbeResult, probe
from executor.models.profile import ModelProfile
from executor.registry import ExecutorSpec, ExecutorType
from manager.config import Config
from manager.state.records import DEFAULT_TENANT, TenantId

_AT_ONCE: Final = 8
_TICK_S: Final = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Configured:
    """Name a model of a tenant; one that a trader brings itself goes by the trader's id."""

    tenant: TenantId
    name: str
    profile: ModelProfile

    @property
    def title(self) -> str:
        """Return the name as a table shows it."""
        return self.name if self.tenant == DEFAULT_TENANT else f"{self.tenant}/{self.name}"


def configured_models(config: Config) -> Iterator[Configured]:
    """Yield every model of every tenant with its key, those that traders bring themselves once if they ask alike."""
    for tenant_id, tenant in config.tenants.items():
        for name, profile in config.models(tenant_id).items():
            yield Configured(tenant=tenant_id, name=name, profile=profile)
        seen: set[tuple[Any, ...]] = set()
        for spec in tenant.traders:
            own = spec.executor
            if own.type is ExecutorType.LLM and own.base_url and _identity(own) not in seen:
                seen.add(_identity(own))
                profile = config.with_key(own).inline_profile()
                yield Configured(tenant=tenant_id, name=f"trader {spec.id}", profile=profile)


async def probe_all(configured: Sequence[Configured], clock: Clock, meter: Any) -> list[ProbeResult]:
    """Return what one call of each showed: one after the other at an address, a few addresses at once.

    Clients are opened before, because the first one takes over a second, which is no latency of its model.
    """
    clients, lines = ModelClients(), anyio.CapacityLimiter(_AT_ONCE)
    addresses = {same_url(one.profile.endpoint.base_url): asyncio.Lock() for one in configured}
    refused = [await _open(clients, one.profile) for one in configured]

    async def ask(one: Configured, problem: str) -> ProbeResult:
        if problem:
            return ProbeResult(ok=False, latency_s=0.0, problems=(problem,))
        async with addresses[same_url(one.profile.endpoint.base_url)], lines:
            return await _probe(clients, one.profile, clock)

    ticking = asyncio.create_task(_tick(meter))
    try:
        return list(await asyncio.gather(*map(ask, configured, refused)))
    finally:
        ticking.cancel()
        await clients.close()


async def _tick(meter: Any) -> None:
    while True:
        await asyncio.sleep(_TICK_S)
        meter(None)


async def _open(clients: ModelClients, profile: ModelProfile) -> str:
    try:
        await clients.client(profile.endpoint).opened()
        return ""
    except ExecutorConfigError as error:
        return str(error)


async def _probe(clients: ModelClients, profile: ModelProfile, clock: Clock) -> ProbeResult:
    from executor.models.openai_chat import OpenAIChatModel

    model = OpenAIChatModel(clients.client(profile.endpoint), profile.endpoint)
    return await probe(model, profile, clock.boot_s)


def _identity(own: ExecutorSpec) -> tuple[Any, ...]:
    body: Mapping[str, Any] = own.extra_body
    return (own.base_url, own.api_key, own.model, own.structured, own.timeout_s, json.dumps(body, sort_keys=True))
