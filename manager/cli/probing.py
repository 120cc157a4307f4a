"""`propdesk check models`: what the models and remote executors of a config can do."""

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Final

import anyio
import typer

from exchanges.clock import Clock, SystemClock
from executor.errors import ExecutorConfigError, ExecutorUnavailable
from executor.models.addresses import same_url, shown_url
from executor.models.probe import ProbeResult, probe
from executor.models.profile import ModelProfile
from executor.registry import ExecutorParts, ExecutorType, ModelClients, build_executor
from manager.cli.guard import FAILED
from manager.cli.options import CONFIG_DEFAULT, ConfigOption, JsonOption, read_config
from manager.cli.progress import progress, ticking
from manager.cli.render import print_json, say, show_table
from manager.config import Config
from manager.state.records import DEFAULT_TENANT, TenantId
from traders.spec import TraderSpec

_MODEL_COLUMNS = (
    "model", "endpoint", "state", "latency>", "asked", "seen", "USD/Mtok in, cached, out", "this call USD>",
)  # fmt: skip
_AT_ONCE: Final = 8
_REMOTE_COLUMNS = ("trader", "executor", "state", "latency>")

checks = typer.Typer(no_args_is_help=True, help="Check what the desk depends on.")


@checks.command("models")
def models(config: ConfigOption = CONFIG_DEFAULT, as_json: JsonOption = False) -> None:
    """Call each configured model once and say what it can do and what is wrong; exit code 1 if any fails.

    Remote executors are greeted: whether each is there, takes the key and can decide for its trader.
    """
    read = read_config(config)
    configured = tuple(configured_models(read))
    with progress("asking the models") as meter:
        results = asyncio.run(probe_all(configured, SystemClock(), meter)) if configured else []
    asked = [ModelCheck(configured=one, result=result) for one, result in zip(configured, results, strict=True)]
    remotes = asyncio.run(check_remotes(read, SystemClock()))
    ok = all(one.result.ok for one in asked) and all(one.ok for one in remotes)
    if as_json:
        print_json({"ok": ok, "models": [one.row for one in asked], "executors": [one.row for one in remotes]})
    elif asked or remotes:
        show_checks(asked, remotes)
    else:
        say(f"{config} names no model and no remote executor; there is nothing to check.")
    if not ok:
        raise typer.Exit(FAILED)


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
            body = json.dumps(dict(own.extra_body), sort_keys=True)
            alike = (own.base_url, own.api_key, own.model, own.structured, own.timeout_s, body)
            if own.type is ExecutorType.LLM and own.base_url and alike not in seen:
                seen.add(alike)
                profile = config.with_key(own).inline_profile()
                yield Configured(tenant=tenant_id, name=f"trader {spec.id}", profile=profile)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCheck:
    """Hold what one call of a configured model showed."""

    configured: Configured
    result: ProbeResult

    @property
    def cost_usd(self) -> Decimal | None:
        """Return what the call cost; None where no prices are known or nothing was answered."""
        prices = self.configured.profile.prices
        return prices.cost(self.result.usage) if prices is not None and self.result.ok else None

    @property
    def cells(self) -> list[str]:
        """Return it for a table."""
        one, result, cost = self.configured, self.result, self.cost_usd
        endpoint, prices = one.profile.endpoint, one.profile.prices
        return [
            one.title,
            f"{endpoint.model} at {shown_url(endpoint.base_url)}",
            "ok" if result.ok else "failed",
            f"{result.latency_s:.2f} s",
            endpoint.structured,
            result.seen,
            f"{prices.input:f}, {prices.cached_input:f}, {prices.output:f}" if prices else "-",
            f"{cost:f}" if cost is not None else "-",
        ]

    @property
    def row(self) -> Mapping[str, Any]:
        """Return it for --json."""
        one, result, endpoint = self.configured, self.result, self.configured.profile.endpoint
        return {
            "tenant": one.tenant,
            "name": one.name,
            "model": endpoint.model,
            "base_url": shown_url(endpoint.base_url),
            "ok": result.ok,
            "latency_s": round(result.latency_s, 3),
            "answered_as": result.answered_as,
            "structured": {"asked": endpoint.structured, "seen": result.seen},
            "price_per_mtok": one.profile.prices,
            "tokens": {"input": result.usage.input_tokens, "output": result.usage.output_tokens},
            "cost_usd": self.cost_usd,
            "problems": result.problems,
            "hints": result.hints,
        }


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

    @property
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


