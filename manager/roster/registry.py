"""Take traders on, change what may change, and bring the database in line with a config."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import uuid4

from exchanges.clock import Clock
from exchanges.types import Symbol
from executor.contract import Limits
from manager.config.values import Config, TenantConfig
from manager.desk.incidents.logging import log_resolved
from manager.errors import RegistrationError, UnknownTrader
from manager.roster.lifecycle import REMOVED_FROM_CONFIG, event_of, transition
from manager.roster.registration import RegistrationCheck, id_taken, stored
from manager.roster.schedules import first_due, new_schedule, rescheduled
from manager.roster.terms import Claimant, difference, other_terms, other_traders, terms_text
from manager.spending.budget_incidents import budget_rows, end_obsolete
from manager.state.errors import DuplicateRow
from manager.state.kinds import EventKind
from manager.state.records import (
    AccountId,
    AccountRow,
    BudgetRow,
    EventRow,
    ScheduleRow,
    TenantId,
    TraderRow,
    TraderState,
)
from manager.state.store import Store, Transaction
from manager.state.sums import day_of
from traders.spec import ManagedBy, TraderId, TraderSpec

_ALL = 1_000_000
_ATTEMPTS = 5
_BACK = "back in the config"
_LIVING = frozenset({TraderState.RUNNING, TraderState.PAUSED})


@dataclass(frozen=True, slots=True, kw_only=True)
class TraderChanges:
    """Name the fields of a definition that may change; None leaves one as it is. Id and account never change."""

    name: str | None = None
    symbols: tuple[Symbol, ...] | None = None
    limits: Limits | None = None
    decision_interval_s: int | None = None
    allocation_pct: Decimal | None = None
    prompt_template: str | None = None

    def applied_to(self, spec: TraderSpec) -> TraderSpec:
        """Return the definition with the changes."""
        fields = {
            "name": self.name,
            "symbols": self.symbols,
            "limits": self.limits,
            "decision_interval_s": self.decision_interval_s,
            "allocation_pct": self.allocation_pct,
        }
        changed = replace(spec, **{name: value for name, value in fields.items() if value is not None})  # type: ignore[arg-type]  # each has its field's type
        if self.prompt_template is None:
            return changed
        return replace(changed, executor=replace(changed.executor, prompt_template=self.prompt_template))


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncReport:
    """Say what a sync did, as tenant/trader."""

    registered: tuple[str, ...] = ()
    updated: tuple[str, ...] = ()
    stopped: tuple[str, ...] = ()
    returned: tuple[str, ...] = ()


class TraderRegistry:
    """Define traders in the store; every definition passes RegistrationCheck first.

    Definitions are stored without model keys; the running process takes those from its config.
    """

    def __init__(self, store: Store, clock: Clock, check: RegistrationCheck) -> None:
        self._store = store
        self._clock = clock
        self._check = check

    async def register(
        self, tenant: TenantId, specs: Sequence[TraderSpec], *, actor: str, reason: str = ""
    ) -> list[TraderRow]:
        """Take traders on, running when they are to start by themselves: all of them, or none.

        Raises UnknownAccount or RegistrationError.
        """
        async with self._store.transaction(tenant) as tx:
            self._check_new(tenant, specs, await _traders(tx))
        async with self._store.service() as service:
            await service.ensure_tenant(tenant)
        try:
            async with self._store.transaction(tenant) as tx:
                known = await _traders(tx)
                self._check_new(tenant, specs, known)
                work = _Work(tx, tenant, self._clock.now(), actor=actor)
                first = max((row.seq for row in known), default=-1) + 1
                for spec in specs:
                    await _ensure_account(tx, tenant, spec.account, self._check.terms[(tenant, spec.account)].venue)
                return [await work.insert(spec, first + place, reason) for place, spec in enumerate(specs)]
        except DuplicateRow as error:
            ids = ", ".join(repr(spec.id) for spec in specs)
            raise RegistrationError(f"a trader id of {ids} was taken a moment ago; try again") from error

    async def update(
        self, tenant: TenantId, trader_id: TraderId, changes: TraderChanges, *, actor: str, reason: str = ""
    ) -> TraderRow:
        """Change a trader's definition, effective from its next decision and round.

        The next start with a config that has the trader puts the config's values back. Raises UnknownTrader or
        RegistrationError.
        """
        async with self._store.transaction(tenant) as tx:
            known = await _traders(tx)
            row = next((one for one in known if one.trader_id == trader_id), None)
            if row is None:
                raise UnknownTrader(f"there is no trader {trader_id!r}; `propdesk traders list` names them")
            spec = changes.applied_to(row.spec)
            self._check.check(tenant, spec, _others(known, trader_id))
            return await _Work(tx, tenant, self._clock.now(), actor=actor).change(row, spec, reason)

    async def sync(self, config: Config, *, actor: str = "config", rivals: bool = False) -> SyncReport:
        """Bring accounts and config-managed traders in line with `config`; nothing is written if anything is wrong.

        New traders are registered, changed ones updated, those no longer there stopped, never deleted; they run,
        or are paused, as before when they come back. Traders managed by the API stay as they are. Safe to run in
        several processes. While `rivals` are at work, accounts keep their terms and traders their config: anything
        else raises OtherDeskRuns.
        """
        claimant = Claimant(config=str(config.path.resolve()), rivals=rivals)
        for tenant in config.tenants.values():
            async with self._store.transaction(tenant.tenant_id) as tx:
                await self._check_tenant(tx, tenant, claimant)
        report = SyncReport()
        for tenant in config.tenants.values():
            async with self._store.service() as service:
                await service.ensure_tenant(tenant.tenant_id)
            report = _sum(report, await self._sync_tenant(tenant, claimant, actor))
        return report

    async def _sync_tenant(self, tenant: TenantConfig, claimant: Claimant, actor: str) -> SyncReport:
        for attempt in range(_ATTEMPTS):
            try:
                async with self._store.transaction(tenant.tenant_id) as tx:
                    await self._check_tenant(tx, tenant, claimant)
                    work = _Work(tx, tenant.tenant_id, self._clock.now(), actor=actor)
                    await work.take_accounts(tenant, claimant)
                    await work.take_budgets(tenant)
                    return await _write(work, tenant)
            except DuplicateRow:
                if attempt == _ATTEMPTS - 1:
                    raise
        raise AssertionError("the last attempt returns or raises")

    async def _check_tenant(self, tx: Transaction, tenant: TenantConfig, claimant: Claimant) -> None:
        rows = await _traders(tx)
        if claimant.rivals:
            _check_rivals(claimant, tenant, await tx.find(AccountRow, {}, limit=_ALL), rows)
        known = {row.trader_id: row for row in rows}
        wanted = {spec.id for spec in tenant.traders}
        kept = [row for row in rows if row.spec.managed_by is ManagedBy.API]
        for row in kept:
            self._check.check_budget(tenant.tenant_id, row.spec)
        for index, spec in enumerate(tenant.traders):
            others = [*(row.spec for row in kept), *tenant.traders[:index], *tenant.traders[index + 1 :]]
            old = known.get(spec.id)
            if old is None:
                self._check.check(tenant.tenant_id, spec, others)
                continue
            if old.spec.managed_by is not ManagedBy.CONFIG:
                raise RegistrationError(
                    f"trader {spec.id} is managed by the API; give the one in the config another id, or remove that one"
                )
            if old.account_id != spec.account:
                raise RegistrationError(
                    f"trader {spec.id}: exchange is {spec.account}, but its books are on {old.account_id}; "
                    "register it under a new id instead"
                )
            self._check.check(tenant.tenant_id, spec, (other for other in others if other.id != spec.id))
        cased = {trader_id.lower(): trader_id for trader_id in known}
        for name in sorted(wanted - known.keys()):
            if name.lower() in cased:
                raise RegistrationError(f"trader id {name!r} is taken by {cased[name.lower()]}; choose another id")

    def _check_new(self, tenant: TenantId, specs: Sequence[TraderSpec], known: Sequence[TraderRow]) -> None:
        others = _others(known, TraderId(""))
        taken = {row.trader_id.lower(): row.trader_id for row in known}
        for place, spec in enumerate(specs):
            self._check.check(tenant, spec, [*others, *specs[:place]])
            if spec.id.lower() in taken:
                raise id_taken(spec, taken[spec.id.lower()])


class _Work:
    """Write traders within one transaction, each change with its event."""

    def __init__(self, tx: Transaction, tenant: TenantId, now: datetime, *, actor: str) -> None:
        self.tx = tx
        self.tenant = tenant
        self.now = now
        self.actor = actor

    async def insert(self, spec: TraderSpec, seq: int, reason: str) -> TraderRow:
        state = TraderState.RUNNING if spec.auto_start else TraderState.STOPPED
        row = TraderRow(
            tenant_id=self.tenant,
            trader_id=spec.id,
            account_id=AccountId(spec.account),
            seq=seq,
            spec=stored(spec),
            state=state,
            state_reason=reason,
        )
        schedule = new_schedule(self.tenant, spec)
        if spec.auto_start:
            schedule = replace(schedule, next_due_at=first_due(schedule, self.now))
        await self.tx.insert([row, schedule, self._event(row, EventKind.TRADER_REGISTERED, "", state, reason)])
        return row

    async def change(self, row: TraderRow, spec: TraderSpec, reason: str) -> TraderRow:
        changed = replace(row, spec=stored(spec))
        await self.tx.patch(TraderRow, (row.trader_id,), spec=changed.spec)
        if spec.decision_interval_s != row.spec.decision_interval_s:
            await self._reschedule(row, spec.decision_interval_s)
        changes = "; ".join(_changes(row.spec, changed.spec))
        await self.tx.insert([self._event(row, EventKind.TRADER_UPDATED, "", changes, reason)])
        return changed

    async def take_accounts(self, tenant: TenantConfig, claimant: Claimant) -> None:
        """Give each account its terms, a change with its event; beside rivals only what is new is written."""
        known = {row.account_id: row for row in await self.tx.find(AccountRow, {}, limit=_ALL)}
        for name, account in tenant.accounts.items():
            terms, old = terms_text(account), known.get(AccountId(name))
            if old is None:
                row = AccountRow(tenant_id=self.tenant, account_id=AccountId(name), venue=account.type)
                await self.tx.insert([replace(row, terms=terms, config=claimant.config)])
            elif old.terms != terms:
                await self.tx.patch(AccountRow, (name,), terms=terms)
                if old.terms:
                    await self.tx.insert([self._terms_event(old, terms, claimant)])
        if not claimant.rivals:
            for old in known.values():
                if old.config != claimant.config:
                    await self.tx.patch(AccountRow, (old.account_id,), config=claimant.config)

    async def take_budgets(self, tenant: TenantConfig) -> None:
        """Store what the config allows, and end the alarms that it makes untrue."""
        wanted = {(row.scope, row.name): row for row in budget_rows(tenant)}
        known = {(row.scope, row.name): row for row in await self.tx.find(BudgetRow, {}, limit=_ALL)}
        await self.tx.delete(BudgetRow, [key for key in known if key not in wanted])
        await self.tx.upsert([row for key, row in wanted.items() if known.get(key) != row])
        log_resolved(await end_obsolete(self.tx, tenant, day_of(self.now), self.now))

    def _terms_event(self, old: AccountRow, terms: str, claimant: Claimant) -> EventRow:
        return EventRow(
            tenant_id=self.tenant,
            event_id=f"{old.account_id}/{self.now.isoformat()}/{EventKind.ACCOUNT_TERMS}/{uuid4().hex[:8]}",
            at=self.now,
            actor=self.actor,
            kind=EventKind.ACCOUNT_TERMS,
            account_id=old.account_id,
            before=old.terms,
            after=terms,
            reason=f"{old.config} before, now {claimant.config}",
        )

    async def take_back(self, spec: TraderSpec) -> None:
        """Give a trader that is in the config again the state that it had: an operator's pause lasts."""
        where = {"trader_id": spec.id, "kind": EventKind.TRADER_STATE}
        last = await self.tx.find(EventRow, where, newest_first="at", limit=3)
        was_paused = bool(last) and last[0].before == TraderState.PAUSED
        if not spec.auto_start and not was_paused:
            await self.tx.patch(TraderRow, (spec.id,), state_reason=_BACK)
            return
        await transition(self.tx, spec.id, TraderState.RUNNING, actor=self.actor, reason=_BACK, at=self.now)
        if was_paused:
            reason = next((event.reason for event in last if event.after == TraderState.PAUSED), _BACK)
            await transition(self.tx, spec.id, TraderState.PAUSED, actor=self.actor, reason=reason, at=self.now)

    async def _reschedule(self, row: TraderRow, interval_s: int) -> None:
        old = await self.tx.get(ScheduleRow, row.trader_id)
        if old is None:
            raise UnknownTrader(f"trader {row.trader_id!r} has no schedule; it was removed a moment ago")
        new = rescheduled(old, interval_s)
        due = first_due(new, self.now) if row.state is TraderState.RUNNING else old.next_due_at
        await self.tx.patch(
            ScheduleRow, (row.trader_id,), interval_s=new.interval_s, phase_s=new.phase_s, next_due_at=due
        )

    def _event(self, row: TraderRow, kind: EventKind, before: str, after: str, reason: str) -> EventRow:
        return replace(event_of(row, self.now, kind=kind, actor=self.actor, reason=reason), before=before, after=after)


