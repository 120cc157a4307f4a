"""Whether a replay asks models and executors elsewhere, keeps what they say, or only reads it; and what that cost."""

from collections import UserDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from executor.models.clients import ModelClients, ModelSource
from executor.recordings.files import RecordingFile, Recordings
from executor.recordings.sources import RecordedModels, RecordedRemotes, RecordingModels, RecordingRemotes
from executor.remote.connections import RemoteConnections
from executor.remote.endpoint import RemoteSource
from manager.replay.errors import ReplayInputError
from manager.replay.request import ModelsMode
from manager.state.records import SpendingRow
from manager.state.sums import MODEL, TENANT, TRADER, added

_NO_KEY: Final = "no-key-is-needed"
_LISTS: Final = {MODEL: "models", TRADER: "traders"}


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionSources:
    """Hold what decisions come from where neither rules nor recorded decisions take them."""

    models: ModelSource
    remotes: RemoteSource


def decision_sources(mode: ModelsMode, folder: Path, *, asked: bool) -> DecisionSources:
    """Return where decisions come from; raise ReplayInputError if recordings are to be read and there are none.

    `asked` says whether any trader asks a model or an executor elsewhere. What is recorded opens no connection.
    """
    if mode is ModelsMode.RECORD:
        file = RecordingFile(folder)
        remotes = RecordingRemotes(RemoteConnections(), file)
        return DecisionSources(models=RecordingModels(ModelClients(), file), remotes=remotes)
    if mode is ModelsMode.LIVE or not asked:
        return DecisionSources(models=ModelClients(), remotes=RemoteConnections())
    if not folder.is_dir():
        raise ReplayInputError(
            f"there are no recordings in {folder}, and a trader asks a model or an executor elsewhere; run it with "
            "--models record first, which asks them and keeps what they say, or with --models live"
        )
    recordings = Recordings(folder)
    return DecisionSources(models=RecordedModels(recordings), remotes=RecordedRemotes(recordings))


class _Keyless(UserDict[str, str]):
    def get(self, name: str, default: Any = None) -> Any:
        del default
        return self[name]

    def __getitem__(self, name: str) -> str:
        return self.data.get(name) or _NO_KEY


def environment_of(mode: ModelsMode, variables: Mapping[str, str]) -> Mapping[str, str]:
    """Return where the config finds its secrets; what only reads recordings needs none, so that none is missing."""
    return _Keyless(variables) if mode is ModelsMode.RECORDED else variables


def finish(source: ModelSource) -> None:
    """Make what was recorded that of a whole run; without it a recording only fills the gaps of others."""
    if isinstance(source, RecordingModels):
        source.finish()


def models_report(rows: Sequence[SpendingRow]) -> dict[str, Any]:
    """Return calls, tokens and costs over all days: in total, by model and by trader; empty without any call."""
    sums: dict[tuple[str, str], SpendingRow] = {}
    for row in rows:
        key = (row.scope, row.name)
        sums[key] = added(sums[key], row) if key in sums else row
    report: dict[str, Any] = {"total": {}, "models": [], "traders": []} if sums else {}
    for (scope, name), row in sorted(sums.items()):
        if scope == TENANT:
            report["total"] = _numbers(row)
        else:
            report[_LISTS[scope]].append({"id": name, **_numbers(row)})
    return report


def _numbers(row: SpendingRow) -> dict[str, Any]:
    return {
        "calls": row.calls,
        "input_tokens": row.input_tokens,
        "cached_tokens": row.cached_tokens,
        "output_tokens": row.output_tokens,
        "cost_usd": _usd(row.spent_usd),
        "unknown_usd": _usd(row.unknown_usd),
    }


def _usd(amount: Decimal) -> str:
    return f"{amount.normalize():f}" if amount else "0"
