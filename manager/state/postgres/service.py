"""The scheduler's transaction on PostgreSQL."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from itertools import starmap
from typing import Any

from sqlalchemy import Executable, text
from sqlalchemy.ext.asyncio import AsyncConnection

from exchanges.clock import EPOCH
from manager.state.access import ApiKeyRow, KeyId
from manager.state.kinds import Role, TradingState
from manager.state.postgres.translation import translated
from manager.state.records import AccountId, EventRow, TenantId
from manager.state.store import AccountKey, Backlog, Claim, GateRoom
from manager.state.switches import Switch
from traders.spec import TraderId

_TENANTS = text("SELECT tenant_id FROM tenants ORDER BY tenant_id")
_ENSURE = text("INSERT INTO tenants (tenant_id) VALUES (:tenant) ON CONFLICT DO NOTHING")
_ACCOUNTS = text("SELECT tenant_id, account_id FROM accounts ORDER BY tenant_id, account_id")
_WITH_INTENTS = text(
    "SELECT DISTINCT tenant_id, account_id FROM intents WHERE status = 'pending' ORDER BY tenant_id, account_id"
)
_STALE = text(
    "SELECT tenant_id, account_id, trader_id, in_flight_due_at, gate FROM schedules "
    "WHERE in_flight_due_at IS NOT NULL AND claimed_at < :before ORDER BY claimed_at"
)
_RELEASE = text("""
UPDATE schedules s SET in_flight_due_at = NULL, claimed_at = NULL
FROM unnest(CAST(:tenants AS text[]), CAST(:traders AS text[]), CAST(:dues AS timestamptz[])) c (tenant, trader, due)
WHERE s.tenant_id = c.tenant AND s.trader_id = c.trader AND s.in_flight_due_at = c.due
""")
_BACKLOGS = text("""
SELECT s.tenant_id, count(*) FILTER (WHERE late.s > 0), coalesce(max(late.s), 0),
       coalesce(max(floor(late.s / s.interval_s)), 0), count(*) FILTER (WHERE s.last_decision_at > :since)
