"""Tell of a desk that is past its limit: more decisions fall due than workers and models can make."""

from datetime import timedelta
from typing import Final

from exchanges.clock import Clock
from manager.desk.incidents.codes import INCIDENTS
from manager.desk.incidents.log import log_raised, log_resolved
from manager.state.records import AccountId, IncidentRow, TenantId
from manager.state.store import Backlog, Store

OVERLOADED: Final = "OVERLOADED"
MADE_WITHIN_S: Final = 60
_LOOKS: Final = 3
_OF_THE_DESK: Final = {"account_id": AccountId(""), "code": OVERLOADED, "resolved_at": None}
_MEND: Final = (
    "all of them decide, later than they should; raise decision_concurrency or max_concurrency, start another "
    "`propdesk worker`, use a faster model, or lengthen decision_interval"
)


class OverloadWatch:
    """Keep one incident for a tenant open while its traders are a whole interval late, look after look.

    Any number of workers may watch; they share the incident. A single late look, as after a start, tells nothing.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._late: dict[TenantId, int] = {}
        self._open: set[TenantId] = set()
        self._looked = False

    async def look(self) -> None:
        """Look once at all tenants; open, renew or end their incidents."""
        now = self._clock.now()
        async with self._store.service() as service:
            backlogs = await service.backlogs(now, now - timedelta(seconds=MADE_WITHIN_S))
            if not self._looked:
                # What a process before this one opened may be over.
                self._open, self._looked = set(await service.tenants()), True
        late = {one.tenant_id: self._late.get(one.tenant_id, 0) + 1 for one in backlogs if one.intervals}
        self._late = late
        for backlog in backlogs:
            if late.get(backlog.tenant_id, 0) >= _LOOKS:
                await self._tell(backlog)
        for tenant in self._open - late.keys():
            await self._end(tenant)

    async def _tell(self, backlog: Backlog) -> None:
        tenant, now = backlog.tenant_id, self._clock.now()
        detail = (
            f"{backlog.due} traders are due, {backlog.made} decided within the last minute, the latest is "
            f"{backlog.lag_s:.0f} s behind ({backlog.intervals} of its intervals): {_MEND}"
        )
        row = IncidentRow(
            tenant_id=tenant,
            incident_id=f"overloaded/{now.isoformat()}",
            account_id=AccountId(""),
            code=OVERLOADED,
            severity=INCIDENTS[OVERLOADED].severity.value,
            detail=detail,
            at=now,
        )
        async with self._store.transaction(tenant) as tx:
            known = await tx.find(IncidentRow, _OF_THE_DESK)
            for one in known:
                await tx.patch(IncidentRow, (one.incident_id,), detail=detail)
            await tx.insert([] if known else [row])
        if not known:
            log_raised(row, detail)
        self._open.add(tenant)

    async def _end(self, tenant: TenantId) -> None:
        async with self._store.transaction(tenant) as tx:
            known = await tx.find(IncidentRow, _OF_THE_DESK)
            for one in known:
                await tx.patch(IncidentRow, (one.incident_id,), resolved_at=self._clock.now())
        log_resolved(known)
        self._open.discard(tenant)
