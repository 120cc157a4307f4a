"""Take traders on, and change what may change of them."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from exchanges.clock import Clock
from exchanges.types import Symbol
from executor.contract import Limits
from manager.errors import RegistrationError, UnknownTrader
from manager.roster.registration import RegistrationCheck, id_of_another
from manager.roster.schedules import FirstSchedule, spread
from manager.roster.writing import RosterAct, RosterWriter, has_grown, next_seq, roster_of
from manager.state.errors import DuplicateRow
from manager.state.records import StateCode, TenantId, TraderRow
from manager.state.store import Store
from traders.spec import TraderId, TraderSpec

_ATTEMPTS = 5


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
        given = {name: getattr(self, name) for name in self.__slots__ if name != "prompt_template"}
        changed: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        if self.prompt_template is not None:
            changed["executor"] = replace(spec.executor, prompt_template=self.prompt_template)
        return replace(spec, **changed)


class TraderRegistry:
    """Define traders in the store; every definition passes RegistrationCheck first.

    Definitions are stored without model keys; the running process takes those from its config.
    """

    def __init__(self, store: Store, clock: Clock, check: RegistrationCheck, schedule: FirstSchedule = spread) -> None:
        self._store = store
        self._clock = clock
        self._check = check
        self._schedule = schedule

    async def register(
        self, tenant: TenantId, specs: Sequence[TraderSpec], *, actor: str, reason: str = ""
    ) -> list[TraderRow]:
        """Take traders on, running when they are to start by themselves: all of them, or none.

        Raises UnknownAccount or RegistrationError.
        """
        for _ in range(_ATTEMPTS):
            async with self._store.transaction(tenant) as tx:
                known = await roster_of(tx)
            self._check_new(tenant, specs, known)
            act = replace(self._act(tenant, actor), crowd=len(specs))
            first = next_seq(known)
            newcomers = [act.newcomer(spec, first + place, reason) for place, spec in enumerate(specs)]
            venues = {spec.account: self._check.venue(tenant, spec.account) for spec in specs}
            async with self._store.service() as service:
                await service.ensure_tenant(tenant)
            with suppress(DuplicateRow):
                async with self._store.transaction(tenant) as tx:
                    if await has_grown(tx, known):
                        continue
                    writer = RosterWriter(tx, act)
                    for account, venue in venues.items():
                        await writer.ensure_account(account, venue)
                    await writer.insert(newcomers)
                    return [one.row for one in newcomers]
        ids = ", ".join(repr(spec.id) for spec in specs)
        raise RegistrationError(f"a trader id of {ids} was taken a moment ago; try again")

    async def update(
        self, tenant: TenantId, trader_id: TraderId, changes: TraderChanges, *, actor: str, reason: str = ""
    ) -> TraderRow:
        """Change a trader's definition, effective from its next decision and round.

        The next start with a config that has the trader puts the config's values back. Raises UnknownTrader or
        RegistrationError.
        """
        async with self._store.transaction(tenant) as tx:
            known = await roster_of(tx)
            row = next((one for one in known if one.trader_id == trader_id), None)
            if row is None:
                raise UnknownTrader.of(trader_id)
            spec = changes.applied_to(row.spec)
            self._check.beside(tenant, self._others(known, trader_id)).check(spec)
            return await RosterWriter(tx, self._act(tenant, actor)).change(row, spec, reason)

    def _act(self, tenant: TenantId, actor: str) -> RosterAct:
        return RosterAct(tenant=tenant, now=self._clock.now(), schedule=self._schedule, actor=actor)

    def _check_new(self, tenant: TenantId, specs: Sequence[TraderSpec], known: Sequence[TraderRow]) -> None:
        applicants = self._check.beside(tenant, self._others(known))
        taken = {row.trader_id.lower(): row.spec for row in known}
        for spec in specs:
            applicants.check(spec)
            if spec.id.lower() in taken:
                raise id_of_another(spec, taken[spec.id.lower()])

    @staticmethod
    def _others(known: Sequence[TraderRow], trader_id: TraderId = TraderId("")) -> list[TraderSpec]:
        """Return the definitions that count beside a trader's own: not those that a config no longer has."""
        removed = StateCode.REMOVED_FROM_CONFIG
        return [row.spec for row in known if row.trader_id != trader_id and row.state_code is not removed]
