"""What becomes of the desk as a whole, as events of its tenants: starts, stops, ended processes, changed settings."""

import json
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import fields, is_dataclass
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import uuid4

from exchanges.clock import Clock
from manager.config.values import Config, TenantConfig
from manager.state.kinds import EventKind
from manager.state.records import AccountId, EventRow, TenantId
from manager.state.store import Store


class DeskLog:
    """Write events of the desk in the name of `actor`; those of a process have no account."""

    def __init__(self, store: Store, clock: Clock, *, actor: str) -> None:
        self._store = store
        self._clock = clock
        self._actor = actor

    async def started(self, config: Config) -> None:
        """Tell each tenant that a worker is ready, and what its settings were and are now if they differ."""
        path = str(config.path.resolve())
        for tenant in config.tenants.values():
            wanted = {"kind": EventKind.CONFIG_CHANGED}
            text = settings_text(config, tenant)
            async with self._store.transaction(tenant.tenant_id) as tx:
                last = await tx.find(EventRow, wanted, newest_first="at", limit=1)
                before = last[0].after if last else ""
                rows = [self._event(tenant.tenant_id, EventKind.DESK_STARTED, "worker ready", path)]
                if before != text:
                    rows.append(self._event(tenant.tenant_id, EventKind.CONFIG_CHANGED, text, path, before=before))
                await tx.insert(rows)

    async def stopped(self, tenants: Sequence[TenantId], reason: str) -> None:
        """Tell each tenant that a worker has ended its work."""
        await self._tell(tenants, EventKind.DESK_STOPPED, "worker stopped", reason)

    async def ended(self, tenants: Sequence[TenantId], child: str, code: int, again_s: float) -> None:
        """Tell each tenant that a process of the desk ended by itself or was killed, and is started again."""
        how = f"code {code}"
        with suppress(ValueError):
            how = signal.Signals(-code).name
        await self._tell(tenants, EventKind.PROCESS_ENDED, f"{child} ended: {how}", f"started again in {again_s:g} s")

    async def _tell(self, tenants: Sequence[TenantId], kind: EventKind, what: str, reason: str) -> None:
        for tenant in tenants:
            async with self._store.transaction(tenant) as tx:
                await tx.insert([self._event(tenant, kind, what, reason)])

    def _event(self, tenant: TenantId, kind: EventKind, after: str, reason: str, *, before: str = "") -> EventRow:
        at = self._clock.now()
        return EventRow(
            tenant_id=tenant,
            event_id=f"desk/{at.isoformat()}/{kind}/{uuid4().hex[:8]}",
            at=at,
            actor=self._actor,
            kind=kind,
            account_id=AccountId(""),
            before=before,
            after=after,
            reason=reason,
        )


def settings_text(config: Config, tenant: TenantConfig) -> str:
    """Return the settings of a tenant as JSON, the same for the same settings; keys are references in them.

    Its traders are not in it, whose changes are events of their own, nor is what a value does not show of itself.
    """
    accounts = {name: {"equity_usd": one.equity_usd, "rules": one.rules} for name, one in tenant.accounts.items()}
    shown = {
        "manager": config.manager,
        "monitoring": config.monitoring,
        "exchanges": accounts,
        "models": tenant.models,
        "budgets": tenant.budgets,
    }
    return json.dumps(_plain(shown), sort_keys=True)


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return {one.name: _plain(getattr(value, one.name)) for one in fields(value) if one.repr}
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, tuple | list | set | frozenset):
        return ", ".join(sorted(str(_plain(one)) for one in value))
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
