"""What models may cost: budgets of a UTC day for a tenant, its models and its traders, held by every worker together.

Before a call its worst case is added to the day's sums, in one transaction that is taken back if a budget would be
exceeded; after it the real cost takes its place. The database holds the sums, so they outlive a worker.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Final
from uuid import uuid4

import structlog

from exchanges.clock import Clock
from executor.budget import Charge, Hold, Meter, Quote
from executor.errors import BudgetExhausted, BudgetUnknown
from manager.config.values import Config
from manager.desk.incidents.log import log_raised, log_resolved
from manager.spending.budget_incidents import (
    EXHAUSTED,
    Alarm,
    BudgetAlarms,
    Limit,
    end_before,
    model_budget,
    usd,
    warnings,
)
from manager.state.errors import StateError
from manager.state.records import AccountId, IncidentRow, TenantId, TraderRow
from manager.state.spending import MODEL, TENANT, TRADER, HoldRow, SpendingRow, day_of
from manager.state.store import Store, Transaction
from traders.spec import TraderSpec

GRACE: Final = timedelta(seconds=60)
_RELEASE_EVERY_S: Final = 5.0
_MOST_HOLDS: Final = 100_000
_LOG = structlog.get_logger(__name__)


class _Over(Exception):
    """Take a reservation back: `row` is the sum that it would have made, `sums` are those of all its limits."""

    def __init__(self, limit: Limit, row: SpendingRow, sums: Sequence[SpendingRow]) -> None:
        self.limit = limit
        self.row = row
        self.sums = sums


class Spending:
    """Give each trader its meter; budgets of tenants and models, and the default of traders, come from the config."""

    def __init__(self, store: Store, clock: Clock, config: Config) -> None:
        self.store = store
        self.clock = clock
        self.alarms = BudgetAlarms()
        self._config = config
        self._released_s: dict[TenantId, float] = {}

    def meter(self, tenant: TenantId, spec: TraderSpec) -> Meter:
        """Return the meter of a trader."""
        return TraderMeter(self, tenant, spec)

    def limits(self, tenant: TenantId, spec: TraderSpec, model: str, model_usd: Decimal | None) -> tuple[Limit, ...]:
        """Return what a call counts for; the model's comes last: what it alone refuses, another model may do."""
        owner = self._config.tenants.get(tenant)
        own = spec.executor.budget_usd_per_day
        if own is None and owner is not None:
            own = owner.budgets.trader_usd_per_day
        return (
            Limit(scope=TENANT, name="", usd=None if owner is None else owner.budgets.tenant_usd_per_day),
            Limit(scope=TRADER, name=spec.id, usd=own),
            Limit(scope=MODEL, name=model, usd=model_usd),
        )

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
            sums = await tx.add([limit.row(hold.tenant_id, hold.day, **lost) for limit in limits])
            raised = await self._warn_of_lost(tx, hold, sums)
        _LOG.warning("model_call_lost", tenant=hold.tenant_id, trader=hold.trader_id, model=hold.model, usd=hold.usd)
        _log(raised)

    async def _warn_of_lost(self, tx: Transaction, hold: HoldRow, sums: Sequence[SpendingRow]) -> list[IncidentRow]:
        trader = await tx.get(TraderRow, hold.trader_id)
        if trader is None:
            return []
        model_usd = model_budget(self._config.tenants.get(hold.tenant_id), hold.model)
        limits = self.limits(hold.tenant_id, trader.spec, hold.model, model_usd)
        alarms = warnings(limits, sums, hold.tenant_id, trader.account_id)
        return await self.alarms.tell(tx, self.alarms.untold(alarms), self.clock.now())


