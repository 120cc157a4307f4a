"""What traders are defined as, and the version of a definition, which a change has to name."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from typing import Any, Final

from executor.models.addresses import shown_url
from executor.spec import ExecutorSpec, ExecutorType
from manager.config.definition import written
from manager.errors import UnknownTrader
from manager.state.records import TenantId, TraderRow
from manager.state.store import Store
from manager.views.pages import jsonable
from traders.spec import ManagedBy, TraderId, TraderSpec

_OF_TYPE: Final[Mapping[ExecutorType, tuple[str, ...]]] = {
    ExecutorType.BASELINE: ("style",),
    ExecutorType.LLM: ("model", "fallback"),
    ExecutorType.REMOTE: (),
    ExecutorType.RECORDED: (),
}
_SHORT: Final = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """Hold a trader's definition in the words of the config; the same definition has the same version, always."""

    trader_id: TraderId
    version: str
    managed_by: ManagedBy
    definition: Mapping[str, Any]


def version_of(spec: TraderSpec) -> str:
    """Return what tells a definition from any other; no key is in it."""
    text = json.dumps(jsonable(asdict(replace(spec, executor=replace(spec.executor, api_key="")))), sort_keys=True)
    return sha256(text.encode()).hexdigest()[:_SHORT]


def definition_of(spec: TraderSpec) -> Definition:
    """Return a definition as it is shown: neither a key nor what an address may hide is in it."""
    shown = {**written(spec), "executor": _executor(spec.executor), "auto_start": spec.auto_start}
    shown["show_desk_exposure"] = spec.show_desk_exposure
    if spec.executor.prompt_template:
        shown["prompt_template"] = spec.executor.prompt_template
    return Definition(trader_id=spec.id, version=version_of(spec), managed_by=spec.managed_by, definition=shown)


async def read_definition(store: Store, tenant: TenantId, trader_id: TraderId) -> Definition:
    """Return a trader's definition; raise UnknownTrader."""
    async with store.transaction(tenant) as tx:
        row = await tx.get(TraderRow, trader_id)
    if row is None:
        raise UnknownTrader.of(trader_id)
    return definition_of(row.spec)


def _executor(spec: ExecutorSpec) -> dict[str, Any]:
    shown: dict[str, Any] = {"type": spec.type, **{name: getattr(spec, name) for name in _OF_TYPE[spec.type]}}
    if spec.type in (ExecutorType.LLM, ExecutorType.REMOTE):
        shown["timeout"] = f"{spec.timeout_s:g}s"
        shown |= {"url": shown_url(spec.base_url)} if spec.base_url else {}
    return shown