FROM schedules s
JOIN traders t ON t.tenant_id = s.tenant_id AND t.trader_id = s.trader_id
CROSS JOIN LATERAL (
    SELECT CASE WHEN s.in_flight_due_at IS NULL
                THEN greatest(extract(epoch FROM :now - s.next_due_at), 0) ELSE 0 END AS s
) late
WHERE t.state = 'running'
GROUP BY s.tenant_id ORDER BY s.tenant_id
""")
_FORGET_PROMPTS = text("DELETE FROM prompts WHERE at < :before")
_FORGET_CONTEXTS = text("""
UPDATE decisions SET context = NULL WHERE ctid IN (
    SELECT ctid FROM decisions WHERE decided_at < :before AND context IS NOT NULL ORDER BY decided_at LIMIT :limit
) AND context IS NOT NULL
""")
_FORGET_EQUITY = text("DELETE FROM equity WHERE ctid IN (SELECT ctid FROM equity WHERE at < :before LIMIT :limit)")
_THIN_EQUITY = text("""
DELETE FROM equity WHERE ctid IN (
    SELECT ctid FROM (
        SELECT ctid, row_number() OVER (
            PARTITION BY tenant_id, account_id, trader_id, date_trunc('hour', at, 'UTC') ORDER BY at DESC
        ) AS place FROM equity WHERE at >= :since AND at < :before
    ) sampled WHERE place > 1 LIMIT :limit
)
""")
_FORGET_SPENDING = text("DELETE FROM spending WHERE day < :before")
_FORGET_INCIDENTS = text("DELETE FROM incidents WHERE resolved_at < :before")
_NEXT_DUE = text(
    "SELECT s.next_due_at FROM schedules s JOIN traders t USING (tenant_id, trader_id) "
    "WHERE s.in_flight_due_at IS NULL AND s.next_due_at IS NOT NULL AND (t.state = 'running' OR EXISTS ("
    "SELECT FROM books b WHERE b.tenant_id = t.tenant_id AND b.account_id = t.account_id AND b.trader_id = t.trader_id "
    "AND t.state = 'isolated' AND t.state_code <> 'FAILURES' AND b.open_positions > 0)) "
    "ORDER BY s.next_due_at LIMIT 1"
)
_API_KEYS = text("SELECT * FROM api_keys WHERE key_id = :key ORDER BY tenant_id")
_SERVICE = text("""
INSERT INTO service (one, trading_state, state_reason, switched_by, key_mark) VALUES (true, 'active', '', '', '')
ON CONFLICT DO NOTHING
""")
_KEY_MARK = text("""
UPDATE service SET key_mark = CASE WHEN key_mark IN ('', :given) THEN :mark ELSE key_mark END RETURNING key_mark
""")
_SWITCH = text("SELECT trading_state, state_reason, switched_by, switched_at FROM service FOR UPDATE")
_SET_SWITCH = text(
    "UPDATE service SET trading_state = :state, state_reason = :reason, switched_by = :actor, switched_at = :at"
)
_TELL = text("""
INSERT INTO events (tenant_id, event_id, at, actor, kind, account_id, trader_id, before, after, reason)
VALUES (:tenant_id, :event_id, :at, :actor, :kind, :account_id, :trader_id, :before, :after, :reason)
""")
# TraderRow.is_asked says who is asked.
# The ranking sees all that is due, so that rows another worker has locked are skipped and not counted in the limit.
_CLAIM = text("""
WITH room AS MATERIALIZED (
    SELECT * FROM unnest(CAST(:tenants AS text[]), CAST(:gates AS text[]), CAST(:shared AS text[]),
                         CAST(:free AS int[]), CAST(:takes_s AS int[])) r (tenant_id, gate, shared, free, takes_s)
), ranked AS MATERIALIZED (
    SELECT s.tenant_id, s.trader_id,
           row_number() OVER (PARTITION BY s.tenant_id ORDER BY priority.idle, priority.late DESC, priority.sharpe DESC,
                              priority.allocated DESC, t.seq, s.trader_id) AS place,
           priority.idle, priority.late, priority.sharpe, priority.allocated, t.seq,
           r.shared, coalesce(r.free, :limit) AS free, coalesce(r.takes_s, 0) AS takes_s
    FROM schedules s
    JOIN traders t ON t.tenant_id = s.tenant_id AND t.trader_id = s.trader_id
    LEFT JOIN books b ON b.tenant_id = t.tenant_id AND b.account_id = t.account_id AND b.trader_id = t.trader_id
    LEFT JOIN room r ON r.tenant_id = s.tenant_id AND r.gate = s.gate
    CROSS JOIN LATERAL (
        SELECT coalesce(b.open_positions, 0) = 0 AS idle, coalesce(b.sharpe, 0) AS sharpe,
               coalesce(b.allocated, 0::numeric) AS allocated,
               floor(extract(epoch FROM :now - s.next_due_at) / s.interval_s) AS late
    ) priority
    WHERE s.next_due_at <= :now AND s.in_flight_due_at IS NULL AND coalesce(r.free, 1) > 0
      AND (t.state = 'running' OR (t.state = 'isolated' AND t.state_code <> 'FAILURES' AND b.open_positions > 0))
), queued AS MATERIALIZED (
    SELECT ranked.*, row_number() OVER (PARTITION BY shared ORDER BY place, idle, late DESC, sharpe DESC,
                                        allocated DESC, seq, tenant_id) AS at_gate
    FROM ranked
), chosen AS MATERIALIZED (
    SELECT s.tenant_id, s.trader_id, s.interval_s, r.place, r.idle, r.late, r.sharpe, r.allocated, r.seq,
           floor((:now_s + r.takes_s - s.phase_s)::numeric / s.interval_s) * s.interval_s + s.phase_s AS due_s
    FROM queued r
    JOIN schedules s ON s.tenant_id = r.tenant_id AND s.trader_id = r.trader_id
    WHERE s.next_due_at <= :now AND s.in_flight_due_at IS NULL AND (r.shared IS NULL OR r.at_gate <= r.free)
    ORDER BY r.place, r.idle, r.late DESC, r.sharpe DESC, r.allocated DESC, r.seq, r.tenant_id
    LIMIT :limit
    FOR UPDATE OF s SKIP LOCKED
), claimed AS (
    UPDATE schedules s
    SET in_flight_due_at = to_timestamp(c.due_s), claimed_at = :now, next_due_at = to_timestamp(c.due_s + c.interval_s)
    FROM chosen c
    WHERE s.tenant_id = c.tenant_id AND s.trader_id = c.trader_id
    RETURNING s.tenant_id, s.account_id, s.trader_id, s.in_flight_due_at, s.gate,
              c.place, c.idle, c.late, c.sharpe, c.allocated, c.seq
)
SELECT tenant_id, account_id, trader_id, in_flight_due_at, gate FROM claimed
ORDER BY place, idle, late DESC, sharpe DESC, allocated DESC, seq, tenant_id
""")


def _claim(tenant: TenantId, account: AccountId, trader: TraderId, due_at: datetime, gate: str) -> Claim:
    return Claim(tenant_id=tenant, account_id=account, trader_id=trader, due_at=due_at, gate=gate)


class PostgresServiceTransaction:
    """Read and write across tenants what the scheduler needs."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def tenants(self) -> Sequence[TenantId]:
        """Return all tenants."""
        return [TenantId(name) for name in (await self._execute(_TENANTS)).scalars()]

    async def ensure_tenant(self, tenant: TenantId) -> None:
        """Create the tenant if it is new."""
        await self._execute(_ENSURE, tenant=tenant)

    async def accounts(self) -> Sequence[AccountKey]:
        """Return all accounts."""
        return [AccountKey(tenant_id=row[0], account_id=row[1]) for row in await self._execute(_ACCOUNTS)]

    async def accounts_with_intents(self) -> Sequence[AccountKey]:
        """Return the accounts that have pending intents."""
        return [AccountKey(tenant_id=row[0], account_id=row[1]) for row in await self._execute(_WITH_INTENTS)]

    async def claim_due(self, now: datetime, limit: int, room: Sequence[GateRoom] = ()) -> Sequence[Claim]:
        """Claim due traders, in priority order, fair between tenants; rows that others lock are skipped."""
        now_s = (now - EPOCH) // timedelta(seconds=1)
        rooms = {
            "tenants": [one.tenant_id for one in room],
            "gates": [one.gate for one in room],
            "shared": [one.shared for one in room],
            "free": [one.free for one in room],
            "takes_s": [one.takes_s for one in room],
        }
        return list(starmap(_claim, await self._execute(_CLAIM, now=now, now_s=now_s, limit=limit, **rooms)))

    async def stale_claims(self, before: datetime) -> Sequence[Claim]:
        """Return the claims that are older than `before`."""
        return list(starmap(_claim, await self._execute(_STALE, before=before)))

    async def release(self, claims: Sequence[Claim]) -> int:
        """Free the traders that still are in flight for these claims; return how many."""
        keys = {
            "tenants": [one.tenant_id for one in claims],
            "traders": [one.trader_id for one in claims],
            "dues": [one.due_at for one in claims],
        }
        freed: int = (await self._execute(_RELEASE, **keys)).rowcount
        return freed

    async def backlogs(self, now: datetime, since: datetime) -> Sequence[Backlog]:
        """Return how the schedule of each tenant stands at `now`, and what was decided after `since`."""
        return [
            Backlog(tenant_id=row[0], due=row[1], lag_s=float(row[2]), intervals=int(row[3]), made=row[4])
            for row in await self._execute(_BACKLOGS, now=now, since=since)
        ]

    async def forget_prompts(self, before: datetime) -> int:
        """Delete the texts of prompts older than `before`; return how many."""
        forgotten: int = (await self._execute(_FORGET_PROMPTS, before=before)).rowcount
        return forgotten

    async def forget_contexts(self, before: datetime, limit: int) -> int:
        """Take the contexts from at most `limit` decisions older than `before`; return from how many."""
        forgotten: int = (await self._execute(_FORGET_CONTEXTS, before=before, limit=limit)).rowcount
        return forgotten

    async def forget_equity(self, before: datetime, limit: int) -> int:
        """Delete at most `limit` samples of equity older than `before`; return how many."""
        forgotten: int = (await self._execute(_FORGET_EQUITY, before=before, limit=limit)).rowcount
        return forgotten

    async def thin_equity(self, since: datetime, before: datetime, limit: int) -> int:
        """Delete at most `limit` samples from `since` up to `before` not the last of their hour; say how many."""
        thinned: int = (await self._execute(_THIN_EQUITY, since=since, before=before, limit=limit)).rowcount
        return thinned

    async def forget_spending(self, before: datetime) -> int:
        """Delete the sums of days that began before `before`; return how many."""
        forgotten: int = (await self._execute(_FORGET_SPENDING, before=before)).rowcount
        return forgotten

    async def forget_incidents(self, before: datetime) -> int:
        """Delete the incidents that ended before `before`; return how many."""
        forgotten: int = (await self._execute(_FORGET_INCIDENTS, before=before)).rowcount
        return forgotten

    async def next_due(self) -> datetime | None:
        """Return the earliest due time of any trader that is asked and not deciding."""
        found: datetime | None = (await self._execute(_NEXT_DUE)).scalar_one_or_none()
        return found

    async def api_keys(self, key_id: KeyId) -> Sequence[ApiKeyRow]:
        """Return the API keys of an id, in whatever tenant."""
        found = (await self._execute(_API_KEYS, key=key_id)).mappings()
        return [ApiKeyRow(**{**row, "role": Role(row["role"])}) for row in found]

    async def key_mark(self, mark: str, *, instead_of: str = "") -> str:
        """Return the mark of the service key that the installation uses: the first that is named becomes it."""
        await self._execute(_SERVICE)
        stored: str = (await self._execute(_KEY_MARK, mark=mark, given=instead_of)).scalar_one()
        return stored

    async def switch(self, to: Switch, event: EventRow) -> Switch | None:
        """Say how far the whole service may trade, with its event; return what was before, None if it stays so."""
        await self._execute(_SERVICE)
        state, reason, actor, at = (await self._execute(_SWITCH)).one()
        before = Switch(state=TradingState(state), reason=reason, actor=actor, at=at)
        if before.state is to.state:
            return None
        await self._execute(_SET_SWITCH, **asdict(to))
        await self._execute(_TELL, **asdict(replace(event, before=before.state)))
        return before

    async def _execute(self, statement: Executable, **parameters: object) -> Any:
        with translated():
            return await self._connection.execute(statement, parameters)
