"""What models may cost: budgets of a UTC day for a tenant, its models and its traders, held by every worker together.

Before a call its worst case is added to the day's sums, in one transaction that is taken back if a budget would be
exceeded; after it the real cost takes its place. The database holds the sums, so they outlive a worker.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from itertools import count
from typing import Final
from uuid import uuid4

import structlog

from exchanges.clock import Clock
from executor.errors import BudgetExhausted, BudgetUnknown
from executor.models.metering import Charge, Hold, Meter, Quote
from manager.config.values import Config
from manager.desk.incidents.log import log_raised, log_resolved
from manager.spending.budget_incidents import EXHAUSTED, BudgetIncident, BudgetIncidents, end_before, warnings
from manager.spending.daily_budget import DailyBudget, DailyBudgetStop, model_budget, stop_at_daily_budget
from manager.state.errors import CommitUnknown, StateError
from manager.state.outlast import outlast
from manager.state.records import AccountId, IncidentRow, TenantId, TraderRow
from manager.state.spending import MODEL, TENANT, TRADER, HoldRow, SpendingRow, day_of
from manager.state.store import Store, Transaction
from traders.spec import TraderSpec

GRACE: Final = timedelta(seconds=60)
_RELEASE_EVERY_S: Final = 5.0
_LOG = structlog.get_logger(__name__)


class Spending:
    """Give each trader its meter; budgets of tenants and models, and the default of traders, come from the config."""

    def __init__(self, store: Store, clock: Clock, config: Config) -> None:
        self.store = store
        self.clock = clock
        self.incidents = BudgetIncidents()
        self._config = config
        self._released_s: dict[TenantId, float] = {}

    def meter(self, tenant: TenantId, spec: TraderSpec) -> Meter:
        """Return the meter of a trader."""
        return TraderMeter(self, tenant, spec)

    def budgets(
        self, tenant: TenantId, spec: TraderSpec, model: str, model_usd: Decimal | None
    ) -> tuple[DailyBudget, ...]:
        """Return what a call counts for; the model's comes last: what it alone refuses, another model may do."""
        owner = self._config.tenants.get(tenant)
        own = spec.executor.budget_usd_per_day
        if own is None and owner is not None:
            own = owner.budgets.trader_usd_per_day
        return (
            DailyBudget(scope=TENANT, name="", usd=None if owner is None else owner.budgets.tenant_usd_per_day),
            DailyBudget(scope=TRADER, name=spec.id, usd=own),
            DailyBudget(scope=MODEL, name=model, usd=model_usd),
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
            held = await tx.find(HoldRow, {}, limit=None)
        expired = [hold for hold in held if hold.expires_at <= now]
        for hold in expired:
            await self._release(hold)
        return len(expired)

    async def _release(self, hold: HoldRow) -> None:
        async with self.store.transaction(hold.tenant_id) as tx:
            if not await tx.delete(HoldRow, [(hold.hold_id,)]):
                return
            scopes = ((TENANT, ""), (MODEL, hold.model), (TRADER, hold.trader_id))
            counted = [DailyBudget(scope=scope, name=name, usd=None) for scope, name in scopes]
            lost = {"reserved_usd": -hold.usd, "unknown_usd": hold.usd}
            sums = await tx.add([one.row(hold.tenant_id, hold.day, **lost) for one in counted])
            raised = await self._warn_of_lost(tx, hold, sums)
        _LOG.warning("model_call_lost", tenant=hold.tenant_id, trader=hold.trader_id, model=hold.model, usd=hold.usd)
        _log(raised)

    async def _warn_of_lost(self, tx: Transaction, hold: HoldRow, sums: Sequence[SpendingRow]) -> list[IncidentRow]:
        trader = await tx.get(TraderRow, hold.trader_id)
        if trader is None:
            return []
        model_usd = model_budget(self._config.tenants.get(hold.tenant_id), hold.model)
        budgets = self.budgets(hold.tenant_id, trader.spec, hold.model, model_usd)
        found = warnings(budgets, sums, hold.tenant_id, trader.account_id)
        return await self.incidents.open(tx, self.incidents.new(found), self.clock.now())


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
        budgets = self._spending.budgets(self._tenant, self._spec, quote.model, quote.limit_usd)
        hold = Hold(model=quote.model, day=day_of(now), limit_usd=quote.limit_usd)
        if all(budget.usd is None for budget in budgets):
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
            await self._set_aside(row, budgets)
        except StateError as error:
            raise BudgetUnknown(
                f"the budgets cannot be read, so model {quote.model!r} is not asked: {error}"
            ) from error
        return hold

    async def settle(self, hold: Hold, charge: Charge) -> None:
        """Book what a call cost in place of what was set aside for it; what cannot be written is logged.

        A database that is away is waited for. After a commit that may have been made, a hold that is gone tells that it
        was; without a hold nothing tells, and nothing is booked twice.
        """
        if hold.day is None or (charge.nothing and not hold.id):
            return
        tries = count()

        async def book() -> None:
            try:
                await self._settle(hold, charge, first=next(tries) == 0)
            except CommitUnknown as error:
                if hold.id:
                    raise
                self._not_booked(hold, charge, error)

        try:
            await outlast(self._clock, book, what=f"cost of {self._spec.id}")
        except StateError as error:
            self._not_booked(hold, charge, error)

    async def _settle(self, hold: Hold, charge: Charge, *, first: bool) -> None:
        async with self._store.transaction(self._tenant) as tx:
            held = await tx.delete(HoldRow, [(hold.id,)]) if hold.id else 0
            if not first and hold.id and not held:
                return
            raised, ended = await self._book(tx, hold, charge, hold.usd * held)
        _log(raised)
        log_resolved(ended)

    def _not_booked(self, hold: Hold, charge: Charge, error: StateError) -> None:
        self._spending.incidents.forget()
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

    async def _set_aside(self, hold: HoldRow, budgets: Sequence[DailyBudget]) -> None:
        stop = await self._try(hold, budgets)
        if stop is not None and await self._spending.release_expired(self._tenant):
            stop = await self._try(hold, budgets)
        if stop is not None:
            await self._tell(stop, budgets)
            raise BudgetExhausted(str(stop), of_model=stop.budget.scope == MODEL)

    async def _try(self, hold: HoldRow, budgets: Sequence[DailyBudget]) -> DailyBudgetStop | None:
        try:
            async with self._store.transaction(self._tenant) as tx:
                await tx.insert([hold])
                sums = await tx.add([one.row(self._tenant, hold.day, reserved_usd=hold.usd) for one in budgets])
                stop_at_daily_budget(sums, budgets, hold)
        except DailyBudgetStop as stop:
            return stop
        return None

    async def _book(
        self, tx: Transaction, hold: Hold, charge: Charge, released_usd: Decimal
    ) -> tuple[list[IncidentRow], list[IncidentRow]]:
        """Return the incidents that were opened and those that ended."""
        day, now, usage = hold.day or day_of(self._clock.now()), self._clock.now(), charge.usage
        budgets = self._spending.budgets(self._tenant, self._spec, hold.model, hold.limit_usd)
        booked = {
            "spent_usd": usage.cost_usd,
            "reserved_usd": -released_usd,
            "unknown_usd": charge.unknown_usd,
            "calls": charge.calls,
            "input_tokens": usage.input_tokens,
            "cached_tokens": usage.cached_tokens,
            "output_tokens": usage.output_tokens,
        }
        sums = await tx.add([one.row(self._tenant, day, **booked) for one in budgets])
        first = {(row.scope, row.name) for row in sums if charge.calls and row.calls == charge.calls}
        ended = []
        if first:
            ended = await end_before(tx, day, now, [one for one in budgets if (one.scope, one.name) in first])
        incidents = self._spending.incidents
        new = incidents.new(warnings(budgets, sums, self._tenant, AccountId(self._spec.account)))
        return await incidents.open(tx, new, now), ended

    async def _tell(self, stop: DailyBudgetStop, budgets: Sequence[DailyBudget]) -> None:
        """Open an incident, once a day and process, if no call fits any more; to wait for others is none."""
        incidents, account = self._spending.incidents, AccountId(self._spec.account)
        found = warnings(budgets, stop.sums, self._tenant, account)
        if stop.for_the_day:
            exhausted = BudgetIncident(
                budget=stop.budget,
                day=stop.row.day,
                code=EXHAUSTED,
                detail=str(stop),
                tenant=self._tenant,
                account=account,
            )
            found.append(exhausted)
        new = incidents.new(found)
        if new:
            async with self._store.transaction(self._tenant) as tx:
                opened = await incidents.open(tx, new, self._clock.now())
            _log(opened)


def _log(opened: Sequence[IncidentRow]) -> None:
    for row in opened:
        log_raised(row, row.detail)