def _check_rivals(
    claimant: Claimant, tenant: TenantConfig, accounts: Sequence[AccountRow], traders: Sequence[TraderRow]
) -> None:
    """Raise OtherDeskRuns unless this config trades as the desk that is at work; one file may change as it likes."""
    for row in accounts:
        here = tenant.accounts.get(row.account_id)
        if here is not None and row.terms and row.terms != terms_text(here):
            raise other_terms(claimant, row.config, row.account_id, difference(row.terms, terms_text(here)))
    owner = next((row.config for row in accounts if row.config not in ("", claimant.config)), "")
    change = _change(tenant, traders) if owner else ""
    if change:
        raise other_traders(claimant, owner, change)


def _change(tenant: TenantConfig, traders: Sequence[TraderRow]) -> str:
    """Say what a sync would do to which trader first; empty when it would do nothing."""
    known, wanted = {row.trader_id: row for row in traders}, {spec.id for spec in tenant.traders}
    for row in traders:
        if row.spec.managed_by is ManagedBy.CONFIG and row.trader_id not in wanted and row.state in _LIVING:
            return f"stop {row.trader_id}"
    for spec in tenant.traders:
        row_or_none = known.get(spec.id)
        if row_or_none is None or row_or_none.state_reason == REMOVED_FROM_CONFIG:
            return f"add {spec.id}"
        if row_or_none.spec != stored(spec):
            return f"change {spec.id}"
    return ""


