"""The part of `propdesk check models` about executors elsewhere: each is greeted, which costs nothing."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from exchanges.clock import Clock
from executor.errors import ExecutorConfigError, ExecutorUnavailable
from executor.models.addresses import shown_url
from executor.registry import ExecutorParts, ExecutorType, ModelClients, build_executor
from manager.cli.render import say, show_table
from manager.config import Config
from manager.state.records import DEFAULT_TENANT, TenantId
from traders.spec import TraderSpec

_COLUMNS = ("trader", "executor", "state", "latency>")


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteCheck:
    """Hold what the greeting of one trader's executor showed; `problem` is empty if it can decide."""

    tenant: TenantId
    trader: str
    url: str
    latency_s: float
    problem: str = ""

    @property
    def ok(self) -> bool:
        """Tell whether it can decide."""
        return not self.problem

    @property
    def title(self) -> str:
        """Return the trader as a table shows it."""
        return self.trader if self.tenant == DEFAULT_TENANT else f"{self.tenant}/{self.trader}"

    def row(self) -> Mapping[str, Any]:
        """Return it for --json."""
        return {
            "tenant": self.tenant,
            "trader": self.trader,
            "url": self.url,
            "ok": self.ok,
            "latency_s": round(self.latency_s, 3),
            "problem": self.problem,
        }


async def check_remotes(config: Config, clock: Clock) -> list[RemoteCheck]:
    """Greet the executor of every trader that decides elsewhere: is it there, is the key right, can it decide."""
    parts = ExecutorParts(prompts=config.prompt_library(), clients=ModelClients(), monotonic=clock.boot_s)
    elsewhere = [
        (tenant_id, spec)
        for tenant_id, tenant in config.tenants.items()
        for spec in tenant.traders
        if spec.executor.type is ExecutorType.REMOTE
    ]
    try:
        return list(await asyncio.gather(*(_greeted(config, parts, *one) for one in elsewhere)))
    finally:
        await parts.remotes.close()


async def _greeted(config: Config, shared: ExecutorParts, tenant: TenantId, spec: TraderSpec) -> RemoteCheck:
    parts = replace(shared, trader=spec.id)
    started, problem = shared.monotonic(), ""
    try:
        await build_executor(config.with_key(spec.executor), parts).ping()
    except (ExecutorUnavailable, ExecutorConfigError) as error:
        problem = str(error)
    return RemoteCheck(
        tenant=tenant,
        trader=spec.id,
        url=shown_url(spec.executor.base_url),
        latency_s=shared.monotonic() - started,
        problem=problem,
    )


def show_remotes(checks: Sequence[RemoteCheck]) -> None:
    """Print a table of them, and what is wrong."""
    rows = [[one.title, one.url, "ok" if one.ok else "failed", f"{one.latency_s:.2f} s"] for one in checks]
    show_table("Executors elsewhere", _COLUMNS, rows)
    for one in checks:
        if one.problem:
            say(f"{one.title}: failed: {one.problem}", style="red")
