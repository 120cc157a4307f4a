"""Take traders on, and change what may change of them."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, TypeVar

from exchanges.clock import Clock
from manager.config.bodies import changed
from manager.errors import RegistrationError, UnknownTrader, VersionMoved
from manager.roster.registration import RegistrationCheck, id_of_another
from manager.roster.schedules import FirstSchedule, spread
from manager.roster.writing import RosterAct, RosterWriter, has_grown, next_seq, roster_of
from manager.state.acts import only_change
from manager.state.errors import DuplicateRow
from manager.state.records import StateCode, TenantId, TraderRow
from manager.state.store import Store, Transaction
from manager.views.definitions import version_of
from traders.spec import TraderId, TraderSpec

R = TypeVar("R")
_ATTEMPTS = 5


class RosterMoved(Exception):
    """Say that others changed the traders meanwhile, so that what was checked no longer holds."""


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

        async def attempt() -> list[TraderRow]:
            take_on = await self.prepared(tenant, specs, actor=actor, reason=reason)
            async with self._store.transaction(tenant) as tx:
                return await take_on(tx)

        return await again(attempt, [spec.id for spec in specs])

    async def prepared(
        self, tenant: TenantId, specs: Sequence[TraderSpec], *, actor: str, reason: str = ""
    ) -> Callable[[Transaction], Awaitable[list[TraderRow]]]:
        """Return what takes these traders on within a transaction; they are checked here, while none is open.

        Raises as `register`; what is returned raises RosterMoved or DuplicateRow where others were faster.
        """
        async with self._store.transaction(tenant) as tx:
            known = await roster_of(tx)
        self._check_new(tenant, specs, known)
        act = replace(self._act(tenant, actor), crowd=len(specs))
        first = next_seq(known)
        newcomers = [act.newcomer(spec, first + place, reason) for place, spec in enumerate(specs)]
        venues = {spec.account: self._check.venue(tenant, spec.account) for spec in specs}
        async with self._store.service() as service:
            await service.ensure_tenant(tenant)

        async def take_on(tx: Transaction) -> list[TraderRow]:
            if await has_grown(tx, known):
                raise RosterMoved
            writer = RosterWriter(tx, act)
            for account, venue in venues.items():
                await writer.ensure_account(account, venue)
            await writer.insert(newcomers)
            return [one.row for one in newcomers]

        return take_on

    async def update(
        self,
        tenant: TenantId,
        trader_id: TraderId,
        given: Mapping[str, Any],
        *,
        actor: str,
        reason: str = "",
        expected: str | None = None,
    ) -> TraderRow:
        """Change a trader's definition by keys of the config, effective from its next decision and round.

        The next start with a config that has the trader puts the config's values back. Raises UnknownTrader,
        ConfigError, RegistrationError, and VersionMoved where the definition is no longer the `expected` version.
        """
        try:
            async with self._store.transaction(tenant) as tx:
                known = await roster_of(tx)
                row = next((one for one in known if one.trader_id == trader_id), None)
                if row is None:
                    raise UnknownTrader.of(trader_id)
                version = version_of(row.spec)
                if expected is not None and version != expected:
                    raise VersionMoved(
                        f"the definition of trader {trader_id} is version {version} by now, not {expected}; "
                        "read it again and make the change from there"
                    )
                # Another change of the same row waits here for the end of this one, and is refused then.
                now, seen = self._clock.now(), f"{row.updated_at} {version}"
                await tx.insert([only_change(tenant, f"trader {trader_id}", seen, at=now, actor=actor)])
                spec = changed(row.spec, given)
                self._check.beside(tenant, self._others(known, trader_id)).check(spec)
                return await RosterWriter(tx, self._act(tenant, actor)).change(row, spec, reason)
        except DuplicateRow:
            raise VersionMoved(
                f"trader {trader_id} was changed by another at this moment; read it again and change it from there"
            ) from None

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


async def again(attempt: Callable[[], Awaitable[R]], ids: Sequence[TraderId]) -> R:
    """Return what an attempt to take traders on makes, tried anew while others are faster."""
    for _ in range(_ATTEMPTS):
        with suppress(DuplicateRow, RosterMoved):
            return await attempt()
    raise RegistrationError(f"a trader id of {', '.join(map(repr, ids))} was taken a moment ago; try again")