class TraderMeter:
    """Hold one trader's calls within the budgets of its tenant, of the model and its own.

    A call without any budget writes once, after it; with one also before it. A store that fails means no call.
    """

    def __init__(self, spending: Spending, tenant: TenantId, spec: TraderSpec) -> None:
        self._spending = spending
        self._store = spending.store
        self._clock = spending.clock
        self._tenant = tenant
        self._spec = spec

    async def reserve(self, quote: Quote) -> Hold:
        """Set the worst case aside; raise BudgetExhausted if it does not fit, BudgetUnknown if that cannot be told."""
        now = self._clock.now()
        limits = self._spending.limits(self._tenant, self._spec, quote.model, quote.limit_usd)
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
                raised, ended = await self._book(tx, hold, charge, hold.usd * held)
            _log(raised)
            log_resolved(ended)
        except StateError as error:
            self._spending.alarms.forget()
            _LOG.error(
                "model_cost_not_booked",
                trader=self._spec.id,
                model=hold.model,
                usd=charge.usage.cost_usd,
                unknown_usd=charge.unknown_usd,
                input_tokens=charge.usage.input_tokens,
                output_tokens=charge.usage.output_tokens,
                error=str(error),
            )

    async def _set_aside(self, hold: HoldRow, limits: Sequence[Limit]) -> None:
        over = await self._try(hold, limits)
        if over is not None and await self._spending.release_expired(self._tenant):
            over = await self._try(hold, limits)
        if over is not None:
            await self._tell_stop(over, hold, limits)
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

    async def _book(
        self, tx: Transaction, hold: Hold, charge: Charge, freed_usd: Decimal
    ) -> tuple[list[IncidentRow], list[IncidentRow]]:
        """Return the alarms that were raised and those that ended."""
        day = hold.day or day_of(self._clock.now())
        usage = charge.usage
        limits = self._spending.limits(self._tenant, self._spec, hold.model, hold.limit_usd)
        booked = {
            "spent_usd": usage.cost_usd,
            "reserved_usd": -freed_usd,
            "unknown_usd": charge.unknown_usd,
            "calls": charge.calls,
            "input_tokens": usage.input_tokens,
            "cached_tokens": usage.cached_tokens,
            "output_tokens": usage.output_tokens,
        }
        sums = await tx.add([limit.row(self._tenant, day, **booked) for limit in limits])
        new = {(row.scope, row.name) for row in sums if charge.calls and row.calls == charge.calls}
        now = self._clock.now()
        ended = []
        if new:
            ended = await end_before(tx, day, now, [limit for limit in limits if (limit.scope, limit.name) in new])
        alarms = self._spending.alarms
        told = alarms.untold(warnings(limits, sums, self._tenant, AccountId(self._spec.account)))
        return await alarms.tell(tx, told, now), ended

    async def _tell_stop(self, over: _Over, hold: HoldRow, limits: Sequence[Limit]) -> None:
        """Tell once a day and process that no call fits any more; one that only waits for others is no alarm."""
        told = warnings(limits, over.sums, self._tenant, AccountId(self._spec.account))
        if _exceeds(over.row.spent_usd + over.row.unknown_usd + hold.usd, over.limit, hold):
            told.append(self._stop(over, hold))
        untold = self._spending.alarms.untold(told)
        if untold:
            async with self._store.transaction(self._tenant) as tx:
                raised = await self._spending.alarms.tell(tx, untold, self._clock.now())
            _log(raised)

    def _stop(self, over: _Over, hold: HoldRow) -> Alarm:
        return Alarm(
            limit=over.limit,
            day=over.row.day,
            code=EXHAUSTED,
            detail=_refusal(over, hold),
            tenant=self._tenant,
            account=AccountId(self._spec.account),
        )


def _log(raised: Sequence[IncidentRow]) -> None:
    for row in raised:
        log_raised(row, row.detail)


def _check(sums: Sequence[SpendingRow], limits: Sequence[Limit], hold: HoldRow) -> None:
    found = {row.scope: row for row in sums}
    for limit in limits:
        row = found[limit.scope]
        if _exceeds(row.used_usd, limit, hold):
            raise _Over(limit, row, sums)


def _exceeds(used: Decimal, limit: Limit, hold: HoldRow) -> bool:
    """A used-up budget stops calls that cost nothing too."""
    return limit.usd is not None and (used > limit.usd or used - hold.usd >= limit.usd)


def _refusal(over: _Over, hold: HoldRow) -> str:
    row, limit = over.row, over.limit
    others = row.reserved_usd - hold.usd
    parts = [f"{usd(row.spent_usd)} are spent"]
    parts += [f"{usd(row.unknown_usd)} of unknown cost"] if row.unknown_usd else []
    parts += [f"{usd(others)} set aside for calls under way"] if others else []
    return (
        f"{limit.title} may spend {usd(limit.usd)} USD a day for models; {', '.join(parts)}, and a call of "
        f"model {hold.model!r} may cost {usd(hold.usd)}; raise the budget, lower what a call may cost, or wait "
        "for the next day (UTC)"
    )