async def probe_all(configured: Sequence[Configured], clock: Clock, meter: Any) -> list[ProbeResult]:
    """Return what one call of each showed: one after the other at an address, a few addresses at once.

    Clients are opened before, because the first one takes over a second, which is no latency of its model.
    """
    async with ticking(meter), _Prober(configured, clock) as prober:
        return list(await asyncio.gather(*map(prober.ask, configured)))


class _Prober:
    """Hold the clients of some models and the locks of their addresses."""

    def __init__(self, configured: Sequence[Configured], clock: Clock) -> None:
        self._configured = configured
        self._clock = clock
        self._clients = ModelClients()
        self._lines = anyio.CapacityLimiter(_AT_ONCE)
        self._addresses = {same_url(one.profile.endpoint.base_url): asyncio.Lock() for one in configured}
        self._refused: dict[int, str] = {}

    async def __aenter__(self) -> "_Prober":
        for one in self._configured:
            try:
                await self._clients.client(one.profile.endpoint).opened()
            except ExecutorConfigError as error:
                self._refused[id(one)] = str(error)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._clients.close()

    async def ask(self, one: Configured) -> ProbeResult:
        """Return what a call showed; of a model that could not be opened, why."""
        from executor.models.openai_chat import OpenAIChatModel

        if id(one) in self._refused:
            return ProbeResult(ok=False, latency_s=0.0, problems=(self._refused[id(one)],))
        endpoint = one.profile.endpoint
        async with self._addresses[same_url(endpoint.base_url)], self._lines:
            model = OpenAIChatModel(self._clients.client(endpoint), endpoint)
            return await probe(model, one.profile, self._clock.boot_s)


async def check_remotes(config: Config, clock: Clock) -> list[RemoteCheck]:
    """Greet the executor of every trader that has a remote one: is it there, is the key right, can it decide.

    A greeting costs nothing.
    """
    parts = ExecutorParts(prompts=config.prompt_library(), clients=ModelClients(), monotonic=clock.boot_s)

    async def greeted(tenant: TenantId, spec: TraderSpec) -> RemoteCheck:
        started, problem = clock.boot_s(), ""
        try:
            await build_executor(config.with_key(spec.executor), replace(parts, trader=spec.id)).ping()
        except (ExecutorUnavailable, ExecutorConfigError) as error:
            problem = str(error)
        url, latency_s = shown_url(spec.executor.base_url), clock.boot_s() - started
        return RemoteCheck(tenant=tenant, trader=spec.id, url=url, latency_s=latency_s, problem=problem)

    remote = [
        (tenant_id, spec)
        for tenant_id, tenant in config.tenants.items()
        for spec in tenant.traders
        if spec.executor.type is ExecutorType.REMOTE
    ]
    try:
        return list(await asyncio.gather(*(greeted(*one) for one in remote)))
    finally:
        await parts.remotes.close()


def show_checks(models: Sequence[ModelCheck], remotes: Sequence[RemoteCheck]) -> None:
    """Print a table of models and one of remote executors, each if there are any, and what is wrong."""
    if models:
        show_table("Models", _MODEL_COLUMNS, [one.cells for one in models])
    for one in models:
        for problem in one.result.problems:
            say(f"{one.configured.title}: failed: {problem}", style="red")
        for hint in one.result.hints:
            say(f"{one.configured.title}: note: {hint}", style="yellow")
    if remotes:
        rows = [[one.title, one.url, "ok" if one.ok else "failed", f"{one.latency_s:.2f} s"] for one in remotes]
        show_table("Remote executors", _REMOTE_COLUMNS, rows)
    for remote in remotes:
        if remote.problem:
            say(f"{remote.title}: failed: {remote.problem}", style="red")
