"""What models may cost: budgets of a UTC day for a tenant, its models and its traders, held by every worker together.

Before a call its worst case is added to the day's sums, in one transaction that is taken back if a budget would be
exceeded; after it the real cost takes its place. The database holds the sums, so they outlive a worker.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import uuid4

import structlog

from exchanges.clock import Clock
from executor.budget import Charge, Hold, Meter, Quote
from executor.errors import BudgetExhausted, BudgetUnknown
from manager.config.values import Config
from manager.state.errors import StateError
from manager.state.records import HoldRow, IncidentRow, SpendingRow, TenantId
from manager.state.store import Store, Transaction
from manager.state.sums import MODEL, TENANT, TRADER, day_of, used_usd
from traders.spec import TraderSpec

WARNING: Final = "BUDGET_WARNING"
EXHAUSTED: Final = "BUDGET_EXHAUSTED"
ZERO: Final = Decimal(0)
WARN_AT: Final = Decimal("0.8")
GRACE: Final = timedelta(seconds=60)
_RELEASE_EVERY_S: Final = 5.0
_MOST_HOLDS: Final = 100_000
_LOG = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """Name one scope of a call and its budget of a day, None for none."""

    scope: str
    name: str
    usd: Decimal | None

    def row(self, tenant: TenantId, day: datetime, **amounts: Any) -> SpendingRow:
        """Return what to add to the sum of this scope."""
        return SpendingRow(tenant_id=tenant, day=day, scope=self.scope, name=self.name, **amounts)

    @property
    def title(self) -> str:
        """Return the scope as people name it."""
        return "the tenant" if self.scope == TENANT else f"{self.scope} {self.name}"


class _Over(Exception):
    """Take a reservation back: `row` is the sum that it would have made."""

    def __init__(self, limit: Limit, row: SpendingRow) -> None:
        self.limit = limit
        self.row = row


class Spending:
    """Give each trader its meter; budgets of tenants come from the config, those of models and traders with them."""

    def __init__(self, store: Store, clock: Clock, config: Config) -> None:
        self.store = store
        self.clock = clock
        self._config = config
        self.stopped: dict[tuple[TenantId, str, str], datetime] = {}
        self._released_s: dict[TenantId, float] = {}

    def meter(self, tenant: TenantId, spec: TraderSpec) -> Meter:
        """Return the meter of a trader."""
        owner = self._config.tenants.get(tenant)
        return TraderMeter(self, tenant, spec, None if owner is None else owner.budgets.tenant_usd_per_day)

    async def release_expired(self, tenant: TenantId) -> int:
        """Count what ended workers had set aside as of unknown cost; return how many calls that were.

        Looked for at most every few seconds, because the refused may be many.
        """
        now_s, now = self.clock.boot_s(), self.clock.now()
        if now_s - self._released_s.get(tenant, -_RELEASE_EVERY_S) < _RELEASE_EVERY_S:
            return 0
        self._released_s[tenant] = now_s
        async with self.store.transaction(tenant) as tx:
            held = await tx.find(HoldRow, {}, limit=_MOST_HOLDS)
        expired = [hold for hold in held if hold.expires_at <= now]
        for hold in expired:
            await self._release(hold)
        return len(expired)

    async def _release(self, hold: HoldRow) -> None:
        async with self.store.transaction(hold.tenant_id) as tx:
            if not await tx.delete(HoldRow, [(hold.hold_id,)]):
                return
            scopes = ((TENANT, ""), (MODEL, hold.model), (TRADER, hold.trader_id))
            limits = [Limit(scope=scope, name=name, usd=None) for scope, name in scopes]
            lost = {"reserved_usd": -hold.usd, "unknown_usd": hold.usd}
            await tx.add([limit.row(hold.tenant_id, hold.day, **lost) for limit in limits])
        _LOG.warning("model_call_lost", tenant=hold.tenant_id, trader=hold.trader_id, model=hold.model, usd=hold.usd)


class TraderMeter:
    """Hold one trader's calls within the budgets of its tenant, of the model and its own.

    A call without any budget writes once, after it; with one also before it. A store that fails means no call.
    """

    def __init__(self, spending: Spending, tenant: TenantId, spec: TraderSpec, tenant_usd: Decimal | None) -> None:
        self._spending = spending
        self._store = spending.store
        self._clock = spending.clock
        self._tenant = tenant
        self._spec = spec
        self._tenant_usd = tenant_usd

    async def reserve(self, quote: Quote) -> Hold:
        """Set the worst case aside; raise BudgetExhausted if it does not fit, BudgetUnknown if that cannot be told."""
        now = self._clock.now()
        limits = self._limits(quote.model, quote.limit_usd)
        hold = Hold(model=quote.model, day=day_of(now), limit_usd=quote.limit_usd)
        if all(limit.usd is None for limit in limits):
            return hold
        hold = replace(hold, id=uuid4().hex, usd=quote.worst_usd)
        row = HoldRow(
            tenant_id=self._tenant,
            hold_id=hold.id,
            day=day_of(now),
            model=quote.model,
            trader_id=self._spec.id,
            usd=hold.usd,
            expires_at=now + timedelta(seconds=quote.lasts_s) + GRACE,
        )
        try:
            await self._set_aside(row, limits)
        except StateError as error:
            raise BudgetUnknown(
                f"the budgets cannot be read, so model {quote.model!r} is not asked: {error}"
            ) from error
        return hold

    async def settle(self, hold: Hold, charge: Charge) -> None:
        """Book what a call cost in place of what was set aside for it; what cannot be written is logged."""
        if hold.day is None or (charge.nothing and not hold.id):
            return
        try:
            async with self._store.transaction(self._tenant) as tx:
                held = await tx.delete(HoldRow, [(hold.id,)]) if hold.id else 0
                await self._book(tx, hold, charge, hold.usd * held)
        except StateError as error:
            _LOG.error("model_cost_not_booked", trader=self._spec.id, model=hold.model, error=str(error))

    def _limits(self, model: str, model_usd: Decimal | None) -> tuple[Limit, ...]:
        """The model's comes last: what it alone refuses, another model may do."""
        own = self._spec.executor.budget_usd_per_day
        return (
            Limit(scope=TENANT, name="", usd=self._tenant_usd),
            Limit(scope=TRADER, name=self._spec.id, usd=own),
            Limit(scope=MODEL, name=model, usd=model_usd),
        )

    async def _set_aside(self, hold: HoldRow, limits: Sequence[Limit]) -> None:
        over = await self._try(hold, limits)
        if over is not None and await self._spending.release_expired(self._tenant):
            over = await self._try(hold, limits)
        if over is not None:
            await self._tell_stop(over, hold)
            raise BudgetExhausted(_refusal(over, hold), of_model=over.limit.scope == MODEL)

    async def _try(self, hold: HoldRow, limits: Sequence[Limit]) -> _Over | None:
        try:
            async with self._store.transaction(self._tenant) as tx:
                await tx.insert([hold])
                sums = await tx.add([limit.row(self._tenant, hold.day, reserved_usd=hold.usd) for limit in limits])
                _check(sums, limits, hold)
        except _Over as over:
            return over
        return None

    async def _book(self, tx: Transaction, hold: Hold, charge: Charge, freed_usd: Decimal) -> None:
        day = hold.day or day_of(self._clock.now())
        usage, limits = charge.usage, self._limits(hold.model, hold.limit_usd)
        booked = {
            "spent_usd": usage.cost_usd,
            "reserved_usd": -freed_usd,
            "unknown_usd": charge.unknown_usd,
            "calls": charge.calls,
            "input_tokens": usage.input_tokens,
            "cached_tokens": usage.cached_tokens,
            "output_tokens": usage.output_tokens,
        }
        sums = {row.scope: row for row in await tx.add([limit.row(self._tenant, day, **booked) for limit in limits])}
        for limit in limits:
            await self._tell_change(tx, limit, sums[limit.scope], charge)

    async def _tell_change(self, tx: Transaction, limit: Limit, row: SpendingRow, charge: Charge) -> None:
        """Warn when 80 % are passed, and end yesterday's warnings with the first call of a day."""
        if charge.calls and row.calls == charge.calls:
            await self._resolve(tx, limit, row.day)
        if limit.usd is None:
            return
        known = row.spent_usd + row.unknown_usd
        before = known - charge.usage.cost_usd - charge.unknown_usd
        if before < WARN_AT * limit.usd <= known:
            told = f"{limit.title} has used {_usd(known)} of its {_usd(limit.usd)} USD for models today"
            await tx.upsert([self._incident(limit, row.day, WARNING, told)])

    async def _tell_stop(self, over: _Over, hold: HoldRow) -> None:
        """Tell once a day and process that no call fits any more; one that only waits for others is not told."""
        limit, row = over.limit, over.row
        subject = (self._tenant, limit.scope, limit.name)
        without_others = row.spent_usd + row.unknown_usd + hold.usd
        if not _exceeds(without_others, limit, hold) or self._spending.stopped.get(subject) == row.day:
            return
        self._spending.stopped[subject] = row.day
        async with self._store.transaction(self._tenant) as tx:
            await tx.upsert([self._incident(limit, row.day, EXHAUSTED, _refusal(over, hold))])

    async def _resolve(self, tx: Transaction, limit: Limit, day: datetime) -> None:
        now = self._clock.now()
        for one in await tx.find(IncidentRow, {"code": (WARNING, EXHAUSTED), "resolved_at": None}):
            if one.incident_id.startswith(f"budget/{limit.scope}/{limit.name}/") and one.at < day:
                await tx.patch(IncidentRow, (one.incident_id,), resolved_at=now)

    def _incident(self, limit: Limit, day: datetime, code: str, detail: str) -> IncidentRow:
        return IncidentRow(
            tenant_id=self._tenant,
            incident_id=f"budget/{limit.scope}/{limit.name}/{day:%Y-%m-%d}/{code}",
            account_id=self._spec.account,
            code=code,
            severity="high" if code == EXHAUSTED else "medium",
            detail=detail,
            at=self._clock.now(),
            trader_id=limit.name if limit.scope == TRADER else "",
        )


