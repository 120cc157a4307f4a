"""Bring the database in line with a config: its accounts, its budgets and the traders that it manages."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

from exchanges.clock import Clock
from manager.config.values import Config, TenantConfig
from manager.errors import RegistrationError
from manager.roster.registration import RegistrationCheck, stored
from manager.roster.schedules import FirstSchedule, spread
from manager.roster.terms import Claimant, difference, other_terms, other_traders, terms_text
from manager.roster.writing import (
    LIVING,
    Newcomer,
    RosterAct,
    RosterWriter,
    has_grown,
    next_seq,
    roster_of,
    was_removed,
)
from manager.state.errors import DuplicateRow
from manager.state.records import AccountRow, StateCode, TraderRow
from manager.state.store import Store
from traders.spec import ManagedBy, TraderId, TraderSpec

_ATTEMPTS = 5


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
        checked = [await self._checked(tenant, claimant) for tenant in config.tenants.values()]
        for one in checked:
            async with self._store.service() as service:
                await service.ensure_tenant(one.tenant.tenant_id)
            latest = one
            for attempt in range(_ATTEMPTS):
                try:
                    report += await self._written(latest, actor, reason)
                    break
                except DuplicateRow:
                    if attempt == _ATTEMPTS - 1:
                        raise
                    latest = await self._checked(one.tenant, claimant)
        return report

    async def _checked(self, tenant: TenantConfig, claimant: Claimant) -> "_TenantSync":
        """Read what there is, and check with no transaction open: that of many traders takes its time."""
        async with self._store.transaction(tenant.tenant_id) as tx:
            rows = await roster_of(tx)
            accounts = await tx.find(AccountRow, {}, limit=None) if claimant.rivals else ()
        one = _TenantSync(self._check, tenant, claimant, rows)
        one.check(accounts)
        return one

    async def _written(self, one: "_TenantSync", actor: str, reason: str) -> SyncReport:
        act = RosterAct(
            tenant=one.tenant.tenant_id,
            now=self._clock.now(),
            schedule=self._schedule,
            actor=actor,
            crowd=len(one.tenant.traders),
        )
        plan = one.plan(act, reason)
        async with self._store.transaction(act.tenant) as tx:
            if await has_grown(tx, one.rows):
                raise DuplicateRow("traders were taken on meanwhile")
            return await one.write(RosterWriter(tx, act), plan)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """What differs between a config and the rows, made ready to be written."""

    new: Sequence[Newcomer]
    changed: Sequence[tuple[TraderRow, TraderSpec]]
    returned: Sequence[TraderSpec]
    gone: Sequence[TraderRow]


class _TenantSync:
    """Compare one tenant's config with its `rows`, and bring those in line."""

    def __init__(
        self, check: RegistrationCheck, tenant: TenantConfig, claimant: Claimant, rows: Sequence[TraderRow]
    ) -> None:
        self._check = check
        self.tenant = tenant
        self._claimant = claimant
        self.rows = rows
        self._wanted = {spec.id for spec in tenant.traders}

    def check(self, accounts: Sequence[AccountRow]) -> None:
        """Raise RegistrationError or OtherDeskRuns unless all of it may be written."""
        rows, tenant_id = self.rows, self.tenant.tenant_id
        if self._claimant.rivals:
            self._check_rivals(accounts, rows)
        known = {row.trader_id: row for row in rows}
        kept = [row.spec for row in rows if row.spec.managed_by is ManagedBy.API]
        for spec in kept:
            self._check.check_budget(tenant_id, spec)
        applicants = self._check.beside(tenant_id, kept)
        for spec in self.tenant.traders:
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

    def plan(self, act: RosterAct, reason: str) -> _Plan:
        """Return what differs, with the rows of new traders."""
        rows = {row.trader_id: row for row in self.rows}
        new = [spec for spec in self.tenant.traders if spec.id not in rows]
        known = [(rows[spec.id], spec) for spec in self.tenant.traders if spec.id in rows]
        first = next_seq(self.rows)
        return _Plan(
            new=[act.newcomer(spec, first + place, reason) for place, spec in enumerate(new)],
            changed=[(old, spec) for old, spec in known if stored(spec) != old.spec],
            returned=[spec for old, spec in known if was_removed(old)],
            gone=[row for row in self.rows if self._is_gone(row)],
        )

    async def write(self, writer: RosterWriter, plan: _Plan) -> SyncReport:
        """Write what differs, and say what that was."""
        await writer.take_accounts(self.tenant, self._claimant)
        await writer.take_budgets(self.tenant)
        await writer.insert(plan.new)
        for old, spec in plan.changed:
            await writer.change(old, spec, "changed in the config")
        returned = [spec for spec in plan.returned if await writer.take_back(spec)]
        gone = [row for row in plan.gone if await writer.remove(row)]
        return SyncReport(
            registered=self._named(one.row.trader_id for one in plan.new),
            updated=self._named(spec.id for _, spec in plan.changed),
            returned=self._named(spec.id for spec in returned),
            stopped=self._named(row.trader_id for row in gone),
        )

    def _named(self, traders: Iterable[TraderId]) -> tuple[str, ...]:
        return tuple(f"{self.tenant.tenant_id}/{trader_id}" for trader_id in traders)

    def _is_gone(self, row: TraderRow) -> bool:
        return row.spec.managed_by is ManagedBy.CONFIG and row.trader_id not in self._wanted and row.state in LIVING

    def _check_rivals(self, accounts: Sequence[AccountRow], traders: Sequence[TraderRow]) -> None:
        """Raise OtherDeskRuns unless this config trades as the desk at work; one file may change as it likes."""
        for row in accounts:
            here = self.tenant.accounts.get(row.account_id)
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
        for spec in self.tenant.traders:
            row = known.get(spec.id)
            if row is None or row.state_code is StateCode.REMOVED_FROM_CONFIG:
                return f"add {spec.id}"
            if row.spec != stored(spec):
                return f"change {spec.id}"
        return ""
