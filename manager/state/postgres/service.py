"""The scheduler's transaction on PostgreSQL."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Executable, text
from sqlalchemy.ext.asyncio import AsyncConnection

from exchanges.clock import EPOCH
from manager.state.postgres.connection import translated
from manager.state.records import TenantId
from manager.state.store import AccountKey, Claim

_TENANTS = text("SELECT tenant_id FROM tenants ORDER BY tenant_id")
_ENSURE = text("INSERT INTO tenants (tenant_id) VALUES (:tenant) ON CONFLICT DO NOTHING")
_ACCOUNTS = text("SELECT tenant_id, account_id FROM accounts ORDER BY tenant_id, account_id")
_WITH_INTENTS = text(
    "SELECT DISTINCT tenant_id, account_id FROM intents WHERE status = 'pending' ORDER BY tenant_id, account_id"
)
_RELEASE = text(
    "UPDATE schedules SET in_flight_due_at = NULL, claimed_at = NULL "
    "WHERE in_flight_due_at IS NOT NULL AND claimed_at < :before"
)
_FORGET_PROMPTS = text("DELETE FROM prompts WHERE at < :before")
_FORGET_CONTEXTS = text("UPDATE decisions SET context = NULL WHERE decided_at < :before AND context IS NOT NULL")
_FORGET_SPENDING = text("DELETE FROM spending WHERE day < :before")
_FORGET_INCIDENTS = text("DELETE FROM incidents WHERE resolved_at < :before")
_NEXT_DUE = text(
    "SELECT s.next_due_at FROM schedules s JOIN traders t USING (tenant_id, trader_id) "
    "WHERE s.in_flight_due_at IS NULL AND s.next_due_at IS NOT NULL AND (t.state = 'running' OR EXISTS ("
    "SELECT FROM books b WHERE b.tenant_id = t.tenant_id AND b.account_id = t.account_id AND b.trader_id = t.trader_id "
    "AND t.state = 'isolated' AND t.state_code <> 'FAILURES' AND b.open_positions > 0)) "
    "ORDER BY s.next_due_at LIMIT 1"
)
# TraderRow.is_asked says who is asked.
# The ranking sees all that is due, so that rows another worker has locked are skipped and not counted in the limit.
_CLAIM = text("""
WITH ranked AS MATERIALIZED (
    SELECT s.tenant_id, s.trader_id,
           row_number() OVER (PARTITION BY s.tenant_id ORDER BY priority.idle, priority.sharpe DESC,
                              priority.allocated DESC, t.seq, s.trader_id) AS place,
           priority.idle, priority.sharpe, priority.allocated, t.seq
    FROM schedules s
    JOIN traders t ON t.tenant_id = s.tenant_id AND t.trader_id = s.trader_id
    LEFT JOIN books b ON b.tenant_id = t.tenant_id AND b.account_id = t.account_id AND b.trader_id = t.trader_id
    CROSS JOIN LATERAL (
        SELECT coalesce(b.open_positions, 0) = 0 AS idle, coalesce(b.sharpe, 0) AS sharpe,
               coalesce(b.allocated, 0::numeric) AS allocated
    ) priority
    WHERE s.next_due_at <= :now AND s.in_flight_due_at IS NULL
      AND (t.state = 'running' OR (t.state = 'isolated' AND t.state_code <> 'FAILURES' AND b.open_positions > 0))
), chosen AS MATERIALIZED (
    SELECT s.tenant_id, s.trader_id, s.interval_s, r.place, r.idle, r.sharpe, r.allocated, r.seq,
           floor((:now_s - s.phase_s)::numeric / s.interval_s) * s.interval_s + s.phase_s AS due_s
    FROM ranked r
    JOIN schedules s ON s.tenant_id = r.tenant_id AND s.trader_id = r.trader_id
    WHERE s.next_due_at <= :now AND s.in_flight_due_at IS NULL
    ORDER BY r.place, r.idle, r.sharpe DESC, r.allocated DESC, r.seq, r.tenant_id
    LIMIT :limit
    FOR UPDATE OF s SKIP LOCKED
), claimed AS (
    UPDATE schedules s
    SET in_flight_due_at = to_timestamp(c.due_s), claimed_at = :now, next_due_at = to_timestamp(c.due_s + c.interval_s)
    FROM chosen c
    WHERE s.tenant_id = c.tenant_id AND s.trader_id = c.trader_id
    RETURNING s.tenant_id, s.account_id, s.trader_id, s.in_flight_due_at, c.place, c.idle, c.sharpe, c.allocated, c.seq
)
SELECT tenant_id, account_id, trader_id, in_flight_due_at FROM claimed
ORDER BY place, idle, sharpe DESC, allocated DESC, seq, tenant_id
""")


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

    async def claim_due(self, now: datetime, limit: int) -> Sequence[Claim]:
        """Claim due traders, in priority order, fair between tenants; rows that others lock are skipped."""
        now_s = (now - EPOCH) // timedelta(seconds=1)
        claimed = await self._execute(_CLAIM, now=now, now_s=now_s, limit=limit)
        return [Claim(tenant_id=row[0], account_id=row[1], trader_id=row[2], due_at=row[3]) for row in claimed]

    async def release_stale_claims(self, before: datetime) -> int:
        """Free traders whose claim is older than `before`; return how many."""
        freed: int = (await self._execute(_RELEASE, before=before)).rowcount
        return freed

    async def forget_prompts(self, before: datetime) -> int:
        """Delete the texts of prompts older than `before` and the contexts behind them; return how many texts."""
        await self._execute(_FORGET_CONTEXTS, before=before)
        forgotten: int = (await self._execute(_FORGET_PROMPTS, before=before)).rowcount
        return forgotten

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

    async def _execute(self, statement: Executable, **parameters: object) -> Any:
        with translated():
            return await self._connection.execute(statement, parameters)