async def _write(work: _Work, tenant: TenantConfig) -> SyncReport:
    rows = {row.trader_id: row for row in await _traders(work.tx)}
    seq = max((row.seq for row in rows.values()), default=-1) + 1
    done: dict[str, list[str]] = {"registered": [], "updated": [], "stopped": [], "returned": []}
    for spec in tenant.traders:
        name, old = f"{tenant.tenant_id}/{spec.id}", rows.get(spec.id)
        if old is None:
            await work.insert(spec, seq, "in the config")
            seq += 1
            done["registered"].append(name)
            continue
        if stored(spec) != old.spec:
            await work.change(old, spec, "changed in the config")
            done["updated"].append(name)
        if old.state is TraderState.STOPPED and old.state_reason == REMOVED_FROM_CONFIG:
            await work.take_back(spec)
            done["returned"].append(name)
    wanted = {spec.id for spec in tenant.traders}
    for row in rows.values():
        if row.spec.managed_by is ManagedBy.CONFIG and row.trader_id not in wanted and row.state in _LIVING:
            await transition(
                work.tx, row.trader_id, TraderState.STOPPED, actor=work.actor, reason=REMOVED_FROM_CONFIG, at=work.now
            )
            done["stopped"].append(f"{tenant.tenant_id}/{row.trader_id}")
    return SyncReport(**{kind: tuple(names) for kind, names in done.items()})