def _check(sums: Sequence[SpendingRow], limits: Sequence[Limit], hold: HoldRow) -> None:
    found = {row.scope: row for row in sums}
    for limit in limits:
        row = found[limit.scope]
        if _exceeds(used_usd(row), limit, hold):
            raise _Over(limit, row)


def _exceeds(used: Decimal, limit: Limit, hold: HoldRow) -> bool:
    """A used-up budget stops calls that cost nothing too."""
    return limit.usd is not None and (used > limit.usd or used - hold.usd >= limit.usd)


def _refusal(over: _Over, hold: HoldRow) -> str:
    row, limit = over.row, over.limit
    others = row.reserved_usd - hold.usd
    parts = [f"{_usd(row.spent_usd)} are spent"]
    parts += [f"{_usd(row.unknown_usd)} of unknown cost"] if row.unknown_usd else []
    parts += [f"{_usd(others)} set aside for calls under way"] if others else []
    return (
        f"{limit.title} may spend {_usd(limit.usd or ZERO)} USD a day for models; {', '.join(parts)}, and a call of "
        f"model {hold.model!r} may cost {_usd(hold.usd)}; raise the budget, shorten its replies with max_tokens in "
        "extra_body, or wait for the next day (UTC)"
    )


def _usd(amount: Decimal) -> str:
    return f"{amount.normalize():f}" if amount else "0"
