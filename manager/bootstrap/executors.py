"""Give each trader its executor, with the key that only the running process has."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Final

import structlog

from executor.contract import Context, Executor, FullDecision, ItemError, Outcome
from executor.errors import ExecutorError, ExecutorUnavailable
from executor.models.clients import gate_key
from executor.models.profile import MAX_CONCURRENCY
from executor.recordings.decisions import InvalidItem, RecordedBatch, RecordedExecutor
from executor.registry import ExecutorParts, ExecutorSpec, ExecutorType, build_executor
from manager.config.values import Config
from manager.jobs.slots import GateKey, GatePlaces
from manager.spending.meter import Spending
from manager.state.records import TenantId
from traders.spec import TraderSpec

_LOG = structlog.get_logger(__name__)
_WITH_DEADLINE: Final = (ExecutorType.LLM, ExecutorType.REMOTE)


class Unusable:
    """Stand in for an executor that cannot be built: no decision, so no new risk, and the reason with it."""

    def __init__(self, reason: str) -> None:
        self.reason = reason

    async def decide(self, context: Context) -> FullDecision:
        """Return that nothing was decided, and why."""
        del context
        return FullDecision(outcome=Outcome.UNAVAILABLE, errors=(ItemError(path="executor", message=self.reason),))

    async def ping(self) -> None:
        """Raise ExecutorUnavailable with the reason."""
        raise ExecutorUnavailable(self.reason)

    async def close(self) -> None:
        """Do nothing: nothing is held."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """Hold the recorded decisions of a replay by trader; `invalid` grows with those that cannot be delivered."""

    batches: Mapping[str, Sequence[RecordedBatch]] = field(default_factory=dict)
    invalid: list[InvalidItem] = field(default_factory=list)


def longest_decision_s(config: Config) -> float:
    """Return how long any executor of the desk may take over a decision, in seconds."""
    specs = [spec.executor for tenant in config.tenants.values() for spec in tenant.traders]
    asked = [spec.timeout_s for spec in specs if spec.type in _WITH_DEADLINE]
    return max(float(config.manager.decision_timeout_s), *asked, 0.0)


def gates_of(config: Config) -> dict[GateKey, GatePlaces]:
    """Return the endpoints that decide for the traders of a config, by the gates of their schedules."""
    found: dict[GateKey, GatePlaces] = {}
    for tenant_id, tenant in config.tenants.items():
        models = config.models(tenant_id)
        for executor in {spec.executor.gate: config.with_key(spec.executor) for spec in tenant.traders}.values():
            name, places = f"{tenant_id}/{executor.gate}", MAX_CONCURRENCY
            if executor.type is ExecutorType.LLM and (executor.base_url or executor.model in models):
                profile = executor.inline_profile() if executor.base_url else models[executor.model]
                name, places = "\n".join(gate_key(profile.endpoint)), profile.max_concurrency or MAX_CONCURRENCY
            if executor.gate:
                found[tenant_id, executor.gate] = GatePlaces(shared=sha256(name.encode()).hexdigest(), places=places)
    return found


def is_one_gate(config: Config) -> bool:
    """Tell whether all traders of a config wait at the same endpoint."""
    shared = {gate.shared for gate in gates_of(config).values()}
    specs = [spec for tenant in config.tenants.values() for spec in tenant.traders]
    return len(shared) == 1 and all(spec.executor.gate for spec in specs)


class ConfiguredExecutors:
    """Build each trader's executor once, and again when its definition changes; models are its tenant's.

    The stored definition has no key: a trader of the config gets the one that the config names, for the endpoint that
    the config names and no other. No deadline is later than the longest of the config, because that is what makes a
    claim stale. An executor that cannot be built takes no new risk, but for a replay: with `recorded` decisions, which
    come before any executor, it raises ExecutorError.
    """

    def __init__(
        self, config: Config, parts: ExecutorParts, spending: Spending | None = None, recorded: Recorded | None = None
    ) -> None:
        self._config = config
        self._parts = parts
        self._spending = spending
        self._recorded = recorded
        self._longest_s = longest_decision_s(config)
        self._configured = {
            (tenant_id, spec.id): config.with_key(spec.executor)
            for tenant_id, tenant in config.tenants.items()
            for spec in tenant.traders
        }
        self._built: dict[tuple[TenantId, str], tuple[ExecutorSpec, Executor]] = {}

    def of(self, tenant: TenantId, spec: TraderSpec) -> Executor:
        """Return the trader's executor; one that cannot be built decides nothing, and is tried again each time."""
        known = self._built.get((tenant, spec.id))
        if known is not None and known[0] == spec.executor and not isinstance(known[1], Unusable):
            return known[1]
        try:
            executor = self._build(tenant, spec)
        except ExecutorError as error:
            if self._recorded is not None:
                raise
            executor = Unusable(str(error))
            told = known is not None and isinstance(known[1], Unusable) and known[1].reason
            if executor.reason != told:
                _LOG.error("executor_unusable", tenant=tenant, trader=spec.id, error=executor.reason)
        self._built[(tenant, spec.id)] = (spec.executor, executor)
        return executor

    def _build(self, tenant: TenantId, spec: TraderSpec) -> Executor:
        recorded = self._recorded
        if recorded is not None and spec.id in recorded.batches:
            return RecordedExecutor({spec.id: recorded.batches[spec.id]}, recorded.invalid.append)
        wanted, configured = spec.executor, self._configured.get((tenant, spec.id))
        if configured is not None and configured.base_url == wanted.base_url:
            wanted = replace(wanted, api_key=configured.api_key)
        wanted = replace(wanted, timeout_s=min(wanted.timeout_s, self._longest_s))
        meter = None if self._spending is None else self._spending.meter(tenant, spec)
        models = self._config.models(tenant)
        return build_executor(wanted, replace(self._parts, models=models, meter=meter, trader=spec.id))
