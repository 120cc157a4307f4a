"""Which executor a trader gets: the one place that maps a configured type to a class."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from executor.baseline.executor import BaselineExecutor
from executor.baseline.styles import Style
from executor.contract import Executor
from executor.errors import ExecutorConfigError
from executor.executor import LLMExecutor
from executor.models.clients import ModelClients, ModelSource
from executor.models.metering import Meter
from executor.models.profile import ModelProfile
from executor.prompts.library import PromptLibrary
from executor.recordings.decisions import RecordedBatch, RecordedExecutor
from executor.remote.connections import RemoteConnections
from executor.remote.endpoint import RemoteSource
from executor.spec import ExecutorSpec, ExecutorType, member

__all__ = ["ExecutorParts", "ExecutorSpec", "ExecutorType", "ModelClients", "build_executor"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorParts:
    """Hold what executors are built from; `monotonic` returns seconds, `models` are one tenant's, with their keys.

    The meter is that of `trader`, an id.
    """

    prompts: PromptLibrary
    clients: ModelSource
    monotonic: Callable[[], float]
    models: Mapping[str, ModelProfile] = field(default_factory=dict, repr=False)
    recorded: Mapping[str, Sequence[RecordedBatch]] | None = None
    remotes: RemoteSource = field(default_factory=RemoteConnections)
    meter: Meter | None = None
    trader: str = ""

    def profiles(self, spec: ExecutorSpec) -> Sequence[ModelProfile]:
        """Return the models of `spec` in order; raise ExecutorConfigError for one that is not configured."""
        named = list(spec.fallback) if spec.base_url else [spec.model, *spec.fallback]
        missing = next((name for name in named if name not in self.models), None)
        own = [spec.inline_profile()] if spec.base_url else []
        if missing is not None:
            known = ", ".join(sorted(self.models)) or "none"
            raise ExecutorConfigError(f"model {missing!r} is not under models of the config; expected one of: {known}")
        return [*own, *(self.models[name] for name in named)]


def build_executor(spec: ExecutorSpec, parts: ExecutorParts) -> Executor:
    """Return the executor that `spec` names; raise ExecutorConfigError or PromptError before anything runs."""
    match member(ExecutorType, "type", spec.type):
        case ExecutorType.BASELINE:
            return BaselineExecutor(member(Style, "style", spec.style))
        case ExecutorType.RECORDED:
            if parts.recorded is None:
                raise ExecutorConfigError(
                    "executor type is 'recorded' but no recording is given; pass --decisions FILE"
                )
            return RecordedExecutor(parts.recorded)
        case ExecutorType.LLM:
            spec.check("model", "prompt_template")
            profiles = parts.profiles(spec)
            parts.prompts.header(spec.prompt_template)
            return LLMExecutor(
                models=[parts.clients.model(profile, parts.meter) for profile in profiles],
                prompts=parts.prompts,
                template=spec.prompt_template,
                timeout_s=spec.timeout_s,
                monotonic=parts.monotonic,
                turn=parts.clients.turn,
            )
        case ExecutorType.REMOTE:
            from executor.remote.executor import RemoteExecutor

            endpoint = spec.remote_endpoint()
            return RemoteExecutor(endpoint, parts.remotes, parts.monotonic, meter=parts.meter, trader=parts.trader)
