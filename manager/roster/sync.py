"""Bring the database in line with a config: its accounts, its budgets and the traders that it manages."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

from exchanges.clock import Clock
from manager.config.values import Config, TenantConfig
from manager.errors import RegistrationError
from manager.roster.registration import RegistrationCheck, stored
from manager.roster.schedules import FirstSchedule, spread
from manager.roster.terms import Claimant, difference, other_terms, other_traders, terms_text
from manager.roster.writing import RosterWriter
from manager.state.errors import DuplicateRow
from manager.state.records import AccountRow, StateCode, TraderRow, TraderState
from manager.state.store import Store, Transaction
from traders.spec import ManagedBy

_ATTEMPTS = 5
_LIVING = frozenset({TraderState.RUNNING, TraderState.PAUSED})


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncReport:
    """Say what a sync did, as tenant/trader."""

    registered: tuple[str, ...] = ()
    updated: tuple[str, ...] = ()
    stopped: tuple[str, ...] = ()
    returned: tuple[str, ...] = ()

    def __add__(self, other: "SyncReport") -> "SyncReport":
        """Return what two syncs did."""
        names = [field.name for field in fields(self)]
        return SyncReport(**{name: getattr(self, name) + getattr(other, name) for name in names})


class ConfigSync:
    """Take over a config: nothing is written if anything is wrong.

    New traders are registered, changed ones updated, those no longer there stopped, never deleted; they run, or are
    paused, as before when they come back. Traders managed by the API stay as they are. Several processes may do it.
    """

    def __init__(self, store: Store, clock: Clock, check: RegistrationCheck, schedule: FirstSchedule = spread) -> None:
        self._store = store
        self._clock = clock
        self._check = check
        self._schedule = schedule

    async def sync(self, config: Config, *, actor: str, reason: str, rivals: bool = False) -> SyncReport:
        """Bring all tenants of `config` in line; `reason` is what new traders are taken on for.

        While `rivals` are at work, accounts keep their terms and traders their config: anything else raises
        OtherDeskRuns.
        """
        claimant, report = Claimant(config=str(config.path.resolve()), rivals=rivals), SyncReport()
        for tenant in config.tenants.values():
            async with self._store.transaction(tenant.tenant_id) as tx:
                await self._one(tx, tenant, claimant, actor).check()
        for tenant in config.tenants.values():
            async with self._store.service() as service:
                await service.ensure_tenant(tenant.tenant_id)
            for attempt in range(_ATTEMPTS):
                try:
                    async with self._store.transaction(tenant.tenant_id) as tx:
                        one = self._one(tx, tenant, claimant, actor)
                        await one.check()
                        report += await one.write(reason)
                    break
                except DuplicateRow:
                    if attempt == _ATTEMPTS - 1:
                        raise
        return report

    def _one(self, tx: Transaction, tenant: TenantConfig, claimant: Claimant, actor: str) -> "_TenantSync":
        writer = RosterWriter(tx, tenant.tenant_id, self._clock.now(), self._schedule, actor=actor)
        return _TenantSync(writer, self._check, tenant, claimant)


class _TenantSync:
    """Compare one tenant's config with its rows, and bring those in line, within one transaction."""

    def __init__(
        self, writer: RosterWriter, check: RegistrationCheck, tenant: TenantConfig, claimant: Claimant
    ) -> None:
        self._writer = writer
        self._check = check
        self._tenant = tenant
        self._claimant = claimant
        self._wanted = {spec.id for spec in tenant.traders}

    async def check(self) -> None:
        """Raise RegistrationError or OtherDeskRuns unless all of it may be written."""
        rows, tenant_id = await self._writer.traders(), self._tenant.tenant_id
        if self._claimant.rivals:
            self._check_rivals(await self._writer.tx.find(AccountRow, {}, limit=None), rows)
        known = {row.trader_id: row for row in rows}
        kept = [row.spec for row in rows if row.spec.managed_by is ManagedBy.API]
        for spec in kept:
            self._check.check_budget(tenant_id, spec)
        applicants = self._check.beside(tenant_id, kept)
        for spec in self._tenant.traders:
            old = known.get(spec.id)
            if old is not None and old.spec.managed_by is not ManagedBy.CONFIG:
                raise RegistrationError(
                    f"trader {spec.id} is managed by the API; give the one in the config another id, or remove that one"
                )
            if old is not None and old.account_id != spec.account:
                raise RegistrationError(
                    f"trader {spec.id}: exchange is {spec.account}, but its books are on {old.account_id}; "
                    "register it under a new id instead"
                )
            applicants.check(spec)
        cased = {trader_id.lower(): trader_id for trader_id in known}
        for name in sorted(self._wanted - known.keys()):
            if name.lower() in cased:
                raise RegistrationError(f"trader id {name!r} is taken by {cased[name.lower()]}; choose another id")

    async def write(self, reason: str) -> SyncReport:
        """Write what differs, and say what that was."""
        writer, tenant = self._writer, self._tenant
        await writer.take_accounts(tenant, self._claimant)
        await writer.take_budgets(tenant)
        rows = {row.trader_id: row for row in await writer.traders()}
        seq = max((row.seq for row in rows.values()), default=-1) + 1
        done: dict[str, list[str]] = {field.name: [] for field in fields(SyncReport)}
        for spec in tenant.traders:
            name, old = f"{tenant.tenant_id}/{spec.id}", rows.get(spec.id)
            if old is None:
                await writer.insert(spec, seq, reason)
                seq += 1
                done["registered"].append(name)
                continue
            if stored(spec) != old.spec:
                await writer.change(old, spec, "changed in the config")
                done["updated"].append(name)
            if old.state is TraderState.STOPPED and old.state_code is StateCode.REMOVED_FROM_CONFIG:
                await writer.take_back(spec)
                done["returned"].append(name)
        for row in filter(self._is_gone, rows.values()):
            await writer.remove(row)
            done["stopped"].append(f"{tenant.tenant_id}/{row.trader_id}")
        return SyncReport(**{kind: tuple(names) for kind, names in done.items()})

    def _is_gone(self, row: TraderRow) -> bool:
        return row.spec.managed_by is ManagedBy.CONFIG and row.trader_id not in self._wanted and row.state in _LIVING

    def _check_rivals(self, accounts: Sequence[AccountRow], traders: Sequence[TraderRow]) -> None:
        """Raise OtherDeskRuns unless this config trades as the desk at work; one file may change as it likes."""
        for row in accounts:
            here = self._tenant.accounts.get(row.account_id)
            how = difference(row.terms, terms_text(here)) if here is not None and row.terms else ""
            if how:
                raise other_terms(self._claimant, row.config, row.account_id, how)
        owner = next((row.config for row in accounts if row.config not in ("", self._claimant.config)), "")
        change = self._first_change(traders) if owner else ""
        if change:
            raise other_traders(self._claimant, owner, change)

    def _first_change(self, traders: Sequence[TraderRow]) -> str:
        """Say what a sync would do to which trader first; empty when it would do nothing."""
        gone = next(filter(self._is_gone, traders), None)
        if gone is not None:
            return f"stop {gone.trader_id}"
        known = {row.trader_id: row for row in traders}
        for spec in self._tenant.traders:
            row = known.get(spec.id)
            if row is None or row.state_code is StateCode.REMOVED_FROM_CONFIG:
                return f"add {spec.id}"
            if row.spec != stored(spec):
                return f"change {spec.id}"
        return ""