async def _ensure_account(tx: Transaction, tenant: TenantId, name: str, venue: str) -> None:
    if await tx.get(AccountRow, name) is None:
        await tx.insert([AccountRow(tenant_id=tenant, account_id=AccountId(name), venue=venue)])


async def _traders(tx: Transaction) -> Sequence[TraderRow]:
    return await tx.find(TraderRow, {}, limit=_ALL)


def _others(known: Sequence[TraderRow], trader_id: TraderId) -> list[TraderSpec]:
    """Return the definitions that count beside a trader's own: not those that a config no longer has."""
    return [row.spec for row in known if row.trader_id != trader_id and row.state_reason != REMOVED_FROM_CONFIG]


def _changes(before: Any, after: Any, prefix: str = "") -> list[str]:
    """Say what differs, field by field; of a field that is never printed only that it does."""
    changes: list[str] = []
    for field in fields(before):
        name, old, new = f"{prefix}{field.name}", getattr(before, field.name), getattr(after, field.name)
        if is_dataclass(old) and type(old) is type(new):
            changes += _changes(old, new, f"{name}.")
        elif old != new:
            changes.append(f"{name}: {_shown(old)} -> {_shown(new)}" if field.repr else f"{name} changed")
    return changes


def _shown(value: object) -> str:
    if isinstance(value, Decimal):
        return f"{value:f}"
    return ", ".join(map(str, value)) or "none" if isinstance(value, tuple) else str(value) or "none"


def _sum(one: SyncReport, other: SyncReport) -> SyncReport:
    return SyncReport(
        registered=one.registered + other.registered,
        updated=one.updated + other.updated,
        stopped=one.stopped + other.stopped,
        returned=one.returned + other.returned,
    )
